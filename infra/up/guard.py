"""Watches the gateways of `up`: one that hangs is ended, and a kill that it does not carry out is done without it.

kill in force, nobody took it ─▶ SIGKILL, kept from starting ─▶ `shriven clear` ─▶ starts again, clears once more
no heartbeat for long          ─▶ SIGKILL, started again by the supervisor
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from infra.process.clearing import GatewayAt, gateways, is_overdue, read_kills
from infra.process.kills import Kill, acknowledgements
from infra.process.status import Status
from infra.sessions.store import Session
from infra.up.supervisor import Child, ChildSpec, ChildState, Supervisor
from streams.clock import Clock

LOOK_NS = 500_000_000
PATIENCE_NS = 5_000_000_000  # from a kill until the gateway has to have taken it
YOUNG_NS = 10_000_000_000  # a process so young is still starting
HUNG_NS = 15_000_000_000  # without a heartbeat it hangs
MakeChild = Callable[[str, list[str]], ChildSpec]


class Guard:
    """For one supervisor.

    Args:
        names: of the gateway processes.
        make_child: of a name and the words of a command.
    """

    def __init__(self, session: Session, names: Sequence[str], make_child: MakeChild, clock: Clock) -> None:
        self._session, self._names, self._make_child, self._clock = session, tuple(names), make_child, clock
        self._clearing: dict[str, str] = {}  # gateway → the process that does its work
        self._born_ns: dict[int, int] = {}
        self._looked_ns = 0
        self._count = 0

    def look(self, supervisor: Supervisor, statuses: Mapping[str, Status]) -> list[str]:
        """Once in a while. Returns what was done, in words."""
        now_ns = self._clock.monotonic_ns()
        if not self._names or now_ns < self._looked_ns + LOOK_NS:
            return []
        self._looked_ns = now_ns
        places = {at.service: at for at in gateways(self._session)}
        done = []
        for name in self._names:
            child = supervisor.children.get(name)
            if child is None or child.state in (ChildState.STOPPED, ChildState.FINISHED):
                continue
            self._born_ns.setdefault(child.pid, now_ns)
            if name in self._clearing:
                self._let_go(supervisor, name)
            elif name in places and (kill := self._overdue(places[name], child)) is not None:
                done.append(self._take_over(supervisor, child, places[name], kill))
            elif self._hangs(child, statuses.get(name)):
                supervisor.kill(name)
                done.append(f"{name} hangs: killed")
        return done

    def _let_go(self, supervisor: Supervisor, name: str) -> None:
        if supervisor.children[self._clearing[name]].state in (ChildState.FINISHED, ChildState.STOPPED):
            del self._clearing[name]
            supervisor.release(name)

    def _overdue(self, at: GatewayAt, child: Child) -> Kill | None:
        """A kill that its gateway has had time for and did not carry out."""
        if self._is_young(child):
            return None
        said = acknowledgements(self._session.log, self._session.incarnation)
        now_ns = self._clock.now_ns()
        for kill in read_kills(self._session, at).in_force():
            if is_overdue(kill, said, at.account_id, now_ns, PATIENCE_NS):
                return kill
        return None

    def _is_young(self, child: Child) -> bool:
        age_ns = self._clock.monotonic_ns() - self._born_ns[child.pid]
        return child.state is ChildState.RUNNING and age_ns < YOUNG_NS

    def _hangs(self, child: Child, status: Status | None) -> bool:
        if child.state is not ChildState.RUNNING or self._is_young(child) or status is None or status.pid != child.pid:
            return False
        silent_ns = self._clock.now_ns() - status.beat_ns
        return bool(status.beat_ns) and status.state == "running" and silent_ns > HUNG_NS

    def _take_over(self, supervisor: Supervisor, child: Child, at: GatewayAt, kill: Kill) -> str:
        supervisor.hold(child.spec.name)
        if child.state is ChildState.RUNNING:
            supervisor.kill(child.spec.name, signal.SIGKILL)
        self._count += 1
        name = f"clear-{at.venue}-{self._count}"
        self._clearing[child.spec.name] = name
        spec = self._make_child(name, ["clear", at.venue, "--dead"])
        supervisor.start(replace(spec, may_finish=True))
        return f"{child.spec.name} does not carry out kill {kill.kill_id}: ended; {name} does"
