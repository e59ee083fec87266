"""Reads on in a second thread while the first one works: reading, checking and decoding leave the interpreter free."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
DEPTH: Final = 3  # items between the threads: enough that neither waits for the other's longest one


def ahead(items: Iterator[Item], depth: int = DEPTH) -> Generator[Item, None, None]:
    """The same items in the same order, produced up to `depth` ahead. An error of theirs is raised here."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    pending: deque[Future[Item | None]] = deque(pool.submit(next, items, None) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not None:
            pending.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
