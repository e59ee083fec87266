"""Several tasks in one process: a thread each.

Measured against one loop over all tasks (streams/README.md): from receive time to commit both take the same; eight
idle tasks cost 2 % of a core instead of 7, because each sleeps inside the client's poll; and a task whose commit
waits for the broker holds up nobody else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from streams.runner import Runner

SIGNAL_S = 0.2  # a signal handler runs between two waits


class Worker:
    """Tasks of one or more pipelines.

    Args:
        runners: each with its own source and sink.
    """

    def __init__(self, runners: Sequence[Runner]) -> None:
        self.runners = tuple(runners)
        self._stop = threading.Event()

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Run all tasks until `stop` is called, or `until` says so.

        The first task that fails stops the others, which finish, commit and save their state; then its error is
        raised: the process ends, the supervisor starts it again, and every task recovers.
        """
        for runner in self.runners:
            runner.engine.processor.warm()  # one after the other: compiling twice at once would help nobody
        with ThreadPoolExecutor(len(self.runners), thread_name_prefix="task") as pool:
            futures = [pool.submit(runner.run, until) for runner in self.runners]
            self._wait(futures)
        failed = [future for future in futures if future.exception() is not None]
        if failed:
            failed[0].result()

    def stop(self) -> None:
        """Ask all tasks to end; safe from a signal handler."""
        self._stop.set()

    def _wait(self, futures: Sequence[Future[None]]) -> None:
        running = set(futures)
        while running:
            ended, running = wait(running, timeout=SIGNAL_S, return_when=FIRST_COMPLETED)
            if self._stop.is_set() or any(future.exception() is not None for future in ended):
                for runner in self.runners:
                    runner.stop()
