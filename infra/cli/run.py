"""`shriven run`, `connect`, `ship`, `venue`: one process each, as compose and `up` start them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigInvalid

SESSION = Annotated[str, typer.Option(help="The session to join, made when it is new; by default SHRIVEN_SESSION.")]
BROKER = Annotated[str, typer.Option(help="embedded, none, or HOST:PORT; by default SHRIVEN_KAFKA, else embedded.")]
SERVICE = Annotated[str, typer.Option(hidden=True, help="Its name in the session.")]
PARENT = Annotated[int, typer.Option(hidden=True, help="End when that process does.")]
METRICS = Annotated[int | None, typer.Option(min=0, max=65_535, help="Instead of SHRIVEN_METRICS_PORT; 0 for none.")]


def mount(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("connect")(connect)
    app.command("ship")(ship)
    app.command("gateway")(gateway)
    app.command("venue")(venue)
    app.command("warm", hidden=True)(warm)


def run(
    pipelines: Annotated[list[str], typer.Argument(metavar="PIPELINE...", help="Such as book; `map` shows all.")],
    session: SESSION = "",
    broker: BROKER = "",
    service: SERVICE = "",
    parent: PARENT = 0,
    metrics_port: METRICS = None,
) -> None:
    """Run pipelines in one process, all their tasks."""
    from infra.place import place
    from infra.process import wiring
    from streams.pipelines import pipeline

    rows = [pipeline(name) for name in dict.fromkeys(pipelines)]
    for row in rows:
        if row.place != "worker":
            raise ConfigInvalid(f"Pipeline {row.name} runs beside its connection: `shriven connect` runs it.")
    where = place(session, broker, service or "-".join(row.name for row in rows), parent, metrics_port)
    wiring.run_workers(where, rows)


def connect(
    venue: Annotated[str, typer.Argument(help="Such as binance_usdm.")],
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Such as BTCUSDT.")],
    session: SESSION = "",
    ws: Annotated[str, typer.Option(help="Websocket address, when it is not the real venue.")] = "",
    rest: Annotated[str, typer.Option(help="REST address, when it is not the real venue.")] = "",
    service: SERVICE = "",
    parent: PARENT = 0,
    metrics_port: METRICS = None,
) -> None:
    """Listen to a venue: every frame into the local log, and rows made of it. Needs no broker."""
    from infra.place import place
    from infra.process import wiring
    from schemas.instruments import Venue

    label = Venue.parse(venue).label
    where = place(session, "none", service or f"connector-{label}", parent, metrics_port)
    wiring.run_connector(where, label, [symbol.upper() for symbol in symbols], ws, rest)


def gateway(
    venue: Annotated[
        str, typer.Argument(help="Such as binance_usdm; without it the gateways there are are shown.")
    ] = "",
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL...", help="What is traded, such as BTCUSDT.")
    ] = None,
    session: SESSION = "",
    broker: BROKER = "",
    ws: Annotated[str, typer.Option(help="Websocket address, when it is not the real venue.")] = "",
    rest: Annotated[str, typer.Option(help="REST address, when it is not the real venue.")] = "",
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys (mode 0600); none for the simulated venue's paper account.")
    ] = None,
    live_money: Annotated[bool, typer.Option("--live-money", help="Allow a venue that trades real money.")] = False,
    deadman_s: Annotated[
        float,
        typer.Option("--deadman", min=0, help="Cancel everything when strategies, risk or orders stand still so long."),
    ] = 15.0,
    deadman_flatten: Annotated[bool, typer.Option("--deadman-flatten", help="Close the positions too then.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Of what is shown: as JSON.")] = False,
    service: SERVICE = "",
    parent: PARENT = 0,
    metrics_port: METRICS = None,
) -> None:
    """Send what was decided to a venue, and write down what it says; reconciles before it trades.

    Without a venue: how the session's gateways are, kills in force, and where we and the venues differed.
    """
    if not venue:
        from infra.cli.kill import show_gateways

        show_gateways(session, json)
        return
    from infra.place import place
    from infra.process import wiring
    from schemas.instruments import Venue

    label = Venue.parse(venue).label
    where = place(session, broker, service or f"gateway-{label}", parent, metrics_port)
    if not symbols:
        raise ConfigInvalid(f"What does it trade? `shriven gateway {label} BTCUSDT` and so on.")
    wanted = [symbol.upper() for symbol in symbols]
    wiring.run_gateway(where, label, wanted, ws, rest, keys, live_money, deadman_s, deadman_flatten)


def ship(
    session: SESSION = "", broker: BROKER = "", service: SERVICE = "", parent: PARENT = 0, metrics_port: METRICS = None
) -> None:
    """Mirror what the session's connectors wrote to the broker."""
    from infra.place import place
    from infra.process import wiring

    where = place(session, broker, service or "shipper", parent, metrics_port)
    wiring.run_shipper(where)


def venue(
    venue: Annotated[str, typer.Argument(help="Whose protocol it speaks, such as binance_usdm.")],
    play: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A recording to play.")] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="A made-up market, by a seed.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the made-up market.")] = 7,
    symbol: Annotated[list[str] | None, typer.Option(help="What the made-up market trades.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", metavar="SECONDS", help="Its length in venue time.")] = None,
    speed: Annotated[str, typer.Option(help="1 as recorded, N times as fast, or max.")] = "1",
    fault: Annotated[list[str] | None, typer.Option(metavar="NAME@SECONDS", help="Something goes wrong then.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable lines of recordings.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the websocket; 0 for any.")] = 0,
    rest_port: Annotated[int, typer.Option(min=0, max=65_535, help="Of REST; 0 for any.")] = 0,
    session: Annotated[str, typer.Option(help="Show its status in that session.")] = "",
    service: SERVICE = "",
    parent: PARENT = 0,
) -> None:
    """A venue on this machine that speaks the real one's protocol. It is a simulation, and says so in every answer."""
    from connectors.simulator.config import SyntheticConfig, VenueConfig
    from infra.process import wiring
    from infra.up.plan import parse_speed
    from schemas.instruments import Venue

    made_up = SyntheticConfig(seed=seed, symbols=tuple(symbol or ()), duration_s=for_s) if synthetic else None
    config = VenueConfig(
        Venue.parse(venue),
        tuple(play or ()),
        made_up,
        parse_speed(speed),
        tuple(fault or ()),
        stream_port=port,
        rest_port=rest_port,
        skip_bad=skip_bad,
    )
    wiring.run_venue(config, session, service or f"venue-{config.venue.label}", parent)


def warm(part: Annotated[str, typer.Option(help="Only this part, in this process.")] = "", parent: PARENT = 0) -> None:
    """Compile the kernels ahead, on all cores."""
    from infra.config import config
    from infra.process.warm import warm as warm_all
    from infra.process.warm import warm_part
    from infra.up.supervisor import end_with_parent

    if parent:
        end_with_parent(parent)
    if part:
        warm_part(part)
    else:
        warm_all(config().cache)
