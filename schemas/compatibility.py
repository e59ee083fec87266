"""What may change in an event within a version of its topic, and the check that nothing else does.

| change of the declaration | verdict |
|---|---|
| documentation | raise `revision`, freeze |
| a column added, with a default | raise `revision`, freeze |
| columns in another order (they are matched by name) | raise `revision`, freeze |
| a symbol added at the end of an enum, a bit added to flags | raise `revision`, freeze |
| a wider integer that holds every value of the narrower one | raise `revision`, freeze |
| a column added without a default, removed or renamed | new event, new topic version |
| kind, number of items, `based`, unit, scale, default of a column | new event, new topic version |
| symbols or bits renamed, removed or renumbered | new event, new topic version |
| `content`, `measured`, `content_…` (what hashes are made of) | new event, new topic version |
| `caused`, `number`, name | new event, new topic version |

Compatible means: today's release reads every frame that an older release wrote (schemas/resolve.py).
Older releases refuse frames of newer revisions, so readers are upgraded first. `reserved` columns do
not travel and may change freely.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas.avro import Schema, canonical, frame_schema
from schemas.catalogue import EVENTS
from schemas.declare import Event
from schemas.errors import ConfigInvalid
from schemas.frozen import FOLDER, frozen_schemas, path_of, read_frozen

MEANING = ("based", "unit", "scale", "content", "measured", "default", "count")
NEVER = "That needs a new event with a number of its own, in a new version of the topic"
FREEZE = "run `shriven schema freeze` and commit the file"


class Change(NamedTuple):
    """One difference between two schemas of an event."""

    sentence: str
    compatible: bool


def _by_name(fields: Sequence[Schema]) -> dict[str, Schema]:
    return {field["name"]: field for field in fields}


def _rows(frame: Schema) -> Schema:
    record: Schema = frame["fields"][-1]["type"]["items"]
    return record


def _enums(frame: Schema) -> dict[str, list[str]]:
    """Symbols of the enums, by full name: a name used twice is spelled out once."""
    types = [field["type"] for field in _rows(frame)["fields"]]
    return {kind["name"]: kind["symbols"] for kind in types if isinstance(kind, dict) and kind["type"] == "enum"}


def _plain_type(field: Schema) -> Any:
    """The type without the symbols of an enum, which are compared apart."""
    kind = field["type"]
    return kind["name"] if isinstance(kind, dict) and kind["type"] == "enum" else kind


def _range(field: Schema) -> tuple[int, int]:
    """Smallest and largest value of an integer column; an empty range for any other."""
    bits = {"int": 31, "long": 63}.get(str(_plain_type(field)))
    low, high = field.get("range", (-(1 << bits), (1 << bits) - 1) if bits else (1, 0))
    return low, high


def _is_widened(old: Schema, new: Schema) -> bool:
    """Whether every value of the old integer column is a value of the new one. A `long` never becomes an `int`."""
    (low, high), (new_low, new_high) = _range(old), _range(new)
    return low <= high and new_low <= low and high <= new_high and _plain_type(new) in (_plain_type(old), "long")


def _column_changes(old: Schema, new: Schema) -> Iterator[Change]:
    name = f"column {old['name']}"
    for attribute in MEANING:
        if old.get(attribute) != new.get(attribute):
            change = f"{attribute} from {old.get(attribute)!r} to {new.get(attribute)!r}"
            yield Change(f"{name} changed {change}", False)
    if _plain_type(old) != _plain_type(new) or old.get("range") != new.get("range"):
        change = f"{_plain_type(old)} {old.get('range', '')} to {_plain_type(new)} {new.get('range', '')}"
        yield Change(f"{name} changed from {change}", _is_widened(old, new))
    if old.get("bits") != new.get("bits"):
        kept = (new.get("bits") or {}).items() >= (old.get("bits") or {}).items()
        yield Change(f"{name} {'got new bits' if kept else 'lost or renamed bits'}", kept)
    if old.get("doc") != new.get("doc"):
        yield Change(f"{name} has another documentation", True)


def _enum_changes(old: Schema, new: Schema) -> Iterator[Change]:
    new_enums = _enums(new)
    for name, symbols in _enums(old).items():
        today = new_enums.get(name, symbols)
        if today[: len(symbols)] != symbols:
            yield Change(f"enum {name} renamed, moved or removed one of {', '.join(symbols)}", False)
        elif today != symbols:
            yield Change(f"enum {name} got {', '.join(today[len(symbols) :])}", True)


def changes(old: Schema, new: Schema) -> list[Change]:
    """Every difference between two frame schemas of one event; [] means that they are equal."""
    found: list[Change] = []
    if old["schema_id"] // 100 != new["schema_id"] // 100:
        found.append(Change(f"the number changed from {old['schema_id'] // 100} to {new['schema_id'] // 100}", False))
    if ("cause_topic" in _by_name(old["fields"])) != ("cause_topic" in _by_name(new["fields"])):
        found.append(Change("`caused` changed", False))
    found += [
        Change(f"{attribute} changed", False)
        for attribute in ("name", "content_when", "content_changes")
        if _rows(old).get(attribute) != _rows(new).get(attribute)
    ]
    old_fields, new_fields = _by_name(_rows(old)["fields"]), _by_name(_rows(new)["fields"])
    for name in old_fields:
        if name not in new_fields:
            found.append(Change(f"column {name} is gone", False))
        else:
            found += _column_changes(old_fields[name], new_fields[name])
    for name in new_fields:
        if name not in old_fields:
            with_default = "default" in new_fields[name]
            found.append(
                Change(f"column {name} is new, {'with' if with_default else 'without'} a default", with_default)
            )
    found += _enum_changes(old, new)
    if not found and canonical(old | {"schema_id": 0}) != canonical(new | {"schema_id": 0}):
        found.append(Change("documentation or the order of columns changed", True))
    return found


def _verdict(name: str, found: list[Change], remedy: str) -> str:
    """One sentence on what changed and what to do."""
    broken = [change.sentence for change in found if not change.compatible]
    if broken:
        return f"{name}: {'; '.join(broken)}. {NEVER}; otherwise restore it."
    return f"{name}: {'; '.join(change.sentence for change in found)}. {remedy}"


def _event_problems(event: Event, frozen: dict[int, Schema]) -> Iterator[str]:
    revisions = sorted(frozen)
    for before, after in itertools.pairwise(revisions):
        found = [change for change in changes(frozen[before], frozen[after]) if not change.compatible]
        if found:
            yield _verdict(f"{event.name}, revision {before} to {after}", found, "")
    if revisions and revisions[-1] > event.revision:
        yield f"{event.name}: revision {revisions[-1]} is frozen, the declaration says {event.revision}. Restore it."
    elif event.revision not in frozen:
        yield f"{event.name}: revision {event.revision} is not frozen yet; {FREEZE}."
    else:
        found = changes(frozen[event.revision], frame_schema(event))
        remedy = f"Revision {event.revision} is frozen: set `revision` to {event.revision + 1}, {FREEZE}."
        if found:
            yield _verdict(event.name, found, remedy)
    missing = sorted(set(range(1, event.revision)) - set(revisions))
    if missing:
        yield f"{event.name}: the frozen file of revision {missing[0]} is gone. Restore it: old frames need it."


def _by_event(folder: Path) -> dict[str, dict[int, Schema]]:
    found: dict[str, dict[int, Schema]] = {}
    for (name, revision), schema in read_frozen(folder).items():
        found.setdefault(name, {})[revision] = schema
    return found


def _problems(events: Sequence[Event], frozen: dict[str, dict[int, Schema]]) -> list[str]:
    found = [problem for event in events for problem in _event_problems(event, frozen.get(event.name, {}))]
    names = {event.name for event in events}
    numbers = Counter(event.number for event in events)
    found += [f"Number {number} is declared {count} times." for number, count in numbers.items() if count > 1]
    return found + [
        f"{name}: frozen, but no longer declared. Restore the declaration: old frames need it."
        for name in frozen
        if name not in names
    ]


def problems(events: Sequence[Event] = EVENTS, folder: Path = FOLDER) -> list[str]:
    """What is wrong between declarations and frozen files: precise sentences, [] when nothing is."""
    return _problems(events, _by_event(folder))


def check(events: Sequence[Event] = EVENTS, folder: Path = FOLDER) -> None:
    """Refuse declarations that differ from their frozen files.

    Raises:
        ConfigInvalid: one sentence per line.
    """
    found = problems(events, folder)
    if found:
        raise ConfigInvalid("\n".join(found))


def freeze(events: Sequence[Event] = EVENTS, folder: Path = FOLDER, *, unreleased: bool = False) -> list[Path]:
    """Write the frozen files of today's revisions that are missing; the paths written.

    Args:
        unreleased: also rewrite those of today's revisions that differ. Right only while no frame of that
            revision exists anywhere.

    Raises:
        ConfigInvalid: a change that is not compatible, or a frozen file that differs. Nothing is written then.
    """
    frozen = _by_event(folder)
    planned: dict[Path, Schema] = {}
    for event in events:
        revisions = frozen.setdefault(event.name, {})
        today = frame_schema(event)
        if event.revision not in revisions or (unreleased and changes(revisions[event.revision], today)):
            revisions[event.revision] = planned[path_of(event.name, event.revision, folder)] = today
    found = _problems(events, frozen)
    if found:
        raise ConfigInvalid("\n".join(found))
    folder.mkdir(parents=True, exist_ok=True)
    for path, schema in planned.items():
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    frozen_schemas.cache_clear()
    return list(planned)
