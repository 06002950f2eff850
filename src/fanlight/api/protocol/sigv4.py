"""Verify AWS Signature Version 4, in its header form.

botocore signs but cannot verify: it drops headers that other SDKs sign and derives the key anew each time. The canonical
form here is held against botocore's signer and the published test suite by tests. Every comparison of secrets takes the
same time whatever they hold. Nothing of a signature, token or key is ever part of a text or a log line.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

from fanlight.api.protocol.errors import WireError

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
TIMESTAMP = "%Y%m%dT%H%M%SZ"
# Without these in the signature, somebody on the way could send the request elsewhere, again, or as another operation.
ALWAYS_SIGNED = ("host", "x-amz-date", "x-amz-target", "x-amz-security-token", "x-amz-client-token")
ONCE_ONLY = (
    "authorization",
    "host",
    "date",
    "x-amz-date",
    "x-amz-target",
    "x-amz-security-token",
    "x-amz-client-token",
    "x-amz-content-sha256",
)

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
UNKNOWN_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - a text
EXPIRED_TOKEN = "The security token included in the request is expired"  # noqa: S105 - a text


class SigningKey(Protocol):
    """What is needed of an access key to verify a signature made with it."""

    @property
    def access_key_id(self) -> str: ...
    @property
    def secret_access_key(self) -> str: ...
    @property
    def session_token(self) -> str | None: ...
    @property
    def expires_at(self) -> datetime | None: ...


KeyT = TypeVar("KeyT", bound=SigningKey)
Headers = Mapping[str, Sequence[str]]
"""Lower-case name → values, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came: raw path and query as on the request line, body unchanged."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Credential:
    """The Authorization header, taken apart."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class Verified(Generic[KeyT]):
    key: KeyT
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier(Generic[KeyT]):
    """Decides who sent a request. `find_key` returns None for an unknown access key id."""

    regions: frozenset[str]
    max_clock_skew: timedelta
    find_key: Callable[[str], Awaitable[KeyT | None]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def verify(self, request: SignedRequest, service: str) -> Verified[KeyT]:
        """Return the key that signed `request` for `service`, and the region it was signed for.

        Raises WireError (403 or 400).
        """
        for name in ONCE_ONLY:
            if len(request.headers.get(name, ())) > 1:
                raise incomplete(f"The header {name} occurs more than once.")
        credential = parse_authorization(request)
        self._check_scope(credential, service)
        self._check_signed_headers(credential, request)
        timestamp = self._check_time(credential, request)
        is_plain = credential.access_key_id.isascii() and credential.access_key_id.isprintable()
        key = await self.find_key(credential.access_key_id) if is_plain else None
        if key is None:
            raise WireError("UnrecognizedClientException", UNKNOWN_TOKEN)
        _check_signature(credential, request, timestamp, key.secret_access_key)
        self._check_token(key, _only(request.headers, "x-amz-security-token"))
        return Verified(key, credential.region)

    def _check_scope(self, credential: Credential, service: str) -> None:
        if credential.terminator != TERMINATOR:
            raise invalid(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")
        if credential.service != service:
            raise invalid(f"Credential should be scoped to correct service: '{service}'.")
        if credential.region not in self.regions:
            served = ", ".join(sorted(self.regions))
            raise invalid(f"Credential should be scoped to a valid region. This endpoint serves {served}.")

    def _check_signed_headers(self, credential: Credential, request: SignedRequest) -> None:
        unsigned = [name for name in ALWAYS_SIGNED if name in request.headers and name not in credential.signed_headers]
        if "host" in unsigned or "host" not in credential.signed_headers:
            raise invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
        if "x-amz-date" not in request.headers and "date" not in credential.signed_headers:
            unsigned.append("date")
        if unsigned:
            raise invalid(f"These headers must be signed: {', '.join(unsigned)}.")
        if absent := [name for name in credential.signed_headers if name not in request.headers]:
            raise invalid(f"Signed headers are missing from the request: {len(absent)} of them.")

    def _check_time(self, credential: Credential, request: SignedRequest) -> str:
        signed_at = _signing_time(request.headers)
        timestamp = signed_at.strftime(TIMESTAMP)
        if credential.date != timestamp[:8]:
            raise invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{credential.date[:8]}' != '{timestamp[:8]}', from '{timestamp}'."
            )
        now, skew = self.now(), self.max_clock_skew
        minutes = f"{skew.total_seconds() / 60:g} min."
        if signed_at < now - skew:
            raise invalid(
                f"Signature expired: {timestamp} is now earlier than {now - skew:{TIMESTAMP}} "
                f"({now:{TIMESTAMP}} - {minutes})"
            )
        if signed_at > now + skew:
            raise invalid(
                f"Signature not yet current: {timestamp} is still later than {now + skew:{TIMESTAMP}} "
                f"({now:{TIMESTAMP}} + {minutes})"
            )
        return timestamp

    def _check_token(self, key: KeyT, token: str | None) -> None:
        if not hmac.compare_digest((token or "").encode(errors="surrogateescape"), (key.session_token or "").encode()):
            raise WireError("UnrecognizedClientException", UNKNOWN_TOKEN)
        if key.expires_at is not None and key.expires_at <= self.now():
            raise WireError("ExpiredTokenException", EXPIRED_TOKEN)


def incomplete(message: str) -> WireError:
    return WireError("IncompleteSignature", message)


def invalid(message: str) -> WireError:
    return WireError("InvalidSignatureException", message)


_FIELD = re.compile(r"\s*(Credential|SignedHeaders|Signature)=([^\s,]*)\s*")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def parse_authorization(request: SignedRequest) -> Credential:
    """Take the Authorization header apart. Raises MissingAuthenticationTokenException or IncompleteSignature."""
    header = _only(request.headers, "authorization")
    if header is None:
        if "X-Amz-Signature" in request.query:
            raise incomplete("Presigned requests are not accepted here: sign with the Authorization header.")
        raise WireError("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise incomplete(f"The Authorization header must begin with '{ALGORITHM}'.")
    matches = [_FIELD.fullmatch(part) for part in rest.split(",")]
    fields = {match[1]: match[2] for match in matches if match}
    absent = [name for name in ("Credential", "Signature", "SignedHeaders") if not fields.get(name)]
    if absent:
        raise incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in absent))
    if len(fields) != len(matches):
        raise incomplete("The Authorization header has parts that do not belong there.")
    parts = fields["Credential"].rsplit("/", 4)
    if len(parts) != 5 or not all(parts):  # noqa: PLR2004 - key/date/region/service/terminator
        raise incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        )
    if not _SIGNATURE.fullmatch(fields["Signature"]):
        raise invalid(MISMATCH)
    signed = tuple(sorted({name.lower() for name in fields["SignedHeaders"].split(";")}))
    return Credential(parts[0], parts[1], parts[2], parts[3], parts[4], signed, fields["Signature"])


def _signing_time(headers: Headers) -> datetime:
    """Return when the client says it signed. Raises IncompleteSignature."""
    stamp = _only(headers, "x-amz-date")
    try:
        if stamp is not None:
            return datetime.strptime(stamp, TIMESTAMP).replace(tzinfo=UTC)
        if (date := _only(headers, "date")) is not None:
            return parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, OverflowError):
        raise incomplete("The date of the request must be in ISO-8601 'basic format': 20261231T235959Z.") from None
    raise incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")


def _check_signature(credential: Credential, request: SignedRequest, timestamp: str, secret: str) -> None:
    body_hash = hashlib.sha256(request.body).hexdigest()
    claimed = _only(request.headers, "x-amz-content-sha256")
    if claimed is not None and claimed.lower() != body_hash:
        raise invalid("The value of x-amz-content-sha256 is not the SHA-256 of the body; unsigned bodies are refused.")
    canonical = canonical_request(request, credential.signed_headers, body_hash)
    expected = signature(secret, timestamp, credential.scope, canonical)
    if not hmac.compare_digest(expected, credential.signature):
        raise invalid(MISMATCH)


def canonical_request(request: SignedRequest, signed_headers: Sequence[str], body_hash: str) -> bytes:
    """Return what both sides hash: the parts of the request that the signature covers, in one spelling."""
    query = "&".join(
        f"{name}={value}" for name, _, value in sorted(pair.partition("=") for pair in request.query.split("&") if pair)
    )
    headers = [
        f"{name}:{','.join(' '.join(value.split()) for value in request.headers[name])}" for name in signed_headers
    ]
    lines = [request.method, canonical_path(request.path), query, *headers, "", ";".join(signed_headers), body_hash]
    return "\n".join(lines).encode(errors="surrogateescape")


def canonical_path(raw_path: str) -> str:
    """Return the path as clients sign it: without empty and relative parts, and encoded once more than it was sent."""
    parts: list[str] = []
    for part in raw_path.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    end = "/" if parts and raw_path.endswith("/") else ""
    return f"/{quote('/'.join(parts), safe='/~')}{end}"


def signature(secret: str, timestamp: str, scope: str, canonical: bytes) -> str:
    """Return the signature, in lower-case hex, of a canonical request."""
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    return hmac.digest(_signing_key(secret, scope), to_sign.encode(), "sha256").hex()


@lru_cache(maxsize=1024)
def _signing_key(secret: str, scope: str) -> bytes:
    """Derive the key of one day, region and service; kept, because it is the dearest part of the verification."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _only(headers: Headers, name: str) -> str | None:
    values = headers.get(name)
    return values[0] if values else None
