"""How kernels are compiled: `kernel` is called from Python, `part` only by kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core import types

from schemas import events, trading

Function = Callable[..., Any]
_kind_of: Any = types.unliteral  # of a constant: that of any number like it
JIT_DISABLED: bool = bool(vars(config)["DISABLE_JIT"])  # NUMBA_DISABLE_JIT: kernels are plain functions


def digest_of(files: Sequence[Path]) -> str:
    """Digest of files, by name and content."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def source_digest() -> str:
    """Digest of everything that is compiled into a kernel: all kernel files, and the enums they take as constants."""
    here = Path(__file__).parent
    tables = [here.parent / "order_transitions.py", Path(events.__file__), Path(trading.__file__)]
    return digest_of([*sorted(here.glob("*.py")), *tables])


def _compiled(function: Function, **options: bool) -> Any:
    compile_with: Any = njit
    compiled = compile_with(cache=True, nogil=True, **options)(function)
    if not JIT_DISABLED:
        # numba's cache on disk looks only at the file of the function itself, and would go on using machine code
        # into which an older version of another file was inlined.
        compiled._cache._cache_file._source_stamp = source_digest()
    return compiled


def kernel(function: Function) -> Any:
    """A function over arrays that Python calls; may allocate scratch arrays."""
    return _compiled(function, _nrt=True)


def part(function: Function) -> Any:
    """A part of a kernel. It allocates nothing and returns no array, so the arrays it is handed need not be counted.

    With counting, a call costs two atomic operations for each array: a third of the time of the book's loop.
    """
    return _compiled(function, _nrt=False)


def inlined(function: Function) -> Any:
    """A part that becomes one piece with its caller: handing over many arrays costs more than such a part does."""
    compiled = _compiled(function, _nrt=False, forceinline=True)
    if not JIT_DISABLED:
        template_of = compiled.get_call_template

        def once_for_all_constants(args: Any, named: Any) -> Any:
            """Type a call. numba would compile the part anew for every constant that it is handed."""
            return template_of([_kind_of(kind) for kind in args], {name: _kind_of(named[name]) for name in named})

        compiled.get_call_template = once_for_all_constants
    return compiled
