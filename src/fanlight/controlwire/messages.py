"""Bodies of the control socket. Times are epoch seconds (float), absent values None."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

# How the names of time zones look (Europe/Berlin, America/Argentina/Ushuaia, Etc/GMT+5): no way out of a directory.
TIME_ZONE = re.compile(r"(?=.{1,64}$)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a streaming URL allows, after its signature and expiry were checked. The gateway keeps it in the cookie.

    Of an image builder, `image-builder/<name>` stands for stack and fleet; no name of theirs has a slash.
    """

    account_id: str
    region: str
    stack_name: str
    fleet_name: str
    user_id: str
    application_id: str | None
    session_context: str | None
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    application_id: str
    display_name: str
    description: str
    icon: str | None  # what follows `/icons/` in its address: `<store_ref>/<file name>?expires=…&signature=…`


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Of an image builder it has the names and no entries: its administrator gets a desktop."""

    stack_display_name: str
    fleet_display_name: str
    stream_view: str  # APP | DESKTOP
    image_name: str
    entries: tuple[CatalogEntry, ...]
    redirect_url: str | None
    feedback_url: str | None
    is_image_builder: bool = False
    is_studio_session: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """One place of the user's files in a session: `kind` is a connector or APPLICATION_SETTINGS, `state` MOUNTING,
    MOUNTED, OFFLINE, or DISABLED when the stack has lost its connector since. Unsent is what was saved there and has not arrived yet; `is_full` while the user may keep no more.
    `has_trouble` when its agent has something to tell of it, in words for the log alone: they come from the instance.
    `opening` is the name of a folder in it that takes long to open, empty for itself: so many files are there, of how many.
    """

    kind: str
    state: str
    unsent_files: int
    unsent_bytes: int
    is_full: bool = False
    has_trouble: bool = False
    opening: str | None = None
    opening_files: int | None = None
    opening_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesView:
    """Files that were saved in a session and have not arrived. `is_waited_for` while the page shows how many are left."""

    count: int
    size_in_bytes: int
    is_waited_for: bool = False
    are_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """All that the page and the relay need to know of one session.

    `stream_socket` and `stream_uid` are set while state is ACTIVE: where to connect, and whose socket it must be: that
    of the session's own seat, for an instance may have several. `end_reason` is an `EndReason` when state is EXPIRED.
    `features` are the actions that were ENABLED in the stack's UserSettings when the session was made.
    `idle_disconnect_at` is when the stream will be cut because nothing was
    typed or clicked, None while it will not. `runtime_version` is the runtime that the instance mounts, None if unknown.
    `is_idle_disconnected` while the session waits for a user whose stream was cut because nothing was typed or clicked.
    `has_script_failed` when a script that the image runs at the start of a session failed.
    `folders` are what an ACTIVE session has of its user's, `unsent` what an EXPIRED one has still to send (None: all has
    arrived, or there was nothing; `has_folders` tells), `lost_before` what earlier sessions of the user lost, `saving_before`
    what they are still sending. `settings_loss` is a `SettingsLoss` when the settings of applications were not kept.
    """

    session_id: str
    state: str  # PENDING | ACTIVE | EXPIRED
    progress: str
    stream_view: str
    application_id: str | None
    max_expires_at: float
    idle_disconnect_in_seconds: float
    disconnect_timeout_in_seconds: float
    instance_id: str | None = None
    stream_socket: str | None = None
    stream_uid: int | None = None
    end_reason: str | None = None
    features: tuple[str, ...] = field(default=())
    idle_disconnect_at: float | None = None
    runtime_version: str | None = None
    is_idle_disconnected: bool = False
    has_script_failed: bool = False
    has_folders: bool = False
    folders: tuple[FolderView, ...] = field(default=())
    unsent: FilesView | None = None
    lost_before: FilesView | None = None
    saving_before: FilesView | None = None
    settings_loss: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRules:
    """What the gateway must know of a grant's stack before it shows a page. `embed_host_domains`: whose https pages may
    frame it. `access_endpoints`: ids of interface endpoints; if there are any, users come through one of them.
    """

    embed_host_domains: tuple[str, ...] = field(default=())
    access_endpoints: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Body of every 4xx answer. `code` chooses the page (EXPIRED, ALTERED, FLEET_NOT_RUNNING, NO_CAPACITY, NOT_FOUND ...).

    `embed_host_domains` are those of the stack, when a streaming URL that was really issued for it is refused: the words
    should be readable where the session would have been.
    """

    code: str
    message: str
    embed_host_domains: tuple[str, ...] = field(default=())


def to_json(body: Any) -> dict[str, Any]:
    """Return any message of this module as a JSON object."""
    return asdict(body)
