"""The `fanlight` command."""

import asyncio
import errno
import os
import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from fanlight import __version__
from fanlight.config import Settings
from fanlight.flags import with_settings
from fanlight.image_commands import images_app
from fanlight.key_commands import keys_app
from fanlight.nimble_commands import nimble_app
from fanlight.operations import commands as operations
from fanlight.operations.errors import OperationFailed
from fanlight.operations.presence import serving
from fanlight.storage_commands import storage_app
from fanlight.supervisor import EXIT_NOT_READY, end_with_supervisor
from fanlight.telemetry import configure_logging

app = typer.Typer(
    name="fanlight",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Stream Linux desktop applications to browsers, driven with AppStream 2.0 clients.\n\n"
    "Start with [bold]fanlight doctor[/], then [bold]fanlight images build[/] and [bold]fanlight serve --sample[/].",
)
db_app = typer.Typer(no_args_is_help=True, help="Look after the database.")
app.add_typer(images_app, name="images")
app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(nimble_app, name="nimble")
app.add_typer(storage_app, name="storage")
_CANNOT_LISTEN = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}


class Role(StrEnum):
    """The processes of one installation; see docs/architecture.md."""

    COMPUTE = "compute"
    API = "api"
    GATEWAY = "gateway"
    STORAGE = "storage"


@app.command()
@with_settings()
def serve(
    settings: Settings,
    *,
    sample: Annotated[
        bool, typer.Option("--sample", help="Make the sample stack and fleet and print a streaming URL.")
    ] = False,
) -> None:
    """Run Fanlight in the foreground until Ctrl-C or SIGTERM. Instances and sessions go on while it is stopped."""
    from fanlight.serving import serve_until_stopped

    configure_logging(log_format=settings.log_format, level=settings.log_level)
    try:
        with serving(settings, "serve"):
            raise typer.Exit(asyncio.run(serve_until_stopped(settings, with_sample=sample)))
    except OperationFailed as error:
        fail(str(error), EXIT_NOT_READY)


@app.command(hidden=True)
@with_settings()
def process(settings: Settings, role: Annotated[Role, typer.Argument(help="Which process to be.")]) -> None:
    """Be one process of an installation; `fanlight serve` and the systemd units start these."""
    from fanlight.domain.errors import StoreTooNew
    from fanlight.installation import NotInstallable, drop_privileges
    from fanlight.operations.presence import PREDECESSOR_IN_SECONDS
    from fanlight.processes import run_process

    configure_logging(log_format=settings.log_format, level=settings.log_level)
    try:
        # Each process says so itself: under systemd there is no supervisor to do it.
        with serving(settings, role.value, patience_in_seconds=PREDECESSOR_IN_SECONDS):
            drop_privileges(settings, role.value)
            end_with_supervisor()
            run_process(settings, role.value)
    except (NotInstallable, OperationFailed, StoreTooNew, ValueError) as error:
        fail(f"{role.value}: {error}", EXIT_NOT_READY)
    except OSError as error:
        if error.errno not in _CANNOT_LISTEN:
            raise
        fail(f"{role.value}: {error.strerror}. Choose another --host, --api-port or --portal-port.", EXIT_NOT_READY)


@app.command()
@with_settings("data_dir", "host", "api_port", "public_api_url", "tls_cert", "regions")
def env(settings: Settings) -> None:
    """Print the environment that points AppStream clients here: [bold]eval "$(fanlight env)"[/]."""
    import shlex

    from fanlight.installation import NotInstallable, read_credentials

    try:
        credentials = read_credentials(settings)
    except NotInstallable as error:
        fail(str(error))
    values = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_REGION": settings.regions[0],
        "AWS_DEFAULT_REGION": settings.regions[0],
        "AWS_ENDPOINT_URL": settings.api_url,
        "AWS_ENDPOINT_URL_APPSTREAM": settings.api_url,
        "AWS_ENDPOINT_URL_S3": settings.effective_s3_endpoint_url,
    }
    if settings.tls_cert:
        values["AWS_CA_BUNDLE"] = str(settings.tls_cert.absolute())
    for name, value in values.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo("unset AWS_SESSION_TOKEN AWS_PROFILE")


@app.command()
@with_settings()
def doctor(settings: Settings) -> None:
    """Say what is missing on this host and the command that mends it. Exits with 1 when something must be mended."""
    from fanlight.doctor import examine

    console = Console()
    table = Table("", "what", "what to do", box=None, pad_edge=False)
    findings = examine(settings)
    marks = {"ok": "[green]ok[/]", "warning": "[yellow]warn[/]", "fatal": "[bold red]FAIL[/]"}
    for finding in findings:
        table.add_row(marks[finding.level], finding.what, finding.mend)
    console.print(table)
    raise typer.Exit(1 if any(f.level == "fatal" for f in findings) else 0)


@app.command()
@with_settings("data_dir", "host", "api_port", "public_api_url", "tls_cert", "regions")
def sample(settings: Settings) -> None:
    """Make the sample stack and fleet on a running Fanlight, through its public API, and print a streaming URL."""
    from fanlight.installation import NotInstallable, read_credentials
    from fanlight.sample import SampleFailed, make_sample

    console = Console()
    try:
        with console.status("sample") as status:
            made = make_sample(
                settings, read_credentials(settings), report=lambda step: status.update(f"sample: {step}")
            )
    except (NotInstallable, SampleFailed) as error:
        fail(str(error))
    console.print(made.streaming_url, soft_wrap=True, highlight=False)


@db_app.command("upgrade")
@with_settings("data_dir", "database_url")
def db_upgrade(settings: Settings) -> None:
    """Bring the database to the schema of this version. `serve` does the same when it starts."""
    from fanlight.bootstrap import upgrade_database
    from fanlight.domain.errors import DomainError
    from fanlight.installation import NotInstallable, act_as_store_owner

    try:
        act_as_store_owner(settings)
        asyncio.run(upgrade_database(settings))
    except (DomainError, NotInstallable, OSError) as error:
        fail(str(error))
    typer.echo("The database has the schema of this version.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


operations.register(app)


def fail(text: str, code: int = 1) -> NoReturn:
    """Print what is wrong and end the command."""
    Console(stderr=True).print(f"[bold red]{text}[/]", highlight=False)
    raise typer.Exit(code)


def main() -> None:
    """Entry point of the console script."""
    if os.environ.get("NO_COLOR") is None and not sys.stdout.isatty():
        os.environ.setdefault("NO_COLOR", "1")
    app()
