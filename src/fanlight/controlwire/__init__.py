"""What gateway and control plane say to each other: JSON over HTTP on the Unix socket RUN_DIR/control/control.sock.

The gateway is the process that browsers reach, so it holds no database, no signing key and no Incus: it asks. Standard
library only. Paths and bodies stand in `docs/architecture.md`, "Gateway and control plane".
"""

CONTROL_SOCKET_NAME = "control/control.sock"  # in a directory of its own that only the api user may write to
