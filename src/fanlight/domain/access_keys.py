"""Access keys: who may sign requests, and for which account."""

from dataclasses import dataclass
from datetime import datetime

from fanlight.domain.places import Scope
from fanlight.domain.policies import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """The secret is needed in clear to verify signatures; it lives in the store (mode 0600) and is never logged."""

    access_key_id: str
    secret_access_key: str
    account_id: str
    session_token: str | None = None
    expires_at: datetime | None = None
    created_at: datetime
    policy: Policy | None = None
    """What the key may do in its account; None: everything."""
    person: str | None = None
    """Whose it is, as members of Nimble studios are called: it may do what that member may, there alone. None: nobody's."""

    def __repr__(self) -> str:
        return f"AccessKey({self.access_key_id!r}, account_id={self.account_id!r})"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, from where, in which request. `arn` is what logs and errors name."""

    access_key_id: str
    account_id: str
    region: str
    request_id: str
    source_address: str = ""
    policy: Policy | None = None
    person: str | None = None

    @property
    def name(self) -> str:
        """Who asked, as Nimble Studio shows it: the person whose key it is, else the key."""
        return self.person or self.access_key_id

    @property
    def scope(self) -> Scope:
        """Where everything this caller sees and makes lives."""
        return Scope(self.account_id, self.region)

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account_id}:user/{self.access_key_id}"
