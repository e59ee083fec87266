"""Where `up` shows what it sees: a live screen in a terminal, or a line now and then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.live import Live

from infra.cli.output import ERR, say
from infra.up.view import ProcessLine, Screen, line, render
from infra.up.watch import Picture
from streams.clock import Clock

LINE_EVERY_S = 5.0
FRAMES_PER_SECOND = 4


class Display(Protocol):
    """What `up` tells whoever watches."""

    def begin(self, title: str, warning: str) -> None: ...

    def note(self, text: str) -> None:
        """Something happened."""
        ...

    def show(self, picture: Picture, processes: Sequence[ProcessLine], elapsed_s: float) -> None: ...

    def close(self) -> None: ...


class Lines:
    """One line every few seconds, and each note as it comes, on stderr."""

    def __init__(self, clock: Clock, every_s: float = LINE_EVERY_S) -> None:
        self._screen = Screen("")
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._next_ns = 0
        self._first = False

    def begin(self, title: str, warning: str) -> None:
        self._screen = Screen(title, warning)
        if warning:
            say(f"*** {warning} ***")
        say(title)

    def note(self, text: str) -> None:
        say(f"· {text}")

    def show(self, picture: Picture, processes: Sequence[ProcessLine], elapsed_s: float) -> None:
        now_ns = self._clock.monotonic_ns()
        first = bool(picture.first_book_ns) and not self._first
        if first or now_ns >= self._next_ns:
            self._first = self._first or first
            self._next_ns = now_ns + self._every_ns
            say(line(self._screen, picture, elapsed_s))

    def close(self) -> None:
        pass


class LiveScreen:
    """The whole terminal, redrawn a few times a second."""

    def __init__(self, clock: Clock) -> None:
        self._screen = Screen("")
        self._clock = clock
        self._next_ns = 0
        self._live: Live | None = None

    def begin(self, title: str, warning: str) -> None:
        self._screen.title, self._screen.warning = title, warning
        self._live = Live(console=ERR, auto_refresh=False, screen=True)
        self._live.start()

    def note(self, text: str) -> None:
        self._screen.notes.append(text)
        if self._live is None:
            say(f"· {text}")

    def show(self, picture: Picture, processes: Sequence[ProcessLine], elapsed_s: float) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._live is not None and now_ns >= self._next_ns:
            self._next_ns = now_ns + 1_000_000_000 // FRAMES_PER_SECOND
            self._live.update(render(self._screen, picture, processes, elapsed_s), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
