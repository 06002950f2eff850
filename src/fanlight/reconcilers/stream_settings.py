"""What a stack's UserSettings mean in Selkies' own settings (names and values as Selkies 2.1 spells them).

Everything here is final: an enum with one value and a switch with `|locked` cannot be changed by the page, so what a
stack forbids is refused by Selkies itself and not merely hidden.
"""

from fanlight.agentwire import MAX_COPY_IN, MAX_COPY_OUT
from fanlight.domain.stacks import UserAction, UserSettings

_LOCKED_OFF = "false|locked"
_ALWAYS = {
    "audio_enabled": "true|locked",
    "clipboard_seamless": "true",
    "command_enabled": _LOCKED_OFF,
    "enable_dual_mode": _LOCKED_OFF,  # its other transport would call STUN servers of third parties
    "enable_resize": "true",
    "encoder": "h264enc",
    "framerate": "30,5-60",
    "gamepad_enabled": _LOCKED_OFF,
    "keyboard_shortcuts": _LOCKED_OFF,
    "microphone_enabled": _LOCKED_OFF,
    "rate_control_mode": "cbr",
    "second_screen": _LOCKED_OFF,
    "ui_show_sidebar": _LOCKED_OFF,
    "ui_sidebar_show_apps": _LOCKED_OFF,
    "video_bitrate": "8000,500-20000",
    "video_streaming_mode": _LOCKED_OFF,
    "webcam_enabled": _LOCKED_OFF,
}
# One user, one session: a second tab takes the picture over, it does not join.
_SHARING = ("enable_sharing", "enable_shared", "enable_collab", "enable_player2", "enable_player3", "enable_player4")


def stream_settings_of(user_settings: UserSettings) -> dict[str, str]:
    """Return the Selkies settings for what a session's user may do, and those that the agent adds to Selkies."""
    actions = user_settings.enabled_actions
    clipboard = {
        (False, False): "false",
        (True, False): "in",
        (False, True): "out",
        (True, True): "true",
    }[
        UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE in actions,
        UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE in actions,
    ]
    transfers = [
        word
        for action, word in ((UserAction.FILE_UPLOAD, "upload"), (UserAction.FILE_DOWNLOAD, "download"))
        if action in actions
    ]
    return {
        **_ALWAYS,
        **dict.fromkeys(_SHARING, _LOCKED_OFF),
        "enable_clipboard": clipboard,
        "enable_binary_clipboard": _LOCKED_OFF if clipboard == "false" else "true|locked",  # pictures
        MAX_COPY_IN: str(user_settings.max_copy_from),
        MAX_COPY_OUT: str(user_settings.max_copy_to),
        "file_transfers": ",".join(transfers) or "none",
        "printing_enabled": "true|locked" if UserAction.PRINTING_TO_LOCAL_DEVICE in actions else _LOCKED_OFF,
    }
