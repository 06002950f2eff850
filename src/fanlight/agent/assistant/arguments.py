"""Arguments in both of the forms that AppStream's documentation shows: `--name value` and `--name=value`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fanlight.agent.assistant.refusals import AssistantRefuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What an operation takes. `required` are among `values`; `lists` take all words up to the next parameter."""

    required: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.values, *self.switches, *self.lists)


@dataclass(slots=True)
class Given:
    values: dict[str, str] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    lists: dict[str, list[str]] = field(default_factory=dict)


def parse(words: Sequence[str], parameters: Parameters) -> Given:
    """Raises AssistantRefuses."""
    given = Given()
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, has_value, value = word.removeprefix("--").partition("=")
        _check(word, name, given, parameters)
        if name in parameters.switches:
            if has_value:
                raise AssistantRefuses(f"--{name} takes no value.")
            given.switches.add(name)
        elif name in parameters.lists:
            given.lists[name] = [value] if has_value else []
            while waiting and not _is_parameter(waiting[0], parameters):
                given.lists[name].append(waiting.pop(0))
        elif has_value:
            given.values[name] = value
        elif not waiting or _is_parameter(waiting[0], parameters):
            raise AssistantRefuses(f"--{name} needs a value.")
        else:
            given.values[name] = waiting.pop(0)
    if missing := [name for name in parameters.required if name not in given.values]:
        raise AssistantRefuses(f"The parameter --{missing[0]} is missing.")
    return given


def _check(word: str, name: str, given: Given, parameters: Parameters) -> None:
    if not word.startswith("--") or name not in parameters.all:
        raise AssistantRefuses(f"{word} is no parameter of this operation. Its --help lists them.")
    if name in given.values or name in given.switches or name in given.lists:
        raise AssistantRefuses(f"--{name} is given twice.")


def _is_parameter(word: str, parameters: Parameters) -> bool:
    """Only the operation's own: --launch-parameters may well be followed by something that begins with hyphens."""
    return word.startswith("--") and word.removeprefix("--").partition("=")[0] in parameters.all


def usage(command: str, operation: str, parameters: Parameters, told: Mapping[str, str]) -> str:
    """Return what --help prints. `told` says what each parameter is for."""
    lines = []
    for name in parameters.all:
        value = "" if name in parameters.switches else " KEY VALUE ..." if name in parameters.lists else " VALUE"
        lines.append(f"  --{name}{value}\n        {'' if name in parameters.required else 'Optional. '}{told[name]}")
    return "\n".join([f"Usage: {command} {operation} [parameters]", "", *lines, ""])
