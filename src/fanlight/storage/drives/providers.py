"""Google and Microsoft as providers of drives: where they are asked, what they are asked for, and how rclone is told.

The flow is OAuth's authorization code with PKCE (RFC 6749, RFC 7636).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard
from urllib.parse import quote

from fanlight.config import Settings
from fanlight.domain.user_storage import StorageKind

NAME = "cloud"  # of the remote in rclone's environment
# Of addresses there Google is the one who says whose they are; any other may have been taken by whoever had it once.
_GOOGLES_OWN = frozenset({"gmail.com", "googlemail.com"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose drive it is. `domain` is that of the organisation which the provider says the account belongs to."""

    address: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A user's leave to use a drive. `grant_id` is new for each consent, `drive` what the provider says of the drive."""

    grant_id: str
    account: str
    domain: str
    refresh_token: str = field(repr=False)
    drive: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Room:
    """What is on a drive, in bytes. `total` is None where the provider sets no limit."""

    used: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`account_of` reads the claims that come with the tokens (OpenID Connect), or what `account_url` answers if there is
    one; None: nobody's account that could be told. `room_of` reads what `about_url` answers.

    `backend` returns the options of rclone's backend, by name, for a grant. `revoke_url`: where leave is given back (RFC
    7009). `proxy_url`: the HTTP proxy on the way there.
    """

    name: str
    client_id: str
    client_secret: str = field(repr=False)
    authorize_url: str
    token_url: str
    about_url: str
    account_url: str | None = None
    drive_url: str | None = None
    revoke_url: str | None = None
    proxy_url: str | None = field(default=None, repr=False)
    scope: str
    extra: Mapping[str, str] = field(default_factory=dict)
    account_of: Callable[[Mapping[str, Any]], Account | None]
    room_of: Callable[[Mapping[str, Any]], Room]
    backend: Callable[[Grant], Mapping[str, str]]

    def environment(self, grant: Grant, token: Mapping[str, str]) -> Mapping[str, str]:
        """Return what rclone needs for the remote NAME; `token` are the options that say how it gets access."""
        options = {**token, **self.backend(grant)}
        told = {f"RCLONE_CONFIG_{NAME.upper()}_{name.upper()}": value for name, value in options.items()}
        return told | ({"HTTPS_PROXY": self.proxy_url} if self.proxy_url else {})


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def providers_of(settings: Settings) -> Mapping[StorageKind, Provider]:
    """Return those for which the operator has configured a client."""
    found: dict[StorageKind, Provider] = {}
    if settings.google_drive_client_id and settings.google_drive_client_secret:
        found[StorageKind.GOOGLE_DRIVE] = google(settings.google_drive_client_id, settings.google_drive_client_secret)
    if settings.one_drive_client_id and settings.one_drive_client_secret:
        client = settings.one_drive_client_id, settings.one_drive_client_secret
        found[StorageKind.ONE_DRIVE] = microsoft(*client, settings.one_drive_tenant)
    return {kind: replace(provider, proxy_url=settings.drives_proxy_url) for kind, provider in found.items()}


def google(client_id: str, client_secret: str) -> Provider:
    return Provider(
        name="Google Drive",
        client_id=client_id,
        client_secret=client_secret,
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        about_url="https://www.googleapis.com/drive/v3/about?fields=storageQuota",
        revoke_url="https://oauth2.googleapis.com/revoke",
        scope="openid email https://www.googleapis.com/auth/drive",
        # Without both of them an account that consented before gives no refresh token.
        extra={"access_type": "offline", "prompt": "consent"},
        account_of=_account_at_google,
        room_of=_room_at_google,
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
        about_url="https://graph.microsoft.com/v1.0/me/drive",
        scope="offline_access User.Read Files.ReadWrite",
        extra={"prompt": "select_account"},
        account_of=_account_at_microsoft,
        room_of=_room_at_microsoft,
        backend=lambda grant: {
            "type": "onedrive",
            "drive_id": grant.drive["id"],
            "drive_type": grant.drive["driveType"],
            "access_scopes": "offline_access User.Read Files.ReadWrite",
        },
    )


def _account_at_google(claims: Mapping[str, Any]) -> Account | None:
    """An organisation's account has its domain in `hd`. Anybody may have one of their own with an address of elsewhere."""
    address = claims.get("email")
    if claims.get("email_verified") is not True or not _is_address(address):
        return None
    domain = claims.get("hd", domain_of(address) if domain_of(address) in _GOOGLES_OWN else None)
    return Account(address=address, domain=domain.lower()) if isinstance(domain, str) else None


def _account_at_microsoft(said: Mapping[str, Any]) -> Account | None:
    """Not `mail`: whoever administers some other organisation may write any address there."""
    address = said.get("userPrincipalName")
    return Account(address=address, domain=domain_of(address)) if _is_address(address) else None


def _is_address(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and "@" in value and value.isprintable()


def _room_at_google(said: Mapping[str, Any]) -> Room:
    """Numbers are texts there. Raises KeyError, TypeError, ValueError."""
    quota = said["storageQuota"]
    return Room(used=int(quota["usage"]), total=int(quota["limit"]) if "limit" in quota else None)


def _room_at_microsoft(said: Mapping[str, Any]) -> Room:
    """Raises KeyError, TypeError, ValueError."""
    quota = said["quota"]
    total = int(quota["total"])
    # What is in its bin counts too, but is not in `used`.
    return (
        Room(used=total - int(quota["remaining"]), total=total) if total else Room(used=int(quota["used"]), total=None)
    )
