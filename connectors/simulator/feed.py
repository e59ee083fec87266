"""What a player plays: a feed of timed frames, and the order book behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from connectors.simulator.listing import Listed

SNAPSHOT = ""  # the stream of an item that marks a recorded depth answer
KINDS = ("depth", "bookTicker", "trade")


class Item(NamedTuple):
    """One step of a play.

    Attributes:
        at_ns: when it was received, or is to be sent, ns since the Unix epoch; never goes back.
        stream: its stream; SNAPSHOT for a recorded depth answer.
        payload: the text in the combined wrapper, or the body of the depth answer.
        symbol: whose it is.
    """

    at_ns: int
    stream: str
    payload: bytes
    symbol: str


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream that a feed has.

    Attributes:
        symbol: in upper case.
        kind: `depth`, `bookTicker`, `trade`, …: the name after the symbol, without its speed.
        head_bytes: length of `{"stream":"…","data":` before the bare payload; one closing brace follows it.
    """

    symbol: str
    kind: str
    head_bytes: int


def wrapper_head(stream: str) -> bytes:
    """What stands before the payload in the combined wrapper."""
    return b'{"stream":"%s","data":' % stream.encode()


def stream_info(stream: str, symbol: str) -> StreamInfo:
    kind = stream.partition("@")[2].partition("@")[0].partition("_")[0]
    return StreamInfo(symbol, kind, len(wrapper_head(stream)))


class Feed(Protocol):
    """Something to play. Taking items moves its books on."""

    @property
    def listed(self) -> tuple[Listed, ...]: ...

    @property
    def streams(self) -> Mapping[str, StreamInfo]: ...

    @property
    def start_ns(self) -> int: ...

    @property
    def end_ns(self) -> int | None:
        """Time of the last item; None when there is no end."""
        ...

    def items(self) -> Iterator[Item]:
        """All items in the order of their times. To be called once."""
        ...

    def depth(self, symbol: str, limit: int) -> bytes | None:
        """A depth answer as of the last item taken; None before the feed has come to its own first answer."""
        ...

    def coming_snapshot(self, symbol: str) -> bytes | None:
        """The feed's own depth answer that is still to come; None when there is none, or it has passed."""
        ...

    def old_update_id(self, symbol: str) -> int:
        """An update id older than every order book event of the symbol."""
        ...
