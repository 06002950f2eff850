"""Which doors to users' files a session has: what its stack had when it was made, as long as the session has its place.

A connector that is taken from the stack is taken from running sessions too. At their end they get it back, for what was
saved before, so that nothing of it is lost; nobody is left then who could save more. Settings of applications are as they
were when the session was made.
"""

from collections.abc import Collection
from dataclasses import dataclass

from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.user_storage import StorageKind, home_bucket, home_prefix, settings_bucket, settings_prefix


def plan_doors(
    session: StreamingSession | None, instance: Instance | None, stack: Stack | None
) -> Collection[StorageKind]:
    """Return the kinds of doors that are to be open. `instance` is the session's, `stack` as it is now."""
    if session is None or instance is None or session.session_id not in instance.session_ids:
        return ()
    if instance.state is InstanceState.RETIRING:  # one that is FLUSHING has its doors for just that
        return ()
    kinds = session.storage_kinds
    if not session.is_live:
        return kinds
    offered = {connector.kind for connector in stack.storage_connectors} if stack is not None else set()
    return kinds & (offered | {StorageKind.APPLICATION_SETTINGS})


@dataclass(frozen=True, slots=True)
class Place:
    bucket: str
    prefix: str


def place_of(session: StreamingSession, kind: StorageKind) -> Place:
    """Return what is behind a door of a session."""
    if kind is StorageKind.APPLICATION_SETTINGS:
        group = session.settings_group or ""
        return Place(
            settings_bucket(session.scope), settings_prefix(group, session.authentication_type, session.user_id)
        )
    return Place(home_bucket(session.scope), home_prefix(session.authentication_type, session.user_id))
