"""The latest row per key of a compacted topic, decoded: how things stand."""

from __future__ import annotations

from typing import Any

from infra.config import Config
from infra.sessions import tail as rows_of
from infra.sessions.readback import instrument_names, root_of
from infra.sessions.store import Session
from schemas.instruments import instrument_id
from streams.topics import topic

COMMON = ("operator", "USDT", "USDC", "BTC", "ETH", "BNB")


def latest(config: Config, session: Session, name: str, broker: str = "") -> list[dict[str, Any]]:
    """One dictionary per key, in order of first appearance; strategies, accounts and assets by name where known."""
    row = topic(name)
    known = names_of(config, session, broker)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for values in _rows(config, session, name, broker):
        key = tuple(values[column] for column in row.key)
        found[key] = found.get(key, {}) | values
    return [{column: known.get(value, value) if _is_id(column) else value for column, value in one.items()}
            for one in found.values()]  # fmt: skip


def names_of(config: Config, session: Session, broker: str = "") -> dict[Any, str]:
    """Ids to names: strategies from their rows, accounts of the session's venues, assets that everybody knows."""
    names: dict[Any, str] = {instrument_id(text): text for text in COMMON}
    names |= {instrument_id(f"{venue}:paper"): f"{venue}:paper" for venue in ("binance_usdm", "binance_spot")}
    for one in _rows(config, session, "ref.strategy.v1", broker):
        names[one["strategy"]] = one["name"]
    return names


def _is_id(column: str) -> bool:
    return column in ("account", "strategy", "asset", "fee_asset", "currency", "subject")


def _rows(config: Config, session: Session, name: str, broker: str) -> list[dict[str, Any]]:
    from infra.process.wiring import reader_of

    row = topic(name)
    instruments = instrument_names(root_of(session))
    source = reader_of(config, session, broker)
    try:
        lines = rows_of.tail(row, source, rows_of.Where(), names=lambda number: instruments.get(number, str(number)))
        return [dict(zip(rows_of.columns(row), line, strict=True)) for line in lines]
    finally:
        source.close()
