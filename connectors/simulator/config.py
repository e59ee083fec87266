"""What a simulated venue is told: which venue, what it plays, how fast, what goes wrong."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from connectors.simulator.faults import Fault, parse_fault
from connectors.simulator.private_config import AccountConfig, PrivateRules
from connectors.simulator.rules import VenueRules, rules_of
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue

SPEED_MAX = 0.0  # as fast as the clients take it


@dataclass(frozen=True)
class SyntheticConfig:
    """A seeded synthetic market.

    Args:
        seed: the same seed gives the same bytes.
        symbols: rows of the synthetic instrument table; () for all.
        start_ns: venue time of the first event, ns since the Unix epoch.
        duration_s: how much venue time there is; None for no end.
        activity: factor on all arrival rates.
    """

    seed: int = 7
    symbols: tuple[str, ...] = ()
    start_ns: int = 1_700_000_000_000_000_000
    duration_s: float | None = None
    activity: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigInvalid(f"The seed is {self.seed}; it must be from 0 to 2^63 - 1.")
        if not 0.01 <= self.activity <= 20:
            raise ConfigInvalid(f"The activity is {self.activity}; it must be from 0.01 to 20.")
        if self.duration_s is not None and self.duration_s <= 0:
            raise ConfigInvalid(f"The synthetic market lasts {self.duration_s} s; it must last longer than nothing.")


@dataclass(frozen=True)
class VenueConfig:
    """A simulated venue.

    Args:
        venue: whose protocol it speaks.
        recordings: files to play, merged by their times; () for the synthetic market.
        synthetic: the synthetic market, when there are no recordings.
        speed: 1 as recorded, N times as fast, SPEED_MAX (0) as fast as the clients take it.
        faults: `name@seconds:parameter=value,…`, see `faults.FAULTS`.
        host: a loopback address; others are refused.
        stream_port, rest_port: 0 for any free port.
        time_scale: divides the venue's waiting times (pings, daily cut, bans).
        rendezvous_s: how long the play waits at a recorded snapshot for somebody to ask for it.
        start_grace_s: the play begins when every recorded kind of stream of every symbol has a subscriber, or
            when nothing was subscribed for this long.
        skip_bad: leave out unreadable lines of recordings; without it they are refused.
        accounts: who may trade (USD-M futures only); () for a venue of market data alone.
        private: on which terms.
    """

    venue: Venue
    recordings: tuple[Path, ...] = ()
    synthetic: SyntheticConfig | None = None
    speed: float = 1.0
    faults: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    stream_port: int = 0
    rest_port: int = 0
    time_scale: float = 1.0
    rendezvous_s: float = 10.0
    start_grace_s: float = 1.0
    skip_bad: bool = False
    accounts: tuple[AccountConfig, ...] = (AccountConfig(),)
    private: PrivateRules = field(default_factory=PrivateRules)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid: a value that cannot be right."""
        if bool(self.recordings) == (self.synthetic is not None):
            raise ConfigInvalid("A simulated venue plays either recordings or a synthetic market: name one of them.")
        if self.speed < 0:
            raise ConfigInvalid(f"The speed is {self.speed}; it is 0 (as fast as possible) or above.")
        if self.time_scale <= 0:
            raise ConfigInvalid(f"The time scale is {self.time_scale}; it must be above 0.")
        if not _is_loopback(self.host):
            raise ConfigInvalid(
                f"The simulated venue must not listen on {self.host}: it has no access control, so only loopback "
                "addresses (127.0.0.1, ::1, localhost) are allowed."
            )
        if len({account.key for account in self.accounts}) < len(self.accounts):
            raise ConfigInvalid("Two accounts of the simulated venue have the same key; each needs its own.")
        self.parsed_faults()

    @property
    def label(self) -> str:
        """What is played, said so that nobody takes it for a live market."""
        if self.synthetic is not None:
            return f"synthetic seed {self.synthetic.seed}"
        return "recording " + ", ".join(path.name for path in self.recordings)

    @property
    def rules(self) -> VenueRules:
        return rules_of(self.venue).scaled(self.time_scale)

    def parsed_faults(self) -> tuple[Fault, ...]:
        """The faults in the order of their times."""
        return tuple(sorted(map(parse_fault, self.faults), key=lambda fault: fault.at_ns))


@dataclass(frozen=True)
class VenueAddresses:
    """Where a running venue listens: base urls without a path."""

    stream_url: str
    rest_url: str


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
