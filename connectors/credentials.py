"""API keys: from a file that only its owner can read, and from nowhere else.

The file is TOML:

    api_key = "…"
    secret = "…"            # HMAC; or instead of it
    private_key = "…"       # Ed25519: PKCS#8, PEM or base64
    account = "paper"       # name of the account in our rows

Nothing here prints, logs or pickles a key.
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from connectors.signing import Ed25519Signer, HmacSigner, Signer
from schemas.errors import ConfigInvalid, PeerProtocolError

FILE_BYTES_MAX = 1 << 16
FIELDS = ("api_key", "secret", "private_key", "account")


@dataclass(frozen=True, repr=False)
class Credentials:
    """A key and what signs for it.

    Attributes:
        api_key: goes into a header; never into a log.
        signer: holds the secret half.
        account: the account's name: rows carry the id of `venue:account`.
    """

    api_key: str
    signer: Signer
    account: str = "main"

    def __repr__(self) -> str:
        return f"Credentials(account={self.account!r}, hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled: the copy would be a key in a file")


def load_credentials(path: Path) -> Credentials:
    """Read a file of keys.

    Raises:
        ConfigInvalid: it is missing, not ours, readable by others, or not what it should be. The message never
            quotes the file.
    """
    fields = _parse(path, _read_private(path))
    given = [name for name in ("secret", "private_key") if fields.get(name)]
    if len(given) != 1 or not fields.get("api_key"):
        raise ConfigInvalid(f"{path}: a key file has `api_key` and either `secret` (HMAC) or `private_key` (Ed25519).")
    signer: Signer = HmacSigner(fields["secret"]) if given == ["secret"] else Ed25519Signer(fields["private_key"])
    return Credentials(fields["api_key"], signer, fields.get("account", "main"))


def _read_private(path: Path) -> bytes:
    """The file's bytes; what is checked is the open file, not the name."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: the key file cannot be read ({error.strerror}). Name a file, not a link to one."
        ) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigInvalid(f"{path} is not a file.")
        if found.st_uid != os.getuid():
            raise ConfigInvalid(f"{path}: the key file belongs to somebody else. Make one of your own.")
        if stat.S_IMODE(found.st_mode) != 0o600:
            raise ConfigInvalid(
                f"{path}: the key file has mode {stat.S_IMODE(found.st_mode):04o}; others may read it. "
                f"Run `chmod 600 {path.name}` there, and replace the keys if others could have read them."
            )
        return os.read(handle, FILE_BYTES_MAX)
    finally:
        os.close(handle)


def _parse(path: Path, body: bytes) -> dict[str, str]:
    try:
        found: dict[str, Any] = tomllib.loads(body.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise ConfigInvalid(f'{path} is no key file: it is not TOML such as `api_key = "…"`.') from None
    if unknown := sorted(found.keys() - set(FIELDS)):
        raise ConfigInvalid(f"{path}: unknown field {unknown[0]!r}. A key file has {', '.join(FIELDS)}.")
    if not all(isinstance(value, str) and value.isascii() for value in found.values()):
        raise ConfigInvalid(f"{path}: every field of a key file is a text of plain characters.")
    return found


def check_permissions(body: bytes) -> None:
    """Judge the venue's answer to `apiRestrictions`: whether these keys may be used.

    Raises:
        ConfigInvalid: they may withdraw, or may not trade futures.
        PeerProtocolError: the answer does not say: then they are not used either.
    """
    try:
        found = orjson.loads(body)
        withdraws, trades = found["enableWithdrawals"], found["enableFutures"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        withdraws = trades = None
    if not isinstance(withdraws, bool) or not isinstance(trades, bool):
        raise PeerProtocolError(
            "The venue's answer does not say what these keys may do, so they are not used. Is this its REST address?"
        )
    if withdraws:
        raise ConfigInvalid(
            "These keys may withdraw. A trading program must not hold such keys: whoever gets them takes the money. "
            "Make keys that may read and trade futures only."
        )
    if not trades:
        raise ConfigInvalid("These keys may not trade futures. Allow it where the venue manages its keys.")
