"""AppStreamImageAssistant, cell by cell of its documented table: exit code, status and message."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fanlight.agent.assistant import image_wishes
from fanlight.agent.assistant.catalogue import Catalogue
from fanlight.agent.assistant.command_line import OPERATIONS, Assistant
from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agent.script_configs import ScriptConfig, ScriptsRefused
from fanlight.agentwire.image_requests import image_request_of

Say = Callable[..., dict[str, Any]]
ADD = ("add-application", "--name", "ed", "--absolute-app-path", "/usr/bin/ed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("usr/bin/ed", "usr/bin/vi", "opt/my tool.sh"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    (tmp_path / "work").mkdir()
    (tmp_path / "usr/bin/plain").write_text("")
    (tmp_path / "m.txt").write_text("/usr/bin/ed\n/usr/bin/vi\n")
    (tmp_path / "bad.txt").write_text("/usr/bin/ed\n/usr/bin/none\n")
    Image.new("RGB", (200, 100), "red").save(tmp_path / "icon.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "icon.bmp")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "icon.jpg")
    Image.new("RGB", (257, 10), "red").save(tmp_path / "large.png")
    (tmp_path / "icon.gif").write_bytes(b"GIF89a")
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


class Agent:
    """What the assistant says to the agent, and what it is told."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.refusal: AssistantRefuses | None = None

    def __call__(self, operation: str, **members: Any) -> str:
        self.asked.append({"operation": operation, **members})
        if self.refusal:
            raise self.refusal
        return "Success"


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture(autouse=True)
def session_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_wishes, "read_config", lambda *_: ScriptConfig())


@pytest.fixture
def say(root: Path, agent: Agent) -> Say:
    def run(*words: str, is_root: bool = True) -> dict[str, Any]:
        status, output = Assistant(root=root, is_root=is_root, ask=agent).run(words)
        answer: dict[str, Any] = json.loads(output)
        assert answer["status"] == status, "the exit code is repeated in the answer"
        return answer

    return run


def refused(message: str, status: int = 1) -> dict[str, Any]:
    return {"status": status, "message": message}


DONE = {"status": 0, "message": "Success"}


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"list-applications"}))
def test_whoever_is_not_root_is_refused(say: Say, operation: str) -> None:
    said = say(operation, is_root=False)
    assert said == refused("Administrator privileges are required to perform this operation")


def test_whoever_is_not_root_may_list(say: Say) -> None:
    assert say("list-applications", is_root=False) == {**DONE, "applications": []}


def test_both_forms_of_arguments_say_the_same(say: Say, root: Path) -> None:
    assert say(*ADD, "--working-directory", "/work", "--launch-parameters", "--verbose -x 'a b'") == DONE
    two = say(
        "add-application", "--name=ed2", "--absolute-app-path=/usr/bin/ed", "--working-directory=/work",
        "--launch-parameters=--verbose -x 'a b'",
    )  # fmt: skip
    assert two == DONE
    one, other = say("list-applications")["applications"]
    assert one["launch-parameters"] == "--verbose -x 'a b'"
    for name in ("name", "absolute-icon-path"):
        assert one.pop(name) != other.pop(name)
    assert one == other


def test_display_name_is_that_of_the_file_unless_given(say: Say) -> None:
    assert say("add-application", "--name", "t", "--absolute-app-path", "/opt/my tool.sh") == DONE
    assert say(*ADD, "--display-name", "The editor") == DONE
    assert [each["display-name"] for each in say("list-applications")["applications"]] == ["my_tool", "The editor"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("--name", "ed", "--absolute-app-path", "/usr/bin/none"), refused("File not found (absolute-app-path)")),
        (("--name", "ed", "--absolute-app-path", "/usr/bin"), refused("File not found (absolute-app-path)")),
        ((*ADD[1:], "--working-directory", "/nowhere"), refused("Directory not found (working-directory)")),
        ((*ADD[1:], "--working-directory", "/usr/bin/ed"), refused("Directory not found (working-directory)")),
        ((*ADD[1:], "--absolute-manifest-path", "/no.txt"), refused("Optimization-manifest not found: /no.txt")),
        ((*ADD[1:], "--absolute-manifest-path", "/bad.txt"), refused("File not found: /usr/bin/none")),
        ((*ADD[1:], "--absolute-manifest-path", "/icon.gif"), refused("File not found: GIF89a")),
        ((*ADD[1:], "--absolute-icon-path", "/icon.gif"), refused("Unsupported file extension")),
    ],
    ids=str,
)  # fmt: skip
def test_documented_refusals_of_an_application(say: Say, root: Path, arguments: tuple[str, ...], answer: Any) -> None:
    said = say("add-application", *arguments)
    said["message"] = said["message"].replace(str(root), "")
    assert said == answer
    assert say("list-applications")["applications"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--name", "ed"),
        ("--name",),
        ("--name", "--absolute-app-path", "/usr/bin/ed"),
        (*ADD[1:], "--name", "again"),
        (*ADD[1:], "--colour", "red"),
        (*ADD[1:], "word"),
        ("--name", "with space", "--absolute-app-path", "/usr/bin/ed"),
        ("--name", "n" * 257, "--absolute-app-path", "/usr/bin/ed"),
        ("--name", "", "--absolute-app-path", "/usr/bin/ed"),
        ("--name", "ed", "--absolute-app-path", "usr/bin/ed"),
        ("--name", "ed", "--absolute-app-path", "/usr/bin/plain"),
        (*ADD[1:], "--display-name", "d" * 257),
        (*ADD[1:], "--display-name", ""),
        (*ADD[1:], "--absolute-icon-path", "/large.png"),
        (*ADD[1:], "--absolute-icon-path", "/text.png"),
    ],
    ids=str,
)
def test_anything_else_is_255_in_words(say: Say, arguments: tuple[str, ...]) -> None:
    said = say("add-application", *arguments)
    assert said["status"] == 255
    assert said["message"]
    assert say("list-applications")["applications"] == []


