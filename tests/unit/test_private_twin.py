"""The kernel of the private wire against its plain half: the same frames give the same bytes and the same state."""

from __future__ import annotations

import itertools
from typing import NamedTuple, cast

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.binance.kernels import private
from connectors.binance_usdm import private_frames, private_quick
from connectors.binance_usdm.private_wire import PrivateWire
from connectors.binance_usdm.private_words import PRIVATE_CONNECTION, STREAM_CONNECTION
from connectors.simulator.private_algos import Algos
from connectors.simulator.private_api import PrivateApi
from connectors.simulator.private_config import PAPER_KEY, AccountConfig, PrivateRules
from connectors.simulator.private_request import Call
from connectors.simulator.private_stream import UserStreams
from connectors.simulator.rest import Refused
from processors.api import Batch, Outputs, State
from schemas.events import RAW_FRAME, FrameKind
from schemas.instruments import Venue
from schemas.trading import client_id_of
from tests.laws.private_frames import private_streams
from tests.laws.stream import ORIGIN, Stream, answer_of, state_bytes
from tests.private_market import NOW_MS, Trading, signed

FREE = PrivateRules(orders_per_10s=0, orders_per_minute=0, funding_interval_s=0.0)


class Frame(NamedTuple):
    kind: FrameKind
    payload: bytes
    request: str = ""
    status: int = 0


def rule() -> PrivateWire:
    return PrivateWire(orders_max=8, trades_max=4, assets_max=2)


def stream_of(frames: list[Frame]) -> Stream:
    rows, heap = RAW_FRAME.empty(len(frames)), bytearray()
    for k, (row, frame) in enumerate(zip(rows, frames, strict=True)):
        row["ts_recv_ns"], row["venue"], row["kind"], row["status"] = (
            k + 1,
            Venue.BINANCE_USDM,
            frame.kind,
            frame.status,
        )
        row["connection"] = STREAM_CONNECTION if frame.kind == FrameKind.TEXT else PRIVATE_CONNECTION
        for column, text in (("payload", frame.payload), ("request", frame.request.encode())):
            row[f"{column}_at"], row[f"{column}_size"] = len(heap), len(text)
            heap += text
    return Stream(rows, np.frombuffer(bytes(heap), dtype=np.uint8))


