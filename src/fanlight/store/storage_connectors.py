"""Storage connectors as they stand in rows of stacks and of sessions."""

from collections.abc import Sequence
from typing import Any

from fanlight.domain.user_storage import StorageConnector, StorageKind


def connectors_to_json(connectors: Sequence[StorageConnector]) -> list[dict[str, Any]] | None:
    """Return None for none: those take no room, and are found without being read."""
    return [
        {
            "kind": connector.kind,
            "domains": list(connector.domains),
        }
        for connector in connectors
    ] or None


def connectors_of_json(kept: Sequence[dict[str, Any]] | None) -> tuple[StorageConnector, ...]:
    return tuple(
        StorageConnector(
            kind=StorageKind(one["kind"]),
            domains=tuple(one["domains"]),
        )
        for one in kept or ()
    )
