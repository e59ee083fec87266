"""Private requests of Binance USD-M futures: commands → requests, what they cost, what an answer means. Pure.

    ORDER_COMMAND row + InstrumentFacts ─request_of▶ Request ─stamped_query▶ text to sign and send
    HTTP status, error code, message ─outcome_of▶ DONE | REFUSED | UNKNOWN | NO_SUCH_ORDER

Limit and market orders live under `/order`, conditional ones (STOP, STOP_LIMIT) under `/algoOrder`: the venue refuses
them elsewhere (-4120), and cannot amend them. Orders that end by date are ended to the moment by the orders rule, which
cancels them; the venue's own date is the backstop, and it takes none within ten minutes: such a one is sent with the
earliest date that it takes. DAY is the next midnight UTC. Post-only orders have no date at the venue.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from connectors.signing import query_of
from schemas.declare import Heap, Rows
from schemas.errors import InputInvalid
from schemas.events import Side
from schemas.money import format_e8
from schemas.trading import ORDER_COMMAND, CommandKind, OrderFlag, OrderKind, TimeInForce, client_id_of

Params = tuple[tuple[str, str], ...]
SIDES = tuple(side.name for side in Side)
# As plain numbers: what is looked up in an enum is looked up anew at every use.
SUBMIT, LIMIT = int(CommandKind.SUBMIT), int(OrderKind.LIMIT)
CONDITIONAL = frozenset(map(int, (OrderKind.STOP, OrderKind.STOP_LIMIT)))
METHODS = {int(CommandKind.CANCEL): "DELETE", int(CommandKind.QUERY): "GET"}
TIMES_IN_FORCE: dict[int, Params] = {int(one): (("timeInForce", one.name),) for one in TimeInForce}
POST_ONLY_UNTIL_CANCELLED: Params = (("timeInForce", "GTX"),)
REDUCE_ONLY: Params = (("reduceOnly", "true"),)
MS = 1_000_000
DAY_NS = 86_400_000_000_000
GTD_MIN_NS = 660_000_000_000  # goodTillDate must be ten minutes from now; one more for the way there
RECV_WINDOW_MAX_MS = 60_000
ORDER, ALGO_ORDER = "/fapi/v1/order", "/fapi/v1/algoOrder"
OPEN_ORDERS, OPEN_ALGO_ORDERS = "/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"
CANCEL_ALL, CANCEL_ALL_ALGO = "/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"
USER_TRADES, BALANCE, INCOME = "/fapi/v1/userTrades", "/fapi/v3/balance", "/fapi/v1/income"
FUNDING_FEE, INCOME_MAX = "FUNDING_FEE", 1000
ACCOUNT, POSITIONS = "/fapi/v3/account", "/fapi/v3/positionRisk"
LISTEN_KEY, COUNTDOWN = "/fapi/v1/listenKey", "/fapi/v1/countdownCancelAll"
PERMISSIONS, SERVER_TIME = "/sapi/v1/account/apiRestrictions", "/fapi/v1/time"
EXCHANGE_INFO = "/fapi/v1/exchangeInfo"
REDUCES, POST_ONLY = int(OrderFlag.REDUCE_ONLY | OrderFlag.FLATTEN), int(OrderFlag.POST_ONLY)
CLIENT_ID_NAMES = ("newClientOrderId", "origClientOrderId", "clientAlgoId")
TRADES_MAX = 1000  # of one answer
AMOUNTS_MAX = 4096  # prices and quantities come again and again


class Request(NamedTuple):
    """One private request, not yet stamped or signed.

    Attributes:
        method, path, params: as they travel; values are text.
        what: client id, symbol … that tells it from others in `text`; no spaces.
        weight, orders: what it costs of the address's and the account's limits.
        signed: whether it carries timestamp, recvWindow and signature; else the key in the header is enough.
        recv_window_ms: shorter than usual, so that the venue itself refuses it once it is stale; 0: the usual.
    """

    method: str
    path: str
    params: Params = ()
    what: str = ""
    weight: int = 1
    orders: int = 0
    signed: bool = True
    recv_window_ms: int = 0

    @property
    def text(self) -> str:
        """`POST /fapi/v1/order S0000000000001`: names the question in the rows of its attempt and answer."""
        return f"{self.method} {self.path} {self.what}" if self.what else f"{self.method} {self.path}"


def stamped_query(request: Request, timestamp_ms: int, recv_window_ms: int) -> str:
    """The query as it is signed: the parameters, then recvWindow and timestamp where the request is a signed one."""
    query = query_of(request.params)
    if not request.signed:
        return query
    window_ms = min(request.recv_window_ms or recv_window_ms, RECV_WINDOW_MAX_MS)
    stamp = f"recvWindow={window_ms}&timestamp={timestamp_ms}"
    return f"{query}&{stamp}" if query else stamp


# ---------------------------------------------------------------------------------------------------------
# Instruments.


@dataclass(frozen=True)
class InstrumentFacts:
    """What the venue demands of an order in one instrument; columns of INSTRUMENT, 0 for no upper limit."""

    symbol: str
    tick_size_e8: int
    lot_size_e8: int
    price_min_e8: int
    price_max_e8: int
    quantity_min_e8: int
    quantity_max_e8: int
    market_quantity_max_e8: int
    notional_min_e8: int


class Fault(NamedTuple):
    """Why the venue would refuse: its own code, and a sentence."""

    code: int
    text: str


_NUMBERS = tuple(name for name in InstrumentFacts.__dataclass_fields__ if name != "symbol")


def facts_of(rows: Rows, heap: Heap) -> dict[int, InstrumentFacts]:
    """By instrument id, from INSTRUMENT rows."""
    found = {}
    for row in rows:
        at = int(row["symbol_at"])
        symbol = heap[at : at + int(row["symbol_size"])].tobytes().decode()
        found[int(row["instrument"])] = InstrumentFacts(symbol, **{name: int(row[name]) for name in _NUMBERS})
    return found


def filter_fault(command: np.void, facts: InstrumentFacts) -> Fault | None:
    """The first filter of the venue that a new or amended order would fail; None when it passes all that can be
    judged without a market price (PERCENT_PRICE, and the notional of market orders, cannot)."""
    kind, price_e8, quantity_e8 = int(command["kind"]), int(command["price_e8"]), int(command["quantity_e8"])
    has_price = kind in (OrderKind.LIMIT, OrderKind.STOP_LIMIT)
    fault = _quantity_fault(quantity_e8, not has_price, facts)
    if fault is None and has_price:
        fault = _price_fault(price_e8, facts)
    if fault is None and kind in (OrderKind.STOP, OrderKind.STOP_LIMIT):
        fault = _price_fault(int(command["stop_price_e8"]), facts)
    reduces = int(command["flags"]) & REDUCES
    if fault is None and has_price and not reduces and price_e8 * quantity_e8 < facts.notional_min_e8 * 10**8:
        return Fault(-4164, f"price × quantity is below {format_e8(facts.notional_min_e8)}")
    return fault


def _price_fault(price_e8: int, facts: InstrumentFacts) -> Fault | None:
    if price_e8 <= 0:
        return Fault(-4001, "the price is not above 0")
    if facts.price_max_e8 and price_e8 > facts.price_max_e8:
        return Fault(-4002, f"the price is above {format_e8(facts.price_max_e8)}")
    if price_e8 < facts.price_min_e8:
        return Fault(-4013, f"the price is below {format_e8(facts.price_min_e8)}")
    if facts.tick_size_e8 and (price_e8 - facts.price_min_e8) % facts.tick_size_e8:
        return Fault(-4014, f"the price is off the ticks of {format_e8(facts.tick_size_e8)}")
    return None


def _quantity_fault(quantity_e8: int, market: bool, facts: InstrumentFacts) -> Fault | None:
    most_e8 = (market and facts.market_quantity_max_e8) or facts.quantity_max_e8
    if quantity_e8 <= 0:
        return Fault(-4003, "the quantity is not above 0")
    if quantity_e8 < facts.quantity_min_e8:
        return Fault(-4004, f"the quantity is below {format_e8(facts.quantity_min_e8)}")
    if most_e8 and quantity_e8 > most_e8:
        return Fault(-4005, f"the quantity is above {format_e8(most_e8)}")
    if facts.lot_size_e8 and (quantity_e8 - facts.quantity_min_e8) % facts.lot_size_e8:
        return Fault(-4023, f"the quantity is off the lots of {format_e8(facts.lot_size_e8)}")
    return None


# ---------------------------------------------------------------------------------------------------------
# Commands.


class _Command(NamedTuple):
    """What of an ORDER_COMMAND row makes its request, as plain numbers: a row is read quicker whole than by column."""

    command: int
    kind: int
    order_id: int
    side: int
    time_in_force: int
    flags: int
    price_e8: int
    stop_price_e8: int
    quantity_e8: int
    expires_ns: int
    ts_recv_ns: int


_amount = lru_cache(AMOUNTS_MAX)(format_e8)
_columns_of = itemgetter(*[list(ORDER_COMMAND.dtype.names or ()).index(name) for name in _Command._fields])


def request_of(row: np.void, facts: InstrumentFacts) -> Request:
    """The request that carries out one ORDER_COMMAND row.

    Raises:
        InputInvalid: the venue has no such order (post-only and GTD at once …); nothing must be sent.
    """
    command = _Command(*_columns_of(row.item()))
    wanted, order_id = command.command, command.order_id
    conditional = command.kind in CONDITIONAL
    if wanted == SUBMIT:
        return _submit_conditional(command, facts) if conditional else _submit(command, facts)
    if order_id < 0:
        return _of_adopted(wanted, -order_id, facts.symbol)
    client_id = client_id_of(order_id)
    if wanted == CommandKind.AMEND:
        if conditional:
            raise InputInvalid("The venue cannot change a conditional order: cancel it, then ask for a new one.")
        return _amend(command, facts, client_id)
    if wanted in METHODS:
        method = METHODS[wanted]
        if conditional:
            return Request(method, ALGO_ORDER, (("clientAlgoId", client_id),), client_id)
        return Request(method, ORDER, (("symbol", facts.symbol), ("origClientOrderId", client_id)), client_id)
    raise InputInvalid(f"There is no order command {wanted}.")


def _of_adopted(wanted: int, venue_order_id: int, symbol: str) -> Request:
    """Somebody else's order, which we know by the venue's id: it may be asked for and cancelled."""
    query = query_venue_order(symbol, venue_order_id)
    if wanted == CommandKind.QUERY:
        return query
    if wanted == CommandKind.CANCEL:
        return Request("DELETE", query.path, query.params, query.what)
    raise InputInvalid("An order that is not ours can be cancelled, not changed.")


def _submit(command: _Command, facts: InstrumentFacts) -> Request:
    client_id, terms = client_id_of(command.order_id), _terms(command)
    params = (
        ("symbol", facts.symbol), ("side", SIDES[command.side]), *terms,
        ("quantity", _amount(command.quantity_e8)), *_reduce_only(command), ("newClientOrderId", client_id),
    )  # fmt: skip
    return Request("POST", ORDER, params, client_id, 0, 1)


def _terms(command: _Command) -> Params:
    if command.kind == LIMIT:
        return ("type", "LIMIT"), *_time_in_force(command), ("price", _amount(command.price_e8))
    if command.kind != OrderKind.MARKET:
        raise InputInvalid(f"There is no order kind {command.kind}.")
    if command.flags & POST_ONLY:
        raise InputInvalid("A market order cannot be post-only: it takes by nature.")
    return (("type", "MARKET"),)


def _submit_conditional(command: _Command, facts: InstrumentFacts) -> Request:
    client_id, limit = client_id_of(command.order_id), command.kind == OrderKind.STOP_LIMIT
    params = [("algoType", "CONDITIONAL"), ("symbol", facts.symbol), ("side", SIDES[command.side])]
    params.append(("type", "STOP" if limit else "STOP_MARKET"))
    if limit:
        params += [*_time_in_force(command), ("price", _amount(command.price_e8))]
    elif command.flags & POST_ONLY:
        raise InputInvalid("A stop that becomes a market order cannot be post-only.")
    params += [("quantity", _amount(command.quantity_e8))]
    params += [("triggerPrice", _amount(command.stop_price_e8)), *_reduce_only(command)]
    return Request("POST", ALGO_ORDER, (*params, ("clientAlgoId", client_id)), client_id, orders=1)


def _amend(command: _Command, facts: InstrumentFacts, client_id: str) -> Request:
    if command.kind != OrderKind.LIMIT:
        raise InputInvalid("Only limit orders can be changed.")
    params = (
        ("symbol", facts.symbol), ("side", SIDES[command.side]), ("origClientOrderId", client_id),
        ("quantity", _amount(command.quantity_e8)), ("price", _amount(command.price_e8)),
    )  # fmt: skip
    return Request("PUT", ORDER, params, client_id, weight=0, orders=1)


def _reduce_only(command: _Command) -> Params:
    return REDUCE_ONLY if command.flags & REDUCES else ()


def _time_in_force(command: _Command) -> Params:
    wanted = command.time_in_force
    ends = wanted in (TimeInForce.GTD, TimeInForce.DAY)
    if command.flags & POST_ONLY:
        if not ends and wanted != TimeInForce.GTC:
            raise InputInvalid(
                f"The venue has no post-only {TimeInForce(wanted).name} order: post-only rests until cancelled."
            )
        return POST_ONLY_UNTIL_CANCELLED
    if not ends:
        return TIMES_IN_FORCE[wanted]
    now_ns = command.ts_recv_ns
    ends_ns = command.expires_ns if wanted == TimeInForce.GTD else (now_ns // DAY_NS + 1) * DAY_NS
    seconds = max(ends_ns, now_ns + GTD_MIN_NS) // 1_000_000_000
    return ("timeInForce", "GTD"), ("goodTillDate", str(seconds * 1000))


# ---------------------------------------------------------------------------------------------------------
# Questions and measures of the gateway's own.


def open_orders() -> Request:
    return Request("GET", OPEN_ORDERS, weight=40)


def open_algo_orders() -> Request:
    return Request("GET", OPEN_ALGO_ORDERS, weight=40)


def positions() -> Request:
    return Request("GET", POSITIONS, weight=5)


def balances() -> Request:
    return Request("GET", BALANCE, weight=5)


def account() -> Request:
    return Request("GET", ACCOUNT, weight=5)


def user_trades(symbol: str, start_ms: int = 0, from_id: int = 0) -> Request:
    """Own trades of a symbol, oldest first, at most TRADES_MAX: from a trade id, else from a time on."""
    start = ("fromId", str(from_id)) if from_id else ("startTime", str(start_ms))
    return Request("GET", USER_TRADES, (("symbol", symbol), start, ("limit", str(TRADES_MAX))), symbol, weight=5)


def funding_paid(start_ms: int) -> Request:
    """Funding paid and received from a time on, oldest first."""
    params = (("incomeType", FUNDING_FEE), ("startTime", str(start_ms)), ("limit", str(INCOME_MAX)))
    return Request("GET", INCOME, params, weight=30)


def query_venue_order(symbol: str, venue_order_id: int) -> Request:
    """An order by the venue's id: the answer says whose client id it has."""
    params = (("symbol", symbol), ("orderId", str(venue_order_id)))
    return Request("GET", ORDER, params, f"#{venue_order_id}")


