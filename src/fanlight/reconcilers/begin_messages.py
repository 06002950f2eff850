"""From a session, its fleet and image to what the agent is told."""

from datetime import UTC

from fanlight.agentwire.messages import ApplicationToLaunch, BeginSession
from fanlight.domain.fleets import Fleet, StreamView
from fanlight.domain.image_builders import ImageBuilder
from fanlight.domain.images import Application, Image
from fanlight.domain.nimble.sessions import StudioSession
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.reconcilers.stream_settings import stream_settings_of

ACCESS_MODES = {"API": "custom", "SAML": "saml", "USERPOOL": "userpool", "AWS_AD": "saml"}


def begin_message(session: StreamingSession, fleet: Fleet, image: Image | None) -> BeginSession:
    """Return the message. `image` is the instance's; an application that left the catalogue meanwhile is not launched, the session begins."""
    return BeginSession(
        session_id=session.session_id,
        user_id=session.user_id,
        stream_view=fleet.stream_view,
        environment=user_environment(session),
        machine_environment=machine_environment(fleet, image),
        session_context=session.session_context or "",
        stream_settings=stream_settings_of(session.user_settings),
        application=_application(session, image),
    )


def begin_in_builder(session: StreamingSession, builder: ImageBuilder) -> BeginSession:
    """Return the message for the desktop of an image builder."""
    return BeginSession(
        session_id=session.session_id,
        user_id=session.user_id,
        stream_view=StreamView.DESKTOP,
        environment={k: v for k, v in user_environment(session).items() if k != "AppStream_Stack_Name"},
        machine_environment={
            "AppStream_Image_Arn": builder.image_arn,
            "AppStream_Instance_Type": builder.instance_type,
            "AppStream_Resource_Type": "image-builder",
            "AppStream_Resource_Name": builder.name,
        },
        stream_settings=stream_settings_of(session.user_settings),
    )


def begin_in_studio_session(session: StreamingSession, owner: StudioSession) -> BeginSession:
    """Return the message for the desktop of a studio's streaming session."""
    return BeginSession(
        session_id=session.session_id,
        user_id=session.user_id,
        stream_view=StreamView.DESKTOP,
        environment={
            "NIMBLE_STUDIO_ID": owner.studio_id,
            "NIMBLE_STREAMING_SESSION_ID": owner.session_id,
            "NIMBLE_LAUNCH_PROFILE_ID": owner.launch_profile_id,
        },
        stream_settings=stream_settings_of(session.user_settings),
    )


def user_environment(session: StreamingSession) -> dict[str, str]:
    """Return the variables of the session's user, spelled as programs written for the service expect them."""
    zone = {"TZ": session.time_zone} if session.time_zone else {}
    reserved_at = (session.started_at or session.created_at).astimezone(UTC)
    return {
        "AppStream_Stack_Name": session.stack_name,
        "AppStream_User_Access_Mode": ACCESS_MODES[session.authentication_type],
        "AppStream_Session_Reservation_DateTime": f"{reserved_at:%Y-%m-%dT%H:%M:%SZ}",
        "AppStream_UserName": session.user_id,
        "AppStream_Session_ID": session.session_id,
        **zone,
    }


def machine_environment(fleet: Fleet, image: Image | None) -> dict[str, str]:
    return {
        "AppStream_Image_Arn": image.arn_in(fleet.scope.region) if image else fleet.image_arn,
        "AppStream_Instance_Type": fleet.instance_type,
        "AppStream_Resource_Type": "fleet",
        "AppStream_Resource_Name": fleet.name,
    }


def _application(session: StreamingSession, image: Image | None) -> ApplicationToLaunch | None:
    found = [a for a in (image.applications if image else ()) if a.name == session.application_id and a.enabled]
    return as_launch(found[0]) if found else None


def as_launch(application: Application) -> ApplicationToLaunch:
    """Return what the agent needs of a catalogue entry."""
    return ApplicationToLaunch(
        name=application.name,
        launch_path=application.launch_path,
        launch_parameters=application.launch_parameters,
        working_directory=application.working_directory,
    )
