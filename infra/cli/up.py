"""`shriven up`: the whole platform on this machine, in one command."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

from streams.clock import Clock

TOGETHER_NS = 300_000_000


def mount(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    play: Annotated[
        list[str] | None, typer.Option(metavar="VENUE=FILE", help="Play a recording through a simulated venue.")
    ] = None,
    live: Annotated[
        list[str] | None, typer.Option(metavar="VENUE", help="Listen to a real venue's public market data.")
    ] = None,
    symbol: Annotated[
        list[str] | None, typer.Option(metavar="SYMBOL", help="What --live, or the synthetic market, trades.")
    ] = None,
    speed: Annotated[str, typer.Option(help="1 as recorded, N times as fast, or max.")] = "1",
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when everything played has gone through.")
    ] = False,
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="Run that long; with --until-end: of venue time.")
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="A line now and then instead of the screen.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object; implies --headless.")] = False,
    broker: Annotated[
        str, typer.Option(help="embedded, none, or HOST:PORT; by default SHRIVEN_KAFKA, else embedded.")
    ] = "",
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME@SECONDS", help="Something goes wrong then; `--fault list` shows what can."),
    ] = None,
    trade: Annotated[
        bool | None,
        typer.Option(
            "--trade/--no-trade",
            help="Two strategies trade on paper, at the simulated venue's private half. By default they do so in a "
            "made-up market that goes on; what is played, or has an end, needs --trade.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic market.")] = 7,
    session: Annotated[str, typer.Option(help="A name for the session; by default date, time and number.")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PIPELINE.NAME=VALUE", help="A parameter of a rule.")
    ] = None,
) -> None:
    """Run everything: a venue, its connector, the broker, the pipelines, paper trading, a view. Ctrl-C ends it.

    Without --play or --live the market is made up, by a seed, and says so; two strategies trade in it.
    """
    from infra.cli.broker import progress_shown
    from infra.cli.output import OUT, print_json
    from infra.config import config
    from infra.up.display import Lines, LiveScreen
    from infra.up.plan import make_plan
    from infra.up.run import Up, fault_help
    from streams.clock import SYSTEM_CLOCK

    if fault == ["list"]:
        print(fault_help())
        return
    settings = config()
    plan = make_plan(
        settings,
        plays=play or (),
        live=live or (),
        symbols=symbol or (),
        speed=speed,
        until_end=until_end,
        for_s=for_s,
        broker=broker or settings.kafka or "embedded",
        faults=fault or (),
        seed=seed,
        trade=trade,
    )
    interrupt_politely(SYSTEM_CLOCK)
    lines = headless or json or not sys.stderr.isatty()
    display = Lines(SYSTEM_CLOCK) if lines else LiveScreen(SYSTEM_CLOCK)
    with progress_shown() as progress:
        run = Up(plan, settings, display, SYSTEM_CLOCK, session, _parameters(set_))
        summary: dict[str, Any] = run.run(progress)
    if json:
        print_json(summary)
    else:
        from infra.up.summary import render

        OUT.print(render(summary))


def interrupt_politely(clock: Clock) -> None:
    """SIGTERM ends like Ctrl-C. Signals that come together (to the process and to its group) count as one: the second
    Ctrl-C, which leaves at once, is one that somebody meant."""
    heard_ns = [-TOGETHER_NS]

    def interrupt(number: int, frame: FrameType | None) -> None:
        before_ns, heard_ns[0] = heard_ns[0], clock.monotonic_ns()
        if heard_ns[0] - before_ns > TOGETHER_NS:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _parameters(texts: list[str] | None) -> dict[str, dict[str, int | str | bool]]:
    """Checked against the rules, which are loaded only for that."""
    if not texts:
        return {}
    from infra.registry import parse_parameters

    return parse_parameters(texts)
