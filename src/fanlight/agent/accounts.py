"""Who is who in an instance. The numbers are fixed: the base image makes the first seat's accounts, the host counts on all.

A seat is the place of one session: two accounts, a display, a sound server, a stream socket. Applications run as its
user. X server, sound and Selkies run as its display account, so that a user's program can neither read, stop nor
reconfigure them; and no account of one seat reaches anything of another seat. A seat serves one session, ever: the
next one sits on the next seat, with numbers that nobody had before.
"""

from dataclasses import dataclass

from fanlight.agentwire import (
    ADMINISTRATOR_UID,
    FIRST_USER_UID,
    GUEST_SOCKETS,
    TEST_USER_UID,
    display_uid_of,
    files_socket_name,
    stream_socket_name,
    user_uid_of,
)

# All display accounts run in this group. It passes to the sockets' directory; a stream socket then belongs to it and
# shuts it out, so that the gateway may connect and the display accounts of other seats may not.
STREAMS_GROUP = 9_999
LOG_DIRECTORY = "/var/log/fanlight"
PROFILES = "/etc/profile.d"
SEATS_DIRECTORY = "/run/seats"  # what the agent makes for each seat, in the sight of root alone or of who owns it
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/games:/usr/games"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"


@dataclass(frozen=True, slots=True)
class Account:
    """`group` is the one of its own; what it runs may have another main group besides."""

    name: str
    uid: int
    group: int
    home: str
    main_group: int
    runs_applications: bool
    may_become_root: bool = False

    @property
    def runtime_directory(self) -> str:
        return f"/run/user/{self.uid}"


# In image builders only. Template User is the account that a session of one user has: what it sets, users find.
ADMINISTRATOR = "ImageBuilderAdmin"
TEMPLATE_USER = Account("user", FIRST_USER_UID, FIRST_USER_UID, "/home/user", FIRST_USER_UID, runs_applications=True)
TEST_USER = Account("TestUser", TEST_USER_UID, TEST_USER_UID, "/home/TestUser", TEST_USER_UID, runs_applications=True)


@dataclass(frozen=True, slots=True)
class Seat:
    """Everything that has a name and belongs to one session.

    `is_shared`: there may be others in the instance, so its programs get a view of their own (see `agent.views`).
    `is_administrators`: of an image builder. Its user is the same at every seat, may become root, and keeps its home.
    `is_workstation`: of a machine of one's own. Its user is that of the first seat at every seat, and keeps its home.
    """

    number: int
    is_shared: bool = False
    is_administrators: bool = False
    is_workstation: bool = False

    @property
    def keeps_user(self) -> bool:
        """Whether account, home and files of the user outlive the session."""
        return self.is_administrators or self.is_workstation

    @property
    def user(self) -> Account:
        if self.is_administrators:
            uid, home = ADMINISTRATOR_UID, f"/home/{ADMINISTRATOR}"
            return Account(ADMINISTRATOR, uid, uid, home, uid, runs_applications=True, may_become_root=True)
        number = 0 if self.is_workstation else self.number
        name, uid = "user" + (str(number) if number else ""), user_uid_of(number)
        return Account(name, uid, uid, f"/home/{name}", uid, runs_applications=True)

    @property
    def display(self) -> Account:
        name, uid = "display" + (str(self.number) if self.number else ""), display_uid_of(self.number)
        return Account(name, uid, uid, f"/run/user/{uid}", STREAMS_GROUP, runs_applications=False)

    @property
    def accounts(self) -> tuple[Account, Account]:
        return self.user, self.display

    @property
    def guests(self) -> tuple[Account, ...]:
        """Who else may show something on this seat's display."""
        return (TEMPLATE_USER, TEST_USER) if self.is_administrators else ()

    def own(self, path: str) -> str:
        """Return where this seat has what an image names in its user's home; other paths are the same for all."""
        first = Seat(0).user.home
        is_own = f"{path}/".startswith(f"{first}/") and not self.is_administrators
        return self.user.home + path.removeprefix(first) if is_own else path

    @property
    def files_directory(self) -> str:
        """What the browser uploads to and downloads from."""
        return f"{self.user.home}/MyFiles"

    @property
    def directory(self) -> str:
        """What root writes for the programs of this seat."""
        return f"{SEATS_DIRECTORY}/{self.number}"

    @property
    def log_directory(self) -> str:
        return f"{LOG_DIRECTORY}/{self.number}"

    @property
    def private_directory(self) -> str:
        """What stands elsewhere in the view of this seat alone; only root passes here."""
        return f"{self.directory}/private"

    @property
    def temporary_directory(self) -> str:
        """Where root finds what the seat's programs find as /tmp."""
        return f"{self.private_directory}/tmp" if self.is_shared else "/tmp"  # noqa: S108 - the instance is its alone

    @property
    def variables_directory(self) -> str:
        """What login shells see as /etc/profile.d: there are the session's variables."""
        return f"{self.private_directory}/profile.d" if self.is_shared else PROFILES

    @property
    def x_display(self) -> str:
        return f":{self.number}"

    @property
    def x_socket(self) -> str:
        """Where the agent finds what the seat's X clients find in /tmp."""
        return f"{self.temporary_directory}/.X11-unix/X{self.number}"

    @property
    def pulse_directory(self) -> str:
        return f"/run/pulse/{self.number}"

    @property
    def pulse_server(self) -> str:
        return f"unix:{self.pulse_directory}/native"

    @property
    def stream_socket(self) -> str:
        return f"{GUEST_SOCKETS}/{stream_socket_name(self.number)}"

    @property
    def files_socket(self) -> str:
        return f"{GUEST_SOCKETS}/{files_socket_name(self.number)}"

    @property
    def printer_socket(self) -> str:
        return f"{self.directory}/printer.sock"

    @property
    def print_spool(self) -> str:
        """Where printed documents wait for the browser."""
        return f"{self.directory}/printed"

    def x_authority_of(self, account: Account) -> str:
        return f"{self.directory}/{account.name}.xauth"

    def environment_of(self, account: Account) -> dict[str, str]:
        """Return the whole environment that a program of this account starts with."""
        return {
            "HOME": account.home,
            "USER": account.name,
            "LOGNAME": account.name,
            "SHELL": "/bin/bash",
            "PATH": ROOT_PATH if account.may_become_root else PATH,
            "LANG": "en_US.UTF-8",
            "DISPLAY": self.x_display,
            "XAUTHORITY": self.x_authority_of(account),
            "PULSE_SERVER": self.pulse_server,
            "XDG_RUNTIME_DIR": account.runtime_directory,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={account.runtime_directory}/bus",
            "CUPS_SERVER": self.printer_socket,  # there is nothing unless the session may print
            "NO_AT_BRIDGE": "1",  # there is no accessibility bus; toolkits would look for one
            "GTK_A11Y": "none",
            # What apt installs asks nothing: there is nobody at its terminal.
            **({"DEBIAN_FRONTEND": "noninteractive"} if account.may_become_root else {}),
        }
