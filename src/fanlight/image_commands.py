"""`fanlight images`: build the images that instances are made from, and list them."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from fanlight.config import Settings
from fanlight.domain.errors import DomainError
from fanlight.flags import with_settings
from fanlight.images import BuiltImage, OnProgress, Progress, RecipeInvalid, list_images
from fanlight.images import build as build_images
from fanlight.images.building import RECIPES
from fanlight.images.runtime import prune
from fanlight.installation import NotInstallable

# Engine and store are imported by the commands that need them: every process of a service goes through this module,
# and takes no longer to start for what it never uses.

images_app = typer.Typer(no_args_is_help=True, help="Build and list the images that instances are made from.")
_INCUS = (
    "data_dir",
    "run_dir",
    "incus_socket",
    "incus_project",
    "incus_network",
    "incus_subnet",
    "incus_pool",
    "incus_pool_size_in_gib",
    "regions",
    "region_engines",
)


@images_app.command("build")
@with_settings(*_INCUS)
def build(
    settings: Settings,
    recipes: Annotated[
        Path | None,
        typer.Argument(
            help="A recipe (.yaml) or a directory of recipes; default: the ones that come with Fanlight.",
            show_default=False,
        ),
    ] = None,
    *,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keeps packages and finished images; default: DATA_DIR/cache.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Build anew what is up to date, with the newest packages.")
    ] = False,
) -> None:
    """Build the runtime and every image whose recipe changed. The first time takes some minutes, the next a moment.

    An image of your own is one file, which you keep in git:

        name: Office-1
        display_name: Office
        description: Writer and calculator
        base: Fanlight-Base-Debian13
        packages: [libreoffice-writer, galculator]
        applications: auto

    Save it as office.yaml, run `fanlight images build office.yaml`, and name Office-1 in CreateFleet. `base` is debian:SUITE,
    another recipe, or a built image. Further keys: users, files, commands, session_scripts, snapshot. docs/recipes.md
    explains all of them. The output of every command goes to build.log in the cache.
    """
    console = Console(stderr=True)
    try:
        with _bars(console) as bars:
            tasks: dict[str, TaskID] = {}

            def show(progress: Progress) -> None:
                if progress.stage not in tasks:
                    tasks[progress.stage] = bars.add_task(progress.stage, total=1.0, message="")
                bars.update(tasks[progress.stage], completed=progress.fraction, message=progress.message)

            built = asyncio.run(_build(settings, recipes or RECIPES, show, force=force, cache=cache))
    except (DomainError, RecipeInvalid, OSError) as error:
        console.print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
    console.print(f"[dim]What the commands said: {(cache or settings.data_dir / 'cache') / 'build.log'}[/]")
    for image in built:
        console.print(f"[green]✓[/] {image.name}: {', '.join(a.name for a in image.applications) or 'no applications'}")


async def _build(
    settings: Settings, recipes: Path, show: OnProgress, *, force: bool, cache: Path | None
) -> list[BuiltImage]:
    from fanlight.drivers.incus.engine_images import RecipeImages
    from fanlight.drivers.incus.engines import IncusEngines

    engines = IncusEngines.of(settings)
    try:
        await engines.prepare_store()
        store = RecipeImages(engines)
        built = await build_images(
            settings=settings, store=store, progress=show, recipes=recipes, force=force, cache=cache
        )
        pinned = await _pinned(settings)
        if pinned is not None:  # nobody knows: then all stay
            prune(settings.data_dir / "runtime", await engines.runtimes_in_use() | pinned)
        return list(built)
    finally:
        await engines.close()


async def _pinned(settings: Settings) -> set[str] | None:
    """Return the runtimes that images pin, None when that cannot be found out.

    Asked of another process, for it gives up root's rights, and this one still needs them.
    """
    command = [sys.executable, "-m", "fanlight", "images", "pins", "--data-dir", str(settings.data_dir)]
    environment = os.environ | ({"FANLIGHT_DATABASE_URL": settings.database_url} if settings.database_url else {})
    asked = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=environment
    )
    said, _ = await asked.communicate()
    return set(said.decode().split()) if asked.returncode == 0 else None


@images_app.command("pins", hidden=True)
@with_settings("data_dir", "database_url")
def pins_command(settings: Settings) -> None:
    """Print the versions of the runtime that images pin, one a line."""
    from fanlight.made_images import made_images, pinned_versions

    try:
        found = pinned_versions(made_images(settings))
    except (DomainError, NotInstallable, OSError) as error:
        Console(stderr=True).print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
    for version in sorted(found):
        typer.echo(version)


@images_app.command("list")
@with_settings("data_dir", "database_url")
def list_command(settings: Settings) -> None:
    """List the images: those from recipes, and those made by image builders, copies and imports, with how far they are."""
    from fanlight.made_images import is_made_here, recorded_images

    listed = list_images(settings)
    try:
        recorded = recorded_images(settings)
    except (DomainError, NotInstallable, OSError) as error:
        recorded = ()
        Console(stderr=True).print(f"[yellow]Images that were made here are not shown: {error}[/]", highlight=False)
    ami_ids = {image.name: image.ami_id for image in recorded if not is_made_here(image)}
    recipes = Table("From recipes", "AMI id", "Made", "Applications", box=None, pad_edge=False)
    for built in listed:
        applications = ", ".join(a.name for a in built.applications)
        recipes.add_row(built.name, ami_ids.get(built.name, ""), f"{built.built_at:%Y-%m-%d %H:%M}", applications)
    Console().print(recipes)
    found = [image for image in recorded if is_made_here(image)]
    if not found:
        return
    made = Table(
        "Made here", "Account, region", "State", "Size", "AMI id", "Made", "Progress", box=None, pad_edge=False
    )
    for image in found:
        size = "" if image.size_in_bytes is None else f"{image.size_in_bytes / 1e6:,.0f} MB"
        place = f"{image.scope.account_id} {image.scope.region}"
        how = image.failure_message or image.progress
        made.add_row(
            escape(image.name),
            place,
            image.state,
            size,
            image.ami_id,
            f"{image.created_at:%Y-%m-%d %H:%M}",
            escape(how),
        )
    Console().print()
    Console().print(made)


def _bars(console: Console) -> Bars:
    return Bars(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[message]}[/]"),
        console=console,
    )
