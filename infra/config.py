"""Everything that comes from the environment, read once. No other module looks at it.

Directories follow the XDG rules: data that must not be lost under SHRIVEN_DATA, what can be fetched or
built again under SHRIVEN_CACHE.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigInvalid, ResourceExhausted

PREFIX = "SHRIVEN_"
PORT_MAX = 65_535


def _xdg(variable: str, fallback: str) -> Path:
    """`$variable/shriven`; XDG says that a relative path there must be ignored."""
    given = os.environ.get(variable, "")
    return (Path(given) if given.startswith("/") else Path.home() / fallback) / "shriven"


def _number(value: object) -> object:
    """Environment variables are texts; `Literal` takes no text for a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class Config(BaseSettings):
    """The settings, each from `SHRIVEN_<NAME>`.

    Attributes:
        data: sessions and the embedded broker's log.
        cache: the broker's jars, and whatever else can be fetched again.
        kafka: `host:port[,host:port]` of a broker to use instead of the embedded one; "" for none configured.
        session: the session that services join; "" lets each command choose.
        broker_port: first port of the embedded broker.
        broker_nodes: how many nodes it has: 1, or 3 for tests of faults.
        maven: base address that the broker's jars are fetched from; "" finds one.
        java_home: `JAVA_HOME` (no prefix); only looked at when no Java comes with the packages.
        log: how log lines look.
        log_level: the least that is logged.
        metrics_port: where services show their metrics; 0 shows none.
        metrics_address: the address that the endpoint listens on.
        recordings: a folder in which `--play` also looks for recordings; None for none.
        binance_spot_ws, binance_spot_rest, binance_usdm_ws, binance_usdm_rest: where the venue is, when it is not
            the real one (a simulated venue on another host).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    data: Path = Field(default_factory=lambda: _xdg("XDG_DATA_HOME", ".local/share"))
    cache: Path = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"))
    kafka: str = ""
    session: str = ""
    broker_port: int = Field(default=19092, ge=1024, le=65_000)
    broker_nodes: Annotated[Literal[1, 3], BeforeValidator(_number)] = 1
    maven: str = ""
    java_home: Path | None = Field(default=None, validation_alias="JAVA_HOME")
    log: Literal["json", "pretty"] = "pretty"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_port: int = Field(default=0, ge=0, le=PORT_MAX)
    metrics_address: str = "127.0.0.1"
    recordings: Path | None = None
    binance_spot_ws: str = ""
    binance_spot_rest: str = ""
    binance_usdm_ws: str = ""
    binance_usdm_rest: str = ""

    @field_validator("data", "cache", "recordings")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("log", "log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("kafka")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for part in filter(None, value.split(",")):
            check_address(part.strip())
        return value

    @field_validator("binance_spot_ws", "binance_usdm_ws")
    @classmethod
    def _websocket(cls, value: str) -> str:
        return _check_scheme(value, "ws")

    @field_validator("binance_spot_rest", "binance_usdm_rest", "maven")
    @classmethod
    def _http(cls, value: str) -> str:
        return _check_scheme(value, "http")

    @property
    def sessions(self) -> Path:
        return self.data / "sessions"


def _check_scheme(value: str, scheme: str) -> str:
    if value and not value.startswith((f"{scheme}://", f"{scheme}s://")):
        raise ValueError(f"must begin with {scheme}:// or {scheme}s://")
    return value


def check_address(text: str) -> str:
    """`host:port`, or ValueError with the reason in words."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= PORT_MAX:
        raise ValueError("must be host:port with a port from 1 to 65535")
    return text


def load() -> Config:
    """Read the environment.

    Raises:
        ConfigInvalid: names the variable, its value, and what it may be.
    """
    try:
        return Config()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        name = name if name == "JAVA_HOME" else PREFIX + name
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise ConfigInvalid(f"{name}={first['input']} cannot be: it {reason}. Correct it or unset it.") from error


@cache
def config() -> Config:
    """The settings of this process."""
    return load()


def writable_directory(path: Path, variable: str) -> Path:
    """Make `path`, and prove that files can be made in it.

    Raises:
        ResourceExhausted: says why not, and which variable moves it.
    """
    probe = path / f".write-test-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResourceExhausted(
            f"{path} cannot be written ({error.strerror}): it is read-only, full, or another user's. "
            f"Point {variable} at a directory of yours."
        ) from error
    return path