def check_equal(stream: Stream, pieces: int = 1) -> Outputs:
    """Feed both halves; returns what the compiled one put out."""
    one, two = rule(), rule()
    states: list[State] = [one.initial_state(), two.initial_state()]
    outs = [Outputs(one.outputs, ORIGIN) for _ in states]
    edges = np.linspace(0, len(stream.rows), pieces + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        batch = Batch(0, ORIGIN, 1 + int(start), stream.rows[start:stop], stream.heap)
        one.on_batch(states[0], batch, outs[0])
        two.on_batch_plainly(states[1], batch, outs[1])
        for output in (0, 1):  # the bytes of one call, heap and pointers into it included
            said = [[item for item in out.emitted if item.output == output] for out in outs]
            assert [(item.rows.tobytes(), item.heap.tobytes()) for item in said[0]] == [
                (item.rows.tobytes(), item.heap.tobytes()) for item in said[1]
            ]
    assert answer_of(one, outs[0]) == answer_of(two, outs[1])
    assert state_bytes(states[0]) == state_bytes(states[1])
    return outs[0]


def check_damaged(frames: list[Frame], chosen: np.random.Generator) -> None:
    """The usual frames, one of them damaged by some bytes; what comes before and after it shows the state."""
    at = int(chosen.integers(len(frames)))
    frame = frames[at]
    text = bytearray(frame.payload)
    for _ in range(int(chosen.integers(1, 4))):
        place = int(chosen.integers(len(text) + 1))
        part = MUTATIONS[int(chosen.integers(len(MUTATIONS)))]
        text[place : place + int(chosen.integers(3))] = part
        if chosen.integers(8) == 0:
            del text[int(chosen.integers(len(text) + 1)) :]
    request = (
        frame.request[: int(chosen.integers(len(frame.request) + 1))] if chosen.integers(6) == 0 else frame.request
    )
    damaged = frame._replace(payload=bytes(text), request=request)
    near = frames[max(0, at - 4) : at + 5]
    check_equal(stream_of([*near, damaged, *near, damaged]), int(chosen.integers(1, 4)))


MUTATIONS = [
    b"", b"", b'"', b"}", b"{", b"]", b"[", b",", b":", b"\\", b"-", b"0", b"9", b"99999999999", b".", b"1e5", b" ",
    b"\n", b"null", b"true", b"S", b"A", b"z", b"\xc3\xa4", b"\xff", b"\x00", b"%41", b"+", b"&", b"=", b'"x":{},',
    b'"c":"x",', b'"T":1,', b'"e":"TRADE_LITE",', b'"a":{"m":"ORDER"},', b'{"stream":"k","data":', b'"algoId":1,',
]  # fmt: skip


class Gateway:
    """What a gateway writes while it trades at the simulated venue."""

    def __init__(self) -> None:
        self.trading = Trading(FREE, [AccountConfig(balance_e8=10**15)])
        self.api = PrivateApi(self.trading.desk, cast(Algos, None), cast(UserStreams, None), FREE, lambda: NOW_MS)
        self.frames: list[Frame] = []

    def ask(self, method: str, number: int, **given: object) -> None:
        name = "newClientOrderId" if method == "POST" else "origClientOrderId"
        client_id = client_id_of(number)
        call = signed(
            method, "/fapi/v1/order", {"symbol": "BTCUSDT"} | given | {name: client_id, "recvWindow": 5000}, NOW_MS
        )
        query = call.query.partition("&signature=")[0]
        request = f"{method} /fapi/v1/order {client_id}"
        self.frames.append(Frame(FrameKind.SENT, f"{method} /fapi/v1/order?{query}".encode(), request))
        status, document = 200, self.answer(call)
        if isinstance(document, Refused):
            status, document = document.status, {"code": document.code, "msg": str(document)}
        self.frames.append(Frame(FrameKind.REST, orjson.dumps(document), request, status))
        self.frames += [Frame(FrameKind.TEXT, event.body) for _, event in self.trading.events]
        self.trading.events.clear()

    def answer(self, call: Call) -> object:
        assert call.key == PAPER_KEY
        try:
            return self.api.execute(self.api.admit(call))
        except Refused as refused:
            return refused


def usual_frames() -> list[Frame]:
    """Everything that orders do: rest, fill at once, expire, are amended, cancelled, asked for, refused."""
    gateway = Gateway()
    limit = {"type": "LIMIT", "quantity": "0.002"}
    gateway.ask("POST", 1, side="BUY", timeInForce="GTC", price="59000", **limit)
    gateway.ask("POST", 2, side="BUY", timeInForce="IOC", price="60000.1", **limit)
    gateway.ask("POST", 3, side="SELL", timeInForce="IOC", price="60000.1", **limit)
    gateway.ask("PUT", 1, side="BUY", price="59000.5", quantity="0.003")
    gateway.ask("GET", 1)
    gateway.ask("DELETE", 1)
    gateway.ask("DELETE", 1)
    gateway.ask("POST", 4, side="SELL", type="MARKET", quantity="9.001")
    gateway.ask(
        "POST", (1 << 63) - 1, side="SELL", timeInForce="IOC", price="60000", newOrderRespType="RESULT", **limit
    )
    frames = gateway.frames
    last = frames[-1].payload
    frames.append(Frame(FrameKind.TEXT, b'{"stream":"key","data":' + last + b"}"))
    frames.append(Frame(FrameKind.TEXT, last.replace(b'"n":"', b'"n":"-').replace(b'"bc":"0', b'"bc":"-1')))
    frames.append(Frame(FrameKind.OPEN, b""))
    return frames


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return usual_frames()


def test_the_simulated_venues_frames_are_read_alike(frames: list[Frame]) -> None:
    kinds = {orjson.loads(frame.payload).get("e", "") for frame in frames if frame.payload.startswith(b'{"e"')}
    assert kinds == {"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE"}
    for pieces in (1, 3, len(frames)):
        out = check_equal(stream_of(frames * 3), pieces)
        assert {int(kind) for item in out.emitted if item.output == 0 for kind in item.rows["report"]} >= {
            0,
            1,
            2,
            4,
            5,
            9,
        }


def test_the_kernel_reads_everything_of_an_order_that_is_not_refused(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    take = private_frames.Frames.take

    def took(run: private_frames.Frames, at: int, out: Outputs) -> None:
        left.append(at)
        take(run, at, out)

    monkeypatch.setattr(private_frames.Frames, "take", took)
    stream, wire = stream_of(frames), PrivateWire()
    wire.on_batch(wire.initial_state(), Batch(0, ORIGIN, 1, stream.rows, stream.heap), Outputs(wire.outputs, ORIGIN))
    assert [frames[at].status for at in left] == [400] * len(left)
    assert len(left) == sum(frame.status == 400 for frame in frames)


def test_orders_and_trades_beyond_what_is_remembered_are_forgotten_alike() -> None:
    gateway = Gateway()
    for number in range(1, 30):
        price = "60000.1" if number % 2 else "59000"
        tif = "IOC" if number % 2 else "GTC"
        gateway.ask("POST", number, side="BUY", type="LIMIT", timeInForce=tif, price=price, quantity="0.002")
        if number > 9:
            gateway.ask("DELETE", number - 9)
    check_equal(stream_of(gateway.frames), 5)
    check_equal(stream_of([*gateway.frames, *gateway.frames[:40]]), 2)


def test_damaged_frames_are_read_alike(frames: list[Frame]) -> None:
    for seed in range(500):
        check_damaged(frames, np.random.default_rng(seed))


@pytest.mark.slow
def test_many_damaged_frames_are_read_alike(frames: list[Frame]) -> None:
    for seed in range(8_000):
        check_damaged(frames, np.random.default_rng((1, seed)))


def test_every_cut_of_every_frame_is_read_alike(frames: list[Frame]) -> None:
    """Nothing is read beyond a frame: what follows it in memory would complete it."""
    for frame in {(frame.kind, len(frame.payload) // 200): frame for frame in frames}.values():
        cuts = [frame._replace(payload=frame.payload[:size]) for size in range(len(frame.payload))]
        stream = stream_of(cuts)
        whole = np.frombuffer(frame.payload + frame.request.encode(), dtype=np.uint8)
        for row in stream.rows:
            row["payload_at"], row["request_at"] = 0, len(frame.payload)
        check_equal(stream._replace(heap=whole))


def test_rows_that_point_outside_of_their_heap_are_left_to_the_plain_half(frames: list[Frame]) -> None:
    stream = stream_of(frames)
    stream.rows["payload_size"][3:] += 100_000
    check_equal(stream)


@settings(max_examples=60, deadline=None)
@given(private_streams(), st.integers(1, 4))
def test_any_life_of_a_gateway_is_read_alike(stream: Stream, pieces: int) -> None:
    check_equal(stream, pieces)


def test_scratch_is_large_enough() -> None:
    assert max(private_quick.REASON_SIZE) <= private.TEXT_MAX
