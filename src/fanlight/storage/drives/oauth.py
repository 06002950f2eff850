"""What the storage process asks providers over HTTPS. Tokens stand in no log and in no error."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp

from fanlight.storage.drives.providers import Grant, Provider

_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
_MOST_BYTES = 64 * 1024


class ProviderAway(Exception):
    """It does not answer, or not as it should. May be tried again."""


class GrantEnded(Exception):
    """The provider takes the code or the refresh token no more: its user is to be asked anew."""


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
    if "refresh_token" not in tokens:
        raise GrantEnded("no refresh token")
    leave = {"Authorization": f"Bearer {tokens['access_token']}"}
    account = provider.account_of(await _ask("GET", provider.account_url, headers=leave))
    if not isinstance(account, str) or "@" not in account:
        raise GrantEnded("the account has no proven address")
    drive: Mapping[str, str] = {}
    if provider.drive_url is not None:
        said = await _ask("GET", provider.drive_url, headers=leave)
        drive = {name: _text(said, name) for name in ("id", "driveType")}
    return Grant(grant_id=uuid4().hex, account=account, refresh_token=tokens["refresh_token"], drive=drive)


async def refreshed(provider: Provider, grant: Grant) -> Grant:
    """Return the grant with the newest refresh token. Raises ProviderAway, GrantEnded."""
    tokens = await _tokens(provider, {"grant_type": "refresh_token", "refresh_token": grant.refresh_token})
    return replace(grant, refresh_token=tokens.get("refresh_token", grant.refresh_token))


async def _tokens(provider: Provider, form: Mapping[str, str]) -> Mapping[str, str]:
    client = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    said = await _ask("POST", provider.token_url, data={**form, **client})
    given = {"access_token": _text(said, "access_token")}
    return given | ({"refresh_token": _text(said, "refresh_token")} if "refresh_token" in said else {})


async def _ask(method: str, url: str, **how: Any) -> Mapping[str, Any]:
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as http,
            http.request(method, url, allow_redirects=False, **how) as answer,
        ):
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise ProviderAway("its answer is too long")
            said = json.loads(body)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
        raise ProviderAway(type(error).__name__) from error
    if answer.status == HTTPStatus.OK and isinstance(said, dict):
        return said
    if isinstance(said, dict) and said.get("error") == "invalid_grant":
        raise GrantEnded("invalid_grant")
    # Of what it says only the word, which the standard names: the rest may repeat what we sent.
    word = said.get("error") if isinstance(said, dict) else None
    raise ProviderAway(f"status {answer.status}" + (f", {word[:60]}" if isinstance(word, str) else ""))


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ProviderAway(f"its answer has no {name}")
    return value
