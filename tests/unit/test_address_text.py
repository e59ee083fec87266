"""Row addresses as people type them."""

from __future__ import annotations

import pytest

from infra.sessions.address import Address, cause_of, parse_address
from schemas.address import NO_ORIGIN, Origin
from schemas.errors import ConfigInvalid
from streams.api import TopicPartition, WriterKey
from streams.numbering import foreign_origin
from streams.pipelines import CONNECTOR_NUMBERS, PIPELINES, TASKS_MAX
from streams.topics import topic


@pytest.mark.parametrize("number", [*(row.number for row in PIPELINES), *CONNECTOR_NUMBERS.values(), 77])
def test_address_that_is_printed_is_read_again(number: int) -> None:
    address = Address(WriterKey(24, 0, number * TASKS_MAX + 3, 65_535), 12)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "oms.fill.v1/0/orders/0/7/12",
        "oms.fill/0/orders/0/7/12",
        "24/0/34/0/7/12",
        f"oms.fill.v1/0/{34 * TASKS_MAX}/7/12",
    ],
)
def test_forms_of_one_address_mean_the_same(text: str) -> None:
    assert parse_address(text) == Address(WriterKey(topic("oms.fill").number, 0, 34 * TASKS_MAX, 7), 12)


@pytest.mark.parametrize(
    "text",
    [
        "", "oms.fill/0/orders/0/7", "oms.fill/0/orders/0/7/0", "oms.fill/0/orders/64/7/1", "oms.fill/0/nobody/0/7/1",
        "oms.fill/-1/orders/0/7/1", "99/0/orders/0/7/1", "nothing/0/orders/0/7/1", "oms.fill/0/orders/0/65536/1",
        "oms.fill/0/orders/0/7/1/2", "oms.fill/0/orders/0/7/1.5",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        parse_address(text)


def test_timers_and_foreign_messages_are_no_rows() -> None:
    assert cause_of(NO_ORIGIN, 5) is None
    assert cause_of(foreign_origin(TopicPartition(2, 1)), 5) is None
    assert cause_of(Origin(2, 1, 128, 7), 5) == Address(WriterKey(2, 1, 128, 7), 5)
