"""Out of the market: cancel everything, close every position. Needs the venue and the keys, nothing else of ours.

Flat means: every attempt is past its validity, no order is open, every position is zero. The closing orders are market
orders that can only reduce, so that one sent twice cannot turn a position over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from connectors.binance_usdm import orders as api
from connectors.binance_usdm.instruments import instruments
from connectors.binance_usdm.orders import InstrumentFacts, Request, facts_of
from connectors.order_budget import Priority
from connectors.private_rest import PrivateRest, error_code, objects_of
from connectors.rest import Answer
from schemas.errors import WatchdogExpired
from schemas.events import Side
from schemas.money import parse_e8
from schemas.trading import ORDER_ROW_BITS, ORDER_WRITER_BITS, client_id_of, order_id_of

log = logging.getLogger(__name__)
TIMEOUT_S = 60.0
PAUSE_S, PAUSE_MAX_S = 0.05, 1.0
TOO_MUCH = -4005
EMERGENCY_WRITER = (1 << ORDER_WRITER_BITS) - 1
ID_STEP_NS, ID_MASK = 10_000_000, (1 << ORDER_ROW_BITS) - 1
NOT_FOUND = 404
ENDED = ("FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED")


@dataclass(frozen=True)
class Cancelled:
    """Attributes: how long until the venue said that no order is open; how many were open at the first look."""

    took_ns: int
    orders: int


@dataclass(frozen=True)
class Flat:
    """Attributes: until no order was open; until flat in the full sense; positions that were closed."""

    cancelled_ns: int
    took_ns: int
    orders: int
    positions: int


async def cancel_all(rest: PrivateRest, symbols: Iterable[str] = (), timeout_s: float = TIMEOUT_S) -> Cancelled:
    """Cancel every open order, conditional ones too, and wait until the venue has none.

    Args:
        symbols: cancelled at once, before anything is asked; others as soon as they are found.

    Raises:
        WatchdogExpired: the venue still has orders, or does not answer, after so long.
    """
    start_ns, seen, pause_s = rest.clock.monotonic_ns(), 0, PAUSE_S
    await _cancel(rest, list(symbols), list(symbols))
    while True:
        normal, conditional = await asyncio.gather(_listed(rest, api.open_orders()), _open_algo(rest))
        took_ns = rest.clock.monotonic_ns() - start_ns
        if normal is not None and conditional is not None:
            seen = max(seen, len(normal) + len(conditional))
            if not normal and not conditional:
                return Cancelled(took_ns, seen)
            await _cancel(rest, api.symbols_of(normal), api.symbols_of(conditional))
        if took_ns > timeout_s * 1e9:
            raise WatchdogExpired(f"The venue still has open orders, or gives no answer, after {timeout_s:g} s.")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


async def cancel_some(
    rest: PrivateRest, wanted: Callable[[Mapping[str, Any]], bool], timeout_s: float = TIMEOUT_S
) -> Cancelled:
    """The same for the open orders that are wanted: each by itself, the others stay.

    Args:
        wanted: told an order as the venue lists it.

    Raises:
        WatchdogExpired: the venue still has some of them, or does not answer, after so long.
    """
    start_ns, seen, pause_s = rest.clock.monotonic_ns(), 0, PAUSE_S
    while True:
        normal, conditional = await asyncio.gather(_listed(rest, api.open_orders()), _open_algo(rest))
        took_ns = rest.clock.monotonic_ns() - start_ns
        if normal is not None and conditional is not None:
            left = [order for order in (*normal, *conditional) if wanted(order)]
            seen = max(seen, len(left))
            if not left:
                return Cancelled(took_ns, seen)
            await asyncio.gather(*(rest.ask(_cancel_one(order), Priority.CANCEL) for order in left))
        if took_ns > timeout_s * 1e9:
            raise WatchdogExpired(f"The venue still has such orders open, or gives no answer, after {timeout_s:g} s.")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


def _cancel_one(order: Mapping[str, Any]) -> Request:
    """In words that no command has: by the venue's id where there is one."""
    if "algoId" in order:
        client_id = str(order["clientAlgoId"])
        return Request("DELETE", api.ALGO_ORDER, (("clientAlgoId", client_id),), client_id)
    query = api.query_venue_order(str(order["symbol"]), int(order["orderId"]))
    return Request("DELETE", query.path, query.params, query.what)


@dataclass(frozen=True)
class Closed:
    """Attributes: how long it took; by symbol what was closed, and what the account's net position did not allow; both
    signed like what was to be closed."""

    took_ns: int
    closed_e8: dict[str, int]
    left_e8: dict[str, int]


