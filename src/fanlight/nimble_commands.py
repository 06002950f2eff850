"""`fanlight nimble`: the way back for those who lost their studios when Nimble Studio was closed."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fanlight.config import Settings
from fanlight.flags import with_settings
from fanlight.nimble_import import Importer, ImportFailed, Report, read_output

nimble_app = typer.Typer(no_args_is_help=True, help="Bring back what was in Nimble Studio.")
_POLL_IN_SECONDS = 0.5


@nimble_app.callback()
def nimble() -> None:
    """Bring back what was in Nimble Studio."""


@nimble_app.command("import")
@with_settings("data_dir", "host", "api_port", "public_api_url", "tls_cert", "regions")
def import_(
    settings: Settings,
    files: Annotated[list[Path], typer.Argument(help="JSON that `aws nimble get-…` and `list-…` printed.")],
    *,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="OLD=ami-…: the image here that stands for an old AMI or streaming image."),
    ] = None,
    studio: Annotated[
        str | None, typer.Option("--studio", help="Into this studio of the installation.", show_default=False)
    ] = None,
) -> None:
    """Recreate studio, streaming images, studio components and launch profiles on a running Fanlight.

    May be repeated: what is there already is found. What a person has to do is printed at the end.
    """
    from fanlight.installation import NotInstallable, read_credentials
    from fanlight.nimble_client import nimble_client

    images = _images(image or [])
    try:
        old = read_output([(str(path), _read(path)) for path in files])
        client = nimble_client(settings, read_credentials(settings))
    except (ImportFailed, NotInstallable) as error:
        raise _failed(error) from None
    importer = Importer(client, images, lambda: time.sleep(_POLL_IN_SECONDS))
    try:
        importer.run(old, studio)
    except ImportFailed as error:
        raise _failed(error) from None
    finally:
        _print(importer.report)


def _failed(error: Exception) -> typer.Exit:
    Console(stderr=True).print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


def _read(path: Path) -> object:
    """Return what is in the file. It may be UTF-16, as PowerShell writes what a program prints. Raises ImportFailed."""
    try:
        found: object = json.loads(path.read_bytes())
    except OSError as error:
        raise ImportFailed(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{path} is not JSON: {error}.") from error
    return found


def _images(given: list[str]) -> dict[str, str]:
    images = {}
    for pair in given:
        old, _, new = pair.partition("=")
        if not (old and new.startswith("ami-")):
            raise typer.BadParameter(
                f"{pair!r} is not OLD=ami-…, with an identifier that `fanlight images list` shows."
            )
        images[old] = new
    return images


def _print(report: Report) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for heading, lines in (
        ("made", report.made),
        ("there already", report.found),
        ("left out", report.skipped),
        ("to be done by hand", report.by_hand),
    ):
        if lines:
            console.print(f"[bold]{heading}[/]")
            for line in lines:
                console.print(f"  {line}", markup=False)
