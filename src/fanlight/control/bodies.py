"""Strict readers of request bodies: exactly the members that are known, of exactly their types."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fanlight.controlwire.messages import Grant
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import StreamingGrant

_LAST_SECOND = 253_402_300_799  # the end of the year 9999; datetime ends there


class MalformedBody(ValueError):
    """The body is not what this request takes. The text names the member, never its content."""


_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "text or null": (str, type(None)),
    "number": (int, float),
    "true or false": (bool,),
    "object": (dict,),
}


def read_body(body: object, members: Mapping[str, str]) -> dict[str, Any]:
    """Return the body if it has exactly `members` (name → kind, a key of _TYPES). Raises MalformedBody."""
    if not isinstance(body, dict):
        raise MalformedBody("The body must be a JSON object.")
    if set(body) != set(members):
        names = ", ".join(sorted(members)) or "none"
        raise MalformedBody(f"The members of the body must be exactly: {names}.")
    for name, kind in members.items():
        value = body[name]
        if not isinstance(value, _TYPES[kind]) or (kind == "number" and isinstance(value, bool)):
            raise MalformedBody(f"{name} must be {kind}.")
        if isinstance(value, str) and "\x00" in value:
            raise MalformedBody(f"{name} must not hold NUL.")
    return body


_GRANT = {
    "account_id": "text",
    "region": "text",
    "stack_name": "text",
    "fleet_name": "text",
    "user_id": "text",
    "application_id": "text or null",
    "session_context": "text or null",
    "expires_at": "number",
}


def read_grant(body: object) -> StreamingGrant:
    """Raises MalformedBody."""
    members = read_body(body, _GRANT)
    if not 0 <= members["expires_at"] <= _LAST_SECOND:
        raise MalformedBody("expires_at must be epoch seconds.")
    return StreamingGrant(
        scope=Scope(members["account_id"], members["region"]),
        stack_name=members["stack_name"],
        fleet_name=members["fleet_name"],
        user_id=members["user_id"],
        application_id=members["application_id"],
        session_context=members["session_context"],
        expires_at=datetime.fromtimestamp(members["expires_at"], UTC),
    )


def grant_to_wire(grant: StreamingGrant) -> Grant:
    return Grant(
        account_id=grant.scope.account_id,
        region=grant.scope.region,
        stack_name=grant.stack_name,
        fleet_name=grant.fleet_name,
        user_id=grant.user_id,
        application_id=grant.application_id,
        session_context=grant.session_context,
        expires_at=grant.expires_at.timestamp(),
    )
