"""The control messages of a websocket connection, as a state machine without I/O.

Text in, reply out, and which streams were added or dropped. What the venue does and clients forget:
a well-formed name that does not exist is acknowledged like any other, and so is one on the wrong route.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
UNKNOWN_PROPERTY, NOT_BOOLEAN, INVALID_REQUEST, INVALID_JSON, TOO_MANY = 0, 1, 2, 3, 4
POLICY_VIOLATION = 1008
_STREAM = re.compile(r"!?[\w\-.]+(@[\w\-.:+]+)*", re.UNICODE)
_ID_TEXT = re.compile(r"[A-Za-z0-9\-_]{1,36}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What follows from a control message.

    Attributes:
        text: to send, as bytes of JSON.
        subscribed: streams named by a SUBSCRIBE, known or not, new or not.
        unsubscribed: streams that are no longer wanted.
        close_code: 0, or the code to close with after the text.
    """

    text: bytes
    subscribed: tuple[str, ...] = ()
    unsubscribed: tuple[str, ...] = ()
    close_code: int = 0


class Refused(Exception):
    """A control message that the venue answers with an error."""

    def __init__(self, code: int, message: str, close_code: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close_code = close_code


def is_stream_name(name: str) -> bool:
    """Whether a name has the form of a stream: the venue checks no more than that."""
    return _STREAM.fullmatch(name) is not None


@dataclass
class Control:
    """Subscriptions and properties of one connection.

    Args:
        streams_max: subscriptions it may have.
        combined: whether payloads are wrapped.
        streams: names subscribed, in order.
    """

    streams_max: int
    combined: bool
    streams: dict[str, None] = field(default_factory=dict)

    def take(self, text: str | bytes) -> Reply:
        """Answer one control message."""
        request_id: object = None
        try:
            request = self._parse(text)
            if "id" in request:
                request_id = self._checked_id(request["id"])
            return self._dispatch(request, request_id)
        except Refused as refused:
            error = {"error": {"code": refused.code, "msg": refused.message}, "id": request_id}
            return Reply(orjson.dumps(error), close_code=refused.close_code)

    def subscribe(self, names: Sequence[str]) -> None:
        """Add streams.

        Raises:
            Refused: malformed names (the venue then closes), or more than `streams_max`.
        """
        if not all(is_stream_name(name) for name in names):
            raise Refused(INVALID_REQUEST, "Invalid request: invalid stream", POLICY_VIOLATION)
        if len(self.streams.keys() | set(names)) > self.streams_max:
            raise Refused(TOO_MANY, "Too many subscriptions")
        self.streams.update(dict.fromkeys(names))

    @staticmethod
    def _parse(text: str | bytes) -> dict[str, object]:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            message = f"Invalid JSON: expected value at line {error.lineno} column {error.colno}"
            raise Refused(INVALID_JSON, message) from None
        if not isinstance(request, dict):
            raise Refused(INVALID_REQUEST, "Invalid request: expected an object")
        return request

    @staticmethod
    def _checked_id(value: object) -> object:
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, str) and _ID_TEXT.fullmatch(value):
            return value
        raise Refused(INVALID_REQUEST, "Invalid request: request ID must be an unsigned integer")

    def _dispatch(self, request: dict[str, object], request_id: object) -> Reply:
        if "method" not in request:
            raise Refused(INVALID_REQUEST, "Invalid request: missing field `method`")
        method = request["method"]
        if method not in METHODS:
            choices = ", ".join(f"`{name}`" for name in METHODS)
            raise Refused(INVALID_REQUEST, f"Invalid request: unknown variant `{method}`, expected one of {choices}")
        if "id" not in request:
            raise Refused(INVALID_REQUEST, "Invalid request: missing field `id`")
        params = request.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(self.streams), request_id)
        if method == "GET_PROPERTY":
            self._property_name(params, 1)
            return _result(self.combined, request_id)
        if method == "SET_PROPERTY":
            self._set_property(params)
            return _result(None, request_id)
        names = self._names(params)
        if method == "SUBSCRIBE":
            self.subscribe(names)
            return _result(None, request_id, subscribed=names)
        dropped = tuple(name for name in names if name in self.streams)
        for name in dropped:
            self.streams.pop(name, None)
        return _result(None, request_id, unsubscribed=dropped)

    @staticmethod
    def _names(params: object) -> tuple[str, ...]:
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise Refused(INVALID_REQUEST, "Invalid request: invalid type, expected a sequence of strings")
        return tuple(params)

    @staticmethod
    def _property_name(params: object, count: int) -> list[object]:
        if not isinstance(params, list) or not params or not isinstance(params[0], str):
            raise Refused(INVALID_REQUEST, "Invalid request: property name must be a string")
        if len(params) > count:
            raise Refused(INVALID_REQUEST, "Invalid request: too many parameters")
        if params[0] != "combined":
            raise Refused(UNKNOWN_PROPERTY, "Unknown property")
        return params

    def _set_property(self, params: object) -> None:
        values = self._property_name(params, 2)
        if len(values) < 2 or not isinstance(values[1], bool):
            raise Refused(NOT_BOOLEAN, "Invalid value type: expected Boolean")
        self.combined = values[1]


def _result(
    value: object, request_id: object, *, subscribed: tuple[str, ...] = (), unsubscribed: tuple[str, ...] = ()
) -> Reply:
    return Reply(orjson.dumps({"result": value, "id": request_id}), subscribed, unsubscribed)
