"""`fanlight serve`: check the host, start the processes, wait until they answer, print the panel."""

import asyncio
import logging
import time

import aiohttp
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from fanlight.background import end
from fanlight.config import LOOPBACK_OF, Settings, url_host
from fanlight.doctor import examine
from fanlight.installation import Credentials, NotInstallable, bootstrap_credentials, prepare_directories
from fanlight.sample import Sample, SampleFailed, make_sample
from fanlight.supervisor import EXIT_NOT_READY, Supervisor

log = logging.getLogger(__name__)

READY_TIMEOUT_IN_SECONDS = 60.0
_POLL_IN_SECONDS = 0.05


async def serve_until_stopped(settings: Settings, *, with_sample: bool) -> int:
    """Run everything in the foreground; return the exit code: 0 after a clean stop, 78 when the host is not ready."""
    console = Console(stderr=True)
    fatal = [f for f in examine(settings) if f.level == "fatal"]
    for finding in fatal:
        console.print(f"[bold red]{finding.what}[/]\n  {finding.mend}", highlight=False)
    if fatal:
        return EXIT_NOT_READY
    try:
        prepare_directories(settings)
        credentials = bootstrap_credentials(settings)
    except (NotInstallable, OSError) as error:
        console.print(f"[bold red]{error}[/]", highlight=False)
        return EXIT_NOT_READY
    supervisor = Supervisor(settings, credentials)
    welcome = asyncio.create_task(_welcome(settings, credentials, supervisor, console, with_sample=with_sample))
    try:
        await supervisor.run()
    finally:
        await end(welcome)
    if supervisor.exit_code == 0:
        console.print("Fanlight is stopped. Instances and sessions are kept; start it again to go on.")
    return supervisor.exit_code


async def _welcome(
    settings: Settings, credentials: Credentials, supervisor: Supervisor, console: Console, *, with_sample: bool
) -> None:
    started = time.monotonic()
    if not await _is_ready(settings):
        if supervisor.is_stopping:
            return
        console.print("[bold red]Fanlight does not answer yet; the log above says why. It keeps trying.[/]")
        return
    took = time.monotonic() - started
    made: Sample | None = None
    if with_sample and not supervisor.is_stopping:
        try:
            with console.status("First fleet: stack") as status:
                made = await asyncio.to_thread(
                    make_sample, settings, credentials, report=lambda step: status.update(f"First fleet: {step}")
                )
        except SampleFailed as error:
            console.print(f"[bold red]{error}[/]", highlight=False)
    console.print(panel(settings, made, ready_in_seconds=took))
    if made:
        # Once more outside the panel, whole and on one line, so that terminals can open it and scripts can read it.
        console.print(made.streaming_url, soft_wrap=True, highlight=False)


async def _is_ready(settings: Settings) -> bool:
    """Return whether API and portal answered before the time-out."""
    scheme = "https" if settings.tls_cert else "http"
    address = url_host(LOOPBACK_OF.get(settings.host, settings.host))
    deadline = time.monotonic() + READY_TIMEOUT_IN_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
        for port in (settings.api_port, settings.portal_port):
            while not await _answers(http, f"{scheme}://{address}:{port}/healthz"):
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(_POLL_IN_SECONDS)
    return True


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        # The certificate names the public host, and this asks the loopback address: only whether somebody answers.
        async with http.get(url, ssl=False) as response:
            return response.status == 200  # noqa: PLR2004
    except (aiohttp.ClientError, TimeoutError):
        return False


def panel(settings: Settings, made: Sample | None, *, ready_in_seconds: float) -> Panel:
    """Return what a person needs to go on: endpoint, credentials, portal, and a URL to open."""
    table = Table.grid(padding=(0, 2))
    table.add_row("API endpoint", f"[bold]{settings.api_url}[/]")
    table.add_row("Credentials", '[bold]eval "$(fanlight env)"[/]')
    table.add_row("Portal", f"[bold]{settings.portal_url}[/]")
    if made:
        table.add_row("Sample", f"stack and fleet are {made.fleet_state}; open the URL below in your browser")
    table.add_row("Stop", "Ctrl-C (instances and sessions are kept)")
    return Panel(table, title=f"Fanlight is ready ({ready_in_seconds:.1f} s)", expand=False)
