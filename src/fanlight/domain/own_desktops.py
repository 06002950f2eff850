"""Desktops that belong to one thing: of an image builder, or of the streaming session of a studio.

Such a desktop is there before the portal's session on it and stays after it. What the two have in common for the portal
stands here, so that sessions, gateway and page need not know which it is.
"""

from dataclasses import dataclass
from datetime import datetime

from fanlight.domain.image_builders import LONGEST_SESSION, ImageBuilder, ImageBuilderState
from fanlight.domain.nimble.sessions import LONGEST_LENGTH, StudioSession, StudioSessionState
from fanlight.domain.stacks import UserSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDesktop:
    """`owner_id` is what sessions on it have as their fleet's id.

    `has_desktop`: a session goes on there; `is_open`: one may begin, too. `refusal` is the code and the text for who
    comes when it may not. `ends_at` is when a session that begins now is over.
    """

    owner_id: str
    instance_id: str
    has_desktop: bool
    is_open: bool
    refusal: tuple[str, str]
    ends_at: datetime
    user_settings: UserSettings
    title: str
    display_name: str
    image_name: str
    access_endpoints: tuple[str, ...] = ()
    is_image_builder: bool = False


def desktop_of_builder(builder: ImageBuilder, now: datetime) -> OwnDesktop:
    return OwnDesktop(
        owner_id=builder.builder_id,
        instance_id=builder.instance_id,
        has_desktop=builder.has_desktop,
        is_open=builder.state is ImageBuilderState.RUNNING,
        refusal=(
            "IMAGE_BUILDER_NOT_RUNNING",
            f"The image builder {builder.name} is {builder.state}. Its desktop opens when it is RUNNING.",
        ),
        ends_at=now + LONGEST_SESSION,
        user_settings=UserSettings(),
        title=f"Image builder {builder.name}",
        display_name=builder.display_name or builder.name,
        image_name=builder.image_name,
        access_endpoints=builder.access_endpoints,
        is_image_builder=True,
    )


def desktop_of_studio_session(session: StudioSession, now: datetime) -> OwnDesktop:
    is_ready = session.state is StudioSessionState.READY
    return OwnDesktop(
        owner_id=session.session_id,
        instance_id=session.instance_id,
        has_desktop=is_ready,
        is_open=is_ready,
        refusal=(
            "STUDIO_SESSION_NOT_READY",
            f"The streaming session is {session.state}. Its desktop opens when it is READY.",
        ),
        ends_at=session.stop_at or session.terminate_at or now + LONGEST_LENGTH,
        user_settings=session.settings.user_settings,
        title="Studio session",
        display_name="Studio session",
        image_name=session.streaming_image_id,
    )
