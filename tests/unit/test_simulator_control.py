"""Control messages of the simulated venue: every answer as the venue words it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from connectors.simulator.control import Control


def control(streams_max: int = 4, *, combined: bool = True) -> Control:
    made = Control(streams_max, combined)
    made.subscribe(["btcusdt@trade"])
    return made


def said(text: bytes) -> Any:
    return orjson.loads(text)


def test_subscribe_is_acknowledged_even_when_no_such_stream_exists() -> None:
    one = control()
    reply = one.take(b'{"method":"SUBSCRIBE","params":["nosuch@depth","btcusdt@trade"],"id":7}')
    assert reply.text == b'{"result":null,"id":7}'
    assert reply.subscribed == ("nosuch@depth", "btcusdt@trade")
    assert list(one.streams) == ["btcusdt@trade", "nosuch@depth"]


def test_unsubscribe_drops_only_what_was_there() -> None:
    one = control()
    reply = one.take(b'{"method":"UNSUBSCRIBE","params":["btcusdt@trade","other@trade"],"id":"a-1"}')
    assert said(reply.text) == {"result": None, "id": "a-1"}
    assert reply.unsubscribed == ("btcusdt@trade",)
    assert list(one.streams) == []


def test_list_subscriptions_names_them_in_order() -> None:
    one = control()
    one.take(b'{"method":"SUBSCRIBE","params":["a@trade"],"id":1}')
    assert (
        one.take(b'{"method":"LIST_SUBSCRIPTIONS","id":null}').text
        == b'{"result":["btcusdt@trade","a@trade"],"id":null}'
    )


def test_property_combined_is_read_and_set() -> None:
    one = control(combined=False)
    assert one.take(b'{"method":"GET_PROPERTY","params":["combined"],"id":1}').text == b'{"result":false,"id":1}'
    assert one.take(b'{"method":"SET_PROPERTY","params":["combined",true],"id":2}').text == b'{"result":null,"id":2}'
    assert one.take(b'{"method":"GET_PROPERTY","params":["combined"],"id":3}').text == b'{"result":true,"id":3}'


@pytest.mark.parametrize(
    ("message", "code", "words", "echoed"),
    [
        (b"{", 3, "Invalid JSON", None),
        (b"[]", 2, "expected an object", None),
        (b'{"id":1}', 2, "missing field `method`", 1),
        (b'{"method":"SUBSCRIBE","params":["a@trade"]}', 2, "missing field `id`", None),
        (b'{"method":"subscribe","id":1}', 2, "unknown variant `subscribe`", 1),
        (b'{"method":"LIST_SUBSCRIPTIONS","id":1.5}', 2, "request ID", None),
        (b'{"method":"LIST_SUBSCRIPTIONS","id":true}', 2, "request ID", None),
        (b'{"method":"LIST_SUBSCRIPTIONS","id":"' + b"x" * 37 + b'"}', 2, "request ID", None),
        (b'{"method":"SUBSCRIBE","params":"a@trade","id":1}', 2, "sequence of strings", 1),
        (b'{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "sequence of strings", 1),
        (b'{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, "Unknown property", 1),
        (b'{"method":"GET_PROPERTY","params":[1],"id":1}', 2, "must be a string", 1),
        (b'{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2, "too many parameters", 1),
        (b'{"method":"SET_PROPERTY","params":["combined"],"id":1}', 1, "expected Boolean", 1),
        (b'{"method":"SET_PROPERTY","params":["combined","true"],"id":1}', 1, "expected Boolean", 1),
        (b'{"method":"SUBSCRIBE","params":["a@b","c@d","e@f","g@h"],"id":1}', 4, "Too many subscriptions", 1),
    ],
)
def test_wrong_message_is_answered_with_the_code_of_the_venue(
    message: bytes, code: int, words: str, echoed: object
) -> None:
    one = control()
    reply = one.take(message)
    answer = said(reply.text)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["msg"]
    assert answer["id"] == echoed
    assert reply.close_code == 0
    assert list(one.streams) == ["btcusdt@trade"], "a refused message changes nothing"


@pytest.mark.parametrize("name", ["", "@@@", "btc usdt@trade", "btcusdt@", "btcusdt@trade#"])
def test_malformed_stream_name_ends_the_connection(name: str) -> None:
    reply = control().take(orjson.dumps({"method": "SUBSCRIBE", "params": [name], "id": 1}))
    assert said(reply.text)["error"] == {"code": 2, "msg": "Invalid request: invalid stream"}
    assert reply.close_code == 1008


@pytest.mark.parametrize(
    "name", ["btcusdt@depth20@100ms", "!miniTicker@arr", "btcusdt@kline_1m@+08:00", "币安人生usdt@trade"]
)
def test_names_that_the_venue_has_are_well_formed(name: str) -> None:
    assert control().take(orjson.dumps({"method": "SUBSCRIBE", "params": [name], "id": 1})).subscribed == (name,)
