"""Streaming URLs: a grant that its holder carries, signed and nowhere stored.

`PORTAL/authenticate?parameters=<base64 JSON>&signature=<base64 HMAC-SHA-256>`. The MAC covers the text of
`parameters` as it stands in the URL (after percent decoding), so nothing is parsed before it is known to be ours. The
JSON members are those of the service, all strings, and `region`, which there is part of the host name.
"""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fanlight.domain.errors import InvalidCombination, UrlRefused
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import StreamingGrant

# Nothing we sign comes near it: names have at most 101 characters, and SessionContext is limited below.
LONGEST_PARAMETERS = 8 * 1024
# The gateway keeps the same facts in a cookie, compressed, and browsers drop one above 4,096 characters: what would not
# fit there is refused here, where somebody can still shorten it.
LONGEST_COMPRESSED = 2_600
LONGEST_VALIDITY_IN_SECONDS = 604_800
_COMMON = frozenset({"type", "expires", "awsAccountId", "userId", "catalogSource", "fleetRef", "region"})
_MEMBERS = {
    "END_USER": _COMMON | {"applicationId", "userContext", "maxUserDurationInSecs"},
    "ADMIN": _COMMON,  # of image builders
    "STUDIO_USER": _COMMON,  # of the streaming sessions of studios
}


def checked_validity(seconds: int | None, default: int) -> timedelta:
    """Return how long a URL may be opened. Raises InvalidCombination."""
    lasting = default if seconds is None else seconds
    if not 1 <= lasting <= LONGEST_VALIDITY_IN_SECONDS:
        raise InvalidCombination(
            f"Validity is {lasting} seconds; it must be between 1 and {LONGEST_VALIDITY_IN_SECONDS}."
        )
    return timedelta(seconds=lasting)


class StreamingUrls:
    """Signs and reads streaming URLs with one key of this installation."""

    def __init__(self, signing_key: bytes, portal: Callable[[], str]) -> None:
        self._key, self._portal = signing_key, portal

    def issue(self, grant: StreamingGrant, max_user_duration: timedelta) -> str | None:
        """Return the URL for a grant, or None when it is too long for `redeem`, or for a browser to remember."""
        members = {
            "type": "END_USER",
            "expires": str(int(grant.expires_at.timestamp())),
            "awsAccountId": grant.scope.account_id,
            "userId": grant.user_id,
            "catalogSource": f"stack/{grant.stack_name}",
            "fleetRef": f"fleet/{grant.fleet_name}",
            "applicationId": grant.application_id or "",
            "userContext": grant.session_context or "",
            "maxUserDurationInSecs": str(int(max_user_duration.total_seconds())),
            "region": grant.scope.region,
        }
        text = json.dumps(members).encode()
        parameters = base64.b64encode(text).decode()
        if len(parameters) > LONGEST_PARAMETERS or len(zlib.compress(text, 9)) > LONGEST_COMPRESSED:
            return None
        return self._signed(parameters)

    def issue_for_desktop(self, grant: StreamingGrant) -> str:
        """Return the URL for the grant of an own desktop; names are short, so it is never too long."""
        members = {
            "type": _type_of(grant),
            "expires": str(int(grant.expires_at.timestamp())),
            "awsAccountId": grant.scope.account_id,
            "userId": grant.user_id,
            "catalogSource": grant.stack_name,
            "fleetRef": grant.fleet_name,
            "region": grant.scope.region,
        }
        return self._signed(base64.b64encode(json.dumps(members).encode()).decode())

    def _signed(self, parameters: str) -> str:
        signature = base64.b64encode(self._mac(parameters.encode())).decode()
        return f"{self._portal()}/authenticate?{urlencode({'parameters': parameters, 'signature': signature})}"

    def read(self, parameters: str, signature: str) -> StreamingGrant:
        """Return what the URL grants, expired or not. Raises UrlRefused ALTERED."""
        if len(parameters) > LONGEST_PARAMETERS or len(signature) > len(parameters) + 64:
            raise _altered()
        try:
            text = parameters.encode("ascii")
            given = base64.b64decode(signature.encode("ascii"), validate=True)
        except (UnicodeError, binascii.Error, ValueError):
            raise _altered() from None
        if not hmac.compare_digest(given, self._mac(text)):
            raise _altered()
        return _grant_of(text)

    def _mac(self, parameters: bytes) -> bytes:
        return hmac.digest(self._key, parameters, hashlib.sha256)


def _grant_of(parameters: bytes) -> StreamingGrant:
    try:
        members = json.loads(base64.b64decode(parameters, validate=True))
        if not isinstance(members, dict) or not all(isinstance(value, str) for value in members.values()):
            raise _altered()
        allowed = _MEMBERS.get(members.get("type", ""))
        if allowed is None or members.keys() != allowed:
            raise _altered()
        prefixes = ("stack/", "fleet/") if members["type"] == "END_USER" else ("", "")
        grant = StreamingGrant(
            scope=Scope(members["awsAccountId"], members["region"]),
            stack_name=_after(prefixes[0], members["catalogSource"]),
            fleet_name=_after(prefixes[1], members["fleetRef"]),
            user_id=members["userId"],
            application_id=members.get("applicationId") or None,
            session_context=members.get("userContext") or None,
            expires_at=datetime.fromtimestamp(int(members["expires"]), UTC),
        )
    except (ValueError, OverflowError, OSError, binascii.Error, RecursionError):
        raise _altered() from None
    if _type_of(grant) != members["type"]:
        raise _altered()
    return grant


def _type_of(grant: StreamingGrant) -> str:
    if grant.image_builder_name is not None:
        return "ADMIN"
    return "END_USER" if grant.studio_session_id is None else "STUDIO_USER"


def _after(prefix: str, reference: str) -> str:
    if not reference.startswith(prefix):
        raise _altered()
    return reference.removeprefix(prefix)


def _altered() -> UrlRefused:
    return UrlRefused("ALTERED", "This link is not valid: it is incomplete or was changed. Ask for a new one.")
