"""The rule that turns private raw frames of Binance USD-M futures into VENUE_REPORT and ACCOUNT_UPDATE rows.

What the gateway writes (connectors/gateway.py), all on connections from PRIVATE_CONNECTION on:

    SENT       POST /fapi/v1/order?symbol=BTCUSDT&…&newClientOrderId=S0…&recvWindow=5000&timestamp=1723161256322
    REST       the answer's body; `request` is "POST /fapi/v1/order S0…", as in the SENT row; `status` is HTTP's
    NO_ANSWER  nothing came back, or (status NOT_SENT, NEVER_LEFT) nothing went out; the payload says why
    TEXT       the user stream: {"e":"ORDER_TRADE_UPDATE","E":…,"T":…,"o":{"s":"BTCUSDT","c":"S0…","x":"TRADE",…}}
    CLOSE      of EVERY_EPOCH: the gateway's process begins anew

| heard | reported |
|---|---|
| SENT of a new order | SENT |
| 200 to POST, PUT, DELETE, GET of an order | ACKNOWLEDGED, AMENDED, CANCELLED, STATUS; openOrders: STATUS each |
| refusal of POST, PUT, DELETE | REJECTED, AMEND_REJECTED, CANCEL_REJECTED with the venue's code and words |
| NO_ANSWER, 5xx, -1000 -1001 -1006 -1007, a refused query | UNKNOWN |
| process begins while requests were in flight | UNKNOWN for each of them |
| -2013 to a query | ABSENT when the query was made after the order's validity, else UNKNOWN |
| ORDER_TRADE_UPDATE, ALGO_UPDATE | ACKNOWLEDGED FILL CANCELLED EXPIRED AMENDED REJECTED TRIGGERED |
| userTrades | FILL, of orders whose client id is known by then and unless the trade was reported before |
| ACCOUNT_UPDATE, balance | AccountUpdate |

Not reported, on purpose: TRADE_LITE (a fill without fee; the whole one follows), listenKeyExpired (the gateway acts on
it), leverage, margin calls and grids; positionRisk and account (the gateway compares them).

**ABSENT is proven on the venue's clock alone.** An order with timestamp T and recvWindow W is refused by the venue once
its clock is past T + W. A query with timestamp Q was accepted, so its clock was past Q - 1000 ms. With
Q > T + W + SETTLE_MS an order that is not there never will be. An order without an attempt in this log can only have
been sent before the process began, with the longest window the venue allows.

Columns beyond their documented meaning: ACKNOWLEDGED carries price and quantity too (for orders that we do not know);
`code` is the HTTP status where a refusal had no venue code, NOT_SENT or NEVER_LEFT where nothing was sent.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from connectors.binance_usdm.private_frames import Frames
from connectors.binance_usdm.private_quick import Quick
from connectors.binance_usdm.private_words import (
    ASSET,
    FUNDING,
    FUNDINGS_MAX,
    ORDER,
    OUT_ACCOUNT,
    OUT_REPORT,
    PRIVATE_CONNECTION,
    START_MS,
    Arrays,
)
from processors.api import NEVER_NS, Batch, Outputs, State
from schemas.declare import Event
from schemas.events import RAW_FRAME
from schemas.instruments import instrument_id
from schemas.trading import ACCOUNT_UPDATE, VENUE_REPORT


class PrivateWire:
    """See the module. Keeps the protocol `processors.api.Processor`.

    Args:
        account: `venue:name` of the account that the gateway trades; its id stands in every row.
        connection_first: frames of lower connections are market data, and none of this rule's business.
        orders_max, trades_max: of the latest orders and trades that are remembered.
        assets_max: most assets; balances of further ones are put aside.
    """

    name = "binance_usdm.orders"
    version = 1
    inputs: tuple[Event, ...] = (RAW_FRAME,)
    outputs: tuple[Event, ...] = (VENUE_REPORT, ACCOUNT_UPDATE)

    def __init__(
        self,
        account: str = "binance_usdm:paper",
        connection_first: int = PRIVATE_CONNECTION,
        orders_max: int = 4096,
        trades_max: int = 4096,
        assets_max: int = 64,
    ) -> None:
        self.account = instrument_id(account)
        self.connection_first = connection_first
        self.orders_max, self.trades_max, self.assets_max = orders_max, trades_max, assets_max

    def initial_state(self) -> State:
        counters = np.zeros(5, dtype=np.int64)
        counters[START_MS] = -1
        return {
            "orders": np.zeros(self.orders_max, dtype=ORDER),
            "order_ids": np.zeros(self.orders_max, dtype=np.int64),
            "venue_order_ids": np.zeros(self.orders_max, dtype=np.int64),
            "actual_ids": np.zeros(self.orders_max, dtype=np.int64),
            "trade_ids": np.zeros(self.trades_max, dtype=np.int64),
            "traded_in": np.zeros(self.trades_max, dtype=np.uint32),
            "assets": np.zeros(self.assets_max, dtype=ASSET),
            "fundings": np.zeros((self.assets_max, FUNDINGS_MAX), dtype=FUNDING),
            "counters": counters,
        }

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        """The usual frames by a kernel, each of the others on its own, in order."""
        arrays = cast(Arrays, state)
        run = Frames(self.account, self.connection_first, arrays, batch)
        quick = Quick(self.account, self.connection_first, arrays, batch)
        at = 0
        while at < len(batch.rows):
            at = quick.read(at)
            if at < len(batch.rows):
                run.take(at, out)
                quick.put(*run.told())
                at += 1
        quick.emit(out)

    def on_batch_plainly(self, state: State, batch: Batch, out: Outputs) -> None:
        """The same, without the kernel: what it is compared with."""
        run = Frames(self.account, self.connection_first, cast(Arrays, state), batch)
        for at in range(len(batch.rows)):
            run.take(at, out)
        reports, texts, updates = run.told()
        out.emit(OUT_REPORT, reports, np.frombuffer(texts, dtype=np.uint8))
        out.emit(OUT_ACCOUNT, updates)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        """No timers: every row follows from a raw row."""

    def next_deadline_ns(self, state: State) -> int:
        return int(NEVER_NS)

    def warm(self) -> None:
        """Compile by doing: a row that means nothing."""
        out = Outputs(self.outputs)
        self.on_batch(self.initial_state(), Batch(0, out.origin, 1, RAW_FRAME.empty(1)), out)


def private_wire(account: str = "binance_usdm:paper") -> PrivateWire:
    """The processor `binance_usdm.orders`."""
    return PrivateWire(account)
