"""Verify, why and diff: a session that traded is what it was; what is changed is named at its row; every fill is
explained down to the wire."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from crc32c import crc32c

from connectors.binance_usdm.private_wire import PrivateWire
from infra.cli.__main__ import run
from infra.config import Config, config
from infra.registry import PROCESSORS
from infra.sessions import sealing
from infra.sessions.address import Address, parse_address, sequence_text
from infra.sessions.readback import frames, keys_of
from infra.sessions.store import Session, held, load
from infra.sessions.why import Why
from processors.api import Batch, Outputs, State
from schemas.errors import ConfigInvalid, IntegrityError, Mismatch, ResourceExhausted
from schemas.events import FrameKind
from schemas.frame import Frame, decode
from schemas.trading import CommandKind, Reason, client_id_of
from streams.api import WriterKey
from streams.log import LogReader
from streams.log_format import COMMITTED, RECORD_BYTES, key_dir, segment_path, segment_rows
from streams.topics import topic
from tests.cli import shriven

pytestmark = pytest.mark.timeout(600)
UP = ("up", "--trade", "--for", "20", "--symbol", "BTCUSDT", "--symbol", "ETHUSDT", "--json")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Proof:
    """The command line in this process, over one data folder."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capsys = capsys

    def __call__(self, *words: str) -> Ran:
        self._capsys.readouterr()
        code = run(words)
        return Ran(code, *self._capsys.readouterr())

    @property
    def session(self) -> Session:
        return load(next((self.data / "sessions").iterdir()))


@pytest.fixture(scope="session")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a session that traded without a broker. Not to be changed."""
    data = tmp_path_factory.mktemp("proof")
    summary = shriven(*UP, "--broker", "none", data=data, timeout_s=400).json()
    assert summary["rows"]["oms.fill.v1"] > 0
    return data


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proof]:
    """A data folder of the test's own."""
    monkeypatch.setenv("SHRIVEN_DATA", str(tmp_path / "data"))
    for name in ("SHRIVEN_KAFKA", "SHRIVEN_SESSION"):
        monkeypatch.delenv(name, raising=False)
    config.cache_clear()
    yield Proof(tmp_path / "data", capsys)
    config.cache_clear()


@pytest.fixture
def copy(traded: Path, empty: Proof) -> Proof:
    """The same with a copy of the session."""
    shutil.copytree(traded, empty.data)
    return empty


def rows_of(session: Session, name: str) -> Iterator[tuple[Address, Frame, int]]:
    for key in keys_of(session.log, topic(name)):
        for frame in frames(session.log, key):
            for at in range(len(frame.rows)):
                yield Address(key, frame.row_first + at), frame, at


def first_row(session: Session, name: str, wanted: Callable[[Frame, int], bool]) -> tuple[Address, Address]:
    """The first such row, and its cause."""
    for address, frame, at in rows_of(session, name):
        if wanted(frame, at):
            return address, Address(WriterKey(*frame.cause), int(frame.rows["cause_row"][at]))
    raise AssertionError(f"{name} has no such row")


def flip(session: Session, address: Address, near: bytes, *, mend: bool) -> Path:
    """Change the last bit of the byte behind `near` in a raw row's payload (b"": of its frame's first byte); `mend` the
    record's checksum too."""
    reader = LogReader(session.log, address.key, address.row)
    record = reader.poll(1)[0]
    frame = bytes(record.frame)
    reader.close()
    directory = key_dir(session.log, address.key)
    path = segment_path(directory, max(first for first in segment_rows(directory) if first <= address.row))
    data = bytearray(path.read_bytes())
    start = data.index(frame)
    assert data.count(frame) == 1
    decoded = decode(frame)
    row = decoded.rows[address.row - decoded.row_first]
    at = int(row["payload_at"])
    payload = decoded.heap[at : at + int(row["payload_size"])].tobytes()
    assert frame.count(payload) == 1
    data[start + (frame.index(payload) + payload.index(near) + len(near) if near else 0)] ^= 1
    if mend:
        head = start - (RECORD_BYTES + (-len(frame) & 7))
        end = start + len(frame)
        data[head : head + 8] = (COMMITTED | crc32c(bytes(data[head + 8 : end]))).to_bytes(8, "little")
    path.write_bytes(data)
    return path


