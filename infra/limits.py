"""Limits that people set: read from words, held against those in force, so that no two contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from processors.risk_limits import BOUNDS, unit_of
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue, instrument_id
from schemas.money import format_e8, parse_e8
from schemas.trading import Reason, Scope, Unit

AMOUNTS = (Unit.NOTIONAL_E8, Unit.QUANTITY_E8, Unit.PRICE_E8)
# With the first above the second of the same subject, the first could never be reached.
NOT_ABOVE: tuple[tuple[Reason, Reason], ...] = (
    (Reason.ORDER_QUANTITY, Reason.POSITION_QUANTITY),
    (Reason.ORDER_NOTIONAL, Reason.POSITION_NOTIONAL),
    (Reason.POSITION_NOTIONAL, Reason.GROSS_EXPOSURE),
    (Reason.NET_EXPOSURE, Reason.GROSS_EXPOSURE),
    (Reason.RATE_SECOND, Reason.RATE_MINUTE),
)


class Subject(NamedTuple):
    """Whose limit or kill it is."""

    scope: Scope
    number: int


def subject_of(words: str) -> Subject:
    """`all`, `venue:NAME`, `account:NAME`, `strategy:NAME` or `instrument:VENUE:SYMBOL`.

    Raises:
        ConfigInvalid: none of these.
    """
    kind, _, name = words.partition(":")
    if words == "all":
        return Subject(Scope.GLOBAL, 0)
    scope = Scope.__members__.get(kind.upper())
    if scope is None or scope is Scope.GLOBAL or not name:
        raise ConfigInvalid(
            f"{words} cannot be: say all, venue:NAME, account:NAME, strategy:NAME or instrument:VENUE:SYMBOL."
        )
    return Subject(scope, int(Venue.parse(name)) if scope is Scope.VENUE else instrument_id(name))


def reason_of(word: str) -> Reason:
    """A check that has a limit, by its name in any case.

    Raises:
        ConfigInvalid: there is none of that name.
    """
    chosen = Reason.__members__.get(word.upper().replace("-", "_"))
    if chosen is None or chosen not in BOUNDS:
        raise ConfigInvalid(f"No limit {word!r}. There are: {', '.join(one.name.lower() for one in BOUNDS)}.")
    return chosen


def value_of(reason: Reason, text: str, scope: Scope) -> int:
    """A limit's value in its unit.

    Raises:
        ConfigInvalid, InputInvalid: no number of that unit, too small, or not a limit of that scope.
    """
    name, bound = reason.name.lower(), BOUNDS[reason]
    if scope not in bound.scopes:
        allowed = ", ".join(one.name.lower() for one in bound.scopes)
        raise ConfigInvalid(f"{name} cannot be set for scope {scope.name.lower()}; it can for {allowed}.")
    if bound.unit in AMOUNTS:
        value = parse_e8(text)
    elif text.isdecimal():
        value = int(text)
    else:
        raise ConfigInvalid(f"{text} cannot be: {name} is a whole number, in {bound.unit.name.lower()}.")
    if value < bound.least:
        raise ConfigInvalid(f"{text} cannot be: {name} is at least {shown(reason, bound.least)}.")
    return value


def check_together(reason: Reason, value: int, in_force: Mapping[Reason, int]) -> None:
    """Refuse a limit that contradicts those in force for the same subject.

    Raises:
        ConfigInvalid: names both, and what to change first.
    """
    for low, high in NOT_ABOVE:
        pair = {**in_force, reason: value}
        if reason not in (low, high) or low not in pair or high not in pair or pair[low] <= pair[high]:
            continue
        other = high if reason is low else low
        raise ConfigInvalid(
            f"{low.name.lower()} of {shown(low, pair[low])} would be above {high.name.lower()} of "
            f"{shown(high, pair[high])}, so it could never be reached. Change {other.name.lower()} first, or lift it."
        )


def shown(reason: Reason, value: int) -> str:
    """A value for people."""
    return in_unit(unit_of(reason), value)


def in_unit(unit: Unit, value: int) -> str:
    """A number that was compared, for people."""
    return format_e8(value) if unit in AMOUNTS else f"{value:,}"
