"""What a session came to, computed by reading its topics back: never from counters.

`summarize` gives one JSON object; README and scripts rely on its keys, so they only ever grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.text import Text as Words

from infra.cli.output import mebibytes, table
from infra.process.status import Status
from infra.sessions.readback import frames, instrument_names, keys_of, topic_frames
from infra.up.trading import TRADING_TOPICS, TradingNow
from schemas.declare import Rows
from schemas.events import BookAction, DeltaFlag, Trust
from schemas.hashing import ContentHash, RowHash, has_content, topic_hash
from schemas.money import format_e8
from streams.api import Chunk, WriterKey
from streams.pipelines import PIPELINES
from streams.topics import TOPICS, Topic, topic

Ids = npt.NDArray[np.int64]
TOUCH = ("bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8")
TRUST_LOST = (Trust.EMPTY, Trust.GAP, Trust.RESYNCING, Trust.STALE)  # CROSSED is of an update that moved the book
OUTPUT_TOPICS = (*dict.fromkeys(name for row in PIPELINES for name in row.outputs), "sys.dead_letter.v1")


@dataclass
class BookReport:
    """What one instrument's book came to.

    Attributes:
        last: the last quote row.
        gaps: breaks of the chain of updates.
        crossed: quotes in which the book was crossed.
        resync_s: from each break to the book being whole again; the first synchronisation heals no break.
        event_ids: update ids at which the book was consistent, ascending.
        ticker_shared, ticker_equal: update ids for which the venue published its own best bid and offer, and those
            of them at which ours was the same to the unit.
    """

    last: Rows | None = None
    gaps: int = 0
    crossed: int = 0
    resync_s: list[float] = field(default_factory=list)
    event_ids: list[Ids] = field(default_factory=list)
    ticker_shared: int = 0
    ticker_equal: int = 0
    broken_since_ns: int = 0

    def as_json(self) -> dict[str, Any]:
        last = self.last
        return {
            "best_bid": _price(last, "bid_price_e8"),
            "best_ask": _price(last, "ask_price_e8"),
            "trust": Trust(int(last["trust"][0])).name if last is not None else Trust.EMPTY.name,
            "gaps": self.gaps,
            "resyncs": len(self.resync_s),
            "crossed": self.crossed,
            "ticker_shared": self.ticker_shared,
            "ticker_equal": self.ticker_equal,
        }


def _price(row: Rows | None, column: str) -> str | None:
    """Decimal text, None where that side of the book is empty."""
    if row is None or not row[column][0]:
        return None
    return format_e8(int(row[column][0]))


def summarize(root: Path, processes: Mapping[str, Status], restarts: Mapping[str, int], **more: Any) -> dict[str, Any]:
    """Everything about a session that can be read from `root` (see `infra.readback.root_of`).

    Args:
        processes: the last status of each process.
        restarts: how often each was started again.
        more: keys to add: session, elapsed_s, time_to_first_book_s …
    """
    counts, row_hashes, content_hashes = count_and_hash(root)
    books = book_reports(root)
    return {
        **more,
        "rows": counts,
        "books": {name: book.as_json() for name, book in books.items()},
        "trading": trading_report(root),
        "time_to_resync_s": {name: book.resync_s for name, book in books.items()},
        "dead_letters": counts.get("sys.dead_letter.v1", 0),
        "hashes": {"row": row_hashes, "content": content_hashes},
        "processes": {
            name: {
                "rss_bytes": status.rss_bytes,
                "rss_bytes_warm": status.rss_bytes_warm,
                "rows_in": status.rows_in,
                "rows_out": status.rows_out,
                "restarts": restarts.get(name, 0),
                "state": status.state,
            }
            for name, status in processes.items()
        },
    }


def count_and_hash(root: Path) -> tuple[dict[str, int], dict[str, str], dict[str, str]]:
    """Rows of every topic; row hash and content hash of every output topic that has rows."""
    counts: dict[str, int] = {}
    row_hashes: dict[str, str] = {}
    content_hashes: dict[str, str] = {}
    for row in TOPICS:
        content = ContentHash(row.event) if row.name in OUTPUT_TOPICS and has_content(row.event) else None
        count, digest = row_hash_of(root, row, keys_of(root, row), content)
        if count:
            counts[row.name] = count
            if row.name in OUTPUT_TOPICS:
                row_hashes[row.name] = digest
            if content is not None:
                content_hashes[row.name] = content.hexdigest()
    return counts, row_hashes, content_hashes


def row_hash_of(
    root: Path, row: Topic, keys: Iterable[WriterKey], content: ContentHash | None = None
) -> tuple[int, str]:
    """Rows of these sequences and the topic hash over them; `content`, where given, takes the rows too."""
    digests: dict[tuple[int, int, int, int], str] = {}
    count = 0
    for key in sorted(keys):
        row_hash = RowHash(row.event)
        for frame in frames(root, key):
            row_hash.update(frame.cause, frame.rows, frame.heap)
            if content is not None:
                content.update(frame.rows, frame.heap)
        digests[key] = row_hash.hexdigest()
        count += row_hash.row_count
    return count, topic_hash(digests)


def book_reports(root: Path) -> dict[str, BookReport]:
    """A report per instrument that had a book, by `venue:symbol`."""
    reports: dict[int, BookReport] = {}
    for frame in topic_frames(root, "md.book_delta.v1"):
        for instrument, rows in _by_instrument(frame.rows):
            _take_deltas(reports.setdefault(instrument, BookReport()), rows)
    _take_quotes(root, reports, _shared_tickers(root, reports))
    names = instrument_names(root)
    return {names.get(instrument, str(instrument)): report for instrument, report in reports.items()}


def _take_quotes(root: Path, reports: dict[int, BookReport], tickers: Mapping[int, Rows]) -> None:
    """Last quotes, crossings, and the comparison with the venue's own touch."""
    for key in keys_of(root, topic("md.quote.v1")):
        before: dict[int, Rows] = {}
        for frame in frames(root, key):
            for instrument, rows in _by_instrument(frame.rows):
                report = reports.setdefault(instrument, BookReport())
                report.crossed += int((rows["trust"] == Trust.CROSSED).sum())
                if instrument in before:
                    _compare(report, tickers.get(instrument), np.concatenate((before[instrument], rows[:1])))
                _compare(report, tickers.get(instrument), rows)
                before[instrument] = report.last = rows[-1:].copy()
        for instrument, rows in before.items():
            _compare(reports[instrument], tickers.get(instrument), rows, after_end=True)


