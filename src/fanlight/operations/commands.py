"""The commands `backup`, `restore`, `uninstall`, `tls` and `systemd`: questions, progress, errors and exit codes.

Exit codes: 0 done, 1 refused or failed (the text says why, and nothing is half done unless it says so), 2 wrong usage.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanlight.config import Settings, config_path
from fanlight.flags import with_settings
from fanlight.installation import NotInstallable
from fanlight.operations.errors import OperationFailed
from fanlight.operations.removals import Finding, Removal

_INCUS_SETTINGS = (
    "compute",
    "incus_socket",
    "incus_project",
    "incus_network",
    "incus_pool",
    "regions",
    "region_engines",
    "api_user",
    "gateway_user",
    "storage_user",
)
_DATA_SETTINGS = ("data_dir", "run_dir", "database_url")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]

tls_app = typer.Typer(no_args_is_help=True, help="Make certificates.")
systemd_app = typer.Typer(no_args_is_help=True, help="Run Fanlight as services of systemd.")


def register(app: typer.Typer) -> None:
    """Put the commands of this module on the command line."""
    app.command()(backup)
    app.command()(restore)
    app.command()(uninstall)
    app.add_typer(tls_app, name="tls")
    app.add_typer(systemd_app, name="systemd")


@with_settings(*_DATA_SETTINGS, "networks_file")
def backup(
    settings: Settings,
    file: Annotated[Path, typer.Argument(help="What to write: NAME.tar.zst or NAME.tar.gz.", show_default=False)],
    *,
    force: Force = False,
) -> None:
    """Write everything that cannot be made again into one file. The service may run meanwhile.

    In it: the database at one moment, signing and cookie keys, installation id, first access key, the certificate, image catalogues
    with icons, the TOML file and the networks file. Not in it: users' files (the buckets in DATA_DIR/storage: copy them with any S3 tool), running instances, root file systems of images ([bold]fanlight images
    build[/] makes them again), logs.

    The file holds secrets. It gets mode 0600; keep it so.
    """
    from fanlight.operations.backups import make_backup

    with _explained(), _progress("Backup") as report:
        made = make_backup(settings, file, config=config_path(), is_forced=force, now=datetime.now(UTC), report=report)
    _say(
        f"[bold]{escape(str(made.target))}[/] is written: {len(made.manifest.files)} files, {_size(made.size_in_bytes)}. It holds secrets."
    )


@with_settings(*_DATA_SETTINGS, "compute", "api_user", "gateway_user", "storage_user")
def restore(
    settings: Settings,
    file: Annotated[Path, typer.Argument(help="A file that `fanlight backup` wrote.", show_default=False)],
    *,
    yes: Yes = False,
) -> None:
    """Replace this installation by a backup. Stop the service first.

    Everything in the file is checked before anything is touched. What was there is kept beside it. Sessions that ran when
    the backup was made are gone: the service notices when it starts, ends them, and fills its fleets again.
    """
    from fanlight.operations.restores import known_revisions, restore_backup

    _ask(f"Replace the installation in {settings.data_dir} by {file}?", is_agreed=yes)
    with _explained(), _progress("Restore") as report:
        done = restore_backup(settings, file, known_revisions=known_revisions(), now=datetime.now(UTC), report=report)
    _say(
        f"[bold]{settings.data_dir}[/] is as Fanlight {done.manifest.fanlight_version} left it at {done.manifest.created_at}."
    )
    if done.aside:
        _say(f"What was there is in {done.aside}; remove it when you no longer need it.")
    if done.config:
        _say(
            f"The settings of the backup are in {done.config}: compare them, then start with FANLIGHT_CONFIG={done.config}."
        )
    if done.networks:
        _say(f"Its subnets and security groups are in {done.networks}: compare them, then start with --networks-file.")
    _say(
        "Root file systems are not in a backup: run [bold]fanlight images build[/] on a new host, then start the service."
    )


@with_settings(*_DATA_SETTINGS, *_INCUS_SETTINGS)
def uninstall(
    settings: Settings,
    *,
    yes: Yes = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="Keep the data directory, and the users that own it.")
    ] = False,
) -> None:
    """Remove what Fanlight made on this host, asking for each part. Stop the service first.

    Incus project with instances and images, bridge, pool, systemd units, sockets, data and users go; nothing else does, even
    if it has the same name. Packages and Incus itself stay. Run it as often as you like.
    """
    from fanlight.operations import uninstalls
    from fanlight.operations.presence import maintenance
    from fanlight.operations.systemd import UNIT_DIR

    with _explained(), maintenance(settings, "an uninstallation"):
        findings = uninstalls.survey(settings, is_data_kept=keep_data, units=UNIT_DIR)
        removals = [finding for finding in findings if isinstance(finding, Removal)]
        _show(findings)
        if not removals:
            _say("There is nothing to remove.")
            return
        failures = sum(not _remove(removal, is_agreed=yes) for removal in removals)
    if failures:
        _fail(f"{failures} parts are still there; mend what is said above and run this again.")


@tls_app.command("self-signed")
@with_settings("data_dir", "compute")
def self_signed(
    settings: Settings,
    *,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", help="Host name or address that clients use. Repeat it for more.", show_default="this machine"
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Make a certificate that nobody has signed but itself, for a year: DATA_DIR/tls/cert.pem and key.pem.

    Browsers warn about it until it is imported. For users outside your team, take one from a certificate authority.
    """
    from fanlight.operations.certificates import default_names, make_self_signed

    with _explained():
        made = make_self_signed(settings, name or default_names(), is_forced=force, now=datetime.now(UTC))
    _say(
        f"Valid for {', '.join(made.names)} until {made.expires_at:%Y-%m-%d}. SHA-256 fingerprint:\n{made.fingerprint}"
    )
    _say(f"Serve with it: [bold]fanlight serve --tls-cert {made.cert} --tls-key {made.key}[/]")
    _say(
        f"Let clients trust it: [bold]export AWS_CA_BUNDLE={made.cert}[/] (`fanlight env` does), or import it into the browser."
    )


