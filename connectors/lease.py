"""Who may send orders for an account now: a lease that outlives every attempt that was made under it.

Kafka cannot fence a venue: a process that is thought dead may still have an order on the way. So the gateway holds the
lease beyond `timestamp + recvWindow` of whatever it sends, before it sends it, and a successor waits until then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import orjson

from schemas.errors import Fenced, InputInvalid


class Lease(Protocol):
    def hold_until(self, until_ns: int) -> None:
        """Hold it at least until that time of the wall clock; a shorter one changes nothing.

        Raises:
            Fenced: somebody else holds it.
        """
        ...


class FileLease:
    """A lease in a file: `{"owner":…,"until_ns":…}`, replaced atomically.

    One machine only; what keeps two gateways of one owner apart is the lock on the log that they write to.

    Args:
        path: the file; its folder exists.
        owner: this process, unique over all that may ever want the lease (session, incarnation, pid).
    """

    def __init__(self, path: Path, owner: str) -> None:
        self._path, self._owner = path, owner
        self._until_ns = 0

    def hold_until(self, until_ns: int) -> None:
        if until_ns <= self._until_ns:
            return
        owner, _ = self.read()
        if self._until_ns and owner != self._owner:
            raise Fenced(
                f"{owner or 'nobody'} holds the lease now: another gateway took over this account. This one ends; "
                "what it sent is settled by the other's reconciliation."
            )
        self._write(until_ns)

    def acquire(self, now_ns: int) -> int:
        """Take it over when it is free. Returns 0, or how many ns its holder's attempts may still be on the way."""
        owner, until_ns = self.read()
        if owner and owner != self._owner and until_ns > now_ns:
            return until_ns - now_ns
        self._write(max(until_ns, now_ns, 1))
        return 0

    def read(self) -> tuple[str, int]:
        """Owner and end; ("", 0) when nobody ever held it.

        Raises:
            InputInvalid: the file is no lease.
        """
        try:
            found = orjson.loads(self._path.read_bytes())
            return str(found["owner"]), int(found["until_ns"])
        except FileNotFoundError:
            return "", 0
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise InputInvalid(
                f"{self._path} is no lease. If no gateway runs and a minute has passed since the last, remove it."
            ) from None

    def _write(self, until_ns: int) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_bytes(orjson.dumps({"owner": self._owner, "until_ns": until_ns}))
        os.replace(fresh, self._path)
        self._until_ns = until_ns
