"""Room, ports and paths: what every engine needs."""

import errno
import os
import shutil
import socket
from pathlib import Path

from fanlight.config import Settings
from fanlight.doctor.findings import Finding, fatal, ok, warning

DATA_RESERVE_IN_GIB = 1.0
# RUN_DIR/instances/<40 characters>/guest/stream.sock must fit into the 107 bytes of a socket's address.
LONGEST_RUN_DIR_IN_BYTES = 107 - len("/instances//guest/stream.sock") - 40


def examine_places(settings: Settings) -> list[Finding]:
    findings = [_room(settings.data_dir), *_drive_clients(settings)]
    if settings.compute == "incus":
        findings += run_dir_length(settings.effective_run_dir)
    if _is_running(settings):
        return [*findings, ok("Fanlight is running on this data directory")]
    return findings + ports(
        settings.host, {"API": ("--api-port", settings.api_port), "portal": ("--portal-port", settings.portal_port)}
    )


def _drive_clients(settings: Settings) -> list[Finding]:
    """An OAuth client has an id and a secret. Here, not in the settings: most processes are not told the secret."""
    clients = {
        "google_drive": (settings.google_drive_client_id, settings.google_drive_client_secret),
        "one_drive": (settings.one_drive_client_id, settings.one_drive_client_secret),
    }
    return [
        fatal(
            f"{name}_client_{'secret' if client_id else 'id'} is missing",
            f"give both {name}_client_id and {name}_client_secret, or neither",
        )
        for name, (client_id, secret) in clients.items()
        if bool(client_id) != bool(secret)
    ]


def _room(data_dir: Path) -> Finding:
    place = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return fatal(
            f"the data directory {data_dir} cannot be written", "run as its owner, or name another: --data-dir"
        )
    free = shutil.disk_usage(place).free / 2**30
    if free < DATA_RESERVE_IN_GIB:
        return fatal(f"{place} has {free:.1f} GiB free", f"free some space: at least {DATA_RESERVE_IN_GIB:.0f} GiB")
    return ok(f"data directory {data_dir}, {free:.0f} GiB free")


def run_dir_length(run_dir: Path) -> list[Finding]:
    length = len(os.fsencode(run_dir))
    if length <= LONGEST_RUN_DIR_IN_BYTES:
        return []
    what = f"the run directory {run_dir} has {length} bytes, too many for the sockets below it"
    return [fatal(what, f"name one of at most {LONGEST_RUN_DIR_IN_BYTES} bytes: --run-dir /run/fanlight")]


def _is_running(settings: Settings) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(settings.effective_run_dir / "control" / "control.sock"))
        except OSError:
            return False
    return True


def ports(host: str, wanted: dict[str, tuple[str, int]]) -> list[Finding]:
    """Return a finding for each port that another program has. `wanted`: what for → (flag, port)."""
    findings = []
    for purpose, (flag, port) in wanted.items():
        problem = _problem_of_listening(host, port)
        if problem == errno.EADDRINUSE:
            findings.append(
                fatal(
                    f"port {port} for the {purpose} is in use", f"stop its owner (ss -ltnp sport = :{port}), or {flag}"
                )
            )
        elif problem == errno.EADDRNOTAVAIL:
            findings.append(fatal(f"{host} is no address of this host", "name one of `ip address`, or 0.0.0.0: --host"))
        elif problem:
            findings.append(
                warning(f"port {port} for the {purpose}: {os.strerror(problem)}", f"choose another: {flag}")
            )
    return findings or [ok(f"ports {', '.join(str(port) for _, port in wanted.values())} are free")]


def _problem_of_listening(host: str, port: int) -> int | None:
    """Return the errno of trying to listen there, or None."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            return error.errno
    return None
