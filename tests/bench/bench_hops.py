"""Heard → request → decision → command → venue → report → fill over Kafka topics, exactly once: every hop.

A whole `up --trade` runs as a process of its own against a broker of this benchmark. A consumer that sees committed
rows only notes when it can read each of them; when the connector heard what a request follows from, and when the
gateway sent and heard, is in the rows. The gateway may read a command before this consumer does. One hop of bare
clients (read, one transaction, read) is measured on the same broker after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.frame import decode
from schemas.trading import CommandKind, ReportKind, RequestAction
from streams.clock import SYSTEM_CLOCK, now_ns
from streams.topics import topic
from tests.bench.bench_streams import HOP_PAUSE_S, Hop, bare_middle, broker
from tests.bench.result import Result, print_results
from tests.recordings import ROOT

SECONDS = 45
BARE_HOPS = 200
GOAL = 1.2  # times one bare hop
QUOTES, REQUESTS, DECISIONS = (topic(name) for name in ("md.quote.v1", "oms.order_request.v1", "risk.decision.v1"))
COMMANDS, REPORTS, FILLS = (topic(name) for name in ("oms.order_command.v1", "venue.report.v1", "oms.fill.v1"))
WATCHED = (QUOTES, REQUESTS, DECISIONS, COMMANDS, REPORTS, FILLS)
UP = ("up", "--trade", "--for", str(SECONDS), "--symbol", "BTCUSDT", "--symbol", "ETHUSDT", "--json")
HOPS = (
    "tick heard → quote", "quote → request", "request → decision", "decision → command", "command → sent",
    "sent → venue's answer", "venue's answer → report", "report of a fill → fill",
    "heard what caused it → request", "heard what caused it → sent",
)  # fmt: skip
TOPIC_HOPS = HOPS[1:4]  # each one exactly-once hop from a topic to a topic


def watch(address: str, stop: threading.Event, ready: threading.Event) -> list[tuple[int, str, int, bytes]]:
    """When a reader of committed rows could read which message: time, topic, partition, frame."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "watch", "isolation.level": "read_committed", "fetch.wait.max.ms": 5}
    )
    consumer.assign([KafkaPartition(one.name, part, 0) for one in WATCHED for part in range(one.partitions)])
    seen = []
    ready.set()
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and not message.error():
            seen.append((now_ns(), message.topic(), message.partition(), message.value()))
    consumer.close()
    return seen


def trade() -> tuple[list[tuple[int, str, int, bytes]], list[float]]:
    """Messages of a whole run, and milliseconds of bare hops on the same broker."""
    with broker() as address, tempfile.TemporaryDirectory() as data:
        stop, ready, seen = threading.Event(), threading.Event(), []
        watching = threading.Thread(target=lambda: seen.extend(watch(address, stop, ready)))
        watching.start()
        ready.wait(60)
        environment = {**os.environ, "SHRIVEN_DATA": data, "SHRIVEN_KAFKA": "", "SHRIVEN_SESSION": ""}
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *UP, "--broker", address],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS + 400, check=False,
        )  # fmt: skip
        SYSTEM_CLOCK.sleep(1.0)
        stop.set()
        watching.join()
        assert done.returncode == 0, done.stderr[-4000:]
        return seen, bare_hops(address)


def bare_hops(address: str) -> list[float]:
    stop, ready = threading.Event(), threading.Event()
    middle = threading.Thread(target=bare_middle, args=(address, stop, ready))
    middle.start()
    ready.wait(60)
    hop, found = Hop(address, "md.ticker.v1", "md.book_snapshot.v1"), []
    for _ in range(BARE_HOPS + 20):
        SYSTEM_CLOCK.sleep(HOP_PAUSE_S)
        found.append(hop.once())
    stop.set()
    middle.join()
    return found[20:]


