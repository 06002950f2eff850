"""Google and Microsoft as providers of drives: where they are asked, what they are asked for, and how rclone is told.

The flow is OAuth's authorization code with PKCE (RFC 6749, RFC 7636).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fanlight.config import Settings
from fanlight.domain.user_storage import StorageKind

NAME = "cloud"  # of the remote in rclone's environment
# What an access token that has run out looks like: rclone fetches a fresh one by itself.
_LONG_AGO = "2001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A user's leave to use a drive. `grant_id` is new for each consent, `drive` what the provider says of the drive."""

    grant_id: str
    account: str
    refresh_token: str = field(repr=False)
    drive: Mapping[str, str] = field(default_factory=dict)

    @property
    def domain(self) -> str:
        return domain_of(self.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`account_of` reads what `account_url` answers: the proven address of the account, None if there is none.

    `backend` returns the options of rclone's backend, by name, for a grant.
    """

    name: str
    client_id: str
    client_secret: str = field(repr=False)
    authorize_url: str
    token_url: str
    account_url: str
    drive_url: str | None = None
    scope: str
    extra: Mapping[str, str] = field(default_factory=dict)
    account_of: Callable[[Mapping[str, Any]], str | None]
    backend: Callable[[Grant], Mapping[str, str]]

    def environment(self, grant: Grant) -> Mapping[str, str]:
        """Return what rclone needs for the remote NAME; nobody but its own user can read it there."""
        token = {
            "access_token": "-",
            "token_type": "Bearer",
            "refresh_token": grant.refresh_token,
            "expiry": _LONG_AGO,
        }
        options = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "token_url": self.token_url,
            "token": json.dumps(token),
            **self.backend(grant),
        }
        return {f"RCLONE_CONFIG_{NAME.upper()}_{name.upper()}": value for name, value in options.items()}


def domain_of(account: str) -> str:
    return account.rpartition("@")[2].lower()


def providers_of(settings: Settings) -> Mapping[StorageKind, Provider]:
    """Return those for which the operator has configured a client."""
    found: dict[StorageKind, Provider] = {}
    if settings.google_drive_client_id and settings.google_drive_client_secret:
        found[StorageKind.GOOGLE_DRIVE] = google(settings.google_drive_client_id, settings.google_drive_client_secret)
    if settings.one_drive_client_id and settings.one_drive_client_secret:
        client = settings.one_drive_client_id, settings.one_drive_client_secret
        found[StorageKind.ONE_DRIVE] = microsoft(*client, settings.one_drive_tenant)
    return found


def google(client_id: str, client_secret: str) -> Provider:
    return Provider(
        name="Google Drive",
        client_id=client_id,
        client_secret=client_secret,
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        account_url="https://openidconnect.googleapis.com/v1/userinfo",
        scope="openid email https://www.googleapis.com/auth/drive",
        # Without both of them an account that consented before gives no refresh token.
        extra={"access_type": "offline", "prompt": "consent"},
        account_of=lambda said: said.get("email") if said.get("email_verified") is True else None,
        # Documents of Google's own editors are no files: they have neither size nor bytes.
        backend=lambda _: {"type": "drive", "scope": "drive", "skip_gdocs": "true"},
    )


def microsoft(client_id: str, client_secret: str, tenant: str) -> Provider:
    base = f"https://login.microsoftonline.com/{quote(tenant, safe='')}/oauth2/v2.0"
    return Provider(
        name="OneDrive",
        client_id=client_id,
        client_secret=client_secret,
        authorize_url=f"{base}/authorize",
        token_url=f"{base}/token",
        account_url="https://graph.microsoft.com/v1.0/me",
        drive_url="https://graph.microsoft.com/v1.0/me/drive",
        scope="offline_access User.Read Files.ReadWrite",
        extra={"prompt": "select_account"},
        # Not `mail`: whoever administers some other organisation may write any address there.
        account_of=lambda said: said.get("userPrincipalName"),
        backend=lambda grant: {
            "type": "onedrive",
            "drive_id": grant.drive["id"],
            "drive_type": grant.drive["driveType"],
            "access_scopes": "offline_access User.Read Files.ReadWrite",
        },
    )
