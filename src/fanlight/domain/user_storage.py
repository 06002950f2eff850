"""Where users' files are: names of buckets and prefixes, and the doors through which an instance reaches them.

The names are those of the service, so that what administrators have for their buckets works on these.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from fanlight.domain.places import Scope

# In RUN_DIR/storage; the api process asks the storage process there.
RPC_SOCKET_NAME = "storage.sock"
# Constant in the service too.
HOME_BUCKETS = "appstream2-36fb080bb8-"
_FOLDERS_OF = {"API": "custom", "SAML": "federated", "AWS_AD": "federated", "USERPOOL": "userpool"}


class StorageKind(StrEnum):
    """A connector of a stack, or the settings of applications."""

    HOMEFOLDERS = "HOMEFOLDERS"
    GOOGLE_DRIVE = "GOOGLE_DRIVE"
    ONE_DRIVE = "ONE_DRIVE"
    APPLICATION_SETTINGS = "APPLICATION_SETTINGS"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConnector:
    """What users of a stack have in their sessions. `domains` are those of organisations whose drives may be joined."""

    kind: StorageKind
    domains: tuple[str, ...] = ()

    def resource_identifier(self, scope: Scope) -> str | None:
        """Return the ARN of what is behind it, if that is a bucket."""
        return f"arn:aws:s3:::{home_bucket(scope)}" if self.kind is StorageKind.HOMEFOLDERS else None


def storage_key(scope: Scope) -> str:
    """Return by what name the reconcilers know the buckets of an account in a region."""
    return f"{scope.account_id}/{scope.region}"


def scope_of_key(key: str) -> Scope:
    return Scope(*key.split("/", 1))


def home_bucket(scope: Scope) -> str:
    """Return the bucket of all home folders of an account in a region."""
    return f"{HOME_BUCKETS}{scope.region}-{scope.account_id}"


def scope_of_home_bucket(bucket: str) -> Scope:
    region, _, account_id = bucket.removeprefix(HOME_BUCKETS).rpartition("-")
    return Scope(account_id, region)


def settings_bucket(scope: Scope) -> str:
    """Return the service's name for the bucket of applications' settings; its last part is random there, a digest here."""
    suffix = sha256(f"{scope.account_id}/{scope.region}".encode()).hexdigest()[:10]
    return f"appstream-app-settings-{scope.region}-{scope.account_id}-{suffix}"


def user_folder(authentication_type: str, user_id: str) -> str:
    """Return `<type>/<digest>/`: the user id is taken as it is, capitals matter."""
    return f"{_FOLDERS_OF[authentication_type]}/{sha256(user_id.encode()).hexdigest()}/"


def home_prefix(authentication_type: str, user_id: str) -> str:
    """Return what the keys of all files of a user begin with; the same whatever stack the user comes through."""
    return f"user/{user_folder(authentication_type, user_id)}"


def settings_prefix(settings_group: str, authentication_type: str, user_id: str) -> str:
    """Return what the keys of a user's settings begin with: as in the service, but for the system that they are of."""
    return f"Linux/v1/{settings_group}/{user_folder(authentication_type, user_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageUsage:
    """What one user has below a `prefix` of a bucket of home folders."""

    bucket: str
    prefix: str
    size_in_bytes: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageDoor:
    """One way of one instance to one place of its session's user. `token` opens it, for the instance's root only.

    `first_uid` is the host's uid of that root. No quota: None. Behind that to a drive is no bucket: bucket and prefix say
    whose it is, `domains` whose accounts it may be of.
    """

    session_id: str
    kind: StorageKind
    instance_id: str
    first_uid: int
    token: str
    bucket: str
    prefix: str
    quota_in_bytes: int | None = None
    domains: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"StorageDoor({self.session_id!r}, {self.kind.value}, {self.instance_id!r})"

    @property
    def door_id(self) -> str:
        return _door_id(self.session_id, self.kind)

    @property
    def socket_name(self) -> str:
        return socket_name(self.session_id, self.kind)


def socket_name(session_id: str, kind: StorageKind) -> str:
    """Return the name of a door's socket; short, for paths of sockets have at most 107 bytes."""
    return sha256(_door_id(session_id, kind).encode()).hexdigest()[:16] + ".sock"


def _door_id(session_id: str, kind: StorageKind) -> str:
    return f"{session_id}/{kind}"
