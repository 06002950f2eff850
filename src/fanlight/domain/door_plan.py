"""Which doors to users' files a session has: what its stack had when it was made, as long as the session has its place.

A connector that is taken from the stack is taken from running sessions too. At their end they get it back, for what was
saved before, so that nothing of it is lost; nobody is left then who could save more.
"""

from collections.abc import Collection

from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.user_storage import StorageKind


def plan_doors(
    session: StreamingSession | None, instance: Instance | None, stack: Stack | None
) -> Collection[StorageKind]:
    """Return the kinds of doors that are to be open. `instance` is the session's, `stack` as it is now."""
    if session is None or instance is None or session.session_id not in instance.session_ids:
        return ()
    if instance.state is InstanceState.RETIRING:  # one that is FLUSHING has its doors for just that
        return ()
    kinds = {connector.kind for connector in session.storage_connectors}
    if not session.is_live:
        return kinds
    return kinds & {connector.kind for connector in stack.storage_connectors} if stack is not None else ()
