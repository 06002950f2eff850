"""Turn the fields of `Settings` into command-line flags, so that a setting is declared once.

A flag that is not given leaves the environment and the TOML file in force.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

import typer
from pydantic import ValidationError
from rich.console import Console

from fanlight.config import Settings

_CONFIG_HELP = "TOML file with any of the other settings."


def load_settings(**given: Any) -> Settings:
    """Return the settings with the given flags on top. Prints what is wrong and exits with 2 when they are not valid."""
    try:
        return Settings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        console = Console(stderr=True)
        for problem in error.errors():
            if not problem["loc"]:  # of several settings together, and their values may be secret
                console.print(f"[bold red]{problem['msg']}[/]", highlight=False)
                continue
            name = "_".join(str(part) for part in problem["loc"][:1])
            console.print(
                f"[bold red]--{name.replace('_', '-')}[/] (or FANLIGHT_{name.upper()}): {problem['msg']}, "
                f"but it is {problem['input']!r}.",
                highlight=False,
            )
        raise typer.Exit(2) from None


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of the named settings (all when none is named); it receives `settings: Settings`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        chosen = names or tuple(Settings.model_fields)
        own = [p for n, p in inspect.signature(command).parameters.items() if n != "settings"]

        def run(**arguments: Any) -> None:
            given = {n: arguments.pop(n) for n in chosen}
            command(settings=load_settings(**given), **arguments)

        flags = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(n)) for n in chosen
        ]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*keyword, *flags])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*keyword, *flags)}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _flag(name: str) -> Any:
    field = Settings.model_fields[name]
    options = [a for a in get_args(field.annotation) if a is not type(None)]
    is_list = get_origin(field.annotation) is tuple
    kind: Any = list[str] if is_list else str
    shown = field.get_default()
    text = " ".join(
        filter(None, (field.description, f"[dim]default: {_words(shown)}[/]" if shown not in (None, ()) else ""))
    )
    if options and all(isinstance(o, str) for o in options):
        text = f"{text} [dim]one of: {', '.join(options)}[/]"
    return typing_annotated(kind, typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False))


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def typing_annotated(kind: Any, option: Any) -> Any:
    """Return `Annotated[kind | None, option]`, built at run time."""
    from typing import Annotated

    return Annotated[kind | None, option]
