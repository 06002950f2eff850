"""The processes of an installation: which function each is. What they may touch stands in `docs/architecture.md`.

Each imports its own part and nothing of the others, because all start at once and everybody waits for the last.
"""

import uvloop

from fanlight.config import Settings


def run_process(settings: Settings, role: str) -> None:
    """Be one process until SIGTERM or SIGINT. Raises NotInstallable when the host or the settings must be mended."""
    if role == "compute":
        from fanlight.drivers.incus.process import run_compute_process

        uvloop.run(run_compute_process(settings))
    elif role == "gateway":
        from fanlight.gateway.process import run_gateway

        uvloop.run(run_gateway(settings))
    elif role == "storage":
        from fanlight.storage.process import run_storage

        uvloop.run(run_storage(settings))
    else:
        from fanlight.bootstrap import run_api

        uvloop.run(run_api(settings))
