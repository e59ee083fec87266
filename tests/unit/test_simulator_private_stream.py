"""Listen keys, user data events and order limits of the simulated venue, without sockets."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from connectors.simulator.control import Control
from connectors.simulator.hub import Client, Hub
from connectors.simulator.private_account import Account
from connectors.simulator.private_config import AccountConfig, PrivateRules
from connectors.simulator.private_event import Event, event_of
from connectors.simulator.private_limits import OrderCounts
from connectors.simulator.private_stream import Outbox, UserStreams
from connectors.simulator.rest import Refused
from connectors.simulator.rules import rules_of
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue
from streams.clock import ManualClock
from tests.wires import MemoryWire

DOCUMENT = {"e": "TRADE_LITE", "E": 1}
EVENT = event_of(DOCUMENT)


class Streams:
    """One account's streams and sockets in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_000_000_000_000)
        self.hub = Hub(rules_of(Venue.BINANCE_USDM), {})
        self.users = UserStreams(self.hub, self.clock, 3600.0)
        self.account = Account(1, AccountConfig(), PrivateRules())

    def listen(self, key: str, route: str = "private", *, combined: bool = False, events: str = "") -> Client:
        control = Control(10, combined)
        control.subscribe((key,))
        client = self.hub.add(MemoryWire(), route, control)
        client.events = frozenset(filter(None, events.split("/")))
        return client


def heard(client: Client) -> list[bytes]:
    assert isinstance(client.wire, MemoryWire)
    return client.wire.frames


def test_events_go_to_the_key_s_listeners_on_the_private_route() -> None:
    streams = Streams()
    key = streams.users.create(streams.account)
    bare, wrapped = streams.listen(key), streams.listen(key, combined=True)
    deaf = [streams.listen(key, "public"), streams.listen(key, ""), streams.listen("other")]
    streams.users.publish(streams.account, EVENT)
    assert heard(bare) == [EVENT.body]
    assert heard(wrapped) == [orjson.dumps({"stream": key, "data": DOCUMENT})]
    assert [heard(client) for client in deaf] == [[], [], []]


def test_events_that_are_not_asked_for_are_not_sent_not_even_the_end_of_the_key() -> None:
    streams = Streams()
    key = streams.users.create(streams.account)
    client = streams.listen(key, events="TRADE_LITE/ACCOUNT_UPDATE")
    streams.users.publish(streams.account, EVENT)
    streams.users.publish(streams.account, event_of({"e": "ORDER_TRADE_UPDATE"}))
    streams.users.expire_all()
    assert heard(client) == [EVENT.body]


def test_key_is_the_same_until_it_expires_and_then_nothing_more_is_heard() -> None:
    streams = Streams()
    key = streams.users.create(streams.account)
    client = streams.listen(key)
    streams.clock.sleep(3599)
    assert streams.users.create(streams.account) == key
    streams.clock.sleep(3599)
    streams.users.expire_due()
    assert streams.users.knows(key)
    streams.clock.sleep(1)
    streams.users.expire_due()
    assert orjson.loads(heard(client)[0])["e"] == "listenKeyExpired"
    streams.users.publish(streams.account, EVENT)
    assert (len(heard(client)), streams.users.unheard) == (1, 1)
    with pytest.raises(Refused) as refused:
        streams.users.extend(streams.account)
    assert refused.value.code == -1125
    assert streams.users.create(streams.account) != key


def test_outbox_keeps_the_order_whatever_the_delays() -> None:
    clock, said, calls = ManualClock(0), list[object](), list[tuple[int, Callable[[], None]]]()
    account = Account(1, AccountConfig(), PrivateRules())

    def deliver(account: Account, event: Event) -> None:
        said.append((event.name, clock.monotonic_ns() // 1_000_000))

    outbox = Outbox(deliver, lambda s, action: calls.append((clock.monotonic_ns() + round(s * 1e9), action)), clock)
    for number, delay_s in enumerate((0.03, 0.01, 0.05)):
        outbox.put(account, Event(str(number), b""), delay_s)
    while calls:
        at_ns, action = calls.pop(calls.index(min(calls, key=lambda call: call[0])))
        clock.advance_to(max(at_ns, clock.monotonic_ns()))
        action()
    assert said == [("0", 30), ("1", 30), ("2", 50)]


def test_orders_are_counted_in_calendar_windows() -> None:
    counts = OrderCounts(PrivateRules(orders_per_10s=2, orders_per_minute=3))
    counts.charge(9_000)
    counts.charge(9_500)
    with pytest.raises(Refused) as refused:
        counts.charge(9_990)
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (429, -1015, 0.01)
    counts.charge(10_000)
    assert counts.headers(10_000) == {"X-MBX-ORDER-COUNT-10S": "1", "X-MBX-ORDER-COUNT-1M": "3"}
    with pytest.raises(Refused) as refused:
        counts.charge(20_000)
    assert "1 MINUTE" in refused.value.message
    counts.charge(60_000)


@pytest.mark.parametrize(
    "values", [{"key": "short"}, {"secret": "s" * 63}, {"leverage": 0}, {"leverage": 126}, {"balance_e8": -1}]
)
def test_account_that_cannot_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid):
        AccountConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values", [{"taker_fee_e8": -1}, {"jitter_s": -0.1}, {"listen_key_life_s": 0}, {"orders_per_10s": -1}]
)
def test_rules_that_cannot_be_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigInvalid):
        PrivateRules(**values)  # type: ignore[arg-type]
