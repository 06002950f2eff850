"""What host and agent say to each other: JSON objects, one a line, over the Unix socket `host/agent.sock`.

The host listens, the agent connects and reconnects for ever. Host messages state a wish and may be repeated; the
agent answers with its status, at once on every change and every STATUS_INTERVAL_IN_SECONDS. Nothing is acknowledged:
the status is the truth. The guest is hostile, so the host reads at most MAX_LINE_BYTES a line, drops the connection on
anything it does not understand, and takes at most MAX_MESSAGES_PER_SECOND. Standard library only: this package is
part of the runtime that is mounted into every instance.
"""

PROTOCOL = 4
# The host still listens to agents of runtimes that running instances had mounted before an upgrade. Protocol 2 is the
# same without what image builders and instances that do work for the host say and hear; those have agents of today.
# Up to protocol 3 nothing is said of users' files: such an instance has no home folders.
SPOKEN_PROTOCOLS = frozenset({2, 3, PROTOCOL})
FIRST_PROTOCOL_WITH_STORAGE = 4
MAX_LINE_BYTES = 65_536
MAX_MESSAGES_PER_SECOND = 50
STATUS_INTERVAL_IN_SECONDS = 5.0

# Inside the instance. The parent directory is traversable by root and the display user only.
GUEST_DIRECTORY = "/run/fanlight"
HOST_SOCKETS = "/run/fanlight/host"  # read-only mount of RUN_DIR/instances/<id>/host
GUEST_SOCKETS = "/run/fanlight/guest"  # the 1 MiB tmpfs RUN_DIR/instances/<id>/guest
RUNTIME_DIRECTORY = "/opt/fanlight/runtime"  # read-only mount of the pinned runtime
AGENT_SOCKET_NAME = "agent.sock"
KEPT_SETTINGS_VERSIONS = 3  # of a user's settings of applications, whole ones; the door has room for one more
# What a StorageReport says of a folder whose user may keep no more.
SETTINGS_TOO_LARGE = "the settings of the applications are larger than allowed and were not kept"
QUOTA_USED_UP = "the storage quota is used up: what is saved is not sent until there is room"
STORAGE_SOCKETS = f"{HOST_SOCKETS}/storage"  # where the storage process listens for the sessions of the instance

# Members of BeginSession.stream_settings that are the agent's and not Selkies': the longest copy into and out of the
# session, in characters of text, in bytes of anything else.
MAX_COPY_IN, MAX_COPY_OUT = "fanlight_max_copy_in", "fanlight_max_copy_out"

# An instance seats its sessions one after the other: a number is given once in its life, so nothing that a session
# leaves behind can belong to a later one. The two accounts of a seat follow from its number. Seat 0 has those of the
# image; the others begin where no image may have accounts.
FIRST_USER_UID, FIRST_DISPLAY_UID = 1_000, 1_001
LATER_SEATS_UID = 10_000
MAX_SEATS = 20_000  # in the life of one instance: it owns 65,536 uids
# The accounts of an image builder, above those of all seats. None of them is ever in an image.
ADMINISTRATOR_UID, TEST_USER_UID = 50_110, 50_111


def user_uid_of(seat: int) -> int:
    """Return the uid, inside the instance, of whoever uses the applications at this seat."""
    return LATER_SEATS_UID + 2 * seat if seat else FIRST_USER_UID


def display_uid_of(seat: int) -> int:
    """Return the uid, inside the instance, of what shows and streams at this seat."""
    return LATER_SEATS_UID + 2 * seat + 1 if seat else FIRST_DISPLAY_UID


def stream_socket_name(seat: int) -> str:
    return f"stream-{seat}.sock"


def files_socket_name(seat: int) -> str:
    """Return where the temporary files of a seat's session are served; runtimes of before have no such socket."""
    return f"files-{seat}.sock"


def files_socket_beside(stream_socket: str) -> str:
    """Return the path of the files socket of the same seat."""
    directory, _, name = stream_socket.rpartition("/")
    return f"{directory}/{name.replace('stream', 'files', 1)}"
