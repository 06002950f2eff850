"""From a launch profile to the streaming session that is made of it: what it has, what it copies, what runs in it."""

from collections.abc import Sequence
from datetime import timedelta

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound
from fanlight.domain.file_systems import FileSystemWish
from fanlight.domain.images import Image, ImageState
from fanlight.domain.nimble.launch_profiles import LaunchProfile, StreamConfiguration, Switch
from fanlight.domain.nimble.resources import USABLE
from fanlight.domain.nimble.sessions import InitializationScript, ScriptContext, SessionSettings, StudioSession, Volume
from fanlight.domain.nimble.streaming_images import StreamingImage
from fanlight.domain.nimble.studio_components import ComponentType, RunContext, ScriptPlatform, StudioComponent
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.services.nimble.service_images import RequiredBy, find_streaming_image, get_streaming_image
from fanlight.services.usable_images import ImageUse, may_use

DEFAULT_UPLOAD_ROOT = "$HOME/MyFiles"
_UPLOAD_COMPONENT = "session storage"
# Uploads arrive in MyFiles, where the browser puts them; the launch profile's own place is a way there.
_LINK_UPLOADS = """#!/bin/sh
case "$FANLIGHT_UPLOAD_ROOT" in
'$HOME'*) place="$HOME${FANLIGHT_UPLOAD_ROOT#'$HOME'}" ;;
*) place="$FANLIGHT_UPLOAD_ROOT" ;;
esac
[ -e "$place" ] || [ -L "$place" ] || { mkdir -p "$(dirname "$place")" && ln -s /home/user/MyFiles "$place"; }
"""


def settings_of(stream: StreamConfiguration, components: Sequence[StudioComponent]) -> SessionSettings:
    """Return what a session copies of its profile."""
    root = None
    if stream.upload is not None:
        root = stream.upload.linux_root or DEFAULT_UPLOAD_ROOT
    volume, backups = stream.volume, stream.backups
    return SessionSettings(
        has_clipboard=stream.has_clipboard,
        upload_root=root,
        max_length=timedelta(minutes=stream.max_session_length),
        max_stopped_length=timedelta(minutes=stream.max_stopped_session_length),
        is_persistent=stream.persistence is Switch.ACTIVATED,
        terminates_automatically=stream.termination is Switch.ACTIVATED,
        makes_backups=backups is not None and backups.is_automatic,
        backups_to_retain=backups.most_retained if backups else 0,
        volume=Volume(size_in_gib=volume.size_in_gib, iops=volume.iops, throughput=volume.throughput_in_mib_per_second)
        if volume
        else None,
        joins_directory=any(component.type is ComponentType.ACTIVE_DIRECTORY for component in components),
        file_systems=tuple(
            FileSystemWish(
                component=component.name,
                endpoint=files.endpoint,
                share_name=files.share_name,
                file_system_id=files.file_system_id,
                mount_point=files.linux_mount_point,
            )
            for component in components
            if component.configuration and (files := component.configuration.shared_file_system)
        ),
    )


def scripts_of(settings: SessionSettings, components: Sequence[StudioComponent]) -> tuple[InitializationScript, ...]:
    """Return the scripts of a session: of each component in the profile's order, in the component's order, ours first."""
    return (
        *_upload_script(settings.upload_root),
        *(
            InitializationScript(
                context=ScriptContext(context),
                component=component.name,
                text=script.text,
                parameters=tuple((parameter.key, parameter.value) for parameter in component.parameters),
            )
            for component in components
            for context in RunContext
            for script in component.scripts_for(ScriptPlatform.LINUX, context)
        ),
    )


def _upload_script(root: str | None) -> tuple[InitializationScript, ...]:
    if root in (None, DEFAULT_UPLOAD_ROOT):
        return ()
    is_at_home = str(root).startswith("$HOME")
    context = ScriptContext.USER_INITIALIZATION if is_at_home else ScriptContext.SYSTEM_INITIALIZATION
    parameters = (("FANLIGHT_UPLOAD_ROOT", str(root)),)
    return (
        InitializationScript(context=context, component=_UPLOAD_COMPONENT, text=_LINK_UPLOADS, parameters=parameters),
    )


def chosen(kind: str, wanted: str | None, offered: Sequence[str]) -> str:
    """Return what a request chooses from a profile; what it leaves out has to be the only one. Raises InvalidCombination."""
    if wanted is None:
        if len(offered) == 1:
            return offered[0]
        raise InvalidCombination(f"The launch profile offers several {kind}. Name one of: {', '.join(offered)}.")
    if wanted not in offered:
        raise InvalidCombination(
            f"{wanted} is not among the {kind} of the launch profile. Name one of: {', '.join(offered)}."
        )
    return wanted


async def find_profile(work: UnitOfWork, scope: Scope, studio_id: str, profile_id: str) -> LaunchProfile:
    """Return a profile of which sessions may be made. Raises NotFound, NotAvailable."""
    profile = await work.nimble.resources.get(LaunchProfile, scope, profile_id, studio_id)
    if profile.state not in USABLE:
        why = f"The launch profile {profile_id} is {profile.state}. A session needs one that is READY."
        raise NotAvailable("launch profile", profile_id, why)
    return profile


async def find_components(work: UnitOfWork, profile: LaunchProfile) -> Sequence[StudioComponent]:
    """Return the profile's components that there are, in its order."""
    found = []
    for component_id in profile.component_ids:
        try:
            component = await work.nimble.resources.get(StudioComponent, profile.scope, component_id, profile.studio_id)
        except NotFound:
            continue
        if component.state in USABLE:
            found.append(component)
    return found


async def find_machine(
    work: UnitOfWork, scope: Scope, studio_id: str, image_id: str, required_by: RequiredBy
) -> tuple[StreamingImage, Image | None]:
    """Return a streaming image of which sessions may be made, and what it is made of: None when that cannot be used now.

    Raises NotFound, NotAvailable.
    """
    streaming_image = await get_streaming_image(work, scope, studio_id, image_id, required_by)
    if streaming_image.state not in USABLE:
        why = f"The streaming image {image_id} is {streaming_image.state}. A session needs one that is READY."
        raise NotAvailable("streaming image", image_id, why)
    image = await work.images.find_by_id(streaming_image.image_id)
    is_usable = image is not None and image.state is ImageState.AVAILABLE
    if image is None or not is_usable or not await may_use(work, scope, image, ImageUse.FLEET):
        return streaming_image, None
    return streaming_image, image


async def find_origin(work: UnitOfWork, session: StudioSession) -> Image | None:
    """Return the image that a session was made of, if it is there still."""
    found = await find_streaming_image(work, session.scope, session.studio_id, session.streaming_image_id)
    return await work.images.find_by_id(found.image_id) if found else None