def _take_deltas(report: BookReport, rows: Rows) -> None:
    """Breaks, resyncs, and the update ids of consistent moments."""
    whole = (rows["flags"] & DeltaFlag.LAST) != 0
    levels = (rows["action"] == BookAction.UPDATE) | (rows["action"] == BookAction.SNAPSHOT)
    report.event_ids.append(np.unique(rows["update_id"][whole & levels]))
    report.gaps += int((rows["action"] == BookAction.GAP).sum())
    ended = (rows["flags"] & DeltaFlag.SNAPSHOT_END) != 0
    for row in rows[(rows["action"] == BookAction.GAP) | ended]:
        now_ns = int(row["ts_recv_ns"])
        if row["action"] == BookAction.GAP:
            report.broken_since_ns = report.broken_since_ns or now_ns
        elif report.broken_since_ns:
            report.resync_s.append((now_ns - report.broken_since_ns) / 1e9)
            report.broken_since_ns = 0


def _shared_tickers(root: Path, reports: Mapping[int, BookReport]) -> dict[int, Rows]:
    """The venue's own touch at update ids at which our book was consistent too, ascending by update id."""
    ids = {instrument: np.concatenate(report.event_ids) for instrument, report in reports.items() if report.event_ids}
    found: dict[int, list[Rows]] = {}
    for frame in topic_frames(root, "md.ticker.v1"):
        for instrument, rows in _by_instrument(frame.rows):
            if instrument in ids:
                found.setdefault(instrument, []).append(rows[np.isin(rows["update_id"], ids[instrument])])
    shared = {}
    for instrument, parts in found.items():
        together = np.concatenate(parts)
        together = together[np.argsort(together["update_id"], kind="stable")]
        last_of_id = np.append(together["update_id"][1:] != together["update_id"][:-1], True)
        shared[instrument] = together[last_of_id] if len(together) else together
    return shared


def _compare(report: BookReport, tickers: Rows | None, quotes: Rows, *, after_end: bool = False) -> None:
    """Count tickers between consecutive quotes, against the quote that was in force.

    A quote is in force from its update id until the next one's; to the end of the next one's where that only took
    the trust away: the book of that update id was still good. `after_end` counts what follows the last quote.
    """
    if tickers is None or not len(tickers):
        return
    ids = tickers["update_id"]
    first = np.searchsorted(ids, quotes["update_id"], side="left")
    if after_end:
        after = np.array([len(ids)])
    else:
        beyond = np.searchsorted(ids, quotes["update_id"][1:], side="right")
        after = np.where(np.isin(quotes["trust"][1:], TRUST_LOST), beyond, first[1:])
    for i in np.flatnonzero((after > first[: len(after)]) & (quotes["trust"][: len(after)] == Trust.SYNCED)):
        span = slice(int(first[i]), int(after[i]))
        same = np.ones(span.stop - span.start, dtype=np.bool_)
        for column in TOUCH:
            same &= tickers[column][span] == quotes[column][i]
        report.ticker_shared += len(same)
        report.ticker_equal += int(same.sum())