async def close_part(rest: PrivateRest, holdings_e8: Mapping[str, int], timeout_s: float = TIMEOUT_S) -> Closed:
    """Close what one of several holds in an account: as much of it as the net position can be reduced by.

    Args:
        holdings_e8: by symbol, signed.

    Raises:
        WatchdogExpired: the venue gave no answer, or an order of ours has not ended, after so long. Not to be called
            again without looking: what was closed stays closed.
    """
    start_ns = rest.clock.monotonic_ns()
    held = await _until_heard(rest, start_ns, timeout_s)
    listed = await rest.ask(api.exchange_info(), Priority.CANCEL)
    found = instruments(listed.body) if listed.ok else None
    facts = {row.symbol: row for row in facts_of(found.rows, found.heap).values()} if found else {}
    closed, left, number = dict[str, int](), dict[str, int](), 0
    for symbol, wanted_e8 in holdings_e8.items():
        net_e8 = held.get(symbol, 0)
        sign = 1 if wanted_e8 > 0 else -1
        rest_e8 = min(abs(wanted_e8), abs(net_e8)) if net_e8 * wanted_e8 > 0 else 0
        done_e8, most_e8 = 0, facts[symbol].market_quantity_max_e8 if symbol in facts else 0
        while rest_e8 > 0:
            piece_e8, number = min(rest_e8, most_e8 or rest_e8), number + 1
            filled_e8 = await _close_one(rest, symbol, -sign, piece_e8, number, start_ns, timeout_s)
            done_e8, rest_e8 = done_e8 + filled_e8, (rest_e8 - piece_e8 if filled_e8 == piece_e8 else 0)
        closed[symbol], left[symbol] = sign * done_e8, wanted_e8 - sign * done_e8
    return Closed(rest.clock.monotonic_ns() - start_ns, closed, left)


async def _until_heard(rest: PrivateRest, start_ns: int, timeout_s: float) -> dict[str, int]:
    while (held := await _positions(rest)) is None:
        _check_patience(rest, start_ns, timeout_s)
        await asyncio.sleep(PAUSE_S)
    return held


async def executed(
    rest: PrivateRest, symbol: str, order_id: int, *, conditional: bool = False, timeout_s: float = TIMEOUT_S
) -> int:
    """How much of an order of ours the venue has filled, × 10^8; 0 when it never had it.

    Args:
        conditional: it waits for its trigger price; asked is what it became, where it was met.

    Raises:
        WatchdogExpired: no answer after so long.
    """
    start_ns, client_id = rest.clock.monotonic_ns(), client_id_of(order_id)

    async def ask(query: Request) -> dict[str, Any]:
        while not (said := await rest.ask(query, Priority.CANCEL)).ok:
            if error_code(said) == api.NO_SUCH_ORDER:
                return {}
            _check_patience(rest, start_ns, timeout_s)
            await asyncio.sleep(PAUSE_S)
        found: dict[str, Any] = orjson.loads(said.body)
        return found

    query = Request("GET", api.ORDER, (("symbol", symbol), ("origClientOrderId", client_id)), client_id)
    if conditional:
        waited = await ask(Request("GET", api.ALGO_ORDER, (("clientAlgoId", client_id),), client_id))
        if not waited.get("actualOrderId"):  # its price was not met
            return 0
        query = api.query_venue_order(symbol, int(waited["actualOrderId"]))
    return parse_e8(str((await ask(query)).get("executedQty", "0")))


def _check_patience(rest: PrivateRest, start_ns: int, timeout_s: float) -> None:
    if rest.clock.monotonic_ns() - start_ns > timeout_s * 1e9:
        raise WatchdogExpired(f"The venue did not say within {timeout_s:g} s what became of an order.")


async def _close_one(
    rest: PrivateRest, symbol: str, sign: int, quantity_e8: int, number: int, start_ns: int, timeout_s: float
) -> int:
    """One closing order, followed to its end. Returns what it filled."""
    side = Side.BUY if sign > 0 else Side.SELL
    client_id = client_id_of(emergency_order_id(rest.clock.now_ns(), number))
    answer = await rest.ask(api.flatten_order(symbol, side, quantity_e8, client_id), Priority.CANCEL)
    query = Request("GET", api.ORDER, (("symbol", symbol), ("origClientOrderId", client_id)), client_id)
    if not answer.ok and answer.status != 0 and api.outcome_of(answer.status, error_code(answer), "") in (
        api.Outcome.REFUSED, api.Outcome.NO_SUCH_ORDER,
    ):  # fmt: skip
        log.warning("closing %s: HTTP %d %s", symbol, answer.status, answer.body[:200])
        return 0
    while True:
        said = await rest.ask(query, Priority.CANCEL)
        order = orjson.loads(said.body) if said.ok else {}
        if order.get("status") in ENDED:
            return parse_e8(str(order["executedQty"]))
        gone = error_code(said) == api.NO_SUCH_ORDER and rest.clock.now_ns() > rest.unsettled_until_ns
        if gone and not answer.ok:  # it never arrived, and cannot any more
            return 0
        _check_patience(rest, start_ns, timeout_s)
        await asyncio.sleep(PAUSE_S)


