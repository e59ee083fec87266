"""What `up` was asked for, checked before anything starts: every bad word is one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from connectors.recording import describe
from connectors.simulator.faults import parse_fault
from infra.config import Config, check_address
from infra.place import EMBEDDED, NO_BROKER
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue
from streams.pipelines import CONNECTOR_NUMBERS, PIPELINES

SPEED_MAX_WORD = "max"
DESCRIBED_LINES = 20_000  # enough of a recording to hear every stream of it; the venue checks the whole file
SYNTHETIC_VENUE = Venue.BINANCE_USDM
BROKER_FAULTS = ("broker_down", "broker_kill")
PROCESS_FAULTS = ("kill", "hang", *BROKER_FAULTS)  # beside those of the simulated venue


@dataclass(frozen=True)
class Feed:
    """One venue to listen to.

    Attributes:
        venue: its label.
        recordings: files that a simulated venue plays.
        synthetic: a simulated venue makes the market up.
        symbols: what to subscribe to.
    """

    venue: str
    recordings: tuple[str, ...]
    synthetic: bool
    symbols: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        return self.synthetic or bool(self.recordings)


@dataclass(frozen=True)
class ProcessFault:
    """A fault of the machine, not of the venue: `kill:book@5`, `hang:book@5`, `broker_down@5:seconds=3`.

    Attributes:
        kind: one of PROCESS_FAULTS.
        target: the process; "" for the broker.
        at_s: seconds after the first book.
        seconds: how long it lasts (all but kill).
    """

    kind: str
    target: str
    at_s: float
    seconds: float


@dataclass(frozen=True)
class UpPlan:
    """Everything that `up` does, decided."""

    feeds: tuple[Feed, ...]
    speed: float
    until_end: bool
    for_s: float | None
    broker: str
    venue_faults: tuple[str, ...]
    process_faults: tuple[ProcessFault, ...]
    seed: int
    trade: bool

    @property
    def synthetic(self) -> bool:
        return any(feed.synthetic for feed in self.feeds)

    @property
    def label(self) -> str:
        """What feeds it, said so that nobody takes a play for a market."""
        parts = [
            f"synthetic market, seed {self.seed}"
            if feed.synthetic
            else f"recording {', '.join(Path(name).name for name in feed.recordings)}"
            if feed.recordings
            else f"live {feed.venue}"
            for feed in self.feeds
        ]
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(
    config: Config,
    *,
    plays: Sequence[str],
    live: Sequence[str],
    symbols: Sequence[str],
    speed: str,
    until_end: bool,
    for_s: float | None,
    broker: str,
    faults: Sequence[str],
    seed: int,
    trade: bool | None = None,
) -> UpPlan:
    """Check and decide.

    Args:
        trade: trade on paper; None: where a made-up market goes on, which is what `up` does when nothing is asked.

    Raises:
        ConfigInvalid: names the option and what it may be.
        InputInvalid: a file is no recording.
    """
    feeds = [*_plays(config, plays), *(_live(venue, symbols) for venue in live)]
    if not feeds:
        feeds = [Feed(SYNTHETIC_VENUE.label, (), True, _upper(symbols))]
    elif symbols and not live:
        raise ConfigInvalid("--symbol chooses what --live listens to; a recording is played whole. Leave it out.")
    if len({feed.venue for feed in feeds}) != len(feeds):
        raise ConfigInvalid("A venue can be played or listened to, not both at once. Choose one.")
    simulated = [feed for feed in feeds if feed.simulated]
    factor = parse_speed(speed)
    if factor != 1 and not simulated:
        raise ConfigInvalid("--speed is for what is played; a live market has its own. Leave it out.")
    if until_end and (len(simulated) < len(feeds) or (not plays and for_s is None)):
        raise ConfigInvalid("--until-end needs an end: play recordings, or give the synthetic market one with --for.")
    if for_s is not None and not (0 < for_s < math.inf):
        raise ConfigInvalid(f"--for {for_s:g} cannot be: give a number of seconds above 0.")
    venue_faults, process_faults = _faults(faults)
    if venue_faults and not simulated:
        raise ConfigInvalid("--fault needs a simulated venue: a live market has its own. Leave it out, or --play.")
    if trade is None:
        trade = not plays and not live and not until_end
    if trade and [feed.venue for feed in feeds if feed.simulated] != [SYNTHETIC_VENUE.label]:
        raise ConfigInvalid(f"--trade sends orders to a simulated {SYNTHETIC_VENUE.label}: play or make up that one.")
    checked = parse_broker(broker)
    return UpPlan(tuple(feeds), factor, until_end, for_s, checked, venue_faults, process_faults, seed, trade)


def parse_speed(text: str) -> float:
    """`1`, `20` or `max` (0)."""
    if text == SPEED_MAX_WORD:
        return 0.0
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ConfigInvalid(f"--speed {text} cannot be: 1 as recorded, N times as fast, or max.")
    return speed


def parse_broker(text: str) -> str:
    """`embedded`, `none` or `host:port`."""
    if text in (EMBEDDED, NO_BROKER):
        return text
    try:
        for part in text.split(","):
            check_address(part)
    except ValueError as error:
        raise ConfigInvalid(f"--broker {text} cannot be: it is embedded, none or host:port, and {error}.") from error
    return text


def find_recording(config: Config, name: str) -> Path:
    """A recording where it is said to be, or in SHRIVEN_RECORDINGS.

    Raises:
        ConfigInvalid: it is in neither place.
    """
    given = Path(name).expanduser()
    places = [given] + ([config.recordings / name] if config.recordings and not given.is_absolute() else [])
    for place in places:
        if place.is_file():
            return place.absolute()
    looked = " and ".join(str(place.parent.absolute()) for place in places)
    raise ConfigInvalid(f"No recording {given.name} in {looked}. `shriven record` makes one.")


def _plays(config: Config, plays: Sequence[str]) -> list[Feed]:
    files: dict[Venue, list[Path]] = {}
    for text in plays:
        label, equals, name = text.partition("=")
        if not equals or not name:
            raise ConfigInvalid(f"--play {text} cannot be: write VENUE=FILE, such as binance_usdm=recording.gz.")
        files.setdefault(_venue(label), []).append(find_recording(config, name))
    feeds = []
    for venue, paths in files.items():
        symbols: dict[str, None] = {}
        for path in paths:
            found = describe(path, DESCRIBED_LINES)
            if found.venue is not venue:
                raise ConfigInvalid(f"{path.name} was recorded at {found.venue.label}, not at {venue.label}.")
            symbols |= dict.fromkeys(found.symbols)
        feeds.append(Feed(venue.label, tuple(map(str, paths)), False, tuple(symbols)))
    return feeds


def _live(label: str, symbols: Sequence[str]) -> Feed:
    venue = _venue(label)
    if not symbols:
        raise ConfigInvalid(f"--live {venue.label} needs at least one --symbol, such as BTCUSDT.")
    return Feed(venue.label, (), False, _upper(symbols))


def _venue(label: str) -> Venue:
    venue = Venue.parse(label)
    wires = {row.processor for row in PIPELINES}
    if f"{venue.label}.wire" not in wires:
        known = ", ".join(name for name in CONNECTOR_NUMBERS if f"{name}.wire" in wires)
        raise ConfigInvalid(f"Nobody reads the frames of {venue.label} yet. Venues that can be used: {known}.")
    return venue


def _upper(symbols: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(symbol.upper() for symbol in symbols))


def _faults(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[ProcessFault, ...]]:
    """Those of the simulated venue, and those of our own processes."""
    venue, ours = [], []
    for text in texts:
        if text.partition("@")[0].partition(":")[0] in PROCESS_FAULTS:
            ours.append(_process_fault(text))
        else:
            venue.append(str(parse_fault(text)))
    return tuple(venue), tuple(ours)


def _process_fault(text: str) -> ProcessFault:
    what, _, when = text.partition("@")
    kind, _, target = what.partition(":")
    at, _, tail = when.partition(":")
    try:
        at_s = float(at)
        seconds = float(tail.removeprefix("seconds=")) if tail else 3.0
    except ValueError:
        at_s = math.nan
        seconds = math.nan
    if not (at_s >= 0 and seconds > 0) or bool(target) == (kind in BROKER_FAULTS):
        raise ConfigInvalid(
            f"--fault {text} cannot be: write kill:PROCESS@SECONDS, hang:PROCESS@SECONDS[:seconds=N] or "
            "broker_down@SECONDS[:seconds=N], broker_kill@SECONDS[:seconds=N]."
        )
    return ProcessFault(kind, target, at_s, seconds)
