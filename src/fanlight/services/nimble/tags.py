"""Tags of Nimble Studio's resources, by ARN."""

from fanlight.domain.errors import NotFound
from fanlight.domain.nimble.identifiers import ResourceKind, read_arn
from fanlight.domain.nimble.resources import ResourceState
from fanlight.domain.nimble.sessions import StudioSessionState
from fanlight.domain.nimble.streaming_images import image_id_behind, provided
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork


async def check_taggable(work: UnitOfWork, scope: Scope, arn: str) -> None:
    """Raise NotFound unless the ARN names a resource of this account and region that can have tags and is not deleted."""
    named = read_arn(scope, arn)
    if named is None or not await _exists(work, scope, *named):
        raise NotFound("resource", arn)


async def _exists(work: UnitOfWork, scope: Scope, kind: ResourceKind, resource_id: str) -> bool:
    if kind is ResourceKind.STREAMING_SESSION:
        session = await work.studio_sessions.find(resource_id)
        return session is not None and session.scope == scope and session.state is not StudioSessionState.DELETED
    if kind is ResourceKind.STREAMING_SESSION_BACKUP:
        backup = await work.session_backups.find(resource_id)
        return backup is not None and backup.scope == scope and backup.state is not StudioSessionState.DELETED
    if kind is ResourceKind.STREAMING_IMAGE and (image_id := image_id_behind(resource_id)):
        image = await work.images.find_by_id(image_id)
        if image is not None and provided(image, scope, "") is not None:
            return True
    found = await work.nimble.resources.find(resource_id)
    return (
        found is not None and found.KIND is kind and found.scope == scope and found.state is not ResourceState.DELETED
    )