def cancel_all(symbol: str) -> Request:
    return Request("DELETE", CANCEL_ALL, (("symbol", symbol),), symbol)


def cancel_all_algo(symbol: str) -> Request:
    return Request("DELETE", CANCEL_ALL_ALGO, (("symbol", symbol),), symbol)


def countdown(symbol: str, countdown_ms: int) -> Request:
    """Unless asked again within that time, the venue cancels every open order of the symbol; 0 stops the clock."""
    params = (("symbol", symbol), ("countdownTime", str(countdown_ms)))
    return Request("POST", COUNTDOWN, params, symbol, weight=10)


def listen_key(method: str) -> Request:
    """POST makes or finds the key, PUT keeps it alive for another hour, DELETE ends it."""
    return Request(method, LISTEN_KEY, signed=False)


def permissions() -> Request:
    """What the keys may do. It lives on the spot host, whose weights are its own."""
    return Request("GET", PERMISSIONS)


def server_time() -> Request:
    return Request("GET", SERVER_TIME, signed=False)


def exchange_info() -> Request:
    return Request("GET", EXCHANGE_INFO, signed=False)


def flatten_order(symbol: str, side: Side, quantity_e8: int, client_id: str) -> Request:
    """A market order that can only reduce: repeated by mistake it cannot turn a position over."""
    params = (
        ("symbol", symbol), ("side", side.name), ("type", "MARKET"), ("quantity", format_e8(quantity_e8)),
        ("reduceOnly", "true"), ("newClientOrderId", client_id),
    )  # fmt: skip
    return Request("POST", ORDER, params, client_id, weight=0, orders=1)