async def flatten(
    rest: PrivateRest,
    symbols: Iterable[str] = (),
    *,
    only: Collection[str] = (),
    valid_until_ns: int = 0,
    timeout_s: float = TIMEOUT_S,
) -> Flat:
    """Cancel everything, then close every position.

    Args:
        symbols: as for `cancel_all`.
        only: orders and positions of these symbols; () for all.
        valid_until_ns: no attempt of whoever traded before can be accepted after this (the lease says it); flat is
            judged only then. Attempts of `rest` itself are known.

    Raises:
        WatchdogExpired: not flat after so long. What was done stands; call again.
    """
    start_ns, pause_s, closed = rest.clock.monotonic_ns(), PAUSE_S, set[str]()
    facts: dict[str, InstrumentFacts] = {}
    cancelled = await _cancel_within(rest, symbols, only, timeout_s)
    while True:
        until_ns = max(valid_until_ns, rest.unsettled_until_ns)
        judged = rest.clock.now_ns() > until_ns
        held = await _positions(rest)
        if held is not None and only:
            held = {symbol: amount for symbol, amount in held.items() if symbol in only}
        took_ns = rest.clock.monotonic_ns() - start_ns
        if held is not None and not held and judged:
            again = await _cancel_within(rest, (), only, timeout_s)
            if not again.orders:
                return Flat(cancelled.took_ns, took_ns, cancelled.orders, len(closed))
        closed |= set(held or ())
        await asyncio.gather(*(_close(rest, *one, facts, number) for number, one in enumerate((held or {}).items())))
        if took_ns > timeout_s * 1e9:
            raise WatchdogExpired(f"Not flat after {timeout_s:g} s: {held if held else 'orders may still arrive'}.")
        await asyncio.sleep(pause_s if held is None or held else max(PAUSE_S, _left_s(rest, until_ns)))
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


async def _cancel_within(
    rest: PrivateRest, symbols: Iterable[str], only: Collection[str], timeout_s: float
) -> Cancelled:
    if only:
        return await cancel_some(rest, lambda order: order["symbol"] in only, timeout_s)
    return await cancel_all(rest, symbols, timeout_s)


def _left_s(rest: PrivateRest, until_ns: int) -> float:
    return min(PAUSE_MAX_S, (until_ns - rest.clock.now_ns()) / 1e9)


async def _cancel(rest: PrivateRest, normal: Sequence[str], conditional: Sequence[str]) -> None:
    requests = [*map(api.cancel_all, normal), *map(api.cancel_all_algo, conditional)]
    await asyncio.gather(*(rest.ask(request, Priority.CANCEL) for request in requests))


async def _listed(rest: PrivateRest, request: Request) -> list[dict[str, Any]] | None:
    """The objects of a list; None when there was no proper answer."""
    answer = await rest.ask(request, Priority.CANCEL)
    return objects_of(answer, request.path) if answer.ok else None


async def _open_algo(rest: PrivateRest) -> list[dict[str, Any]] | None:
    answer = await rest.ask(api.open_algo_orders(), Priority.CANCEL)
    if answer.status == NOT_FOUND:  # a venue without conditional orders has none open
        return []
    return objects_of(answer, api.OPEN_ALGO_ORDERS) if answer.ok else None


async def _positions(rest: PrivateRest) -> dict[str, int] | None:
    rows = await _listed(rest, api.positions())
    return None if rows is None else positions_of(rows)


def positions_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Symbol → signed quantity × 10^8 of a positionRisk body, without zeros."""
    found: dict[str, int] = {}
    for row in rows:
        symbol = str(row["symbol"])
        found[symbol] = found.get(symbol, 0) + parse_e8(str(row["positionAmt"]))
    return {symbol: amount for symbol, amount in found.items() if amount}


def emergency_order_id(now_ns: int, number: int) -> int:
    """The id of a closing order that no request row asked for: of a writer that writes no rows, numbered by the time in
    steps of 10 ms (for 497 days) and, within one round of closing, by `number`. The orders rule adopts such an order,
    so that its fills are booked."""
    return order_id_of(0, EMERGENCY_WRITER, ((now_ns // ID_STEP_NS + number) & ID_MASK) or 1)


async def _close(
    rest: PrivateRest, symbol: str, position_e8: int, facts: dict[str, InstrumentFacts], number: int
) -> None:
    """One market order; its outcome is seen in the position, whatever the answer says."""
    side, quantity_e8 = (Side.SELL if position_e8 > 0 else Side.BUY), abs(position_e8)
    most_e8 = facts[symbol].market_quantity_max_e8 if symbol in facts else 0
    answer = await _send_close(rest, symbol, side, min(quantity_e8, most_e8 or quantity_e8), number)
    if error_code(answer) == TOO_MUCH and not facts:
        listed = await rest.ask(api.exchange_info(), Priority.CANCEL)
        if listed.ok:
            found = instruments(listed.body)
            facts |= {row.symbol: row for row in facts_of(found.rows, found.heap).values()}


async def _send_close(rest: PrivateRest, symbol: str, side: Side, quantity_e8: int, number: int) -> Answer:
    client_id = client_id_of(emergency_order_id(rest.clock.now_ns(), number))
    answer = await rest.ask(api.flatten_order(symbol, side, quantity_e8, client_id), Priority.CANCEL)
    if not answer.ok:
        log.warning("closing %s: HTTP %d %s", symbol, answer.status, answer.body[:200])
    return answer
