"""Rows that a gateway writes of its own: differences, acknowledgements, and the kills that it presses itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectors.reconciliation import Difference
from infra.process.connector import append_rows
from infra.process.kills import ACKNOWLEDGEMENTS, SWITCHES, Acknowledged, acknowledgement_row
from infra.sessions.readback import frames, keys_of
from infra.steering import Texts
from schemas.declare import Heap, Rows
from schemas.trading import DIFFERENCE, SWITCH, DifferenceKind, Resolution, Scope
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.log import LogOptions, LogWriter
from streams.topics import Topic, topic

DIFFERENCES = topic("acct.difference.v1")
SEGMENT_BYTES = 1 << 20
Place = tuple[int, int, int, int]


class GatewayRows:
    """Appends them to the session's local log. Not thread-safe.

    Args:
        writer: number of the writer.
        account: id of the account.
        who: name of the process.
    """

    def __init__(
        self, root: Path, writer: int, incarnation: int, account: int, who: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._account, self._who, self._clock = account, who, clock
        self._logs = {
            row.number: LogWriter(
                root, WriterKey(row.number, 0, writer, incarnation), LogOptions(segment_bytes=SEGMENT_BYTES)
            )
            for row in (DIFFERENCES, ACKNOWLEDGEMENTS, SWITCHES)
        }

    def last_rows(self) -> dict[WriterKey, int]:
        return {log.key: log.last_row for log in self._logs.values() if log.last_row}

    def acknowledge(self, said: Acknowledged) -> None:
        self._append(ACKNOWLEDGEMENTS, *acknowledgement_row(said))

    def press(self, why: str, *, flatten: bool = False) -> int:
        """Kill this account. Returns the kill's id."""
        kill_id = self._clock.now_ns()
        self._switch(kill_id, why, on=True, flatten=flatten)
        return kill_id

    def lift(self, kill_id: int, why: str) -> None:
        self._switch(kill_id, why, on=False, flatten=False)

    def differ(self, found: Sequence[Difference], kill_id: int) -> None:
        """Args: kill_id: of those that are material."""
        rows = Texts(DIFFERENCE)
        now_ns = self._clock.now_ns()
        for one in found:
            balance = one.kind is DifferenceKind.BALANCE
            halts = one.resolution in (Resolution.HALTED, Resolution.ACCEPTED)
            rows.add(
                ts_recv_ns=now_ns, ours_e8=one.ours_e8, venue_e8=one.venue_e8, order_id=one.order_id,
                kill_id=kill_id if halts else 0, text=one.text, account=self._account,
                instrument=0 if balance else one.subject, asset=one.subject if balance else 0, kind=one.kind,
                resolution=one.resolution, material=int(one.material),
            )  # fmt: skip
        self._append(DIFFERENCES, *rows.done())

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def _switch(self, kill_id: int, why: str, *, on: bool, flatten: bool) -> None:
        rows = Texts(SWITCH)
        rows.add(
            ts_recv_ns=self._clock.now_ns(), kill_id=kill_id, who=self._who, why=why, subject=self._account,
            scope=Scope.ACCOUNT, on=int(on), flatten=int(flatten),
        )  # fmt: skip
        self._append(SWITCHES, *rows.done())

    def _append(self, row: Topic, rows: Rows, heap: Heap) -> None:
        append_rows(self._logs[row.number], rows, heap)


def halts(root: Path, incarnation: int, account: int) -> dict[int, set[Place]]:
    """Material differences of earlier lives, by the kill that they made."""
    found: dict[int, set[Place]] = {}
    for key in keys_of(root, DIFFERENCES):
        for frame in frames(root, key) if key.incarnation == incarnation else ():
            for row in frame.rows[(frame.rows["account"] == account) & (frame.rows["material"] == 1)]:
                place = (
                    int(row["kind"]), int(row["asset"]) or int(row["instrument"]), int(row["order_id"]),
                    int(row["venue_e8"]) - int(row["ours_e8"]),
                )  # fmt: skip
                found.setdefault(int(row["kill_id"]), set()).add(place)
    return found
