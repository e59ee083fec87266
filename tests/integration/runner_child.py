"""A process that runs one task of the echo pipeline, to be killed.

python -m tests.integration.runner_child WHERE INCARNATION START_NS TASK live|end
WHERE is a Kafka address, or the directory of a local log.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from schemas.errors import ShrivenError
from streams.clock import SYSTEM_CLOCK
from streams.runner import Runner, RunnerOptions
from tests.contract.transports import Local, OnKafka, Transport
from tests.pipelines import ECHO, Echo


def main(where: str, incarnation: int, start_ns: int, task: int, until: str) -> None:
    transport: Transport = Local(Path(where)) if Path(where).is_dir() else OnKafka(where)
    transport.incarnation, transport.start_ns = incarnation, start_ns
    options = RunnerOptions(commit_interval_ns=2_000_000, quiet_interval_ns=2_000_000, snapshot_rows=2_000)
    runner = Runner(
        ECHO, task, Echo(), transport.source(), transport.sink(ECHO, task), SYSTEM_CLOCK,
        incarnation=incarnation, options=options,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda number, frame: runner.stop())
    said: list[str] = []

    def say_running() -> bool:
        if not said:
            said.append(f"running {runner.stats.recovered}")
            print(said[0], flush=True)
        return False

    if until == "end":
        runner.run_to_end()
    else:
        runner.run(say_running)
    print(f"ended {runner.stats.state} {runner.stats.checkpoints}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    except ShrivenError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
