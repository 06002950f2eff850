"""What a stack allows, in Selkies' own words."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fanlight.agentwire.messages import ApplicationToLaunch, decode, encode
from fanlight.domain.fleets import Fleet, StreamView
from fanlight.domain.images import Application, Image
from fanlight.domain.places import Scope
from fanlight.domain.stacks import UserAction, UserSettings
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.reconcilers.begin_messages import begin_message
from fanlight.reconcilers.stream_settings import stream_settings_of


def settings_for(actions: AbstractSet[UserAction]) -> dict[str, str]:
    return stream_settings_of(UserSettings(enabled_actions=frozenset(actions)))


ACTIONS = {action.value: action for action in UserAction}


@pytest.mark.parametrize(
    ("actions", "setting", "value"),
    [
        ("", "enable_clipboard", "false"),
        ("CLIPBOARD_COPY_FROM_LOCAL_DEVICE", "enable_clipboard", "in"),
        ("CLIPBOARD_COPY_TO_LOCAL_DEVICE", "enable_clipboard", "out"),
        ("CLIPBOARD_COPY_FROM_LOCAL_DEVICE CLIPBOARD_COPY_TO_LOCAL_DEVICE", "enable_clipboard", "true"),
        ("", "file_transfers", "none"),
        ("FILE_UPLOAD", "file_transfers", "upload"),
        ("FILE_DOWNLOAD", "file_transfers", "download"),
        ("FILE_UPLOAD FILE_DOWNLOAD", "file_transfers", "upload,download"),
        ("", "printing_enabled", "false|locked"),
        ("PRINTING_TO_LOCAL_DEVICE", "printing_enabled", "true|locked"),
        ("AUTO_TIME_ZONE_REDIRECTION DOMAIN_PASSWORD_SIGNIN", "enable_clipboard", "false"),
        ("", "enable_binary_clipboard", "false|locked"),
        ("CLIPBOARD_COPY_TO_LOCAL_DEVICE", "enable_binary_clipboard", "true|locked"),
    ],
)
def test_each_action_switches_its_setting(actions: str, setting: str, value: str) -> None:
    assert settings_for({ACTIONS[word] for word in actions.split()})[setting] == value


@pytest.mark.parametrize("actions", [frozenset(), frozenset(UserAction)])
def test_what_no_stack_allows_is_locked_off(actions: frozenset[UserAction]) -> None:
    settings = settings_for(actions)
    for name in (
        "microphone_enabled", "webcam_enabled", "gamepad_enabled", "second_screen", "command_enabled", "enable_dual_mode",
        "enable_sharing", "enable_shared", "enable_collab", "enable_player2", "enable_player3", "enable_player4",
        "ui_show_sidebar", "ui_sidebar_show_apps", "video_streaming_mode",
    ):  # fmt: skip
        assert settings[name] == "false|locked", name
    assert settings["audio_enabled"].startswith("true")
    assert settings["encoder"] == "h264enc"
    assert all(isinstance(value, str) for value in settings.values())


def test_how_much_may_be_copied_is_said_for_each_direction() -> None:
    settings = stream_settings_of(UserSettings(max_copy_from=1, max_copy_to=20))
    assert (settings["fanlight_max_copy_in"], settings["fanlight_max_copy_out"]) == ("1", "20")
    assert settings_for(frozenset())["fanlight_max_copy_in"] == "20971520"


NOW = datetime(2026, 1, 1, 12, 30, 15, 999, tzinfo=UTC)
SCOPE = Scope("000000000000", "us-east-1")
ARN = "arn:aws:appstream:us-east-1::image/Sample"
FLEET = Fleet(
    fleet_id="f", scope=SCOPE, name="cad", stream_view=StreamView.DESKTOP, image_name="Sample", image_arn=ARN,
    instance_type="stream.standard.small", platform="UBUNTU_PRO_2404", desired_instances=1, created_at=NOW,
)  # fmt: skip
IMAGE = Image(
    image_id="i", scope=Scope("", ""), name="Sample", store_ref="sample", created_at=NOW,
    applications=(
        Application(name="editor", display_name="Editor", launch_path="/bin/ed", launch_parameters="-s", working_directory="/tmp"),
        Application(name="hidden", display_name="Hidden", launch_path="/bin/x", enabled=False),
    ),
)  # fmt: skip


def session(application_id: str | None, context: str | None = None) -> StreamingSession:
    return StreamingSession(
        session_id="id", scope=SCOPE, stack_name="design", fleet_name="cad", fleet_id="f", user_id="ada@x",
        application_id=application_id, session_context=context, created_at=NOW, started_at=NOW, max_expires_at=NOW,
    )  # fmt: skip


def test_the_instance_is_told_the_session_in_the_services_own_variables() -> None:
    message = begin_message(session("editor", "a=1"), FLEET, IMAGE)
    assert message.environment == {
        "AppStream_Stack_Name": "design",
        "AppStream_User_Access_Mode": "custom",
        "AppStream_Session_Reservation_DateTime": "2026-01-01T12:30:15Z",
        "AppStream_UserName": "ada@x",
        "AppStream_Session_ID": "id",
    }
    assert message.machine_environment == {
        "AppStream_Image_Arn": ARN,
        "AppStream_Instance_Type": "stream.standard.small",
        "AppStream_Resource_Type": "fleet",
        "AppStream_Resource_Name": "cad",
    }
    assert (message.session_context, message.stream_view) == ("a=1", "DESKTOP")
    assert message.application == ApplicationToLaunch(
        name="editor", launch_path="/bin/ed", launch_parameters="-s", working_directory="/tmp"
    )
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("application_id", "image"), [(None, IMAGE), ("gone", IMAGE), ("hidden", IMAGE), ("editor", None)]
)
def test_what_is_not_in_the_catalogue_is_not_launched(application_id: str | None, image: Image | None) -> None:
    assert begin_message(session(application_id), FLEET, image).application is None


def test_the_browsers_time_zone_becomes_the_sessions() -> None:
    message = begin_message(replace(session("editor"), time_zone="Europe/Berlin"), FLEET, IMAGE)
    assert message.environment["TZ"] == "Europe/Berlin"
    assert "TZ" not in begin_message(session("editor"), FLEET, IMAGE).environment