def test_names_are_unique(say: Say) -> None:
    say(*ADD)
    assert say(*ADD) == refused("Name is not unique")


def test_there_are_at_most_50(say: Say) -> None:
    for number in range(50):
        assert say("add-application", "--name", f"ed{number}", "--absolute-app-path", "/usr/bin/ed") == DONE
    assert say(*ADD) == refused("Unable to add more than 50 apps to the catalog.")


@pytest.mark.parametrize("operation", ["remove-application", "update-application"])
def test_an_unknown_application_is_not_found(say: Say, operation: str) -> None:
    assert say(operation, "--name", "none") == refused("App not found")


def test_removing_leaves_nothing_of_it(say: Say, root: Path) -> None:
    say(*ADD, "--absolute-manifest-path", "/m.txt")
    assert say("remove-application", "--name=ed") == DONE
    assert say("list-applications")["applications"] == []
    assert [path for path in (root / "etc/fanlight").rglob("*") if path.is_file()] == [
        root / "etc/fanlight/catalog.json"
    ]


def test_an_update_changes_what_is_said_and_nothing_else(say: Say, root: Path) -> None:
    say(*ADD, "--display-name", "Editor", "--working-directory", "/work", "--absolute-manifest-path", "/m.txt")
    before = say("list-applications")["applications"][0]
    assert say("update-application", "--name", "ed", "--absolute-app-path", "/usr/bin/vi") == DONE
    assert say("list-applications")["applications"] == [{**before, "absolute-app-path": "/usr/bin/vi"}]
    assert say("update-application", "--name", "ed", "--absolute-app-path", "/no") == refused(
        "File not found (absolute-app-path)"
    )
    assert say("update-application", "--name", "ed", "--working-directory", "") == DONE
    assert "working-directory" not in say("list-applications")["applications"][0]


@pytest.mark.parametrize("icon", ["/icon.png", "/icon.bmp", "/icon.jpg"])
def test_icons_of_three_kinds_become_png(say: Say, icon: str) -> None:
    assert say(*ADD, "--absolute-icon-path", icon) == DONE
    path = say("list-applications")["applications"][0]["absolute-icon-path"]
    with Image.open(path, formats=("PNG",)) as picture:
        assert max(picture.size) <= 256


def test_an_application_without_an_icon_gets_that_of_its_desktop_entry_or_a_drawn_one(say: Say, root: Path) -> None:
    entries, pictures = root / "usr/share/applications", root / "usr/share/pixmaps"
    entries.mkdir(parents=True)
    pictures.mkdir()
    Image.new("RGB", (512, 512), "blue").save(pictures / "vi.png")
    (entries / "vi.desktop").write_text("[Desktop Entry]\nType=Application\nName=Vi\nExec=/usr/bin/vi %F\nIcon=vi\n")
    say(*ADD)
    say("add-application", "--name", "vi", "--absolute-app-path", "/usr/bin/vi")
    drawn, found = (Image.open(each["absolute-icon-path"]) for each in say("list-applications")["applications"])
    assert drawn.size == found.size == (128, 128)
    assert found.getpixel((64, 64)) == (0, 0, 255, 255)
    assert drawn.getpixel((64, 64)) != (0, 0, 255, 255)


def test_an_image_is_asked_for_with_everything(say: Say, agent: Agent) -> None:
    say(*ADD, "--absolute-icon-path", "/icon.png", "--launch-parameters", "-x")
    created = say(
        "create-image", "--name", "Drawing_1.0", "--description", "For the studio", "--display-name=Drawing",
        "--use-latest-agent-version", "--no-enable-dynamic-app-catalog", "--dry-run",
        "--tags", "team", "studio A", "cost", "",
    )  # fmt: skip
    assert created == DONE
    (asked,) = agent.asked
    request = image_request_of("".join(asked["parts"]))
    assert (asked["operation"], asked["request_id"]) == ("create_image", request.request_id)
    assert (request.name, request.description, request.display_name) == ("Drawing_1.0", "For the studio", "Drawing")
    assert (request.is_dry_run, request.has_dynamic_app_catalog, request.uses_latest_agent_version) == (
        True, False, True,
    )  # fmt: skip
    assert request.tags == {"team": "studio A", "cost": ""}
    (application,) = request.applications
    assert (application.name, application.launch_path, application.launch_parameters) == ("ed", "/usr/bin/ed", "-x")
    picture = application.picture()
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