def differing_fields(difference: Mapping[str, Any]) -> set[str]:
    return {one["field"] for one in difference["fields"] if one["differs"]}


# --- verify


@pytest.mark.slow
def test_certificate_of_a_session_as_it_was_has_the_hashes_of_the_live_run(copy: Proof, tmp_path: Path) -> None:
    made = copy("verify", "latest", "--json", "--out", str(tmp_path / "mine.json"))
    assert made.code == 0, made.err
    found = made.json()
    assert found["verdict"] == "verified"
    live = copy.session.report()
    assert live is not None
    topics = {one["topic"]: one for one in found["topics"]}
    assert set(live["hashes"]["row"]) <= set(topics)
    for name, digest in live["hashes"]["row"].items():
        assert (topics[name]["live"], topics[name]["recorded"]) == (digest, digest)
    for name in ("md.quote.v1", "venue.report.v1", "risk.decision.v1", "oms.order.v1", "acct.posting.v1"):
        assert topics[name]["replayed"] == topics[name]["recorded"]
        assert topics[name]["rows"] == live["rows"][name]
    assert topics["raw.frame.v1"]["replayed"] is None
    assert json.loads((tmp_path / "mine.json").read_text()) == found
    assert json.loads((copy.session.root / "certificate.json").read_text()) == found


@pytest.mark.slow
def test_flipped_bit_in_a_recorded_input_is_an_integrity_error_at_its_row(copy: Proof) -> None:
    _, cause = first_row(copy.session, "md.trade.v1", lambda frame, at: frame.row_first + at == 20)
    path = flip(copy.session, cause, b'"p":"', mend=False)
    made = copy("verify", "latest", "--json")
    assert made.code == IntegrityError.exit_code
    assert made.json()["verdict"] == "damaged"
    assert sequence_text(cause.key) in made.err
    assert str(path) in made.err.replace("\n", "")
    damage = made.json()["damage"]
    assert len(damage) == 1
    first, last = (int(word) for word in damage[0].rpartition("; rows ")[2].split(" to "))
    assert first <= cause.row <= last
    assert not (copy.session.root / "certificate.json").exists()


@pytest.mark.slow
def test_changed_bit_under_a_mended_checksum_is_named_by_the_row_that_it_changed(copy: Proof) -> None:
    row, cause = first_row(copy.session, "md.trade.v1", lambda frame, at: frame.row_first + at == 20)
    flip(copy.session, cause, b'"p":"', mend=True)
    made = copy("verify", "latest", "--json")
    assert made.code == Mismatch.exit_code
    (task,) = [one for one in made.json()["tasks"] if one["difference"]]
    assert (task["task"], task["code_changed"]) == ("wire_binance_usdm/0", False)
    found = task["difference"]
    assert (found["row"], found["cause"]) == (str(row), str(cause))
    assert differing_fields(found) == {"price_e8"}
    assert str(cause) in made.err.replace("\n", "")


@pytest.mark.slow
def test_frame_that_is_none_under_a_mended_checksum_is_an_integrity_error_at_its_rows(copy: Proof) -> None:
    _, cause = first_row(copy.session, "md.trade.v1", lambda frame, at: frame.row_first + at == 20)
    flip(copy.session, cause, b"", mend=True)
    made = copy("verify", "latest", "--json")
    assert made.code == IntegrityError.exit_code
    said = re.search(rf"{re.escape(sequence_text(cause.key))}/(\d+) to (\d+): its bytes are no frame", made.err)
    assert said is not None
    assert int(said[1]) <= cause.row <= int(said[2])


