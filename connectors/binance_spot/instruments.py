"""exchangeInfo of Binance Spot → Instrument rows.

    {"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","filters":[
      {"filterType":"PRICE_FILTER","minPrice":"0.01","maxPrice":"1000000.00","tickSize":"0.01"},
      {"filterType":"LOT_SIZE","minQty":"0.00001","maxQty":"9000.00000","stepSize":"0.00001"},
      {"filterType":"NOTIONAL","minNotional":"5.00",…}],…}

Prices are multiples of the tick, counted from zero.
"""

from __future__ import annotations

from connectors.binance.instruments import Columns, Instruments, Listed, filter_of, instrument_rows
from schemas.events import InstrumentKind, InstrumentStatus
from schemas.instruments import Venue
from schemas.money import parse_e8

# END_OF_DAY, HALT, BREAK and whatever comes: no order is accepted for now.
STATUS = {"TRADING": InstrumentStatus.TRADING, "CANCEL_ONLY": InstrumentStatus.CANCEL_ONLY}


def instruments(body: bytes, ts_recv_ns: int = 0, cause_row: int = 0) -> Instruments:
    """Rows of every listed symbol. Raises InputInvalid when the body is no exchangeInfo."""
    return instrument_rows(body, Venue.BINANCE_SPOT, _columns, ts_recv_ns, cause_row)


def _columns(listed: Listed) -> Columns:
    notional = filter_of(listed, "NOTIONAL") or filter_of(listed, "MIN_NOTIONAL")
    return {
        "settle": str(listed["quoteAsset"]),
        "kind": InstrumentKind.SPOT,
        "status": STATUS.get(listed["status"], InstrumentStatus.HALTED),
        "notional_min_e8": parse_e8(notional.get("minNotional", "0")),
    }
