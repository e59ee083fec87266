"""exchangeInfo of Binance USD-M futures → Instrument rows.

    {"symbol":"BTCUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,"status":"TRADING",
     "baseAsset":"BTC","quoteAsset":"USDT","marginAsset":"USDT","filters":[
      {"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.10"},
      {"filterType":"LOT_SIZE","minQty":"0.001","maxQty":"1000","stepSize":"0.001"},
      {"filterType":"MIN_NOTIONAL","notional":"100"}],…}

Prices are multiples of the tick counted **from minPrice** (column `price_min_e8`), not from zero.
`pricePrecision` and `quantityPrecision` are digits for display, not steps.
"""

from __future__ import annotations

from connectors.binance.instruments import Columns, Instruments, Listed, filter_of, instrument_rows
from schemas.events import InstrumentKind, InstrumentStatus
from schemas.instruments import Venue
from schemas.money import parse_e8

MS = 1_000_000
# Waiting, halted, settling or delivering: no order is accepted for now.
STATUS = {
    "TRADING": InstrumentStatus.TRADING,
    "DELIVERED": InstrumentStatus.CLOSED,
    "CLOSE": InstrumentStatus.CLOSED,
}
PERPETUALS = ("PERPETUAL", "TRADIFI_PERPETUAL")  # their deliveryDate (the year 2100) means nothing


def instruments(body: bytes, ts_recv_ns: int = 0, cause_row: int = 0) -> Instruments:
    """Rows of every listed symbol. Raises InputInvalid when the body is no exchangeInfo."""
    return instrument_rows(body, Venue.BINANCE_USDM, _columns, ts_recv_ns, cause_row)


def _columns(listed: Listed) -> Columns:
    contract = str(listed["contractType"])
    return {
        "settle": str(listed["marginAsset"]),
        "kind": InstrumentKind.PERPETUAL if contract.startswith(PERPETUALS) else InstrumentKind.FUTURE,
        "status": STATUS.get(listed["status"], InstrumentStatus.HALTED),
        "notional_min_e8": parse_e8(filter_of(listed, "MIN_NOTIONAL").get("notional", "0")),
        "expiry_ns": 0 if contract in PERPETUALS else int(listed["deliveryDate"]) * MS,
    }
