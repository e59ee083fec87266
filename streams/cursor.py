"""Reading recorded rows again: forward along each sequence, exactly those that are asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from schemas.errors import IntegrityError
from streams.ahead import ahead
from streams.api import Chunk, WriterKey
from streams.topics import TOPIC_BY_NUMBER


class SessionReader(Protocol):
    """A recorded session: rows of (topic, partition, writer), from Kafka, the local log or memory."""

    incarnation: int

    def keys(self, topic: int) -> list[WriterKey]:
        """Sequences of the session in that topic, sorted."""
        ...

    def chunks(self, key: WriterKey, row_first: int = 1, hint: int = 0) -> Iterator[Chunk]:
        """Rows from `row_first` on, in number order, repeats dropped. Large chunks make replay fast.

        Args:
            hint: a position of the transport at or before the row; 0 for none.
        """
        ...


class Cursor:
    """One sequence, run by run."""

    def __init__(self, chunks: Iterator[Chunk], key: WriterKey, row_next: int) -> None:
        self.row_next = row_next
        self._key = key
        self._chunks = chunks
        self._rest: Chunk | None = None

    def close(self) -> None:
        """Let go of what the reader holds open."""
        if isinstance(self._chunks, Generator):
            self._chunks.close()

    def take(self, last: int) -> Iterator[Chunk]:
        """Rows from `row_next` to `last`.

        Raises:
            IntegrityError: one of them is not there.
        """
        while self.row_next <= last:
            chunk = self._rest or next(self._chunks, None)
            self._rest = None
            if chunk is None or chunk.row_first > self.row_next:
                raise IntegrityError(
                    f"Row {self.row_next} of {TOPIC_BY_NUMBER[self._key.topic].name} (partition {self._key.partition}, "
                    f"writer {self._key.writer}) was processed and is not there any more: deleted by age, or lost."
                )
            end = min(last, chunk.row_last)
            if end < chunk.row_last:
                self._rest = chunk.cut(end + 1 - chunk.row_first, len(chunk.rows))
            part = chunk.cut(self.row_next - chunk.row_first, end + 1 - chunk.row_first)
            self.row_next = end + 1
            if len(part.rows):
                yield part


class Cursors:
    """Rows of any sequence of a session; asking in order reads on, anything else starts anew.

    Args:
        read_ahead: in threads of their own; for long replays.
    """

    def __init__(self, reader: SessionReader, *, read_ahead: bool = False) -> None:
        self._reader = reader
        self._read_ahead = read_ahead
        self._cursors: dict[WriterKey, Cursor] = {}

    def fetch(self, key: WriterKey, row_first: int, row_last: int, hint: int = 0) -> Iterator[Chunk]:
        """Exactly these rows. Raises IntegrityError when one of them is not there."""
        cursor = self._cursors.get(key)
        if cursor is None or cursor.row_next != row_first:
            if cursor is not None:
                cursor.close()
            chunks = self._reader.chunks(key, row_first, hint)
            cursor = Cursor(ahead(chunks) if self._read_ahead else chunks, key, row_first)
            self._cursors[key] = cursor
        yield from cursor.take(row_last)

    def close(self) -> None:
        """Let go of everything; the next fetch starts anew."""
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors = {}
