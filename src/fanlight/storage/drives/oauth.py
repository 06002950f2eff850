"""What the storage process asks providers over HTTPS. Tokens stand in no log and in no error."""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp

from fanlight.storage.drives.providers import Grant, Provider, Room

_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
_MOST_BYTES = 64 * 1024
_LIFETIME_IN_SECONDS = 300.0  # of an access token of which the provider does not say it
_WORD = re.compile(r"[A-Za-z_.-]{1,60}")
# The tenant of all accounts at Microsoft that belong to no organisation has drives of this type.
_OF_NO_ORGANISATION = "personal"


class ProviderAway(Exception):
    """It does not answer, or not as it should. May be tried again."""


class GrantEnded(Exception):
    """The provider takes the code or the refresh token no more: its user is to be asked anew."""


class OfNobody(GrantEnded):
    """The provider does not say of which organisation the account is, or whose address it has."""


class AccessEnded(Exception):
    """The provider takes an access token no more; what becomes of the grant is said when it is renewed."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gives. `lifetime_in_seconds` is that of the access token."""

    access_token: str = field(repr=False)
    lifetime_in_seconds: float
    refresh_token: str | None = field(default=None, repr=False)
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


def authorization_url(provider: Provider, *, redirect_uri: str, state: str, verifier: str) -> str:
    """Return where the user's browser is sent. `verifier` is proven when the code is exchanged."""
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": provider.client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "scope": provider.scope,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **provider.extra,
    }
    return f"{provider.authorize_url}?{urlencode(query)}"


async def granted(provider: Provider, *, code: str, redirect_uri: str, verifier: str) -> Grant:
    """Exchange the code, and learn whose account it is. Raises ProviderAway, GrantEnded."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    tokens = await _tokens(provider, form)
    if tokens.refresh_token is None:
        raise GrantEnded("no refresh token")
    try:
        claims, drive = await _who_and_what(provider, tokens)
    except AccessEnded as error:
        raise ProviderAway("it does not take the access token that it gave") from error
    account = provider.account_of(claims)
    if account is None or drive.get("driveType") == _OF_NO_ORGANISATION:
        raise OfNobody("the account has no proven address, or is of no organisation")
    return Grant(
        grant_id=uuid4().hex,
        account=account.address,
        domain=account.domain,
        refresh_token=tokens.refresh_token,
        drive=drive,
    )


async def _who_and_what(provider: Provider, tokens: Tokens) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return what says whose account it is, and what rclone must know of the drive. Raises ProviderAway, AccessEnded."""
    leave = _leave(tokens.access_token)
    claims, drive = tokens.claims, {}
    if provider.account_url is not None:
        claims = await _ask(provider, "GET", provider.account_url, headers=leave)
    if provider.drive_url is not None:
        said = await _ask(provider, "GET", provider.drive_url, headers=leave)
        drive = {name: _text(said, name) for name in ("id", "driveType")}
    return claims, drive


async def refreshed(provider: Provider, grant: Grant) -> Tokens:
    """Raises ProviderAway, GrantEnded."""
    return await _tokens(provider, {"grant_type": "refresh_token", "refresh_token": grant.refresh_token})


async def room(provider: Provider, access_token: str) -> Room:
    """Return what is on the drive. Raises ProviderAway, AccessEnded."""
    said = await _ask(provider, "GET", provider.about_url, headers=_leave(access_token))
    try:
        return provider.room_of(said)
    except (KeyError, TypeError, ValueError) as error:
        raise ProviderAway("it does not say how much is on the drive") from error


async def revoked(provider: Provider, grant: Grant) -> bool:
    """Give the leave back at the provider; return whether that is done. Some have no way to."""
    if provider.revoke_url is None:
        return False
    try:
        await _ask(provider, "POST", provider.revoke_url, data={"token": grant.refresh_token})
    except GrantEnded:
        return True  # nothing is left of it
    except (ProviderAway, AccessEnded):
        return False
    return True


async def _tokens(provider: Provider, form: Mapping[str, str]) -> Tokens:
    client = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    said = await _ask(provider, "POST", provider.token_url, data={**form, **client})
    lifetime = said.get("expires_in")
    return Tokens(
        _text(said, "access_token"),
        float(lifetime) if isinstance(lifetime, int) else _LIFETIME_IN_SECONDS,
        _text(said, "refresh_token") if "refresh_token" in said else None,
        _claims(said["id_token"], provider) if isinstance(said.get("id_token"), str) else {},
    )


def _claims(id_token: str, provider: Provider) -> Mapping[str, Any]:
    """Read without its signature: it comes from the provider itself, over TLS (OpenID Connect Core 3.1.3.7). Raises ProviderAway."""
    try:
        body = id_token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, RecursionError) as error:
        raise ProviderAway("its ID token cannot be read") from error
    if not isinstance(claims, dict) or claims.get("aud") != provider.client_id:
        raise ProviderAway("its ID token is not for this client")
    return claims


def _leave(access_token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {access_token}"}


async def _ask(provider: Provider, method: str, url: str, **how: Any) -> Mapping[str, Any]:
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as http,
            http.request(method, url, allow_redirects=False, proxy=provider.proxy_url, **how) as answer,
        ):
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise ProviderAway("its answer is too long")
            said = json.loads(body) if body else {}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
        raise ProviderAway(type(error).__name__) from error
    if answer.status == HTTPStatus.OK and isinstance(said, dict):
        return said
    if answer.status == HTTPStatus.UNAUTHORIZED and "Authorization" in how.get("headers", {}):
        raise AccessEnded("status 401")
    if isinstance(said, dict) and said.get("error") in ("invalid_grant", "invalid_token"):
        raise GrantEnded(str(said["error"]))
    word = _word_of(said)
    raise ProviderAway(f"status {answer.status}" + (f", {word}" if word else ""))


def _word_of(said: object) -> str | None:
    """Return only the word that names an error, as OAuth, Google or Microsoft put it: the rest may repeat what we sent."""
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict):
        errors = error.get("errors")
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        error = first.get("reason", error.get("code"))
    return error if isinstance(error, str) and _WORD.fullmatch(error) else None


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ProviderAway(f"its answer has no {name}")
    return value
