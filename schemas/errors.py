"""Errors, named by whose fault they are.

Every message says what happened, what it usually means and what to do. The command line turns the
class into an exit code (`exit_code`); nothing else looks at the codes.
"""

from __future__ import annotations


class ShrivenError(Exception):
    """The root: an operating error with a sentence for the user."""

    exit_code = 1


class ConfigInvalid(ShrivenError):
    """The user's fault: a flag, a variable, a table or a file name that cannot be right."""

    exit_code = 2


class InputInvalid(ShrivenError):
    """The data's fault: a recording, frame or row that is not what it claims to be."""

    exit_code = 3


class IntegrityError(ShrivenError):
    """Stored bytes changed: a CRC, a hash or a row number does not match."""

    exit_code = 4


class BrokerUnavailable(ShrivenError):
    """The broker is away, or does not answer in time."""

    exit_code = 5


class TopicDrift(ShrivenError):
    """The broker's topics differ from the table."""

    exit_code = 6


class PeerProtocolError(ShrivenError):
    """The venue broke its own protocol."""

    exit_code = 7


class VenueRejected(ShrivenError):
    """The venue understood and said no."""

    exit_code = 8


class ResourceExhausted(ShrivenError):
    """The machine's fault: disk, memory, ports, read-only files, another instance holding a lock."""

    exit_code = 9


class Mismatch(ShrivenError):
    """Two things that must be equal are not: a replay, a checksum, a comparison."""

    exit_code = 10


class Fenced(ShrivenError):
    """Another process took over this task; this one must end."""

    exit_code = 11


class WatchdogExpired(ShrivenError):
    """A call into a client library passed its deadline; the process ends and is started again."""

    exit_code = 12