@pytest.mark.slow
def test_changed_input_that_no_rule_uses_is_found_by_the_earlier_certificate(copy: Proof) -> None:
    assert copy("verify", "latest", "--json").code == 0
    address = next(
        found for found, frame, at in rows_of(copy.session, "raw.frame.v1") if frame.rows["kind"][at] == FrameKind.OPEN
    )
    flip(copy.session, address, b"ws://", mend=True)
    made = copy("verify", "latest", "--json")
    assert made.code == Mismatch.exit_code
    assert all(task["equal"] for task in made.json()["tasks"])
    assert [line.partition(":")[0] for line in made.json()["against_earlier"]] == [sequence_text(address.key)]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["set", "plan"])
def test_changed_parameter_is_named_with_the_first_row_that_it_changes(copy: Proof, way: str) -> None:
    words = ["verify", "latest", "--json"]
    if way == "set":
        words += ["--set", "strategies.valid_for_ns=1900000000"]
    else:
        path = copy.session.root / "session.json"
        content = json.loads(path.read_text())
        content["plan"]["parameters"] = {"strategies": {"valid_for_ns": 1_900_000_000}}
        path.write_text(json.dumps(content))
    made = copy(*words)
    assert made.code == Mismatch.exit_code
    assert made.json()["changed_parameters"] == ["strategies.valid_for_ns: recorded with not given, now 1900000000"]
    (task,) = [one for one in made.json()["tasks"] if one["difference"]]
    assert (task["task"], task["code_changed"]) == ("strategies/0", True)
    row, cause = first_row(copy.session, "oms.order_request.v1", lambda frame, at: True)
    assert (task["difference"]["row"], task["difference"]["cause"]) == (str(row), str(cause))
    assert differing_fields(task["difference"]) == {"valid_until_ns"}
    assert "strategies.valid_for_ns" in made.err


class Dearer(PrivateWire):
    """The venue's fees, read wrongly."""

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        before = len(out.emitted)
        super().on_batch(state, batch, out)
        for item in out.emitted[before:]:
            if item.output == 0:
                item.rows["fee_e8"] += item.rows["trade_id"] > 0


@pytest.mark.slow
def test_changed_rule_is_named_with_the_first_row_that_it_changes(copy: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROCESSORS, "binance_usdm.orders", lambda given: Dearer())
    made = copy("verify", "latest", "--json")
    assert made.code == Mismatch.exit_code
    (task,) = [one for one in made.json()["tasks"] if not one["equal"]]
    assert (task["task"], task["code_changed"]) == ("orders_binance_usdm/0", True)
    assert [one["task"] for one in made.json()["tasks"] if one["code_changed"]] == ["orders_binance_usdm/0"]
    row, cause = first_row(copy.session, "venue.report.v1", lambda frame, at: bool(frame.rows["trade_id"][at] > 0))
    assert (task["difference"]["row"], task["difference"]["cause"]) == (str(row), str(cause))
    assert differing_fields(task["difference"]) == {"fee_e8"}


@pytest.mark.slow
@pytest.mark.broker
def test_live_over_kafka_its_replay_over_kafka_and_its_sealed_replay_have_the_same_hashes(
    kafka: str, empty: Proof
) -> None:
    summary = shriven(*UP, "--broker", kafka, data=empty.data, timeout_s=400).json()
    made = [empty("verify", "latest", "--json", "--broker", broker) for broker in (kafka, "none", "")]
    assert [one.code for one in made] == [0, 0, 0], made[0].err
    certificates = [one.json() for one in made]
    for one in certificates:
        hashes = {line["topic"]: (line["recorded"], line["replayed"]) for line in one["topics"]}
        assert hashes == {line["topic"]: (line["recorded"], line["replayed"]) for line in certificates[0]["topics"]}
        for name, digest in summary["hashes"]["row"].items():
            assert hashes[name] == (digest, digest)
    assert len({one["hash"] for one in certificates}) == 1
    asked = Why(empty.session)
    for key in asked.store.keys("oms.order_command.v1"):
        for frame in frames(empty.session.sealed, key):
            for row in range(frame.row_first, frame.row_first + len(frame.rows)):
                assert all(way.reaches_the_wire for way in asked.row(Address(key, row)))
    asked.close()


