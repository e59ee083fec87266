"""Exit codes of the command line: one table, made from the error classes."""

from __future__ import annotations

from schemas.errors import ShrivenError

INTERRUPTED = 130  # Ctrl-C, as shells count it: 128 + SIGINT
CTRL_C = "Ctrl-C before there was anything to sum up; a run that Ctrl-C ends sums up, and exits with 0."
BUG = 70  # EX_SOFTWARE: an error that nobody foresaw


def exit_codes() -> list[tuple[int, str, str]]:
    """(code, name, meaning), by code."""
    rows = [(0, "—", "Done.")]
    kinds: tuple[type[ShrivenError], ...] = (ShrivenError, *ShrivenError.__subclasses__())
    rows += [(kind.exit_code, kind.__name__, _sentence(kind)) for kind in kinds]
    rows += [(BUG, "—", "A bug: the traceback is in the file that was printed."), (INTERRUPTED, "—", CTRL_C)]
    return sorted(rows)


def markdown() -> str:
    """The table as it stands in infra/README.md."""
    lines = ["| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {code} | {name} | {meaning} |" for code, name, meaning in exit_codes()]
    return "\n".join(lines)


def _sentence(kind: type[ShrivenError]) -> str:
    return " ".join((kind.__doc__ or "").split())
