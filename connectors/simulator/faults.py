"""Faults on demand: by name, at a second of the play. The table below is the whole list.

A fault is written `name@seconds:parameter=value,parameter=value`; the seconds count on the play's own
clock, so the same fault hits the same frame in every play at every speed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.errors import ConfigInvalid

S_NS = 1_000_000_000
# Numbers that mean something by convention, wherever a fault has such a parameter.
CHOICES = {"code": (1000, 1001, 1006, 1008, 1011, 1012, 1013), "status": (403, 418, 429, 451, 503)}


@dataclass(frozen=True)
class FaultKind:
    """A row of the table.

    Args:
        name: as it is written.
        doc: one line: what it does to a client.
        parameters: numbers with their defaults. `count` is how often, `seconds` is by the wall clock.
        texts: parameters that are text, with their defaults.
    """

    name: str
    doc: str
    parameters: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


_SYMBOL = {"symbol": ""}
_LOST = "`lost`: seconds of the play that pass unheard when it plays at max speed"

FAULTS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            "cut",
            f"every socket ends at once: without a close frame (seen as 1006), or with `code`. {_LOST}",
            {"code": 1006, "lost": 1},
        ),
        FaultKind(
            "silence",
            "for `seconds` nothing is sent: sockets stay open and client pings are answered, frames are lost",
            {"seconds": 30},
        ),
        FaultKind(
            "half_open",
            f"every open socket is dead without a word: nothing read, nothing sent, pings unanswered. {_LOST}",
            {"lost": 1},
        ),
        FaultKind(
            "ack_mute",
            "every connection loses one stream (the first order book of `symbol`) though it stays subscribed",
            texts=_SYMBOL,
        ),
        FaultKind("drop_diff", "`count` order book events are never sent", {"count": 1}, _SYMBOL),
        FaultKind("duplicate_diff", "`count` order book events are sent twice", {"count": 1}, _SYMBOL),
        FaultKind("swap_diffs", "`count` times two order book events of a stream change places", {"count": 1}, _SYMBOL),
        FaultKind("corrupt_frame", "`count` order book frames have a wrong bit and are no JSON", {"count": 1}, _SYMBOL),
        FaultKind("unknown_event", "`count` frames of a type that nobody knows, on known streams", {"count": 1}),
        FaultKind("late_snapshot", "the next `count` depth answers come `seconds` late", {"count": 1, "seconds": 5}),
        FaultKind(
            "old_snapshot", "the next `count` depth answers are older than the first order book event", {"count": 1}
        ),
        FaultKind("rest_429", "the next `count` REST requests are refused with 429", {"count": 1, "seconds": 1}),
        FaultKind("rest_418", "REST is banned with 418 for `seconds`", {"seconds": 5}),
        FaultKind(
            "server_shutdown",
            "serverShutdown is announced; `seconds` later every socket that is older than it is closed",
            {"seconds": 2},
        ),
        FaultKind(
            "refuse_dials",
            "for `seconds` every handshake is refused with `status` (403, 418, 429, 451, 503); open sockets stay",
            {"seconds": 5, "status": 429},
        ),
        FaultKind("no_upgrade", "for `seconds` connections are accepted but the handshake never ends", {"seconds": 5}),
        FaultKind(
            "order_timeout",
            "the next `count` order requests of `method` (POST, PUT, DELETE; empty for any) are carried out but not "
            "answered: after `seconds` comes 408 with -1007, or `status` at once. `accepted=0`: they are lost instead",
            {"count": 1, "seconds": 10, "accepted": 1, "status": 0},
            {"method": "POST"},
        ),
        FaultKind(
            "report_first",
            "the answers to the next `count` order requests come `seconds` after the stream's events",
            {"count": 1, "seconds": 0.2},
        ),
        FaultKind("report_twice", "the next `count` ORDER_TRADE_UPDATEs are sent twice", {"count": 1}),
        FaultKind(
            "reject_burst",
            "the next `count` new orders are refused with code -`error` (1008, 1015, 2010, 2019, 4088, …)",
            {"count": 10, "error": 1008},
        ),
        FaultKind(
            "clock_skew",
            "for `seconds` the venue's clock is `skew` seconds ahead: -1021 for whoever does not ask for its time",
            {"seconds": 5, "skew": 10},
        ),
        FaultKind("listen_key_expired", "every listen key ends: listenKeyExpired is sent, then nothing more"),
        FaultKind(
            "venue_restart",
            "every socket dies; for `seconds` dials and REST are refused with 503. Orders and positions are as before",
            {"seconds": 3},
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to come.

    Attributes:
        kind: its row.
        at_ns: when, from the start of the play.
        numbers, texts: its parameters.
    """

    kind: FaultKind
    at_ns: int
    numbers: dict[str, float]
    texts: dict[str, str]

    @property
    def name(self) -> str:
        return self.kind.name

    def __str__(self) -> str:
        values = {**self.numbers, **{key: text for key, text in self.texts.items() if text}}
        given = ",".join(
            f"{key}={value if isinstance(value, str) else f'{value:.12g}'}" for key, value in values.items()
        )
        return f"{self.name}@{self.at_ns / S_NS:.12g}" + (f":{given}" if given else "")


def make_fault(name: str, at_s: float, given: dict[str, str]) -> Fault:
    """A fault from its name and parameter texts.

    Raises:
        ConfigInvalid: unknown name or parameter, or a value that is no number.
    """
    kind = FAULTS.get(name)
    if kind is None:
        raise ConfigInvalid(f"No fault {name!r}. There are: {', '.join(FAULTS)}.")
    unknown = [key for key in given if key not in kind.parameters and key not in kind.texts]
    if unknown:
        known = ", ".join([*kind.parameters, *kind.texts]) or "none"
        raise ConfigInvalid(f"Fault {name} has no parameter {unknown[0]!r}. It has: {known}.")
    numbers = {key: float(default) for key, default in kind.parameters.items()}
    texts = dict(kind.texts)
    for key, text in given.items():
        if key in texts:
            texts[key] = text.upper()
        else:
            numbers[key] = _number(text, f"{key} of fault {name}")
            if key in CHOICES and numbers[key] not in (kind.parameters[key], *CHOICES[key]):
                raise ConfigInvalid(f"{key} of fault {name} is {text}; it can be {', '.join(map(str, CHOICES[key]))}.")
    return Fault(kind, round(at_s * S_NS), numbers, texts)


def parse_fault(text: str) -> Fault:
    """Read `name`, `name@seconds` or `name@seconds:parameter=value,…` (without @: at the start of the play).

    Raises:
        ConfigInvalid: it is not written so.
    """
    head, _, tail = text.partition(":")
    name, at, seconds = head.partition("@")
    given: dict[str, str] = {}
    for part in filter(None, tail.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigInvalid(f"Fault {text!r}: {part!r} is not parameter=value.")
        given[key.strip()] = value.strip()
    return make_fault(name.strip(), _number(seconds, f"the time of fault {name}") if at else 0.0, given)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigInvalid(f"{what} is {text!r}, which is not a number.") from None
    if not 0 <= value < 1e9:
        raise ConfigInvalid(f"{what} is {text}; it must be from 0 to a billion.")
    return value


def fault_help() -> str:
    """The table as text, one line a fault."""
    lines = []
    for kind in FAULTS.values():
        given = [f"{key}={default:g}" for key, default in kind.parameters.items()] + [f"{key}=" for key in kind.texts]
        lines.append(f"{kind.name:<16} {kind.doc}" + (f" [{', '.join(given)}]" if given else ""))
    return "\n".join(lines)
