"""The real gateway trades at the simulated venue: its private half and ours were written from the same reference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.binance_usdm.private_wire import PrivateWire
from connectors.credentials import Credentials
from connectors.gateway import Gateway, GatewayOptions
from connectors.signing import HmacSigner
from connectors.simulator.config import SyntheticConfig, VenueConfig
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET
from schemas.declare import Rows
from schemas.events import FrameKind, Side
from schemas.instruments import Venue
from schemas.money import parse_e8
from schemas.trading import CommandKind, OrderKind, ReportKind
from tests.simulated import running
from tests.unit.test_gateway import HeldLease, Log, command

E8 = 10**8
K = ReportKind
PAPER = Credentials(PAPER_KEY, HmacSigner(PAPER_SECRET), "paper")


def test_gateway_trades_at_the_simulated_venue_and_gets_flat() -> None:
    log, queue = Log(), asyncio.Queue[Rows]()

    async def commands() -> AsyncIterator[Rows]:
        while True:
            yield await queue.get()

    async def told(report: ReportKind, order_id: int) -> None:
        async with asyncio.timeout(60):
            while not any(found[:2] == (report, order_id) for found in log.reports()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def main() -> None:
        async with running(VenueConfig(Venue.BINANCE_USDM, synthetic=SyntheticConfig())) as at:
            addresses = at.venue.addresses
            exchange = EXCHANGE.at(addresses.stream_url, addresses.rest_url)
            options = GatewayOptions(countdown_s=30)
            gateway = Gateway(exchange, PAPER, ["BTCUSDT"], log, commands(), HeldLease(), options=options)
            work = asyncio.ensure_future(gateway.run())
            bid_e8 = parse_e8((await at.depth())["bids"][0][0])
            queue.put_nowait(command(1, price_e8=bid_e8 - 100 * E8))
            queue.put_nowait(command(2, kind=OrderKind.MARKET, price_e8=0, quantity_e8=E8 // 50))
            stop: dict[str, Any] = {
                "kind": OrderKind.STOP,
                "side": Side.SELL,
                "price_e8": 0,
                "stop_price_e8": bid_e8 - 500 * E8,
            }
            queue.put_nowait(command(3, **stop))
            for order_id in (1, 2, 3):
                await told(K.ACKNOWLEDGED, order_id)
            await told(K.FILL, 2)
            queue.put_nowait(command(1, CommandKind.AMEND, price_e8=bid_e8 - 200 * E8, quantity_e8=E8 // 50))
            queue.put_nowait(command(9, CommandKind.QUERY))
            await told(K.AMENDED, 1)
            await told(K.UNKNOWN, 9)
            flat = await gateway.flatten()
            await told(K.CANCELLED, 1)
            await told(K.CANCELLED, 3)
            state = await gateway.reconcile()
            gateway.stop()
            await asyncio.wait_for(work, 10)
            assert (state.orders, state.positions_e8, flat.positions) == ((), {}, 1)
            assert 0 < flat.cancelled_ns < flat.took_ns

    PrivateWire().warm()  # what reads the reports: nobody may wait for its compilation in the middle of a trade
    asyncio.run(main())
    refusals = {K.REJECTED, K.AMEND_REJECTED, K.CANCEL_REJECTED}
    assert [found for found in log.reports() if found[0] in refusals] == []
    assert log.of(FrameKind.NO_ANSWER) == []
