"""`fanlight images`: build the images that instances are made from, and list them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from fanlight.config import Settings
from fanlight.domain.errors import DomainError
from fanlight.drivers.incus.engine_images import RecipeImages
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.flags import with_settings
from fanlight.images import BuiltImage, OnProgress, Progress, RecipeInvalid, list_images
from fanlight.images import build as build_images
from fanlight.images.building import RECIPES
from fanlight.images.runtime import prune

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
    engines = IncusEngines.of(settings)
    try:
        await engines.prepare_store()
        store = RecipeImages(engines)
        built = await build_images(
            settings=settings, store=store, progress=show, recipes=recipes, force=force, cache=cache
        )
        prune(settings.data_dir / "runtime", await engines.runtimes_in_use())
        return list(built)
    finally:
        await engines.close()


@images_app.command("list")
@with_settings("data_dir")
def list_command(settings: Settings) -> None:
    """List what was built into this data directory."""
    table = Table("Image", "Made", "Applications", box=None, pad_edge=False)
    for image in list_images(settings):
        table.add_row(image.name, f"{image.built_at:%Y-%m-%d %H:%M}", ", ".join(a.name for a in image.applications))
    Console().print(table)


def _bars(console: Console) -> Bars:
    return Bars(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[message]}[/]"),
        console=console,
    )