def test_session_that_does_not_exist_or_runs_still_is_refused_in_one_sentence(empty: Proof) -> None:
    root = empty.data / "sessions" / "mine"
    root.mkdir(parents=True)
    plan = {"name": "mine", "incarnation": 1, "created_ns": 1, "plan": {"broker": "none"}}
    (root / "session.json").write_text(json.dumps(plan))
    for words in (("verify", "nobody"), ("diff", "mine", "nobody"), ("why", "fill", "latest", "--session", "nobody")):
        made = empty(*words)
        assert (made.code, made.out) == (ConfigInvalid.exit_code, "")
        assert "No session 'nobody'" in made.err
    with held(empty.session):
        for words in (("verify", "mine"), ("diff", "mine", "mine")):
            made = empty(*words)
            assert (made.code, made.out) == (ResourceExhausted.exit_code, "")
            assert "still being run by process" in made.err
    made = empty("verify", "mine")
    assert made.code == ConfigInvalid.exit_code
    assert "has no journal" in made.err


# --- why


@pytest.fixture
def why(copy: Proof) -> Iterator[Why]:
    asked = Why(copy.session)
    yield asked
    asked.close()


@pytest.mark.slow
def test_every_fill_leads_to_the_wire_both_ways(why: Why, copy: Proof) -> None:
    seen = 0
    for address, frame, at in rows_of(copy.session, "oms.fill.v1"):
        ways = {way.title: way for way in why.row(address)}
        fill = frame.rows[at]
        client_id = client_id_of(int(fill["order_id"])).encode()
        filled, ordered = ways["why it was filled"], ways["why it was ordered"]
        assert filled.reaches_the_wire
        assert ordered.reaches_the_wire
        heard = filled.hops[-1].wire
        assert heard is not None
        assert client_id in heard or b"userTrades" in heard or str(fill["venue_order_id"]).encode() in heard
        assert str(fill["trade_id"]).encode() in heard
        kinds = [hop.said for hop in ordered.hops]
        assert kinds[:3] == ["command", "decision of risk", "request"]
        assert ordered.hops[1].limits
        assert all(limit["set_by"] and limit["why"] for limit in ordered.hops[1].limits)
        assert ordered.hops[2].strategy is not None
        sent = ways["how the submit was sent"].hops
        assert [hop.columns.get("kind") for hop in sent[:2]] == ["REST", "SENT"]
        assert sent[1].wire is not None
        assert client_id in sent[1].wire
        for way in ways.values():
            for effect, cause in zip(way.hops, way.hops[1:], strict=False):
                assert effect.took_ns == effect.at_ns - cause.at_ns >= 0
        seen += 1
    assert seen > 0


@pytest.mark.slow
def test_every_command_leads_to_the_wire_and_every_denial_to_its_numbers(why: Why, copy: Proof) -> None:
    for address, frame, at in rows_of(copy.session, "oms.order_command.v1"):
        if frame.rows["command"][at] != CommandKind.QUERY:
            (way,) = why.row(address)
            assert way.reaches_the_wire, address
    for address, frame, at in rows_of(copy.session, "risk.denial.v1"):
        reason = Reason(frame.rows["reason"][at]).name
        (way,) = why.row(address)
        decision = way.hops[0]
        assert way.reaches_the_wire
        assert reason in decision.columns["reasons"].split("|")
        limits = [limit for limit in decision.limits if limit["denied"]]
        assert any(f"denied by {reason} " in note for note in decision.notes) or reason in {
            limit["limit"] for limit in limits
        }


