"""How many frames a second one session takes from a socket: a real recording, sent as fast as loopback carries it.

The venue is a process of its own that writes prepared bytes; the session hands raw rows to a sink that counts.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
from websockets.asyncio.client import connect

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.feed import Feed
from connectors.recording import read_lines
from connectors.session import SessionOptions
from schemas.declare import Heap, Rows
from tests.bench.result import Result, print_results
from tests.recordings import recordings_dir

NAME = "usdm_btcusdt_20240808.gz"
GOAL_K = 50.0
REPEATS = 3
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def encoded(payload: bytes) -> bytes:
    """A websocket text frame from a server."""
    size = len(payload)
    if size < 126:
        return bytes([0x81, size]) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


async def serve(path: Path, repeats: int) -> None:
    """Answer exchangeInfo; after a SUBSCRIBE send the recording `repeats` times. Prints the port."""
    data = b"".join(encoded(line.payload) for line in read_lines(path) if line.stream)
    listed = orjson.dumps({"symbols": [{"symbol": "BTCUSDT"}]})

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"Sec-WebSocket-Key" not in request:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(listed) + listed)
            await writer.drain()
            writer.close()
            return
        key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        await reader.read(4096)  # the subscription; its number is 1
        writer.write(encoded(b'{"result":null,"id":1}'))
        for _ in range(repeats):
            for start in range(0, len(data), 1 << 18):
                writer.write(data[start : start + (1 << 18)])
                await writer.drain()
        await asyncio.sleep(3600)

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)


class Counter:
    """A sink that only counts, and says when it has counted enough."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.rows, self.calls = wanted, 0, 0
        self.first_s = self.last_s = 0.0
        self.done = asyncio.Event()

    def take(self, shard: int, rows: Rows, heap: Heap) -> None:
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or (self.last_s if len(rows) > 10 else 0.0)
        self.rows += len(rows)
        self.calls += 1
        if self.rows >= self.wanted:
            self.done.set()


async def session_seconds(port: int, frames: int) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and sink calls for that many frames through a session."""
    counter = Counter(frames)
    rules = replace(EXCHANGE.connection, control_rate_max=100)
    exchange = replace(EXCHANGE.at(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"), connection=rules)
    feed = Feed(exchange, ["BTCUSDT"], counter.take, options=SessionOptions())
    task = asyncio.create_task(feed.run())
    cpu = time.process_time()
    await counter.done.wait()
    cpu = time.process_time() - cpu
    feed.stop()
    await task
    return counter.last_s - counter.first_s, cpu, counter.calls


async def library_seconds(port: int, frames: int) -> float:
    """The same through `websockets` alone, message by message, nothing done with them."""
    async with connect(f"ws://127.0.0.1:{port}/x", compression=None, max_size=None, proxy=None) as connection:
        await connection.send('{"id":1}')
        await connection.recv()
        started = time.perf_counter()
        for _ in range(frames):
            await connection.recv(decode=False)
        return time.perf_counter() - started


def run() -> list[Result]:
    """Needs the real recording."""
    path = recordings_dir() / NAME
    frames = sum(1 for line in read_lines(path) if line.stream)
    command = [sys.executable, "-m", "tests.bench.bench_session", "serve", str(path), str(REPEATS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as venue:
        assert venue.stdout is not None
        port = int(venue.stdout.readline())
        wall, cpu, calls = asyncio.run(session_seconds(port, frames * REPEATS))
        alone = asyncio.run(library_seconds(port, frames))
        venue.kill()
    figure, reference = frames * REPEATS / wall / 1000, frames / alone / 1000
    note = f"{cpu / frames / REPEATS * 1e6:.2f} µs of CPU a frame, {frames * REPEATS // calls} frames an append"
    work = "frames from a socket to raw rows, one session"
    goal = f"≥ {GOAL_K:g} K frames/s"
    return [Result(work, figure, "K frames/s", "websockets' recv() alone", reference, goal, figure >= GOAL_K, note)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        print_results(run())
