"""Trading by hand, and how it stands: orders, positions, balances, limits, strategies, the kill switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import ConfigInvalid

if TYPE_CHECKING:
    from infra.sessions.store import Session
    from schemas.trading import Scope

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Option(help="Which session; by default the latest.")]
WHY = Annotated[str, typer.Option(help="Why; it stands in the row.")]
TARGET = Annotated[str, typer.Argument(help="all, venue:NAME, account:NAME, strategy:NAME or instrument:VENUE:SYMBOL.")]
SHOWN: dict[str, tuple[str, ...]] = {
    "oms.order.v1": (
        "order_id", "instrument", "strategy", "side", "kind", "price", "quantity", "filled", "state", "alarm",
    ),
    "acct.position.v1": (
        "account", "strategy", "instrument", "quantity", "cost", "realised", "fees", "mark_price", "unrealised",
    ),
    "acct.balance.v1": ("account", "asset", "amount", "venue"),
    "ref.limit.v1": ("scope", "subject", "reason", "value", "unit", "active", "who", "why"),
    "ref.strategy.v1": ("name", "rule", "instrument", "enabled", "capital", "parameters", "who", "why"),
}  # fmt: skip
OVER = ("FILLED", "CANCELLED", "REJECTED", "EXPIRED", "DENIED")


def mount(app: typer.Typer) -> None:
    app.command("orders")(orders)
    app.command("positions")(positions)
    app.command("balances")(balances)
    app.command("strategies")(strategies)
    app.command("kill")(kill)
    app.command("resume")(resume)
    group = typer.Typer(help="Limits of risk.", no_args_is_help=True)
    group.command("list")(limits_list)
    group.command("set")(limits_set)
    app.add_typer(group, name="limits")
    group = typer.Typer(help="Orders by hand; they take the way of every strategy's.", no_args_is_help=True)
    group.command("new")(order_new)
    group.command("cancel")(order_cancel)
    app.add_typer(group, name="order")


def orders(
    session: SESSION = "",
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    json: JSON = False,
) -> None:
    """Orders as they stand."""
    rows = _latest(session, "oms.order.v1")
    _show("oms.order.v1", [row for row in rows if everything or row["state"] not in OVER], json)


def positions(session: SESSION = "", json: JSON = False) -> None:
    """What is held, per account, strategy and instrument."""
    _show("acct.position.v1", _latest(session, "acct.position.v1"), json)


def balances(session: SESSION = "", json: JSON = False) -> None:
    """Cash by the ledger, beside what the venue last said."""
    _show("acct.balance.v1", _latest(session, "acct.balance.v1"), json)


def strategies(session: SESSION = "", json: JSON = False) -> None:
    """Strategies in force."""
    _show("ref.strategy.v1", _latest(session, "ref.strategy.v1"), json)


def limits_list(session: SESSION = "", json: JSON = False) -> None:
    """Limits in force."""
    _show("ref.limit.v1", _latest(session, "ref.limit.v1"), json)


def limits_set(
    reason: Annotated[str, typer.Argument(help="The check, such as order_notional; `limits list` shows those set.")],
    value: Annotated[str, typer.Argument(help="In its unit: money and quantities as decimals, times in ns, counts.")],
    why: WHY,
    account: Annotated[str, typer.Option(help="Whose.")] = "binance_usdm:paper",
    currency: Annotated[str, typer.Option(help="Of money.")] = "USDT",
    session: SESSION = "",
) -> None:
    """Set one limit of an account. Risk takes it with its next row."""
    from infra import steering
    from infra.cli.output import say
    from processors.risk_limits import BOUNDS, unit_of
    from schemas.money import parse_e8
    from schemas.trading import Reason, Unit

    chosen = Reason.__members__.get(reason.upper())
    if chosen is None or chosen not in BOUNDS:
        raise ConfigInvalid(f"No limit {reason!r}. There are: {', '.join(one.name.lower() for one in BOUNDS)}.")
    unit = unit_of(chosen)
    amounts = unit in (Unit.NOTIONAL_E8, Unit.QUANTITY_E8, Unit.PRICE_E8)
    if not amounts and not value.isdecimal():
        raise ConfigInvalid(f"{value} cannot be: {chosen.name.lower()} is a whole number, in {unit.name.lower()}.")
    number = parse_e8(value) if amounts else int(value)
    if number < BOUNDS[chosen].least:
        raise ConfigInvalid(f"{value} cannot be: {chosen.name.lower()} is at least {BOUNDS[chosen].least}.")
    row = steering.set_limits(_running(session), account, {chosen: number}, why, {chosen: unit}, currency)
    say(f"{chosen.name.lower()} of {account} is {value} from row {row} on.")


def kill(
    target: TARGET,
    why: WHY,
    flatten: Annotated[bool, typer.Option("--flatten", help="Close the positions too.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="How long to wait for the gateway's word.")] = 30.0,
    session: SESSION = "",
    json: JSON = False,
) -> None:
    """Stop: risk denies, the gateway cancels, and flattens when asked to; how long it took is printed."""
    from infra import steering
    from infra.cli.output import print_json, say
    from schemas.errors import WatchdogExpired
    from schemas.trading import Scope
    from streams.clock import SYSTEM_CLOCK

    found, (scope, subject) = _running(session), _scope(target)
    if flatten and scope not in (Scope.GLOBAL, Scope.VENUE, Scope.ACCOUNT):
        raise ConfigInvalid("--flatten closes what a whole account holds: kill all, a venue or an account.")
    kill_id = SYSTEM_CLOCK.now_ns()
    steering.press(found, scope, subject, why, kill_id=kill_id, on=True, flatten=flatten)
    words = ""
    whole = scope in (Scope.GLOBAL, Scope.VENUE, Scope.ACCOUNT)
    end_ns = SYSTEM_CLOCK.monotonic_ns() + int(wait_s * 1e9)
    while whole and not (words := _gateway_words(found, kill_id)):
        if SYSTEM_CLOCK.monotonic_ns() > end_ns:
            raise WatchdogExpired(
                f"Kill {kill_id} is written and no new order goes, but no gateway has said within {wait_s:g} s that it "
                "cancelled. See `shriven orders`; its log is in the session's folder `logs`."
            )
        SYSTEM_CLOCK.sleep(0.05)
    if json:
        print_json({"kill": kill_id, "scope": scope.name, "flatten": flatten, "gateway": words})
    else:
        say(f"kill {kill_id}: {words or 'risk denies from now on'}. `shriven resume {kill_id} --why …` lifts it.")


def resume(
    kill_id: Annotated[int, typer.Argument(help="The kill that is lifted.")], why: WHY, session: SESSION = ""
) -> None:
    """Lift one kill. A newer one stays in force."""
    from infra import steering
    from infra.cli.output import say
    from schemas.trading import Scope

    found = _running(session)
    match = [row for row in _latest(session, "ctl.switch.v1") if int(row["kill_id"]) == kill_id]
    if not match:
        raise ConfigInvalid(f"No kill {kill_id} in session {found.name}. `shriven topics tail ctl.switch` shows them.")
    row = match[-1]
    scope = Scope[str(row["scope"])]
    steering.press(found, scope, _subject(row["subject"]), why, kill_id=kill_id, on=False, flatten=False)
    say(f"kill {kill_id} is lifted.")


def order_new(
    instrument: Annotated[str, typer.Argument(help="Such as binance_usdm:BTCUSDT.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    quantity: Annotated[str, typer.Argument(help="A decimal.")],
    price: Annotated[str, typer.Option(help="Limit price; without it a market order.")] = "",
    account: Annotated[str, typer.Option(help="Whose.")] = "binance_usdm:paper",
    session: SESSION = "",
) -> None:
    """Ask for an order. Risk decides like for every other; `shriven orders --all` shows what became of it."""
    from infra import steering
    from infra.cli.output import say
    from schemas.events import Side
    from schemas.trading import RequestAction
    from streams.clock import SYSTEM_CLOCK

    chosen = Side.__members__.get(side.upper())
    if chosen is None:
        raise ConfigInvalid(f"{side} is no side: buy or sell.")
    tag = SYSTEM_CLOCK.now_ns()
    steering.ask(
        _running(session), account, instrument, RequestAction.NEW, tag=tag, side=chosen, quantity=quantity, price=price
    )
    say(f"asked; its tag is {tag}. `shriven order cancel {tag} {instrument}` takes it back.")


def order_cancel(
    tag: Annotated[int, typer.Argument(help="What `order new` printed.")],
    instrument: Annotated[str, typer.Argument(help="Such as binance_usdm:BTCUSDT.")],
    account: Annotated[str, typer.Option(help="Whose.")] = "binance_usdm:paper",
    session: SESSION = "",
) -> None:
    """Ask for the cancel of an order by hand."""
    from infra import steering
    from infra.cli.output import say
    from schemas.trading import RequestAction

    steering.ask(_running(session), account, instrument, RequestAction.CANCEL, tag=tag)
    say("asked.")


def _running(session: str) -> Session:
    """The session that is meant; it must run, or nobody would read what is written."""
    from infra.config import config
    from infra.sessions.store import LATEST, find, running_pid

    found = find(config(), session or LATEST)
    if running_pid(found) is None:
        raise ConfigInvalid(f"Session {found.name} does not run: nobody would read it. `shriven up --trade` does.")
    return found


def _scope(target: str) -> tuple[Scope, int]:
    from schemas.instruments import Venue, instrument_id
    from schemas.trading import Scope

    kind, _, name = target.partition(":")
    if target == "all":
        return Scope.GLOBAL, 0
    scope = Scope.__members__.get(kind.upper())
    if scope is None or scope is Scope.GLOBAL or not name:
        raise ConfigInvalid(
            f"{target} cannot be killed: say all, venue:NAME, account:NAME, strategy:NAME or instrument:VENUE:SYMBOL."
        )
    return scope, int(Venue.parse(name)) if scope is Scope.VENUE else instrument_id(name)


def _subject(shown: Any) -> int:
    from schemas.instruments import instrument_id

    return shown if isinstance(shown, int) else instrument_id(str(shown))


def _gateway_words(session: Session, kill_id: int) -> str:
    """What a gateway says of that kill; "" while none does."""
    from infra.process.status import read_all

    for status in read_all(session.status).values():
        for line in status.facts.get("kills", ()):
            if str(line).startswith(f"{kill_id}: "):
                return str(line).partition(": ")[2]
    return ""


def _latest(session: str, name: str) -> list[dict[str, Any]]:
    from infra.config import config
    from infra.sessions.latest import latest
    from infra.sessions.store import LATEST, find

    return latest(config(), find(config(), session or LATEST), name)


def _show(name: str, rows: list[dict[str, Any]], json: bool) -> None:
    from infra.cli.output import print_json, print_table

    columns = SHOWN[name]
    if json:
        print_json([{column: row[column] for column in columns} for row in rows])
    else:
        print_table(columns, [[str(row[column]) for column in columns] for row in rows])