# ---------------------------------------------------------------------------------------------------------
# Answers.


class Outcome(enum.Enum):
    """What an answer says about the request that it answers."""

    DONE = "done"
    REFUSED = "refused"  # certainly not done
    UNKNOWN = "unknown"  # done or not: a query must tell
    NO_SUCH_ORDER = "no such order"


HTTP_OK, HTTP_REFUSED, HTTP_TIMEOUT, HTTP_SERVER = 200, 400, 408, 500
NO_SUCH_ORDER = -2013
CANCEL_REFUSED = -2011
CLOCK = -1021
LISTEN_KEY_UNKNOWN = -1125
THROTTLED = -1008
# -1006 and -1007 are documented as unknown; -1000 and -1001 are internal errors of which nobody knows when they struck.
UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007})
SERVICE_UNAVAILABLE = "Service Unavailable"  # the one 503 that means "not done"


def outcome_of(status: int, code: int, message: str) -> Outcome:
    """Judge an HTTP status with the venue's error code (0 without) and message. When in doubt it is UNKNOWN."""
    if status == HTTP_OK:
        return Outcome.DONE
    if code == NO_SUCH_ORDER:
        return Outcome.NO_SUCH_ORDER
    if code == THROTTLED or message.startswith(SERVICE_UNAVAILABLE):
        return Outcome.REFUSED
    if code in UNKNOWN_CODES or status == HTTP_TIMEOUT or not HTTP_REFUSED <= status < HTTP_SERVER:
        return Outcome.UNKNOWN
    return Outcome.REFUSED


def symbols_of(orders: Iterable[object]) -> list[str]:
    """The symbols of an openOrders body, each once, in order of appearance."""
    return list(dict.fromkeys(str(order["symbol"]) for order in orders if isinstance(order, dict)))
