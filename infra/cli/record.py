"""`shriven record`: what a venue says, into a file that `up --play` plays again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def mount(app: typer.Typer) -> None:
    app.command("record")(record)


def record(
    venue: Annotated[str, typer.Argument(help="Such as binance_usdm.")],
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Such as BTCUSDT.")],
    out: Annotated[Path, typer.Option(help="The file to make; it must not exist.")],
    for_s: Annotated[float | None, typer.Option("--for", metavar="SECONDS", min=0.0, help="Or until Ctrl-C.")] = None,
    ws: Annotated[str, typer.Option(help="Websocket address, when it is not the real venue.")] = "",
    rest: Annotated[str, typer.Option(help="REST address, when it is not the real venue.")] = "",
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Record trades, best bid and offer, and depth with its snapshots. A kill leaves all but the last second."""
    import asyncio

    from connectors.recorder import Recorder
    from connectors.venues import venue_parts
    from infra.cli.output import print_json, say
    from schemas.errors import ShrivenError
    from schemas.instruments import Venue

    parts = venue_parts(Venue.parse(venue))
    exchange = parts.exchange.at(ws or None, rest or None)
    recorder = Recorder(exchange, [symbol.upper() for symbol in symbols], out, parts.wire())
    say(f"recording {', '.join(symbols)} of {venue} into {out}; Ctrl-C ends it")
    recorded = asyncio.run(recorder.run(for_s))
    if not recorded.lines:
        raise ShrivenError(f"Nothing was heard of {venue}, so nothing was recorded and no file was made.")
    if json:
        print_json({"file": str(out), **asdict(recorded)})
    else:
        say(f"{recorded.lines:,} lines, {recorded.snapshots} snapshots, {recorded.breaks} breaks in {out}.")
