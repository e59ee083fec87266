"""Child processes that die by SIGKILL at a chosen point: after so many bytecodes of chosen modules."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any


def run_and_kill(work: Callable[[], None], kill_at: int, files: tuple[str, ...]) -> bool:
    """Run `work` in a forked child that kills itself before the `kill_at`-th bytecode executed in one of `files`.

    Returns:
        Whether it was killed; False when it finished first.

    Raises:
        AssertionError: the child failed in another way.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.settrace(_tracer(kill_at, files))
            work()
            code = 0
        finally:
            sys.settrace(None)
            if code:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed; its traceback is in the captured output"
    return False


def _tracer(kill_at: int, files: tuple[str, ...]) -> Any:
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if event == "call":
            if not frame.f_code.co_filename.endswith(files):
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return trace
        if event == "opcode":
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace
