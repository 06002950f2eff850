"""`fanlight keys`: who may sign requests, for which account, until when and for what.

Works beside a running service, which knows of every change with its next request.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

from fanlight.config import Settings
from fanlight.domain.access_keys import AccessKey
from fanlight.domain.errors import DomainError
from fanlight.domain.policies import InvalidPolicy, Policy, parse_policy, read_only_policy
from fanlight.flags import with_settings
from fanlight.installation import NotInstallable, act_as_store_owner
from fanlight.services.access_keys import AccessKeyService

keys_app = typer.Typer(no_args_is_help=True, help="Make, limit, list and delete access keys.")
T = TypeVar("T")


class _SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@keys_app.command("create")
@with_settings("data_dir", "database_url", "account_id")
def create(
    settings: Settings,
    *,
    account: Annotated[
        str | None, typer.Option("--account", help="Account (12 digits); the same as --account-id.", show_default=False)
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only Describe, Get and List: the key sees everything, does nothing.")
    ] = False,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="File with an IAM JSON policy that limits the key.", show_default=False),
    ] = None,
    nimble_principal: Annotated[
        str | None,
        typer.Option(
            "--nimble-principal",
            help="Member of Nimble studios whose key it is: it may do what he may there, and nothing else.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="After 30m, 12h, 90d, 8w; or at 2027-01-31T18:00Z.", show_default=False),
    ] = None,
) -> None:
    """Make a key for an account and print it. The secret is shown this once."""
    if read_only and policy is not None:
        raise typer.BadParameter("--read-only is a policy of its own. Give one of --read-only and --policy.")
    account_id = settings.account_id if account is None else account
    if not re.fullmatch(r"[0-9]{12}", account_id):
        raise typer.BadParameter(f"{account_id!r} is not the number of an account: it has 12 digits.")
    rights = read_only_policy() if read_only else _read_policy(policy)
    ends = None if expires is None else _time(expires, _SystemClock().now())
    person = nimble_principal
    if person is not None and not re.fullmatch(r"[!-~]{1,128}", person):
        raise typer.BadParameter("--nimble-principal has 1 to 128 characters, without spaces.")
    key = _with_service(
        settings, lambda service: service.create(account_id, policy=rights, expires_at=ends, person=person)
    )
    typer.echo(f"aws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}")


@keys_app.command("list")
@with_settings("data_dir", "database_url")
def list_keys(settings: Settings) -> None:
    """List the keys, without their secrets."""
    # An id that is cut short could not be deleted by what is shown; the rest fits beside it into 80 columns.
    whole = Column("Access key", no_wrap=True, overflow="ignore")
    table = Table(whole, "Account", "Made", "Expires", "Rights", box=None, pad_edge=False)
    now = _SystemClock().now()
    for key in _with_service(settings, lambda service: service.all()):
        ends = "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
        rights = "expired" if key.expires_at is not None and key.expires_at <= now else _rights(key)
        table.add_row(key.access_key_id, key.account_id, f"{key.created_at:%Y-%m-%d}", ends, rights)
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


@keys_app.command("policy")
@with_settings("data_dir", "database_url")
def show_policy(
    settings: Settings, access_key_id: Annotated[str, typer.Argument(help="As `fanlight keys list` shows it.")]
) -> None:
    """Print the policy that limits a key, as JSON; nothing for a key that may do everything."""
    key = _with_service(settings, lambda service: service.find(access_key_id))
    if key is None:
        raise typer.BadParameter(f"There is no access key {access_key_id!r}.")
    if key.policy is not None:
        typer.echo(key.policy.document)


def _rights(key: AccessKey) -> str:
    if key.person is not None:
        return f"as {key.person}"
    if key.policy is None:
        return "everything"
    return "read only" if key.policy == read_only_policy() else "a policy"


def _read_policy(path: Path | None) -> Policy | None:
    """Raises BadParameter for a file that is no policy, with the reason."""
    if path is None:
        return None
    try:
        return parse_policy(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from None
    except InvalidPolicy as error:
        raise typer.BadParameter(f"{path}: {error}") from None


_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def _time(text: str, now: datetime) -> datetime:
    """Return the time that `text` (90d, or ISO 8601) means. Raises BadParameter."""
    if match := re.fullmatch(r"([0-9]{1,5})([mhdw])", text):
        return now + int(match[1]) * _UNITS[match[2]]
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a duration like 90d nor a time like 2027-01-31T18:00Z."
        ) from None
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def _with_service(settings: Settings, act: Callable[[AccessKeyService], Awaitable[T]]) -> T:
    async def run() -> T:
        from fanlight.store import open_store  # SQLAlchemy takes longer to load than all else here

        async with open_store(settings.effective_database_url) as store:
            await store.upgrade()
            return await act(AccessKeyService(store.transactions, _SystemClock()))

    try:
        act_as_store_owner(settings)
        return asyncio.run(run())
    except (DomainError, NotInstallable, OSError) as error:
        Console(stderr=True).print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
