"""The session scripts configuration of an image: which programs run when a session starts and when it ends.

The layout is that of AppStream's config.json. Its samples for Windows and for Linux spell the keys differently, so
capitals do not matter here; anything else that is not understood is refused as a whole, for half a configuration would
be worse than none. What stands in it runs as the instance's root: nobody but root may have been able to write it.
"""

import errno
import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

CONFIG_PATH = "/opt/appstream/SessionScripts/config.json"
MAX_CONFIG_BYTES = 64 * 1024
MAX_TEXT = 1000  # of a file name, and of its arguments
LONGEST_WAIT_IN_SECONDS = 60
DEFAULT_WAIT_IN_SECONDS = 30
MOST_LINKS = 40  # as many as the kernel follows


class ScriptEvent(StrEnum):
    START = "SessionStart"
    TERMINATION = "SessionTermination"


class ScriptContext(StrEnum):
    USER = "user"
    SYSTEM = "system"


class ScriptsRefused(Exception):
    """The configuration or a script cannot be used. The text says what and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """`is_told` (s3LogEnabled): whether the last of its output may leave the instance, for the host's log."""

    context: ScriptContext
    path: str
    arguments: tuple[str, ...] = ()
    is_told: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EventScripts:
    """What runs at one event, side by side, and how long the session waits for all of it."""

    scripts: tuple[Script, ...] = ()
    waiting_time_in_seconds: int = DEFAULT_WAIT_IN_SECONDS


@dataclass(frozen=True, slots=True)
class ScriptConfig:
    events: Mapping[ScriptEvent, EventScripts] = field(default_factory=dict)

    def of(self, event: ScriptEvent) -> EventScripts:
        return self.events.get(event, EventScripts())


def read_config(root: Path, owner: int = 0) -> ScriptConfig:
    """Return the image's configuration; an image without one has no scripts. Raises ScriptsRefused.

    `root` is where the file system begins and `owner` whose it is, root's (tests move both).
    """
    path = root / CONFIG_PATH.lstrip("/")
    if not path.is_file():
        return ScriptConfig()
    require_trusted(CONFIG_PATH, root, owner)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ScriptsRefused(f"{CONFIG_PATH}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ScriptsRefused(f"{CONFIG_PATH}: has more than {MAX_CONFIG_BYTES} bytes")
    return parse_config(content)


def require_trusted(path: str, root: Path, owner: int = 0) -> None:
    """Raise ScriptsRefused unless nobody but `owner` can change what stands at `path`, links on the way included."""
    try:
        ours = root.resolve()
        for each, found in _on_the_way(path, ours):
            if found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o022:
                shown = "/" + str(each.relative_to(ours)).removeprefix(".")
                raise ScriptsRefused(f"{path}: {shown} can be written by others than root")
    except ValueError as error:
        raise ScriptsRefused(f"{path}: leads out of the instance") from error
    except OSError as error:
        raise ScriptsRefused(f"{path}: {error.strerror}") from error


def _on_the_way(path: str, root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield all that `path` leads through. A link is as safe as the directory that it stands in, and that is yielded.

    Raises OSError, and ValueError where it leads out of `root`.
    """
    here, steps, links = root, list(Path(path.lstrip("/")).parts), 0
    yield here, os.lstat(here)
    while steps:
        step = steps.pop(0)
        if step == "..":
            here = here.parent
            here.relative_to(root)
            continue
        found = os.lstat(here / step)
        if not stat.S_ISLNK(found.st_mode):
            here /= step
            yield here, found
            continue
        if (links := links + 1) > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = (here / step).readlink()
        if target.is_absolute():
            here, target = root, target.relative_to(root)
        steps = [*target.parts, *steps]


def parse_config(content: bytes) -> ScriptConfig:
    """Return what a config.json says. Raises ScriptsRefused."""
    try:
        document = json.loads(content.decode("utf-8-sig"))  # editors on Windows put a mark before it
    except (ValueError, RecursionError) as error:
        raise ScriptsRefused(f"{CONFIG_PATH}: is not JSON") from error
    top = _members(document, "", ("SessionStart", "SessionTermination"))
    return ScriptConfig({event: _event(top[event.lower()], event) for event in ScriptEvent if event.lower() in top})


def _event(value: object, name: str) -> EventScripts:
    got = _members(value, name, ("Executables", "WaitingTime"))
    wait = got.get("waitingtime", DEFAULT_WAIT_IN_SECONDS)
    if type(wait) is not int or not 1 <= wait <= LONGEST_WAIT_IN_SECONDS:
        raise _refused(f"{name}.WaitingTime", f"must be a number of seconds from 1 to {LONGEST_WAIT_IN_SECONDS}")
    executables = got.get("executables", [])
    if not isinstance(executables, list):
        raise _refused(f"{name}.Executables", "must be a list")
    named = [_script(each, f"{name}.Executables[{number}]") for number, each in enumerate(executables)]
    contexts = [context for context, _ in named]
    if len(set(contexts)) < len(contexts):
        raise _refused(f"{name}.Executables", 'may have one entry of context "system" and one of context "user"')
    return EventScripts(scripts=tuple(s for _, s in named if s is not None), waiting_time_in_seconds=wait)


def _script(value: object, name: str) -> tuple[ScriptContext, Script | None]:
    """Return the script, None for an entry whose file name is empty: that is how the samples leave one out."""
    got = _members(value, name, ("Context", "Filename", "Arguments", "S3LogEnabled"))
    said = _text(got, "Context", name).lower()
    if said not in set(ScriptContext):
        raise _refused(f"{name}.Context", 'must be "system" or "user"')
    path, arguments = _text(got, "Filename", name), _text(got, "Arguments", name)
    is_told = got.get("s3logenabled", True)
    if not isinstance(is_told, bool):
        raise _refused(f"{name}.S3LogEnabled", "must be true or false")
    if not path:
        return ScriptContext(said), None
    if not path.startswith("/"):
        raise _refused(f"{name}.Filename", "must be an absolute path")
    try:
        words = tuple(shlex.split(arguments))
    except ValueError as error:
        raise _refused(f"{name}.Arguments", str(error)) from error
    return ScriptContext(said), Script(context=ScriptContext(said), path=path, arguments=words, is_told=is_told)


def _members(value: object, name: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the members of an object by their names in small letters. Raises ScriptsRefused."""
    if not isinstance(value, dict):
        raise _refused(name, "must be an object")
    allowed = {each.lower() for each in known}
    found: dict[str, Any] = {}
    for key, member in value.items():
        if key.lower() not in allowed or key.lower() in found:
            raise _refused(name, f"may have {', '.join(known)}, each once; it has {ascii(key)[:50]}")
        found[key.lower()] = member
    return found


def _text(got: Mapping[str, Any], key: str, name: str) -> str:
    value = got.get(key.lower(), "")
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise _refused(f"{name}.{key}", f"must be a text of at most {MAX_TEXT} characters")
    return value


def _refused(name: str, why: str) -> ScriptsRefused:
    return ScriptsRefused(f"{CONFIG_PATH}: {name + ' ' if name else ''}{why}")
