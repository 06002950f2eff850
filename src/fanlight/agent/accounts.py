"""Who is who in an instance. The numbers are fixed: the base image makes these accounts, the host counts on them.

Applications run as USER. X server, window manager, sound and Selkies run as DISPLAY, so that a user's program can
neither read, stop nor reconfigure them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int
    home: str

    @property
    def runtime_directory(self) -> str:
        return f"/run/user/{self.uid}"


USER = Account("user", 1000, 1000, "/home/user")
DISPLAY = Account("display", 1001, 1001, "/run/user/1001")

FILES_DIRECTORY = f"{USER.home}/MyFiles"  # what the browser uploads to and downloads from
LOG_DIRECTORY = "/var/log/fanlight"
X_DISPLAY = ":0"
X_SOCKET = "/tmp/.X11-unix/X0"  # noqa: S108 - where X clients look for display :0
PULSE_DIRECTORY = "/run/pulse"
PULSE_SERVER = f"unix:{PULSE_DIRECTORY}/native"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"


def environment_of(account: Account) -> dict[str, str]:
    """Return the whole environment a program of this account starts with."""
    return {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": "/bin/bash",
        "PATH": PATH,
        "LANG": "en_US.UTF-8",
        "DISPLAY": X_DISPLAY,
        "PULSE_SERVER": PULSE_SERVER,
        "XDG_RUNTIME_DIR": account.runtime_directory,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={account.runtime_directory}/bus",
        "NO_AT_BRIDGE": "1",  # there is no accessibility bus; toolkits would look for one
        "GTK_A11Y": "none",
    }
