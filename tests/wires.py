"""A client of the simulated venue's hub without a socket."""

from __future__ import annotations

from collections.abc import Callable

_MEDIUM, _LONG = 126, 127


class MemoryWire:
    """Keeps what is written; `frames` are the texts. `on_write` is called after each write."""

    def __init__(self, on_write: Callable[[], None] | None = None) -> None:
        self.data = b""
        self.is_open = True
        self.is_full = False
        self.is_frozen = False
        self.closed_with: tuple[int, str] | None = None
        self._on_write = on_write

    def write(self, data: bytes) -> None:
        assert self.is_open
        self.data += data
        if self._on_write:
            self._on_write()

    async def drained(self) -> None:
        self.is_full = False

    async def emptied(self, timeout_s: float) -> None:
        pass

    def abort(self) -> None:
        self.is_open = False

    def freeze(self) -> None:
        self.is_frozen = True

    def close_soon(self, code: int, reason: str) -> None:
        self.closed_with = (code, reason)

    @property
    def frames(self) -> list[bytes]:
        """The texts of the websocket frames written so far (unmasked, final)."""
        texts, at = [], 0
        while at < len(self.data):
            assert self.data[at] == 0x81
            size, start = self.data[at + 1], at + 2
            if size == _MEDIUM:
                size, start = int.from_bytes(self.data[start : start + 2], "big"), start + 2
            elif size == _LONG:
                size, start = int.from_bytes(self.data[start : start + 8], "big"), start + 8
            texts.append(self.data[start : start + size])
            at = start + size
        return texts
