"""`shriven order`: orders by hand. They take the way of every strategy's: request, risk, orders, gateway, venue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import ConfigInvalid

if TYPE_CHECKING:
    from infra.by_hand import Outcome
    from infra.steering import Wanted

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Option(help="Which session; by default the latest.")]
INSTRUMENT = Annotated[str, typer.Argument(help="Such as binance_usdm:BTCUSDT.")]
TAG = Annotated[int, typer.Argument(help="What `order new` printed.")]
ACCOUNT = Annotated[str, typer.Option(help="Whose.")]
WAIT = Annotated[float, typer.Option("--wait", help="Seconds to wait for what becomes of it; 0: only ask.")]
PAPER = "binance_usdm:paper"


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="Orders by hand; they take the way of every strategy's.", no_args_is_help=True)
    group.command("new")(new)
    group.command("amend")(amend)
    group.command("cancel")(cancel)
    app.add_typer(group, name="order")


def new(
    instrument: INSTRUMENT,
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    quantity: Annotated[str, typer.Argument(help="A decimal.")],
    price: Annotated[str, typer.Option(help="Limit price; without it a market order.")] = "",
    stop: Annotated[str, typer.Option(help="Trigger price: a stop, or with --price a stop-limit order.")] = "",
    time_in_force: Annotated[
        str, typer.Option("--tif", help="gtc, ioc, fok, gtd or day; by default gtc, at the market ioc.")
    ] = "",
    until: Annotated[str, typer.Option(help="End of a GTD order, ISO 8601, UTC unless it says otherwise.")] = "",
    post_only: Annotated[bool, typer.Option("--post-only", help="Never take: refused if it would.")] = False,
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Never open or enlarge a position.")] = False,
    account: ACCOUNT = PAPER,
    wait_s: WAIT = 5.0,
    session: SESSION = "",
    json: JSON = False,
) -> None:
    """Ask for an order, and print what risk and the venue made of it."""
    from infra.by_hand import amount
    from infra.steering import Wanted
    from schemas.events import Side
    from schemas.trading import OrderFlag, RequestAction, TimeInForce
    from streams.clock import SYSTEM_CLOCK

    chosen = Side.__members__.get(side.upper())
    if chosen is None:
        raise ConfigInvalid(f"{side} is no side: buy or sell.")
    force = TimeInForce.__members__.get((time_in_force or ("gtc" if price or stop else "ioc")).upper())
    if force is None:
        raise ConfigInvalid(f"--tif {time_in_force} cannot be: gtc, ioc, fok, gtd or day.")
    flags = OrderFlag.HUMAN
    flags |= OrderFlag.POST_ONLY if post_only else OrderFlag(0)
    flags |= OrderFlag.REDUCE_ONLY if reduce_only else OrderFlag(0)
    wanted = Wanted(
        instrument, RequestAction.NEW, SYSTEM_CLOCK.now_ns(), chosen, amount("quantity", quantity),
        amount("price", price), amount("stop price", stop), force, _moment_ns(until), flags,
    )  # fmt: skip
    _ask(wanted, account, session, wait_s, json, f"`shriven order cancel {wanted.tag} {instrument}` takes it back.")


def amend(
    tag: TAG,
    instrument: INSTRUMENT,
    price: Annotated[str, typer.Option(help="New limit price; without it the old one.")] = "",
    quantity: Annotated[str, typer.Option(help="New total quantity; without it the old one.")] = "",
    account: ACCOUNT = PAPER,
    wait_s: WAIT = 5.0,
    session: SESSION = "",
    json: JSON = False,
) -> None:
    """Ask for another price or quantity of an order by hand."""
    from infra.by_hand import amount
    from infra.cli.trade import latest_rows
    from infra.steering import Wanted
    from schemas.events import Side
    from schemas.money import parse_e8
    from schemas.trading import RequestAction

    if not price and not quantity:
        raise ConfigInvalid("Nothing to change: give --price, --quantity or both.")
    mine = [
        row for row in latest_rows(session, "oms.order.v1") if row["tag"] == tag and row["instrument"] == instrument
    ]
    if not mine:
        raise ConfigInvalid(f"No order {tag} in {instrument}. `shriven orders --all` shows them.")
    order = mine[-1]
    wanted = Wanted(
        instrument, RequestAction.AMEND, tag, Side[str(order["side"])],
        amount("quantity", quantity) or parse_e8(str(order["quantity"])),
        amount("price", price) or parse_e8(str(order["price"])), parse_e8(str(order["stop_price"])),
    )  # fmt: skip
    _ask(wanted, account, session, wait_s, json, "")


def cancel(
    tag: TAG,
    instrument: INSTRUMENT,
    account: ACCOUNT = PAPER,
    wait_s: WAIT = 5.0,
    session: SESSION = "",
    json: JSON = False,
) -> None:
    """Ask for the cancel of an order by hand."""
    from infra.steering import Wanted
    from schemas.trading import RequestAction

    _ask(Wanted(instrument, RequestAction.CANCEL, tag), account, session, wait_s, json, "")


def _ask(wanted: Wanted, account: str, session: str, wait_s: float, json: bool, hint: str) -> None:
    """Check, write, follow, print."""
    from infra import by_hand, steering
    from infra.cli.output import print_json, say
    from infra.cli.trade import running_session
    from infra.config import config
    from infra.process.wiring import reader_of
    from schemas.errors import VenueRejected
    from schemas.trading import RequestAction, client_id_of
    from streams.clock import SYSTEM_CLOCK

    found = running_session(session)
    if wanted.action is not RequestAction.CANCEL:
        by_hand.check(found, wanted)
    row = steering.ask(found, account, wanted)
    outcome = None
    if wait_s > 0:
        source = reader_of(config(), found, "")
        try:
            outcome = by_hand.follow(source, row, SYSTEM_CLOCK, wait_s)
        finally:
            source.close()
    if json:
        print_json(_as_json(wanted.tag, outcome))
    elif outcome is None or not outcome.order_id:
        say(f"asked; its tag is {wanted.tag}. " + ("" if outcome is None else "Risk has not decided yet. ") + hint)
    elif outcome.denied:
        raise VenueRejected(f"Denied by risk: {'; '.join(outcome.denials)}.")
    else:
        state = outcome.state.name if outcome.state is not None else "on its way"
        say(f"{client_id_of(outcome.order_id)}, tag {wanted.tag}: {state}. {hint}")


def _as_json(tag: int, outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return {"tag": tag}
    state = outcome.state.name if outcome.state is not None else None
    return {"tag": tag, "order_id": outcome.order_id, "state": state, "denials": list(outcome.denials)}


def _moment_ns(text: str) -> int:
    from datetime import UTC, datetime

    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigInvalid(f"--until {text} is no time: write it such as 2026-01-31T09:15:00.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000
