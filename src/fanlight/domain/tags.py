"""What a tag may be, and which resources a search for tags means."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fanlight.domain.errors import InvalidCombination

MOST_TAGS = 50  # on one resource
LONGEST_KEY = 128
LONGEST_VALUE = 256
RESERVED_PREFIX = "aws:"
_PUNCTUATION = frozenset("_.:/=+-@")

Tags = Mapping[str, str]


def check_keys(keys: Collection[str]) -> None:
    """Raise InvalidCombination for a key that no tag may have."""
    for key in keys:
        if not key or len(key) > LONGEST_KEY or not _is_plain(key):
            raise InvalidCombination(
                f"A tag key has 1 to {LONGEST_KEY} letters, digits, spaces and _ . : / = + - @; '{key[:40]}' is none."
            )
        if key[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX:
            raise InvalidCombination(
                f"The tag key '{key[:40]}' is reserved: keys cannot begin with {RESERVED_PREFIX}, in any case."
            )


def check_tags(tags: Tags) -> None:
    """Raise InvalidCombination for tags that no resource may have."""
    check_keys(tags)
    for key, value in tags.items():
        if len(value) > LONGEST_VALUE or not _is_plain(value):
            raise InvalidCombination(
                f"The value of the tag '{key}' is not of at most {LONGEST_VALUE} letters, digits, spaces and "
                "_ . : / = + - @."
            )


def _is_plain(text: str) -> bool:
    return all(character in _PUNCTUATION or unicodedata.category(character)[0] in "LZN" for character in text)


@dataclass(frozen=True, slots=True)
class TagCondition:
    """A key that a resource must have, with one of these values if there are any."""

    key: str
    values: tuple[str, ...] = ()

    def holds(self, tags: Tags) -> bool:
        return self.key in tags and (not self.values or tags[self.key] in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSearch:
    """Which resources are asked for: all conditions together, any of the types, any of the ARNs. Empty: all."""

    conditions: Sequence[TagCondition] = ()
    types: Sequence[str] = ()
    """`appstream`, or `appstream:fleet` and its like."""
    arns: Sequence[str] = ()

    def finds(self, arn: str, tags: Tags) -> bool:
        return (
            (not self.arns or arn in self.arns)
            and (not self.types or any(is_of_type(arn, kind) for kind in self.types))
            and all(condition.holds(tags) for condition in self.conditions)
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The search as texts, for page tokens: two different searches never have the same."""
        conditions = (word for one in self.conditions for word in (one.key, *one.values, "\0"))
        return ("conditions", *conditions, "types", *self.types, "arns", *self.arns)


def is_of_type(arn: str, kind: str) -> bool:
    """Return whether an ARN (arn:partition:service:region:account:type/name) is of a service or a service:type."""
    parts = arn.split(":", 5)
    service, _, resource = kind.partition(":")
    if len(parts) < 6 or parts[2] != service:  # noqa: PLR2004 - the parts of an ARN
        return False
    return not resource or parts[5].partition("/")[0] == resource
