"""The kill switch from outside: press it, wait until every gateway has done it, do it without one that cannot."""

from __future__ import annotations

from collections.abc import Callable

from infra import steering
from infra.process.clearing import GatewayAt, clear, end_process, gateways, is_overdue, read_kills
from infra.process.kills import SWITCHES, Acknowledged, Kill, acknowledgements, kills_of
from infra.sessions.readback import topic_frames
from infra.sessions.store import Session, running_pid
from schemas.address import NO_ORIGIN
from schemas.declare import EMPTY_HEAP
from schemas.errors import ConfigInvalid, ResourceExhausted, WatchdogExpired
from schemas.frame import encode
from schemas.trading import Scope
from streams.clock import SYSTEM_CLOCK, Clock

TURN_S, AGAIN_S = 0.05, 0.5
WATCHED_S, ALONE_S = 15.0, 5.0  # patience with a gateway: `up` acts by itself after five seconds, nobody else does
Note = Callable[[str], None]


def press(
    session: Session, scope: Scope, subject: int, why: str, *, flatten: bool, clock: Clock = SYSTEM_CLOCK
) -> Kill:
    """Write the row. Its time is that of the row: what this process loads for writing one is loaded before."""
    encode(SWITCHES.event, 0, session.incarnation, 1, NO_ORIGIN, SWITCHES.event.empty(1), EMPTY_HEAP)
    kill = Kill(clock.now_ns(), scope, subject, clock.now_ns(), flatten, why)
    steering.press(session, scope, subject, why, kill_id=kill.kill_id, on=True, flatten=flatten)
    return kill


def follow(
    session: Session, kill: Kill, note: Note, *, wait_s: float, patience_s: float | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Acknowledged]:  # fmt: skip
    """Wait until every gateway that it concerns has carried it out. By account, the last word.

    Args:
        note: told what is done meanwhile.
        patience_s: then a gateway that did not take it is ended, and its work is done here; None: by who watches.

    Raises:
        WatchdogExpired: not done after `wait_s`. The kill stays in force.
    """
    limit_s = patience_s if patience_s is not None else WATCHED_S if running_pid(session) else ALONE_S
    concerned = [at for at in gateways(session) if at.kills().concerns(kill)]
    end_ns = clock.monotonic_ns() + int(wait_s * 1e9)
    while True:
        said = [one for one in acknowledgements(session.log, session.incarnation) if one.kill_id == kill.kill_id]
        last = {at.account: one for at in concerned for one in said if one.account == at.account_id}
        waiting = [at for at in concerned if at.account not in last or not _is_done(kill, last[at.account])]
        if not waiting:
            return last
        for at in waiting:
            if is_overdue(kill, said, at.account_id, clock.now_ns(), int(limit_s * 1e9)):
                note(f"{at.service} does not carry it out: done here")
                take_over(session, at, within_s=max(1.0, (end_ns - clock.monotonic_ns()) / 1e9))
        if clock.monotonic_ns() > end_ns:
            words = ", ".join(f"{name}: {one.words()}" for name, one in last.items()) or "no gateway has taken it"
            raise WatchdogExpired(
                f"Kill {kill.kill_id} is in force and no new order goes, but not done after {wait_s:g} s: {words}. "
                "It is tried again as long as it is in force; `shriven gateway` says how far it is."
            )
        clock.sleep(TURN_S)


def take_over(session: Session, at: GatewayAt, *, within_s: float) -> list[Acknowledged]:
    """End a gateway and do its work; nothing when somebody else is at it.

    Args:
        within_s: then it is given up.
    """
    return _clear(session, at, within_s=within_s, dead=end_process(at))


def _clear(session: Session, at: GatewayAt, *, within_s: float, dead: bool) -> list[Acknowledged]:
    try:
        return clear(session, at, dead=dead, within_s=within_s)
    except ResourceExhausted:  # another process does the same: the log's lock says so
        return []


def clear_all(session: Session, venue: str, *, dead: bool, wait_s: float, clock: Clock = SYSTEM_CLOCK) -> list[str]:
    """Carry out what is in force at a venue's account and not done, without its gateway. Says what was done.

    Raises:
        ConfigInvalid: no gateway of that venue ever ran in the session, so that nobody knows where the venue is.
    """
    found = [at for at in gateways(session) if at.venue == venue]
    if not found:
        raise ConfigInvalid(f"No gateway of {venue} has run in session {session.name}: there is nothing to clear.")
    lines = []
    end_ns = clock.monotonic_ns() + int(wait_s * 1e9)
    for at in found:
        ended = end_process(at) if _is_open(session, at) else False
        while _is_open(session, at) and clock.monotonic_ns() < end_ns:
            left_s = max(1.0, (end_ns - clock.monotonic_ns()) / 1e9)
            said = _clear(session, at, within_s=left_s, dead=dead or ended)
            lines += [f"kill {one.kill_id}: {one.words()}" for one in said]
            if not said:  # somebody else is at it
                clock.sleep(AGAIN_S)
    return lines


def find_kill(session: Session, kill_id: int) -> Kill:
    """A kill of a session.

    Raises:
        ConfigInvalid: there is none of that number.
    """
    for frame in topic_frames(session.log, SWITCHES.name):
        for kill, on in kills_of(frame.rows, frame.heap):
            if on and kill.kill_id == kill_id:
                return kill
    raise ConfigInvalid(f"No kill {kill_id} in session {session.name}. `shriven topics tail ctl.switch` shows them.")


def _is_open(session: Session, at: GatewayAt) -> bool:
    said = acknowledgements(session.log, session.incarnation)
    mine = [one for one in said if one.account == at.account_id]
    return any(
        not any(one.kill_id == kill.kill_id and kill.settled_by(one.outcome) for one in mine)
        for kill in read_kills(session, at).in_force()
    )


def _is_done(kill: Kill, last: Acknowledged) -> bool:
    return kill.settled_by(last.outcome)
