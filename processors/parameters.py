"""Parameters of rules: typed, checked, with a sentence for whoever got one wrong."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from processors.api import Parameters
from schemas.errors import ConfigInvalid

T = TypeVar("T")


def read_parameters(kind: type[T], given: Parameters, rule: str) -> T:
    """Make the dataclass `kind` (int, str and bool fields with defaults) from parameters by name.

    Raises:
        ConfigInvalid: an unknown name, a wrong type, or what `kind` itself refuses.
    """
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, int | str | bool] = {}
    for name, value in given.items():
        if name not in fields:
            raise ConfigInvalid(f"Rule {rule} has no parameter {name!r}. It has: {', '.join(sorted(fields))}.")
        wanted = type(fields[name])
        if wanted is str and type(value) is int:  # a list of one number looks like a number
            value = str(value)
        if type(value) is not wanted:
            raise ConfigInvalid(f"Rule {rule}: {name} must be {wanted.__name__}, but is {value!r}.")
        values[name] = value
    return kind(**values)


def check_range(rule: str, name: str, value: int, low: int, high: int) -> None:
    """Raises ConfigInvalid unless low ≤ value ≤ high."""
    if not low <= value <= high:
        raise ConfigInvalid(f"Rule {rule}: {name} is {value}; possible are {low} to {high}.")
