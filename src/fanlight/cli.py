"""The `fanlight` command."""

import typer

app = typer.Typer(name="fanlight", no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_show_locals=False)


def main() -> None:
    """Entry point of the console script."""
    app()
