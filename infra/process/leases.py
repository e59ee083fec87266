"""Where the lease of a venue's account lies in a session, and how its holder is named."""

from __future__ import annotations

from pathlib import Path

from infra.sessions.store import Session


def lease_path(session: Session, venue: str) -> Path:
    return session.root / f"lease-{venue}.json"


def lease_owner(session: Session, pid: int) -> str:
    return f"{session.name}/{pid}"
