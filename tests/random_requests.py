"""What a caller of botocore may ask: strategies that follow the service model, within all of its constraints."""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st


@cache
def params(shape: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one line for each kind of shape
    """Generate what a caller of botocore may pass for this shape, within all constraints of the model."""
    metadata = shape.metadata
    least, most = metadata.get("min", 0), metadata.get("max")
    match shape.type_name:
        case "structure":
            required = {name: params(shape.members[name]) for name in shape.required_members}
            optional = {name: params(target) for name, target in shape.members.items() if name not in required}
            return st.fixed_dictionaries(required, optional=optional)
        case "list":
            return st.lists(params(shape.member), min_size=least, max_size=min(most or 3, least + 2))
        case "map":
            return st.dictionaries(params(shape.key), params(shape.value), min_size=least, max_size=least + 2)
        case "string":
            return _strings(metadata, least, most)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
                lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
            )
    bits = 63 if shape.type_name == "long" else 31
    return st.integers(metadata.get("min", -(1 << bits)), metadata.get("max", (1 << bits) - 1))


def _strings(metadata: Any, least: int, most: int | None) -> st.SearchStrategy[str]:
    if "enum" in metadata:
        return st.sampled_from(metadata["enum"])
    if "pattern" not in metadata:
        return st.text(
            st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=least, max_size=most or 20
        )
    if any(sign in metadata["pattern"] for sign in (r"\p{", r"\uD800")):  # what only Java reads
        return st.text("aZ09é字_-", min_size=least, max_size=min(most or 10, least + 10)).filter(bool)
    pattern = re.compile(metadata["pattern"].removesuffix("$").replace("(?<!\\.)", ""), re.ASCII)

    def is_legal(text: str) -> bool:
        """What was cut off at the greatest length may be no match any more."""
        return len(text) >= least and pattern.fullmatch(text) is not None and not text.endswith((".", "\n"))

    return st.from_regex(pattern, fullmatch=True).map(lambda text: text[:most]).filter(is_legal)
