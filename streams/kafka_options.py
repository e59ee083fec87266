"""Every option of the Kafka client that we set, with its reason. streams/README.md shows this table; a test keeps
the two equal. What is not here has the library's default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["consumer", "transactional", "idempotent"]
Value = str | int | bool

TRANSACTION_TIMEOUT_MS = 2_000
FETCH_WAIT_SHORT_MS = 10  # of readers to an end, and of tasks that merge: they wait for ends, not for rows
FRAME_BYTES_MAX = 16 << 20  # a message; the topics' max.message.bytes is the same


@dataclass(frozen=True)
class ClientOption:
    """One option.

    Args:
        name, value: as the library wants them.
        roles: clients that get it.
        why: one sentence.
    """

    name: str
    value: Value
    roles: tuple[Role, ...]
    why: str


_ALL: tuple[Role, ...] = ("consumer", "transactional", "idempotent")
_PRODUCERS: tuple[Role, ...] = ("transactional", "idempotent")
_CONSUMER: tuple[Role, ...] = ("consumer",)

CLIENT_OPTIONS: tuple[ClientOption, ...] = (
    ClientOption("allow.auto.create.topics", False, _ALL, "topics come from the table, by plan and apply"),
    ClientOption("socket.nagle.disable", True, _ALL, "a commit is several small requests"),
    ClientOption("socket.keepalive.enable", True, _ALL, "a dead peer is noticed on quiet connections"),
    ClientOption("reconnect.backoff.ms", 50, _ALL, "back soon after a broker restart"),
    ClientOption("reconnect.backoff.max.ms", 1_000, _ALL, "the default of 10 s would be the longest part of an outage"),
    ClientOption("log_level", 3, _ALL, "errors only; connection troubles are in the exceptions"),
    ClientOption("isolation.level", "read_committed", _CONSUMER, "aborted rows reuse row numbers"),
    ClientOption("enable.auto.commit", False, _CONSUMER, "positions are in the journal; groups are for lag displays"),
    ClientOption("enable.auto.offset.store", False, _CONSUMER, "as above"),
    ClientOption("auto.offset.reset", "error", _CONSUMER, "rows deleted unread are an error, not a jump"),
    ClientOption("enable.partition.eof", True, _CONSUMER, "a merge must know that a partition is at its end"),
    ClientOption("fetch.queue.backoff.ms", 1, _CONSUMER, "a full local queue would stop fetching for 1 s"),
    ClientOption("fetch.error.backoff.ms", 50, _CONSUMER, "the default of 500 ms is felt after each leader change"),
    ClientOption("fetch.wait.max.ms", 200, _CONSUMER, "an empty fetch tells the end; 10 where that is awaited"),
    ClientOption("fetch.message.max.bytes", 8 << 20, _CONSUMER, "large helpings: replay is bound by decoding"),
    ClientOption("queued.max.messages.kbytes", 32 << 10, _CONSUMER, "bounds memory per task (default 64 MiB)"),
    ClientOption("receive.message.max.bytes", 128 << 20, _CONSUMER, "must exceed what one fetch may carry"),
    ClientOption("partitioner", "murmur2_random", _PRODUCERS, "where we do not choose, agree with Java clients"),
    ClientOption("enable.idempotence", True, _PRODUCERS, "retries neither repeat nor reorder"),
    ClientOption("acks", "all", _PRODUCERS, "an acknowledged row survives the leader"),
    ClientOption("message.max.bytes", FRAME_BYTES_MAX, _PRODUCERS, "the topics accept the same"),
    ClientOption("batch.size", 1 << 20, _PRODUCERS, "large batches: 71 to 102 MB/s were measured with them"),
    ClientOption("queue.buffering.max.kbytes", 256 << 10, _PRODUCERS, "one checkpoint fits; more is a bug"),
    ClientOption("linger.ms", 0, ("transactional",), "a commit flushes at once"),
    ClientOption("linger.ms", 5, ("idempotent",), "nobody waits for a single frame; batches pack better"),
    ClientOption("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS, ("transactional",), "the dead hold readers up"),
    ClientOption("message.timeout.ms", TRANSACTION_TIMEOUT_MS, ("transactional",), "may not exceed the transaction's"),
    ClientOption("message.timeout.ms", 0, ("idempotent",), "giving up opens a hole, and 'failed' rows had landed"),
)  # fmt: skip


def client_options(role: Role, bootstrap: str, security: Mapping[str, str], **given: Value) -> dict[str, Value]:
    """Settings of one client.

    Args:
        security: further settings of the library (`security.protocol`, `sasl.username`, …).
        given: what differs from client to client; underscores stand for dots (`group_id`, `transactional_id`).
    """
    options: dict[str, Value] = {"bootstrap.servers": bootstrap}
    options |= {option.name: option.value for option in CLIENT_OPTIONS if role in option.roles}
    options |= security
    options |= {name.replace("_", "."): value for name, value in given.items()}
    return options


def options_table() -> str:
    """The table in Markdown."""
    lines = ["| option | value | clients | why |", "|---|---|---|---|"]
    lines += [
        f"| `{option.name}` | {str(option.value).lower() if isinstance(option.value, bool) else option.value} "
        f"| {'all' if option.roles == _ALL else 'producers' if option.roles == _PRODUCERS else option.roles[0]} "
        f"| {option.why} |"
        for option in CLIENT_OPTIONS
    ]
    return "\n".join(lines)