@systemd_app.command("install")
@with_settings()
def systemd_install(
    settings: Settings,
    *,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory", help="Only write the units here, for packages and for reading; systemd is not asked."
        ),
    ] = None,
) -> None:
    """Write the units and their settings, and start Fanlight at every boot. Takes the flags of `serve`.

    Settings go to /etc/fanlight/fanlight.env; files that are there already are kept.
    """
    from fanlight.operations import systemd

    if directory is None:
        _need_systemd(systemd.is_running())
    units, etc = (directory, directory) if directory else (systemd.UNIT_DIR, systemd.ETC_DIR)
    with _explained():
        done = systemd.install(settings, units=units, etc=etc, config=config_path())
        if directory is None:
            systemd.enable(settings)
    for path in done.written:
        _say(f"written  {path}")
    for path in done.kept:
        _say(f"[yellow]kept[/]     {path}: it was there already, so settings given now are not in it")
    if directory is None:
        _say("Fanlight starts at every boot. Start it now: [bold]systemctl start fanlight.target[/]")


@systemd_app.command("remove")
def systemd_remove(*, yes: Yes = False) -> None:
    """Stop Fanlight and remove its units. Data, settings and instances stay."""
    from fanlight.operations import systemd

    _ask("Stop Fanlight and remove its systemd units?", is_agreed=yes)
    with _explained():
        removed = systemd.remove(systemd.UNIT_DIR)
    for path in removed:
        _say(f"removed  {path}")
    if not removed:
        _say(f"There are no units of Fanlight in {systemd.UNIT_DIR}.")


@systemd_app.command("prepare", hidden=True)
@with_settings()
def systemd_prepare(settings: Settings) -> None:
    """Make directories, owners and the first key, as `serve` does; fanlight-prepare.service runs it at boot."""
    from fanlight.operations import systemd

    with _explained():
        systemd.prepare(settings)


def _need_systemd(is_there: bool) -> None:  # noqa: FBT001 - it is the question itself
    if not is_there:
        _fail(
            "systemd does not run this machine. Let your init or container run `fanlight serve` in the foreground as root: it "
            "starts, watches and stops all processes, and ends within 10 s on SIGTERM. `--directory DIR` only writes the units."
        )


def _show(findings: Sequence[Finding]) -> None:
    table = Table("", "what", "", box=None, pad_edge=False)
    for finding in findings:
        if isinstance(finding, Removal):
            table.add_row("[bold]remove[/]", escape(finding.what), escape(finding.detail))
        else:
            table.add_row("[dim]stays[/]", escape(finding.what), escape(finding.why))
    if findings:
        Console().print(table)


def _remove(removal: Removal, *, is_agreed: bool) -> bool:
    """Ask for one part and remove it; return whether it is gone or meant to stay."""
    if not is_agreed and not typer.confirm(f"Remove {removal.what} ({removal.detail})?"):
        _say(f"kept     {escape(removal.what)}")
        return True
    try:
        with Console().status(f"removing {escape(removal.what)}"):
            removal.remove()
    except (OperationFailed, OSError) as error:
        Console(stderr=True).print(
            f"[bold red]not removed[/] {escape(removal.what)}: {escape(str(error))}", soft_wrap=True
        )
        return False
    _say(f"removed  {escape(removal.what)}")
    return True


def _ask(question: str, *, is_agreed: bool) -> None:
    if not is_agreed:
        typer.confirm(question, abort=True)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str], None]]:
    with Console(stderr=True).status(title) as status:
        yield lambda step: status.update(f"{title}: {escape(step)}")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what an operator can mend into a text and exit code 1."""
    try:
        yield
    except (OperationFailed, NotInstallable) as error:
        _fail(escape(str(error)))
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        cause = "The disk is full" if is_full else "The system refuses"
        _fail(escape(f"{cause}: {error}. What was there before is unchanged."))


def _size(size_in_bytes: int) -> str:
    return f"{size_in_bytes / 2**20:.1f} MiB" if size_in_bytes >= 2**20 else f"{size_in_bytes / 2**10:.0f} KiB"


def _say(text: str) -> None:
    Console().print(text, highlight=False, soft_wrap=True)


def _fail(text: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]{text}[/]", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
