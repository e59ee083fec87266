"""The simulated venue as one thing: a stream server, a REST server and a play between them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import uvicorn

from connectors.simulator.config import VenueAddresses, VenueConfig
from connectors.simulator.feed import Feed
from connectors.simulator.hub import Hub
from connectors.simulator.injector import Injector
from connectors.simulator.player import Player
from connectors.simulator.private_half import PrivateHalf, VenueClock
from connectors.simulator.recorded import RecordedFeed
from connectors.simulator.rest import RestApi
from connectors.simulator.server import StreamServer
from connectors.simulator.status import status_document
from connectors.simulator.synthetic import SyntheticFeed
from schemas.errors import ResourceExhausted
from streams.clock import SYSTEM_CLOCK, Clock

STOP_POLL_S = 0.05
REST_SHUTDOWN_S = 1
REST_BACKLOG = 128
logger = logging.getLogger(__name__)


class StopSignal(Protocol):
    """Something that says when to end: an event of threading or multiprocessing."""

    def is_set(self) -> bool: ...


class _RestServer(uvicorn.Server):
    """uvicorn inside our loop: signals are the process's business, not the library's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_feed(config: VenueConfig) -> Feed:
    """What the configuration wants played.

    Raises:
        InputInvalid: a recording that cannot be played.
        ConfigInvalid: a symbol that the synthetic market does not have.
    """
    if config.synthetic is not None:
        return SyntheticFeed(config.synthetic, is_futures=config.rules.is_futures)
    return RecordedFeed(config.recordings, is_futures=config.rules.is_futures, skip_bad=config.skip_bad)


class SimulatedVenue:
    """A venue on localhost.

    Args:
        config: what it is and plays.
        clock: wall and monotonic time.

    Attributes:
        addresses: where it listens; set by `start`.
    """

    def __init__(self, config: VenueConfig, clock: Clock = SYSTEM_CLOCK) -> None:
        self._config = config
        self._clock = clock
        self.addresses = VenueAddresses("", "")

    async def start(self) -> VenueAddresses:
        """Read what is to be played, listen, and begin to play when somebody subscribes.

        Raises:
            InputInvalid, ConfigInvalid: see `make_feed`.
            ResourceExhausted: a port is taken.
        """
        config = self._config
        self._build(await asyncio.to_thread(make_feed, config))
        listener = _listen(config.host, config.rest_port)
        try:
            stream_port = await self._server.start(config.host, config.stream_port)
        except OSError as error:
            listener.close()
            raise _port_taken(config.stream_port, error) from None
        self._rest_task = asyncio.create_task(self._rest.serve(sockets=[listener]))
        self._play_task = asyncio.create_task(self._player.run())
        self._play_task.add_done_callback(self._play_ended)
        self._private_task = asyncio.create_task(self._private.run()) if self._private else None
        host = f"[{config.host}]" if ":" in config.host else config.host
        rest_port = listener.getsockname()[1]
        self.addresses = VenueAddresses(f"ws://{host}:{stream_port}", f"http://{host}:{rest_port}")
        logger.info("simulated %s (%s) at %s", config.venue.label, config.label, self.addresses)
        return self.addresses

    def _build(self, feed: Feed) -> None:
        """Make the parts and tie them together."""
        config, clock = self._config, self._clock
        self._feed = feed
        self._hub = Hub(config.rules, feed.streams)
        self._injector = Injector(config.parsed_faults(), self._hub, feed.start_ns, clock)
        self._player = Player(
            feed, self._hub, self._injector, clock, config.speed, config.rendezvous_s, config.start_grace_s
        )
        self._private = self._make_private(feed)
        knows = self._private.users.knows if self._private else None
        self._server = StreamServer(config.rules, self._hub, self._injector, clock, config.label, knows)
        told_clock = VenueClock(clock, self._injector)
        api = RestApi(config.rules, feed, self._player, self._injector, told_clock, config.label, self.status)
        app = api.app()
        if self._private:
            app.router.routes.extend(self._private.routes(api))
        self._rest = _RestServer(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=REST_SHUTDOWN_S,
            )
        )

    def _make_private(self, feed: Feed) -> PrivateHalf | None:
        """The private half; None where nobody may trade."""
        config = self._config
        if not config.rules.is_futures or not config.accounts:
            return None
        assert isinstance(feed, SyntheticFeed | RecordedFeed), "made by make_feed"
        return PrivateHalf(config, feed, self._hub, self._injector, self._clock)

    @property
    def private(self) -> PrivateHalf | None:
        """Accounts and orders; None where nobody may trade."""
        return self._private

    def _play_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._player.state = "failed"
            self._player.release()

    async def ended(self) -> None:
        """Wait for the play to end.

        Raises:
            InputInvalid: what ended it before its end.
        """
        await asyncio.shield(self._play_task)

    @property
    def is_done(self) -> bool:
        """Whether everything has been played."""
        return self._player.state == "done"

    async def stop(self) -> None:
        """End the play, close every connection, free the ports."""
        self._play_task.cancel()
        if self._private_task is not None:
            self._private_task.cancel()
        self._injector.cancel()
        self._player.release()
        await self._server.stop()
        self._rest.should_exit = True
        tasks = [task for task in (self._rest_task, self._play_task, self._private_task) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, stop: StopSignal, ready: Callable[[VenueAddresses], None]) -> None:
        """Serve until `stop` is set; `ready` is called with the addresses once it listens.

        Raises:
            InputInvalid, ConfigInvalid, ResourceExhausted: see `start`.
        """
        asyncio.run(self._run(stop, ready))

    async def _run(self, stop: StopSignal, ready: Callable[[VenueAddresses], None]) -> None:
        ready(await self.start())
        try:
            while not stop.is_set():
                if self._play_task.done():
                    self._play_task.result()
                await asyncio.sleep(STOP_POLL_S)
        finally:
            await self.stop()

    def status(self) -> Mapping[str, object]:
        """What it is doing, as plain values; may be called from any thread."""
        return status_document(self._config, self._feed, self._hub, self._player, self._injector)


def _port_taken(port: int, error: OSError) -> ResourceExhausted:
    return ResourceExhausted(
        f"Port {port} cannot be listened on ({error.strerror}): something else uses it, most likely another simulated "
        "venue. Stop that one, or let the port be chosen (port 0)."
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(REST_BACKLOG)  # here and now: who is told the address may dial before the server's task runs
    except OSError as error:
        listener.close()
        raise _port_taken(port, error) from None
    return listener


def serve(config: VenueConfig, stop: StopSignal, ready: Callable[[VenueAddresses], None]) -> None:
    """Run a simulated venue in this process until `stop` is set: the entry of the command line."""
    SimulatedVenue(config).run(stop, ready)
