"""Sessions in image builders: the administrator's desktop on the builder's own instance.

One at a time for each builder: who opens the link again comes back to it. Its end leaves the instance as it is.
"""

from dataclasses import dataclass
from uuid import uuid4

from fanlight.domain.errors import UrlRefused
from fanlight.domain.image_builders import LONGEST_SESSION, ImageBuilder, ImageBuilderState
from fanlight.domain.ports import Clock, UnitOfWork
from fanlight.domain.session_plan import PREPARING
from fanlight.domain.streaming_sessions import StreamingGrant, StreamingSession


@dataclass(frozen=True, slots=True)
class BuilderCatalog:
    """What the administrator opens: a desktop, and nothing to choose from."""

    builder: ImageBuilder


async def served_builder(work: UnitOfWork, grant: StreamingGrant) -> ImageBuilder:
    """Return the builder of a grant if it has a desktop now. Raises UrlRefused NOT_FOUND, IMAGE_BUILDER_NOT_RUNNING."""
    named = await work.image_builders.page(grant.scope, names=[grant.image_builder_name or ""], limit=1)
    if not named:
        raise UrlRefused("NOT_FOUND", "The image builder that this link opens does not exist any more.")
    builder = named[0]
    if builder.state is not ImageBuilderState.RUNNING:
        raise UrlRefused(
            "IMAGE_BUILDER_NOT_RUNNING",
            f"The image builder {builder.name} is {builder.state}. Its desktop opens when it is RUNNING.",
        )
    return builder


async def open_in_builder(work: UnitOfWork, grant: StreamingGrant, clock: Clock) -> StreamingSession:
    """Add the session of a grant for an image builder. Raises AlreadyExists, and UrlRefused as `served_builder`."""
    builder = await served_builder(work, grant)
    now = clock.now()
    return await work.sessions.add(
        StreamingSession(
            session_id=str(uuid4()),
            scope=grant.scope,
            stack_name=grant.stack_name,
            fleet_name=grant.fleet_name,
            fleet_id=builder.builder_id,
            user_id=grant.user_id,
            instance_id=builder.instance_id,
            created_at=now,
            started_at=now,
            max_expires_at=now + LONGEST_SESSION,
            progress=PREPARING,
        )
    )
