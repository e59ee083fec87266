"""`shriven doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from schemas.errors import ResourceExhausted


def mount(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> int:
    """Check what this machine needs; 0 when well, else a line and a way out for each finding."""
    from infra.cli.output import print_json, print_table
    from infra.config import config
    from infra.doctor import examine

    findings = list(examine(config()))
    ill = any(finding.level == "ill" for finding in findings)
    if json:
        print_json({"well": not ill, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(finding.level, finding.check, finding.what, finding.way_out) for finding in findings]
        print_table(("", "check", "finding", "way out"), rows)
    return ResourceExhausted.exit_code if ill else 0
