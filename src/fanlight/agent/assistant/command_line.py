"""AppStreamImageAssistant: one operation a call, one JSON object as its answer, whose status is the exit code too."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanlight.agent.assistant.agent_socket import ask_agent
from fanlight.agent.assistant.applications import Applications, ApplicationWishes
from fanlight.agent.assistant.arguments import Given, Parameters, parse, usage
from fanlight.agent.assistant.catalogue import CatalogueEntry
from fanlight.agent.assistant.image_wishes import ImageWishes, request_of, tags_of
from fanlight.agent.assistant.refusals import ADMINISTRATOR_NEEDED, FAILED, AssistantRefuses, refused

COMMAND = "AppStreamImageAssistant"
SUCCESS = "Success"
_ABOUT_AN_APPLICATION = (
    "name", "absolute-app-path", "display-name", "absolute-icon-path", "working-directory", "launch-parameters",
    "absolute-manifest-path",
)  # fmt: skip
OPERATIONS: Mapping[str, Parameters] = {
    "add-application": Parameters(required=("name", "absolute-app-path"), values=_ABOUT_AN_APPLICATION),
    "update-application": Parameters(required=("name",), values=_ABOUT_AN_APPLICATION),
    "remove-application": Parameters(required=("name",), values=("name",)),
    "list-applications": Parameters(),
    "create-image": Parameters(
        required=("name",),
        values=("name", "description", "display-name"),
        switches=(
            "enable-dynamic-app-catalog", "no-enable-dynamic-app-catalog", "use-latest-agent-version",
            "no-use-latest-agent-version", "dry-run",
        ),
        lists=("tags",),
    ),
}  # fmt: skip
SUMMARIES = {
    "add-application": "Add an application to the image's catalog.",
    "update-application": "Change an application of the catalog; what is not given stays as it is.",
    "remove-application": "Remove an application from the catalog.",
    "list-applications": "List the applications of the catalog.",
    "create-image": "Create the image. The session is disconnected, and the builder stops when the image is made.",
}
TOLD = {
    "name": "The unique name; no white space.",
    "absolute-app-path": "The program that is started. The file must exist.",
    "display-name": "The name that people see.",
    "absolute-icon-path": "A .jpg, .png or .bmp file of at most 256 by 256 pixels.",
    "working-directory": "Where the program is started. The directory must exist.",
    "launch-parameters": "What the program is started with.",
    "absolute-manifest-path": "A text file with one absolute path a line: files that are read ahead in every instance.",
    "description": "What the image is for.",
    "tags": "Tags of the image: a key, its value, the next key, its value ...",
    "dry-run": "Check everything and create nothing.",
    "enable-dynamic-app-catalog": "Let a provider inside the image add applications for each user.",
    "no-enable-dynamic-app-catalog": "The catalog is the same for all users (the default).",
    "use-latest-agent-version": "Instances of the image always have the newest agent.",
    "no-use-latest-agent-version": "Instances of the image have the agent of today (the default).",
}


@dataclass(slots=True)
class Assistant:
    """`ask` reaches the agent; `is_root` and `root` are this process's own, but in tests."""

    root: Path = Path("/")
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    owner: int = 0
    ask: Callable[..., str] = ask_agent

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """Return exit code and output. Never raises AssistantRefuses."""
        if not words or words[0] in ("help", "--help", "-h"):
            return 0, _help()
        operation, *rest = words
        try:
            if "--help" in rest and operation in OPERATIONS:
                return 0, usage(COMMAND, operation, OPERATIONS[operation], TOLD)
            given = parse(rest, self._parameters_of(operation))
            answer = {"status": 0, "message": SUCCESS, **self._do(operation, given)}
        except AssistantRefuses as error:
            answer = {"status": error.status, "message": str(error)}
        except OSError as error:
            answer = {"status": FAILED, "message": f"{error.strerror or error}: {error.filename or operation}"}
        return int(answer["status"]), json.dumps(answer)

    def _parameters_of(self, operation: str) -> Parameters:
        if operation not in OPERATIONS:
            raise AssistantRefuses(f"There is no operation {operation}. `{COMMAND} help` lists them.")
        if operation != "list-applications" and not self.is_root:
            raise refused(ADMINISTRATOR_NEEDED)
        return OPERATIONS[operation]

    def _do(self, operation: str, given: Given) -> Mapping[str, Any]:
        applications = Applications(self.root)
        if operation == "list-applications":
            listed = [self._shown(applications, entry) for entry in applications.catalogue.entries()]
            return {"applications": listed}
        if operation == "remove-application":
            applications.remove(given.values["name"])
        elif operation == "create-image":
            request = request_of(_wishes(given), applications.catalogue, root=self.root, owner=self.owner)
            return {
                "message": self.ask(
                    "create_image", parts=[part.text for part in request.parts()], request_id=request.request_id
                )
            }
        else:
            wishes = ApplicationWishes(**{name.replace("-", "_"): value for name, value in given.values.items()})
            (applications.add if operation == "add-application" else applications.update)(wishes)
        return {}

    @staticmethod
    def _shown(applications: Applications, entry: CatalogueEntry) -> dict[str, str]:
        shown = {
            "name": entry.name,
            "display-name": entry.display_name,
            "absolute-app-path": entry.launch_path,
            "launch-parameters": entry.launch_parameters,
            "working-directory": entry.working_directory,
            "absolute-icon-path": str(applications.catalogue.icon_path(entry) or ""),
            "absolute-manifest-path": str(applications.catalogue.manifest_path(entry) or ""),
        }
        return {name: value for name, value in shown.items() if value}


def _wishes(given: Given) -> ImageWishes:
    for one in ("enable-dynamic-app-catalog", "use-latest-agent-version"):
        if {one, f"no-{one}"} <= given.switches:
            raise AssistantRefuses(f"Give --{one} or --no-{one}, not both.")
    return ImageWishes(
        name=given.values["name"],
        description=given.values.get("description", ""),
        display_name=given.values.get("display-name", ""),
        has_dynamic_app_catalog="enable-dynamic-app-catalog" in given.switches,
        uses_latest_agent_version="use-latest-agent-version" in given.switches,
        tags=tags_of(given.lists.get("tags", [])),
        is_dry_run="dry-run" in given.switches,
    )


def _help() -> str:
    width = max(map(len, SUMMARIES))
    lines = [f"  {name:<{width}}  {text}" for name, text in SUMMARIES.items()]
    return "\n".join(
        [
            f"Usage: {COMMAND} OPERATION [parameters]",
            "",
            *lines,
            "",
            f"`{COMMAND} OPERATION --help` lists an operation's parameters.",
            "",
        ]
    )


def main() -> None:
    """The program in an image builder."""
    status, output = Assistant().run(sys.argv[1:])
    sys.stdout.write(output.rstrip("\n") + "\n")
    sys.exit(status)
