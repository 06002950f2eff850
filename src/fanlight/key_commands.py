"""`fanlight keys`: who may sign requests, and for which account. Works beside a running service; needs no restart."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from fanlight.config import Settings
from fanlight.domain.errors import DomainError
from fanlight.flags import with_settings
from fanlight.installation import NotInstallable, act_as_store_owner
from fanlight.services.access_keys import AccessKeyService
from fanlight.store import open_store

keys_app = typer.Typer(no_args_is_help=True, help="Make, list and delete access keys.")
T = TypeVar("T")


class _SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@keys_app.command("create")
@with_settings("data_dir", "database_url", "account_id")
def create(settings: Settings) -> None:
    """Make a key for an account (--account-id) and print it. The secret is shown this once."""
    key = _with_service(settings, lambda service: service.create(settings.account_id))
    typer.echo(f"aws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}")


@keys_app.command("list")
@with_settings("data_dir", "database_url")
def list_keys(settings: Settings) -> None:
    """List the keys, without their secrets."""
    table = Table("Access key", "Account", "Made", box=None, pad_edge=False)
    for key in _with_service(settings, lambda service: service.all()):
        table.add_row(key.access_key_id, key.account_id, f"{key.created_at:%Y-%m-%d %H:%M}")
    Console().print(table)


@keys_app.command("delete")
@with_settings("data_dir", "database_url")
def delete(
    settings: Settings, access_key_id: Annotated[str, typer.Argument(help="As `fanlight keys list` shows it.")]
) -> None:
    """Delete a key. Requests signed with it are refused from then on."""
    if not re.fullmatch(r"\w{1,128}", access_key_id):
        raise typer.BadParameter(f"{access_key_id!r} is not the id of an access key.")
    _with_service(settings, lambda service: service.remove(access_key_id))
    typer.echo(f"The key {access_key_id} is deleted.")


def _with_service(settings: Settings, act: Callable[[AccessKeyService], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_store(settings.effective_database_url) as store:
            await store.upgrade()
            return await act(AccessKeyService(store.transactions, _SystemClock()))

    try:
        act_as_store_owner(settings)
        return asyncio.run(run())
    except (DomainError, NotInstallable, OSError) as error:
        Console(stderr=True).print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