@pytest.mark.slow
def test_why_takes_addresses_orders_and_fills_and_refuses_what_is_none(copy: Proof) -> None:
    latest = copy("why", "fill", "latest", "--json").json()
    fill = latest["ways"][0]["hops"][0]
    again = [
        copy("why", *words, "--json").json()
        for words in ((fill["row"],), (fill["row"].replace(".v1", ""),), ("fill", str(fill["columns"]["trade_id"])))
    ]
    for one in again:
        assert (one["row"], one["ways"]) == (latest["row"], latest["ways"])
    orders = [
        copy("why", "order", which, "--json").json()["ways"]
        for which in (str(fill["columns"]["order_id"]), fill["columns"]["client_id"])
    ]
    orders.append(copy("why", fill["columns"]["client_id"], "--json").json()["ways"])
    assert orders[0] == orders[1] == orders[2]
    life = next(way for way in orders[0] if way["way"] == "what became of it")
    assert fill["row"] in [hop["row"] for hop in life["hops"]]
    for words, said in (
        (("why", "nonsense"), "is no row address"),
        (("why", "order", "S123"), "is no order id"),
        (("why", "fill", "x"), "names no fill"),
        (("why", str(parse_address(fill["row"])._replace(row=10**6))), "There is no row"),
    ):
        made = copy(*words)
        assert (made.code, made.out) == (ConfigInvalid.exit_code, "")
        assert said in made.err
    assert "as they went over the wire" in copy("why", "fill", "latest").out


@pytest.mark.slow
def test_why_copies_again_what_a_running_session_wrote_meanwhile(copy: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill may be copied out of Kafka before the quotes it came from: they are there at the next copy."""
    fill = copy("why", "fill", "latest", "--json").json()
    session = copy.session
    content = json.loads((session.root / "session.json").read_text())
    content["plan"]["broker"] = "a-broker:9092"
    (session.root / "session.json").write_text(json.dumps(content))
    (quotes,) = {key_dir(session.log, key).parent for key in keys_of(session.log, topic("md.quote"))}
    quotes.rename(copy.data / "quotes")
    copies = 0

    def pull(_: Config, of: Session) -> int:
        nonlocal copies
        copies += 1
        if copies == 2:
            shutil.copytree(copy.data / "quotes", of.pulled / quotes.relative_to(of.log))
        return 0

    monkeypatch.setattr(sealing, "pull", pull)
    assert copy("why", "fill", "latest", "--json").json()["ways"] == fill["ways"]
    assert copies == 2
    shutil.rmtree(session.pulled)
    copies = 2
    assert "There is no row md.quote" in copy("why", "fill", "latest").err
    assert copies == 5


# --- diff


@pytest.mark.slow
def test_diff_of_a_copy_is_empty_and_of_a_changed_one_names_the_row(copy: Proof) -> None:
    session = copy.session
    twin = session.root.parent / "twin"
    shutil.copytree(session.root, twin)
    content = json.loads((twin / "session.json").read_text())
    content["name"] = "twin"
    content["plan"]["parameters"] = {"book": {"stale_after_ns": 1}}
    (twin / "session.json").write_text(json.dumps(content))
    same = copy("diff", session.name, "twin", "--json")
    assert same.code == 0
    assert same.json()["equal"] is True
    assert [line["what"] for line in same.json()["plan"]] == ["parameters.book.stale_after_ns"]
    _, cause = first_row(session, "md.trade.v1", lambda frame, at: frame.row_first + at == 20)
    flip(load(twin), cause, b'"p":"', mend=True)
    made = copy("diff", session.name, "twin", "--json")
    assert made.code == Mismatch.exit_code
    different = {line["topic"]: line["first"] for line in made.json()["topics"] if line["equal"] is False}
    assert set(different) == {"raw.frame.v1"}
    assert [row["row"] for row in different["raw.frame.v1"]["rows"]] == [str(cause)] * 2
    assert different["raw.frame.v1"]["fields"] == ["payload"]
