"""The table of faults: how they are written, and what the ones on streams do to frames."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from connectors.simulator.control import Control
from connectors.simulator.faults import FAULTS, Fault, fault_help, parse_fault
from connectors.simulator.feed import Item, stream_info
from connectors.simulator.hub import Hub
from connectors.simulator.injector import NEVER_NS, Injector, corrupted
from connectors.simulator.rules import rules_of
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue
from streams.clock import ManualClock
from tests.recordings import ROOT
from tests.simulated import START_NS, Event, depth, ticker, trade, wrapped
from tests.wires import MemoryWire

STREAMS = {
    name: stream_info(name, name[:7].upper())
    for name in ("btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@trade", "ethusdt@depth@0ms")
}


def test_fault_is_read_with_time_and_parameters() -> None:
    fault = parse_fault("drop_diff@2.5:count=3,symbol=ethusdt")
    assert (fault.name, fault.at_ns) == ("drop_diff", 2_500_000_000)
    assert fault.numbers == {"count": 3.0}
    assert fault.texts == {"symbol": "ETHUSDT"}


def test_fault_without_a_time_is_at_the_start_with_defaults() -> None:
    fault = parse_fault("silence")
    assert fault.at_ns == 0
    assert fault.numbers == FAULTS["silence"].parameters


@pytest.mark.parametrize("text", ["cut@1234567.25:lost=0", "swap_diffs@3:symbol=BTCUSDT", "ack_mute@0.001", *FAULTS])
def test_fault_written_out_reads_as_the_same_fault(text: str) -> None:
    fault = parse_fault(text)
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("explode@3", "No fault 'explode'"),
        ("cut@soon", "the time of fault cut"),
        ("cut@-1", "must be from 0"),
        ("cut@1:colour=red", "no parameter 'colour'"),
        ("cut@1:lost", "not parameter=value"),
        ("silence@1:seconds=nan", "must be from 0"),
        ("cut@1:code=1005", "it can be 1000"),
        ("refuse_dials@1:status=200", "it can be 403"),
    ],
)
def test_fault_written_wrongly_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        parse_fault(text)


def test_help_has_a_line_for_every_fault() -> None:
    assert [line.split()[0] for line in fault_help().splitlines()] == list(FAULTS)


def items() -> list[Item]:
    chain = [Event(10 * n + 1, 10 * n + 9, 10 * n - 1) for n in range(1, 5)]
    made = []
    for n, event in enumerate(chain):
        for symbol in ("BTCUSDT", "ETHUSDT"):
            stream = f"{symbol.lower()}@depth@0ms"
            payload = wrapped(stream, depth(symbol, event, "99.00", "1.000", is_futures=True))
            made.append(Item(START_NS + n, stream, payload, symbol))
        made.append(
            Item(START_NS + n, "btcusdt@bookTicker", wrapped("btcusdt@bookTicker", ticker("BTCUSDT", n)), "BTCUSDT")
        )
        made.append(Item(START_NS + n, "btcusdt@trade", wrapped("btcusdt@trade", trade("BTCUSDT", n)), "BTCUSDT"))
    return made


def injected(text: str) -> tuple[list[bytes], Injector]:
    """All frames that go out when that fault is armed from the start."""

    async def scenario() -> tuple[list[bytes], Injector]:
        hub = Hub(rules_of(Venue.BINANCE_USDM), STREAMS)
        hub.add(MemoryWire(), "public", Control(1024, True, dict.fromkeys(STREAMS)))
        injector = Injector([], hub, START_NS, ManualClock())
        await injector.fire(parse_fault(text), START_NS)
        sent = []
        for item in items():
            sent += injector.alter(item, STREAMS[item.stream]) if injector.armed else [item.payload]
        return sent + [payload for _, payload in injector.held_back()], injector

    return asyncio.run(scenario())


def plain() -> list[bytes]:
    return [item.payload for item in items()]


def test_drop_diff_leaves_out_events_and_says_which() -> None:
    sent, injector = injected("drop_diff:count=2,symbol=ETHUSDT")
    lost = [item.payload for item in items() if item.stream == "ethusdt@depth@0ms"][:2]
    assert sent == [payload for payload in plain() if payload not in lost]
    assert injector.fired[0].hits == ["ethusdt@depth@0ms U=11 u=19", "ethusdt@depth@0ms U=21 u=29"]
    assert not injector.armed


def test_duplicate_diff_sends_one_event_twice() -> None:
    sent, _ = injected("duplicate_diff")
    assert sent == [plain()[0], *plain()]


def test_swap_diffs_changes_the_places_of_two_events_of_one_stream() -> None:
    sent, _ = injected("swap_diffs:symbol=BTCUSDT")
    expected = plain()
    first, second = expected[0], expected[4]
    assert sent == [*expected[1:4], second, first, *expected[5:]]


def test_swap_without_a_second_event_is_sent_at_the_end() -> None:
    sent, _ = injected("swap_diffs:count=9,symbol=ETHUSDT")
    assert sorted(sent) == sorted(plain()), "nothing is lost"


def test_corrupt_frame_is_no_json_and_differs_in_one_bit() -> None:
    sent, _ = injected("corrupt_frame")
    assert sent[1:] == plain()[1:]
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(sent[0])
    different = [a ^ b for a, b in zip(sent[0], plain()[0], strict=True) if a != b]
    assert different == [1]


@pytest.mark.parametrize("item", items())
def test_any_frame_can_be_corrupted(item: Item) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(corrupted(item.payload))


def test_unknown_event_comes_before_a_frame_that_stays() -> None:
    sent, _ = injected("unknown_event")
    assert orjson.loads(sent[0])["data"]["e"] == "somethingNew"
    assert sent[1:] == plain()


def test_faults_that_nobody_hears_wait_for_somebody() -> None:
    async def scenario() -> None:
        hub = Hub(rules_of(Venue.BINANCE_USDM), STREAMS)
        injector = Injector([], hub, START_NS, ManualClock())
        await injector.fire(parse_fault("drop_diff"), START_NS)
        first = items()[0]
        assert injector.alter(first, STREAMS[first.stream]) == [first.payload]
        hub.add(MemoryWire(), "public", Control(1024, True, dict.fromkeys(STREAMS)))
        assert injector.alter(first, STREAMS[first.stream]) == []

    asyncio.run(scenario())


def test_plan_is_due_by_the_time_of_items() -> None:
    async def scenario() -> None:
        plan: list[Fault] = [parse_fault("drop_diff@1"), parse_fault("cut@1"), parse_fault("cut@2")]
        injector = Injector(plan, Hub(rules_of(Venue.BINANCE_USDM), STREAMS), START_NS, ManualClock())
        assert injector.next_ns == START_NS + 1_000_000_000
        assert injector.pop_due(START_NS + 999_999_999) == []
        assert injector.pop_due(START_NS + 1_000_000_000) == plan[:2]
        assert injector.pop_due(START_NS + 9_000_000_000) == plan[2:]
        assert injector.next_ns == NEVER_NS

    asyncio.run(scenario())


def test_refusals_of_rest_are_used_up_and_bans_end_by_the_clock() -> None:
    async def scenario() -> None:
        clock = ManualClock(5_000_000_000)
        injector = Injector([], Hub(rules_of(Venue.BINANCE_USDM), STREAMS), START_NS, clock)
        await injector.fire(parse_fault("rest_429:count=2,seconds=3"), START_NS)
        assert [injector.rest_refusal("/depth") for _ in range(3)] == [(429, 3.0), (429, 3.0), None]
        await injector.fire(parse_fault("rest_418:seconds=4"), START_NS)
        clock.sleep(1)
        assert injector.rest_refusal("/depth") == (418, 3.0)
        clock.sleep(3)
        assert injector.rest_refusal("/depth") is None
        await injector.fire(parse_fault("refuse_dials:seconds=2,status=403"), START_NS)
        assert injector.dial_refusal() == (403, 2.0)
        clock.sleep(2)
        assert injector.dial_refusal() is None

    asyncio.run(scenario())


def test_readme_says_what_every_fault_does() -> None:
    readme = (ROOT / "connectors" / "README.md").read_text()
    assert [kind.name for kind in FAULTS.values() if f"| `{kind.name}` | {kind.doc} |" not in readme] == []