def trading_report(root: Path) -> dict[str, Any]:
    """By strategy: requests, denials by reason, fills, open orders, and what it came to. Empty where nobody traded."""
    now = TradingNow()
    names = instrument_names(root)
    requests: dict[int, int] = {}
    for name in (*TRADING_TOPICS, "oms.order_request.v1"):
        row = topic(name)
        for key in sorted(keys_of(root, row)):
            for frame in frames(root, key):
                if name == "oms.order_request.v1":
                    for strategy, count in zip(*np.unique(frame.rows["strategy"], return_counts=True), strict=True):
                        requests[int(strategy)] = requests.get(int(strategy), 0) + int(count)
                else:
                    chunk = Chunk(key, frame.row_first, frame.rows, frame.heap)
                    now.take(name, chunk, lambda one: names.get(one, str(one)))
    return {
        one.name: {
            "requests": requests.get(number, 0),
            "denials": dict(one.denials),
            "fills": one.fills,
            "open_orders": len(one.open_orders),
            "positions": {names.get(place, str(place)): format_e8(line[0]) for place, line in one.held.items()},
            "realised": format_e8(sum(line[2] for line in one.held.values())),
            "unrealised": format_e8(sum(line[3] for line in one.held.values())),
            "fees": format_e8(sum(line[4] for line in one.held.values())),
            "profit": format_e8(one.profit_e8),
        }
        for number, one in now.strategies.items()
    }


def _by_instrument(rows: Rows) -> list[tuple[int, Rows]]:
    ids = rows["instrument"]
    if len(ids) and (ids == ids[0]).all():
        return [(int(ids[0]), rows)]
    return [(int(one), rows[ids == one]) for one in np.unique(ids)]


def render(summary: Mapping[str, Any]) -> RenderableType:
    """The summary for people."""
    books = [
        (
            name,
            book["best_bid"],
            book["best_ask"],
            book["trust"],
            book["gaps"],
            book["resyncs"],
            book["crossed"],
            f"{book['ticker_equal']:,} of {book['ticker_shared']:,}",
        )
        for name, book in summary["books"].items()
    ]
    hashes = summary["hashes"]
    topics = [
        (name, count, hashes["row"].get(name, "")[:16], hashes["content"].get(name, "")[:16])
        for name, count in summary["rows"].items()
    ]
    processes = [
        (
            name,
            one["state"],
            one["restarts"],
            mebibytes(one["rss_bytes_warm"]),
            mebibytes(one["rss_bytes"]),
            one["rows_in"],
            one["rows_out"],
        )
        for name, one in summary["processes"].items()
    ]
    first, fill = summary.get("time_to_first_book_s"), summary.get("time_to_first_fill_s")
    trading = [
        (name, one["requests"], sum(one["denials"].values()), one["fills"], one["open_orders"],
         ", ".join(f"{quantity} {place}" for place, quantity in one["positions"].items()),
         one["realised"], one["unrealised"], one["fees"], one["profit"])
        for name, one in summary.get("trading", {}).items()
    ]  # fmt: skip
    facts = [
        f"{summary['elapsed_s']:.1f} s in all",
        f"first book after {first:.1f} s" if first is not None else "no book was seen live",
        *([f"first fill after {fill:.1f} s"] if fill is not None else []),
        f"{summary['dead_letters']:,} dead letters",
    ]
    book_columns = (
        "book",
        "best bid",
        "best ask",
        "trust",
        "gaps",
        "resyncs",
        "crossed",
        "equal to the venue's ticker",
    )
    trading_columns = (
        "strategy", "requests", "denials", "fills", "open orders", "positions", "realised", "open", "fees", "profit",
    )  # fmt: skip
    paper: list[RenderableType] = [table(trading_columns, trading), Words()] if trading else []
    return Group(
        Words(f"session {summary['session']}: {summary['source']}", style="bold"),
        Words("; ".join(facts)),
        Words(),
        table(book_columns, books),
        Words(),
        *paper,
        table(("topic", "rows", "row hash", "content hash"), topics),
        Words(),
        table(("process", "state", "restarts", "memory warm", "memory at the end", "rows in", "rows out"), processes),
    )
