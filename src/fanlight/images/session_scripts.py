"""`session_scripts` of a recipe: the files that make the agent run them, in AppStream's own layout for Linux."""

import json
from collections.abc import Iterator, Mapping

from fanlight.images.yaml_reader import Value

DIRECTORY = "/opt/appstream/SessionScripts"
CONFIG = f"{DIRECTORY}/config.json"
LONGEST_WAIT_IN_SECONDS = 60
DEFAULT_WAIT_IN_SECONDS = 30
CONTEXTS = ("system", "user")
_EVENTS = {"session_start": "SessionStart", "session_termination": "SessionTermination"}
_SCRIPT_MODE, _CONFIG_MODE = 0o755, 0o644


def read_session_scripts(value: Value) -> Mapping[str, tuple[str, int]]:
    """Return the files to write: path → content and mode. Raises RecipeInvalid."""
    got = value.members(required=(), optional=tuple(_EVENTS))
    if not got:
        value.refuse(f"needs at least one of {', '.join(_EVENTS)}.")
    files: dict[str, tuple[str, int]] = {}
    config: dict[str, object] = {}
    for key, event in got.items():
        members = event.members(required=(), optional=(*CONTEXTS, "waiting_time"))
        scripts = {context: _script(members[context]) for context in CONTEXTS if context in members}
        if not scripts:
            event.refuse(f"needs at least one of {', '.join(CONTEXTS)}.")
        paths = {context: f"{DIRECTORY}/{key.replace('_', '-')}-{context}.sh" for context in scripts}
        files |= {paths[context]: (content, _SCRIPT_MODE) for context, content in scripts.items()}
        wait = _waiting_time(members["waiting_time"]) if "waiting_time" in members else DEFAULT_WAIT_IN_SECONDS
        config[_EVENTS[key]] = {"Executables": list(_executables(paths)), "WaitingTime": wait}
    return {**files, CONFIG: (json.dumps(config, indent=2) + "\n", _CONFIG_MODE)}


def _executables(paths: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    for context, path in paths.items():
        yield {"Context": context, "Filename": path, "Arguments": "", "S3LogEnabled": True}


def _script(value: Value) -> str:
    return value.text(
        lambda text: text.startswith("#!/"), "a script: its first line names its interpreter, such as #!/bin/sh"
    )


def _waiting_time(value: Value) -> int:
    def is_valid(text: str) -> bool:
        return text in {str(seconds) for seconds in range(1, LONGEST_WAIT_IN_SECONDS + 1)}

    return int(value.text(is_valid, f"a number of seconds from 1 to {LONGEST_WAIT_IN_SECONDS}"))
