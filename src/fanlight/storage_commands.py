"""`fanlight storage`: what users keep in their home folders."""

import asyncio
import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from fanlight.config import Settings
from fanlight.domain.errors import StorageUnavailable, StorageUnusable
from fanlight.domain.user_storage import StorageUsage, scope_of_home_bucket
from fanlight.flags import with_settings

_WIDTH_IN_COLUMNS = 200

storage_app = typer.Typer(no_args_is_help=True, help="Look at users' home folders.")


@storage_app.command("usage")
@with_settings("data_dir", "run_dir", "home_folder_quota_in_mib")
def usage(
    settings: Settings,
    *,
    user: Annotated[
        str | None,
        typer.Option("--user", help="Only of this user, by the id that signs in; capitals matter.", show_default=False),
    ] = None,
) -> None:
    """Say how much each user keeps, the most first. Asks a running Fanlight, which looks at every file: as root."""
    try:
        found = asyncio.run(_ask(settings))
    except (StorageUnavailable, StorageUnusable) as error:
        Console(stderr=True).print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
    digest = sha256(user.encode()).hexdigest() if user is not None else None
    shown = [one for one in found if digest is None or one.prefix.split("/")[2] == digest]
    # Into a file or another program goes every line whole; on a terminal the long name of a user is folded.
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_IN_COLUMNS)
    console.print(table_of(shown, settings.home_folder_quota_in_mib * 2**20))


async def _ask(settings: Settings) -> Sequence[StorageUsage]:
    from fanlight.drivers.storage import StorageConnection

    connection = StorageConnection(settings.effective_run_dir)
    try:
        return await connection.usage()
    finally:
        await connection.close_connections()


def table_of(found: Sequence[StorageUsage], quota_in_bytes: int) -> Table:
    """Return a line for each user; users stand there as in the keys of the bucket."""
    right = [Column(name, justify="right") for name in ("MiB", "files", "of the quota")]
    table = Table("account", "region", Column("user", overflow="fold"), *right, box=None, pad_edge=False)
    for one in sorted(found, key=lambda one: (-one.size_in_bytes, one.bucket, one.prefix)):
        scope = scope_of_home_bucket(one.bucket)
        part = f"{one.size_in_bytes / quota_in_bytes:.0%}" if quota_in_bytes else "–"
        user = one.prefix.removeprefix("user/").rstrip("/")
        table.add_row(scope.account_id, scope.region, user, f"{one.size_in_bytes / 2**20:.1f}", str(one.files), part)
    return table