def test_an_image_is_pinned_and_real_unless_said_otherwise(say: Say, agent: Agent) -> None:
    assert say("create-image", "--name", "plain") == DONE
    request = image_request_of("".join(agent.asked[0]["parts"]))
    assert not (request.is_dry_run)
    assert not (request.has_dynamic_app_catalog)
    assert not (request.uses_latest_agent_version)


def test_the_hosts_refusal_is_the_answer(say: Say, agent: Agent) -> None:
    agent.refusal = AssistantRefuses("An image with the given name already exists", 1)
    assert say("create-image", "--name", "plain") == refused("An image with the given name already exists")


@pytest.mark.parametrize(
    "tags",
    [
        ("odd",),
        ("k", "v", "k", "w"),
        ("", "v"),
        ("aws:k", "v"),
        ("k" * 129, "v"),
        ("k", "v" * 257),
        ("k!", "v"),
        tuple(word for n in range(51) for word in (f"k{n}", "v")),
    ],
    ids=lambda tags: f"{len(tags)}-{tags[0][:8]}",
)
def test_tags_must_be_pairs_that_a_resource_may_have(say: Say, agent: Agent, tags: tuple[str, ...]) -> None:
    assert say("create-image", "--name", "plain", "--tags", *tags) == refused("Invalid value (tags)")
    assert not agent.asked


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--name", ""),
        ("--name", "a b"),
        ("--name", "n" * 101),
        ("--name", "AWS-image"),
        ("--name", "appstream1"),
        ("--name", "amazon.x"),
        ("--name", "x", "--description", "d" * 257),
        ("--name", "x", "--display-name", "d" * 257),
        ("--name", "x", "--dry-run=yes"),
        ("--name", "x", "--use-latest-agent-version", "--no-use-latest-agent-version"),
        ("--name", "x", "--enable-dynamic-app-catalog", "--no-enable-dynamic-app-catalog"),
    ],
    ids=str,
)
def test_an_image_that_cannot_be_is_not_asked_for(say: Say, agent: Agent, arguments: tuple[str, ...]) -> None:
    assert say("create-image", *arguments)["status"] == 255
    assert not agent.asked


def test_an_application_that_was_uninstalled_since_keeps_the_image_from_being_made(
    say: Say, root: Path, agent: Agent
) -> None:
    say(*ADD)
    (root / "usr/bin/ed").unlink()
    said = say("create-image", "--name", "plain")
    assert said["status"] == 255
    assert "/usr/bin/ed is not there any more" in said["message"]
    assert not agent.asked


def test_bad_session_scripts_are_reported_when_the_image_is_created(
    say: Say, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> ScriptConfig:
        raise ScriptsRefused("config.json is not JSON")

    monkeypatch.setattr(image_wishes, "read_config", refuse)
    assert say("create-image", "--name", "x") == refused("The session scripts: config.json is not JSON", 255)
    assert not agent.asked


def test_without_an_agent_it_says_so(root: Path) -> None:
    from fanlight.agent.assistant.agent_socket import AWAY, ask_agent

    def ask(operation: str, **members: Any) -> str:
        return ask_agent(operation, path=str(root / "none.sock"), **members)

    status, output = Assistant(root=root, is_root=True, ask=ask).run(("create-image", "--name", "x"))
    assert (status, json.loads(output)) == (255, refused(AWAY, 255))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_help_of_an_operation_names_its_parameters(operation: str) -> None:
    status, output = Assistant(is_root=False).run((operation, "--help"))
    assert status == 0
    assert all(f"--{name}" in output for name in OPERATIONS[operation].all)


@pytest.mark.parametrize("words", [(), ("help",), ("--help",)])
def test_help_lists_the_operations(words: tuple[str, ...]) -> None:
    status, output = Assistant(is_root=False).run(words)
    assert status == 0
    assert all(operation in output for operation in OPERATIONS)


@pytest.mark.parametrize("operation", ["update-default-profile", "reset-user-profile", "explode"])
def test_operations_that_linux_has_not(say: Say, operation: str) -> None:
    assert say(operation)["status"] == 255


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2, "applications": []}', '{"format": 1, "applications": [7]}'])
def test_a_damaged_catalogue_is_told_and_kept(say: Say, root: Path, text: str) -> None:
    path = root / "etc/fanlight/catalog.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert say("list-applications")["status"] == 255
    assert say(*ADD)["status"] == 255
    assert path.read_text() == text


def test_the_catalogue_of_a_recipe_is_what_a_builder_begins_with(root: Path) -> None:
    path = root / "etc/fanlight/catalog.json"
    path.parent.mkdir(parents=True)
    application = {"name": "ed", "display_name": "Ed", "launch_path": "/usr/bin/ed", "icon": "ed.png", "later": "x"}
    path.write_text(json.dumps({"format": 1, "applications": [application]}))
    (entry,) = Catalogue(root).entries()
    assert (entry.name, entry.icon, entry.manifest) == ("ed", "ed.png", "")
