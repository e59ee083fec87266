"""Row addresses as people read and type them: `oms.fill.v1/0/orders/0/7/12`.

Topic, partition, writer (a pipeline or connection and its task), incarnation, row. The version of the topic may be left
out; the topic and the writer may be numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.address import Origin
from schemas.errors import ConfigInvalid
from streams.api import WriterKey
from streams.pipelines import CONNECTOR_NUMBERS, OPERATOR_NUMBER, PIPELINES, SERVICE_NUMBER, TASKS_MAX, writer_label
from streams.topics import TOPIC_BY_NUMBER, topic

WRITER_NUMBERS = {
    **{row.name: row.number for row in PIPELINES}, **CONNECTOR_NUMBERS,
    "operator": OPERATOR_NUMBER, "service": SERVICE_NUMBER,
}  # fmt: skip
U16_MAX = 0xFFFF


class Address(NamedTuple):
    """One row of one sequence."""

    key: WriterKey
    row: int

    def __str__(self) -> str:
        return f"{sequence_text(self.key)}/{self.row}"


def sequence_text(key: WriterKey | Origin) -> str:
    """`oms.fill.v1/0/orders/0/7`: an address without its row."""
    return f"{TOPIC_BY_NUMBER[key.topic].name}/{key.partition}/{writer_label(key.writer)}/{key.incarnation}"


def cause_of(origin: Origin, row: int) -> Address | None:
    """The address of a cause; None for rows without one (a timer, or an event that has none)."""
    return Address(WriterKey(*origin), row) if origin.topic and origin.incarnation else None


def parse_address(text: str) -> Address:
    """The inverse of `str`.

    Raises:
        ConfigInvalid: it is no address.
    """
    parts = text.split("/")
    if len(parts) == 5 and parts[2].isdecimal():  # a writer as one number
        number, task = divmod(int(parts[2]), TASKS_MAX)
        parts[2:3] = [str(number), str(task)]
    if len(parts) != 6:
        raise _no_address(text)
    name, partition, writer, task_text, incarnation, row = parts
    numbers = (partition, task_text, incarnation, row)
    known = WRITER_NUMBERS.get(writer, int(writer) if writer.isdecimal() else -1)
    if known < 0 or not all(part.isdecimal() for part in numbers) or int(task_text) >= TASKS_MAX:
        raise _no_address(text)
    found = TOPIC_BY_NUMBER.get(int(name)) if name.isdecimal() else topic(name)
    key = (int(partition), known * TASKS_MAX + int(task_text), int(incarnation))
    if found is None or max(key) > U16_MAX or int(row) < 1:
        raise _no_address(text)
    return Address(WriterKey(found.number, *key), int(row))


def _no_address(text: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"{text!r} is no row address: write TOPIC/PARTITION/WRITER/TASK/INCARNATION/ROW, such as "
        "oms.fill.v1/0/orders/0/7/12; `order ID`, `fill NUMBER` and `fill latest` work too."
    )
