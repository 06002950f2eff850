"""The constraints of the model, and the words in which AWS refuses a value that breaks them.

    1 validation error detected: Value '1' at 'userId' failed to satisfy constraint: Member must have length greater
    than or equal to 2

Paths are spelled in lower camel case; list elements are `names.1.member`, map values `tags.Team.member`. Values of
sensitive members are never echoed.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fanlight.api.protocol.errors import WireError

ECHO_LIMIT = 512  # characters of a value that come back in the text; the rest would only fill logs


@dataclass(frozen=True, slots=True)
class Constraint:
    """`text` continues the sentence `… failed to satisfy constraint:`."""

    text: str
    holds: Callable[[Any], bool]


def constraints_of(shape: Any) -> tuple[Constraint, ...]:
    """Return what the model demands of a value of this botocore shape, itself, not of what is inside it."""
    metadata: Mapping[str, Any] = shape.metadata
    bounds = _length_bounds if shape.type_name in ("string", "list", "map", "blob") else _value_bounds
    found = bounds(metadata)
    if values := metadata.get("enum"):
        found.append(_one_of(values))
    elif shape.type_name == "string":
        found.append(_pattern(metadata["pattern"], metadata.get("max")) if "pattern" in metadata else NO_NUL)
    return tuple(found)


def _length_bounds(metadata: Mapping[str, Any]) -> list[Constraint]:
    found = []
    if (most := metadata.get("max")) is not None:
        text = f"Member must have length less than or equal to {most}"
        found.append(Constraint(text, lambda value: len(value) <= most))
    if least := metadata.get("min"):
        text = f"Member must have length greater than or equal to {least}"
        found.append(Constraint(text, lambda value: len(value) >= least))
    return found


def _value_bounds(metadata: Mapping[str, Any]) -> list[Constraint]:
    found = []
    if (most := metadata.get("max")) is not None:
        found.append(Constraint(f"Member must have value less than or equal to {most}", lambda value: value <= most))
    if (least := metadata.get("min")) is not None:
        text = f"Member must have value greater than or equal to {least}"
        found.append(Constraint(text, lambda value: value >= least))
    return found


def _one_of(values: Sequence[str]) -> Constraint:
    return Constraint(f"Member must satisfy enum value set: [{', '.join(values)}]", frozenset(values).__contains__)


def _pattern(pattern: str, most: int | None) -> Constraint:
    matches = re.compile(translate_pattern(pattern), re.ASCII).fullmatch
    text = f"Member must satisfy regular expression pattern: {pattern}"
    if most is None:
        return Constraint(text, lambda value: matches(value) is not None)
    # A value that is too long is refused for its length; matching it could take an attacker's time.
    return Constraint(text, lambda value: len(value) > most or matches(value) is not None)


# No name, address or text of this API has a NUL in it, and PostgreSQL cannot store one.
NO_NUL = Constraint(r"Member must satisfy regular expression pattern: [^\x00]*", lambda value: "\0" not in value)


def translate_pattern(pattern: str) -> str:
    r"""Return a pattern of the model, which is Java's, for Python: `\p{L}` and its kin become explicit ranges.

    The rest means the same under `re.ASCII` with `fullmatch`, which is how Java services apply it.
    """
    # Java reads a pair of surrogates as the one character it stands for; its Print is ASCII's.
    pattern = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF").replace(r"\p{Print}", "[ -~]")
    return re.sub(r"\\p\{([A-Z])\}", lambda found: _category_ranges()[found[1]], pattern)


@lru_cache(maxsize=1)
def _category_ranges() -> Mapping[str, str]:
    """Return general category → the inside of a character class. Takes a tenth of a second, once."""
    ranges: dict[str, list[str]] = {}
    start, current = 0, unicodedata.category("\0")[0]
    for point in range(1, sys.maxunicode + 2):
        category = unicodedata.category(chr(point))[0] if point <= sys.maxunicode else ""
        if category != current:
            ranges.setdefault(current, []).append(f"\\U{start:08x}-\\U{point - 1:08x}")
            start, current = point, category
    return {category: "".join(parts) for category, parts in ranges.items()}


def wire_path(member: str) -> str:
    """Return a member's name as validation texts spell it: `StackName` → `stackName`."""
    return member[:1].lower() + member[1:]


def fault(value: Any, path: str, constraint: str, *, is_sensitive: bool) -> str:
    """Return the sentence about one broken constraint."""
    shown = "Value" if is_sensitive else f"Value {_echo(value)}"
    return f"{shown} at '{path}' failed to satisfy constraint: {constraint}"


def missing(path: str) -> str:
    return f"Value null at '{path}' failed to satisfy constraint: Member must not be null"


def _echo(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        text = f"[{', '.join(str(item) for item in value)}]"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}={item}" for key, item in value.items()) + "}"
    else:
        text = str(value)
    return f"'{text}'" if len(text) <= ECHO_LIMIT else f"'{text[:ECHO_LIMIT]}…'"


def refuse(faults: Sequence[str]) -> WireError:
    """Return the refusal that names every broken constraint of a request."""
    noun = "error" if len(faults) == 1 else "errors"
    return WireError("ValidationException", f"{len(faults)} validation {noun} detected: {'; '.join(faults)}")
