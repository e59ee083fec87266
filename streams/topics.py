"""What flows: every topic, once.

The columns are the contract between pipelines, brokers and operators. Changing a frozen column
(number, event, partitions, key) needs a new version of the topic. `check()` runs when the module
loads: a table that contradicts itself does not import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas import events as e
from schemas import trading as t
from schemas.declare import Event
from schemas.errors import ConfigInvalid

Cleanup = Literal["delete", "compact"]
Commit = Literal["idempotent", "transactional"]
Owner = Literal["connector", "runner", "service"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Topic:
    """One row of the table.

    Args:
        number: frozen; part of every row address.
        name: `<domain>.<event>.v<N>`.
        event: what its rows are.
        owner: who writes it: a connector (through its local log and the shipper), a runner, or a service.
        partition_by: the column whose murmur2 hash picks the partition; "" for the writer's task number.
        partitions: frozen per version.
        cleanup: delete (by age) or compact (latest row per key).
        key: columns of the natural key of a compacted topic; () for delete topics, whose frames hold rows of many keys.
        commit: idempotent (market data, mirrored from local logs) or transactional (what runners decide).
        retention_ms: delete topics: how long; reaches at least the verify horizon. compact: the compaction lag.
        compression: Kafka producer's codec, chosen by measurement (streams/README.md).
        doc: one line for people.
    """

    number: int
    name: str
    event: Event
    owner: Owner
    partition_by: str
    partitions: int
    cleanup: Cleanup
    key: tuple[str, ...]
    commit: Commit
    retention_ms: int
    compression: Literal["none", "lz4", "zstd"]
    doc: str


def _market(number: int, name: str, event: Event, owner: Owner, commit: Commit, doc: str) -> Topic:
    return Topic(number, name, event, owner, "instrument", 4, "delete", (), commit, 7 * DAY_MS, "lz4", doc)


def _trade(number: int, name: str, event: Event, owner: Owner, key: tuple[str, ...], doc: str) -> Topic:
    """Orders, money and what steers them: one partition, because risk and the ledger need one order of events."""
    commit: Commit = "transactional" if owner == "runner" else "idempotent"
    cleanup: Cleanup = "compact" if key else "delete"
    return Topic(number, name, event, owner, "", 1, cleanup, key, commit, HOUR_MS if key else 30 * DAY_MS, "lz4", doc)


TOPICS: tuple[Topic, ...] = (
    Topic(
        1,
        "raw.frame.v1",
        e.RAW_FRAME,
        "connector",
        "",
        4,
        "delete",
        (),
        "idempotent",
        2 * DAY_MS,
        "zstd",
        "wire bytes with receive time",
    ),
    _market(2, "md.trade.v1", e.TRADE, "connector", "idempotent", "trades"),
    _market(3, "md.book_delta.v1", e.BOOK_DELTA, "connector", "idempotent", "synchronised changes of order books"),
    _market(4, "md.ticker.v1", e.QUOTE, "connector", "idempotent", "the venue's own best bid and offer"),
    _market(5, "md.quote.v1", e.QUOTE, "runner", "transactional", "best bid and offer of our books, with trust"),
    _market(6, "md.book_snapshot.v1", e.BOOK_SNAPSHOT, "runner", "transactional", "top levels, once a second"),
    _market(7, "md.bar.v1", e.BAR, "runner", "transactional", "bars by time, trades, volume, notional"),
    _market(8, "md.volume_profile.v1", e.VOLUME_PROFILE, "runner", "transactional", "volume by price"),
    Topic(
        9,
        "ref.instrument.v1",
        e.INSTRUMENT,
        "connector",
        "instrument",
        1,
        "compact",
        ("instrument",),
        "idempotent",
        HOUR_MS,
        "zstd",
        "what is traded, by which rules",
    ),
    Topic(
        10,
        "md.resync_request.v1",
        e.RESYNC_REQUEST,
        "connector",
        "",
        4,
        "delete",
        (),
        "idempotent",
        7 * DAY_MS,
        "none",
        "the synchronisation rule asks for a snapshot",
    ),
    Topic(
        11,
        "sys.journal.v1",
        e.JOURNAL,
        "runner",
        "",
        16,
        "delete",
        (),
        "transactional",
        7 * DAY_MS,
        "none",
        "what each runner did, in its order",
    ),
    Topic(
        12,
        "sys.dead_letter.v1",
        e.DEAD_LETTER,
        "runner",
        "",
        4,
        "delete",
        (),
        "transactional",
        30 * DAY_MS,
        "zstd",
        "rows that were put aside, with the reason",
    ),
    Topic(
        13,
        "sys.latency.v1",
        e.LATENCY,
        "service",
        "",
        1,
        "delete",
        (),
        "idempotent",
        7 * DAY_MS,
        "none",
        "latency histograms per hop",
    ),
    Topic(
        14,
        "sys.service.v1",
        e.HEARTBEAT,
        "service",
        "",
        1,
        "compact",
        ("service",),
        "idempotent",
        HOUR_MS,
        "none",
        "heartbeats: the latest per service",
    ),
    Topic(
        15,
        "sys.session.v1",
        e.SESSION,
        "service",
        "",
        1,
        "compact",
        ("session",),
        "idempotent",
        HOUR_MS,
        "none",
        "sessions and their incarnations",
    ),
    Topic(
        16,
        "sys.snapshot.v1",
        e.SNAPSHOT,
        "runner",
        "",
        4,
        "compact",
        ("writer", "incarnation", "slot", "chunk"),
        "idempotent",
        HOUR_MS,
        "zstd",
        "saved states of runners",
    ),
    _trade(17, "oms.order_request.v1", t.ORDER_REQUEST, "runner", (), "what strategies and people want"),
    _trade(18, "risk.decision.v1", t.DECISION, "runner", (), "what risk made of each request"),
    _trade(19, "risk.denial.v1", t.DENIAL, "runner", (), "each reason of each denial, with the numbers compared"),
    _trade(20, "oms.order_command.v1", t.ORDER_COMMAND, "runner", (), "what the gateway is to do"),
    _trade(21, "venue.report.v1", t.VENUE_REPORT, "connector", (), "what the venue says of orders"),
    _trade(22, "venue.account_update.v1", t.ACCOUNT_UPDATE, "connector", (), "what the venue says of money"),
    _trade(23, "oms.order.v1", t.ORDER, "runner", ("order_id",), "orders as they stand"),
    _trade(24, "oms.fill.v1", t.FILL, "runner", (), "executions, each once"),
    _trade(25, "acct.position.v1", t.POSITION, "runner", ("account", "strategy", "instrument"), "positions"),
    _trade(26, "acct.posting.v1", t.POSTING, "runner", (), "the double-entry ledger"),
    _trade(27, "acct.balance.v1", t.BALANCE, "runner", ("account", "asset"), "cash by the ledger, and by the venue"),
    _trade(28, "ref.limit.v1", t.LIMIT, "service", ("scope", "subject", "reason"), "limits in force"),
    _trade(29, "ref.strategy.v1", t.STRATEGY, "service", ("strategy",), "strategies in force"),
    _trade(30, "ctl.switch.v1", t.SWITCH, "service", ("scope", "subject", "kill_id"), "kills and resumes"),
    _trade(31, "acct.difference.v1", t.DIFFERENCE, "service", (), "where we and a venue differed, and what was done"),
    _trade(32, "ctl.acknowledgement.v1", t.ACKNOWLEDGEMENT, "service", (), "what became of each kill, with times"),
)
TOPIC_BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
TOPIC_BY_NUMBER: dict[int, Topic] = {topic.number: topic for topic in TOPICS}


def topic(name: str) -> Topic:
    """The row of that name; the version may be left out (`md.trade`)."""
    found = TOPIC_BY_NAME.get(name) or TOPIC_BY_NAME.get(f"{name}.v1")
    if found is None:
        raise ConfigInvalid(f"No topic {name!r}. `shriven topics list` shows what there is.")
    return found


def check(topics: tuple[Topic, ...] = TOPICS) -> None:
    """Refuse a table that contradicts itself.

    Raises:
        ConfigInvalid: names the row and the column.
    """
    for attribute in ("number", "name"):
        seen: set[object] = set()
        for row in topics:
            value = getattr(row, attribute)
            if value in seen:
                raise ConfigInvalid(f"Topic {row.name}: {attribute} {value} is taken by another row.")
            seen.add(value)
    for row in topics:
        columns = {field.name for field in row.event.fields}
        for column in (*row.key, *([row.partition_by] if row.partition_by else [])):
            if column not in columns:
                raise ConfigInvalid(f"Topic {row.name}: {row.event.name} has no column {column!r}.")
        if (row.cleanup == "compact") != bool(row.key):
            raise ConfigInvalid(f"Topic {row.name}: compacted topics need a key, others must not have one.")
        if not 1 <= row.partitions <= 64:
            raise ConfigInvalid(f"Topic {row.name}: {row.partitions} partitions; 1 to 64 are possible.")
        if row.owner == "connector" and row.commit != "idempotent":
            raise ConfigInvalid(f"Topic {row.name}: connectors ship from their local log, which is idempotent.")


check()
