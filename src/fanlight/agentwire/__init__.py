"""What host and agent say to each other: JSON objects, one a line, over the Unix socket `host/agent.sock`.

The host listens, the agent connects and reconnects for ever. Host messages state a wish and may be repeated; the
agent answers with its status, at once on every change and every STATUS_INTERVAL_IN_SECONDS. Nothing is acknowledged:
the status is the truth. The guest is hostile, so the host reads at most MAX_LINE_BYTES a line, drops the connection on
anything it does not understand, and takes at most MAX_MESSAGES_PER_SECOND. Standard library only: this package is
part of the runtime that is mounted into every instance.
"""

PROTOCOL = 1
MAX_LINE_BYTES = 65_536
MAX_MESSAGES_PER_SECOND = 50
STATUS_INTERVAL_IN_SECONDS = 5.0

# Inside the instance. The parent directory is traversable by root and the display user only.
GUEST_DIRECTORY = "/run/fanlight"
HOST_SOCKETS = "/run/fanlight/host"  # read-only mount of RUN_DIR/instances/<id>/host
GUEST_SOCKETS = "/run/fanlight/guest"  # the 1 MiB tmpfs RUN_DIR/instances/<id>/guest
RUNTIME_DIRECTORY = "/opt/fanlight/runtime"  # read-only mount of the pinned runtime
AGENT_SOCKET_NAME = "agent.sock"
STREAM_SOCKET_NAME = "stream.sock"

# Members of BeginSession.stream_settings that are the agent's and not Selkies': the longest copy into and out of the
# session, in characters of text, in bytes of anything else.
MAX_COPY_IN, MAX_COPY_OUT = "fanlight_max_copy_in", "fanlight_max_copy_out"