def hops_of(seen: Iterable[tuple[int, str, int, bytes]]) -> dict[str, list[float]]:
    """Milliseconds of every hop of every new order that was approved."""
    quotes: dict[tuple[Any, ...], tuple[int, int]] = {}  # by address: read at, tick heard at
    requests: dict[tuple[Any, ...], tuple[int, int, tuple[Any, ...]]] = {}  # by address: read, heard at; the cause's
    decisions: list[tuple[int, int, tuple[Any, ...]]] = []  # read at, order id, address of the request
    commands: dict[int, int] = {}
    reports: dict[tuple[int, int], tuple[int, int]] = {}  # by order and kind, the first: read at, heard at
    fill_reports: dict[tuple[int, int], int] = {}
    fills: dict[tuple[int, int], int] = {}
    for at_ns, name, partition, message in seen:
        frame = decode(message)
        origin, rows = (topic(name).number, partition, frame.writer), frame.rows
        causes = [(frame.cause.topic, frame.cause.partition, frame.cause.writer, int(row)) for row in rows["cause_row"]]
        for i, row in enumerate(rows):
            address = (*origin, frame.row_first + i)
            if name == QUOTES.name:
                quotes[address] = at_ns, int(row["ts_recv_ns"])
            elif name == REQUESTS.name:
                requests[address] = at_ns, int(row["ts_recv_ns"]), causes[i]
            elif name == DECISIONS.name and row["action"] == RequestAction.NEW and row["reasons"] == 0:
                decisions.append((at_ns, int(row["order_id"]), causes[i]))
            elif name == COMMANDS.name and row["command"] == CommandKind.SUBMIT:
                commands.setdefault(int(row["order_id"]), at_ns)
            elif name == REPORTS.name:
                order_id = int(row["order_id"])
                reports.setdefault((order_id, int(row["report"])), (at_ns, int(row["ts_recv_ns"])))
                if row["report"] == ReportKind.FILL:
                    fill_reports.setdefault((order_id, int(row["trade_id"])), at_ns)
            elif name == FILLS.name:
                fills.setdefault((int(row["order_id"]), int(row["trade_id"])), at_ns)
    found: dict[str, list[float]] = {hop: [] for hop in HOPS}

    def add(hop: str, from_ns: int, to_ns: int) -> None:
        found[hop].append((to_ns - from_ns) / 1e6)

    for decided_ns, order_id, cause in decisions:
        asked_ns, caused_ns, quote = requests[cause]
        add(HOPS[8], caused_ns, asked_ns)
        add(HOPS[2], asked_ns, decided_ns)
        commanded_ns = commands[order_id]
        add(HOPS[3], decided_ns, commanded_ns)
        if (order_id, ReportKind.SENT) not in reports:
            continue  # the run ended before it went
        sent_ns = reports[order_id, ReportKind.SENT][1]
        add(HOPS[4], commanded_ns, sent_ns)
        add(HOPS[9], caused_ns, sent_ns)
        if (order_id, ReportKind.ACKNOWLEDGED) in reports:
            told_ns, heard_ns = reports[order_id, ReportKind.ACKNOWLEDGED]
            add(HOPS[5], sent_ns, heard_ns)
            add(HOPS[6], heard_ns, told_ns)
        if quote in quotes:
            quoted_ns, tick_ns = quotes[quote]
            add(HOPS[0], tick_ns, quoted_ns)
            add(HOPS[1], quoted_ns, asked_ns)
    for key, filled_ns in fills.items():
        add(HOPS[7], fill_reports[key], filled_ns)
    return found


def run() -> list[Result]:
    """A line for every hop."""
    seen, bare = trade()
    bare_p50 = float(np.median(bare))
    results = []
    for hop, times in hops_of(seen).items():
        if not times:
            continue  # a short run: no order followed from a quote itself
        p50, p90, p99 = np.quantile(times, (0.5, 0.9, 0.99)).tolist()
        is_topic_hop = hop in TOPIC_HOPS
        results.append(
            Result(
                hop, round(p50, 2), "ms at p50",
                "one bare hop: read, one transaction, read", round(bare_p50, 2),
                f"≤ {GOAL} × the reference" if is_topic_hop else "no goal of its own",
                not is_topic_hop or p50 <= GOAL * bare_p50,
                f"p90 {p90:.1f}, p99 {p99:.1f}, max {max(times):.1f} ms of {len(times):,}; bare p90 "
                f"{np.quantile(bare, 0.9):.1f} ms; the whole platform on this machine beside it",
            )
        )  # fmt: skip
    return results


if __name__ == "__main__":
    print_results(run())
