"""How a user connects a drive: to the provider and back, in the one browser that began it, once, within ten minutes."""

import hmac
import logging
import secrets
import time
from dataclasses import dataclass, field

from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.doors import Drive, DriveDoors, is_among
from fanlight.storage.drives.oauth import GrantEnded, OfNobody, ProviderAway, authorization_url, granted, revoked

log = logging.getLogger(__name__)

LIFETIME_IN_SECONDS = 600.0


class ConsentRefused(Exception):
    """`code` is for programs, the message for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class _Begun:
    """`browser` is what the browser that began holds in a cookie: whoever is sent such a link by another has it not."""

    door: StorageDoor
    redirect_uri: str
    browser: str = field(repr=False)
    ends_at: float
    state: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(48))


class Consents:
    """At most one under way for each drive of a session: a new one ends the former."""

    def __init__(self, doors: DriveDoors) -> None:
        self._doors = doors
        self._begun: dict[str, _Begun] = {}  # by door id

    def begin(self, session_id: str, kind: StorageKind, *, redirect_uri: str, browser: str) -> str:
        """Return where to send the browser. Raises ConsentRefused."""
        self._forget_old()
        door = self._drive(session_id, kind).door
        provider = self._doors.providers.get(kind)
        if provider is None:
            raise ConsentRefused("NO_CLIENT", "Your administrator has not set this drive up.")
        begun = self._begun[door.door_id] = _Begun(door, redirect_uri, browser, time.monotonic() + LIFETIME_IN_SECONDS)
        return authorization_url(provider, redirect_uri=redirect_uri, state=begun.state, verifier=begun.verifier)

    async def finish(self, *, state: str, code: str, browser: str) -> tuple[StorageKind, str]:
        """Take the provider's answer; an empty `code` is a refusal. Return the kind and the account. Raises ConsentRefused."""
        begun = self._taken(state, browser)
        kind = begun.door.kind
        provider = self._doors.providers.get(kind)
        if not code or provider is None:
            raise ConsentRefused("DENIED", "You did not give leave to use the drive.")
        try:
            grant = await granted(provider, code=code, redirect_uri=begun.redirect_uri, verifier=begun.verifier)
        except OfNobody as error:
            raise ConsentRefused(
                "OTHER_DOMAIN",
                f"{_allowed(begun.door)} {provider.name} does not say that this one is of any organisation.",
            ) from error
        except GrantEnded as error:
            log.warning("a user's leave to use a drive is of no use", extra={"kind": kind, "why": str(error)})
            raise ConsentRefused("NOT_GRANTED", f"{provider.name} gave no lasting access to it. Try again.") from error
        except ProviderAway as error:
            log.warning("a provider of drives does not answer", extra={"kind": kind, "why": str(error)})
            raise ConsentRefused(
                "PROVIDER_AWAY", f"{provider.name} does not answer as it should. Try again."
            ) from error
        # Asked for again: the session may have ended meanwhile.
        door = self._drive(begun.door.session_id, kind).door
        if not is_among(grant.domain, door.domains):
            raise ConsentRefused("OTHER_DOMAIN", f"{_allowed(door)} This one is {grant.account}.")
        self._doors.grants.write(door, grant)
        self._doors.look_anew(door)
        log.info("a user connected a drive", extra={"streaming_session_id": door.session_id, "kind": kind})
        return kind, grant.account

    async def disconnect(self, session_id: str, kind: StorageKind) -> bool:
        """Forget the leave, in all sessions of this user; return whether the provider forgot it too. Raises ConsentRefused, OSError."""
        door = self._drive(session_id, kind).door
        self._begun.pop(door.door_id, None)
        grant, provider = self._doors.grants.read(door), self._doors.providers.get(kind)
        self._doors.grants.remove(door)
        self._doors.look_anew(door)
        log.info("a user disconnected a drive", extra={"streaming_session_id": door.session_id, "kind": kind})
        return grant is not None and provider is not None and await revoked(provider, grant)

    def _drive(self, session_id: str, kind: StorageKind) -> Drive:
        for drive in self._doors.of(session_id):
            if drive.door.kind is kind:
                return drive
        raise ConsentRefused("NO_DRIVE", "Your session has no such drive.")

    def _taken(self, state: str, browser: str) -> _Begun:
        """Return what was begun under this state, which is used up by that. Raises ConsentRefused."""
        self._forget_old()
        for door_id, begun in self._begun.items():
            if hmac.compare_digest(begun.state.encode(), state.encode()):
                del self._begun[door_id]
                if hmac.compare_digest(begun.browser.encode(), browser.encode()):
                    return begun
                break
        raise ConsentRefused(
            "STALE", "This took too long, or was begun in another browser. Connect the drive once more."
        )

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._begun = {door_id: begun for door_id, begun in self._begun.items() if begun.ends_at > now}


def _allowed(door: StorageDoor) -> str:
    return f"Your administrator allows accounts of {', '.join(door.domains)}."
