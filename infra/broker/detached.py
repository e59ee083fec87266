"""Processes that outlive us, or end with us: what the broker is started through.

A shell stands between: it starts the program in a session of its own (Ctrl-C in the terminal does not reach it),
says its process id and ends, so the program is nobody's unreaped child. For an owned program the shell stays and
waits on a pipe from us: the kernel closes the pipe when we end, also by SIGKILL, and the shell then ends the program.
(PR_SET_PDEATHSIG would fire when the *thread* that started it ends, and Linux alone has it.)
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_DETACHED = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'
_OWNED = _DETACHED + '; exec >/dev/null 2>&1; read -r _; kill -TERM "$!"; wait'


@dataclass(frozen=True, slots=True)
class Owned:
    """A program that gets SIGTERM when this process ends, however it ends."""

    pid: int
    _shell: subprocess.Popen[bytes]

    def release(self) -> None:
        """SIGTERM for the program if it still runs, and the end of the tie."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell.wait()


def spawn_detached(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Starts `command` in a session of its own, appending what it says to `log`. Returns its process id."""
    shell = ["/bin/sh", "-c", _DETACHED, "sh", str(log), *command]
    done = subprocess.run(
        shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, start_new_session=True, check=True
    )
    return int(done.stdout)


def spawn_owned(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Owned:
    """Like `spawn_detached`, but the program gets SIGTERM when this process ends, or by `release`."""
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _OWNED, "sh", str(log), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert shell.stdout is not None
    with shell.stdout as said:
        return Owned(int(said.readline()), shell)
