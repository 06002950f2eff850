"""Recipes: what is read, and how each mistake is named."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fanlight.agent.script_configs import EventScripts, Script, ScriptContext, ScriptEvent, parse_config
from fanlight.images.building import RECIPES, content_hash
from fanlight.images.catalogues import BuiltImage
from fanlight.images.recipe_sets import base_of, read_recipes
from fanlight.images.recipes import AUTO_ICON, RecipeCommand, read_recipe
from fanlight.images.yaml_reader import RecipeInvalid

GOOD = """\
name: Studio-1
display_name: Studio
description: Our tools
base: debian:trixie
packages:
  - mousepad
users:
  - {name: user, uid: 1000, home: /home/user}
files:
  - path: /etc/motd
    mode: "0600"
    content: |
      hello
commands:
  - locale-gen
applications:
  - name: editor
    display_name: Editor
    launch_path: /usr/bin/mousepad
"""


def written(directory: Path, text: str, name: str = "studio.yaml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_a_recipe_says_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    assert (recipe.store_ref, recipe.name, recipe.suite) == ("studio", "Studio-1", "trixie")
    assert recipe.packages == ("mousepad",)
    assert (recipe.users[0].uid, recipe.users[0].shell) == (1000, "/bin/bash")
    assert (recipe.files[0].mode, recipe.files[0].content) == (0o600, "hello\n")
    assert recipe.applications is not None
    assert recipe.applications[0].icon == AUTO_ICON
    assert recipe.commands == (RecipeCommand(run="locale-gen"),)


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ("packages:", "pakages:", 5, "pakages: is no key of a recipe. Known here: name, "),
        ("name: Studio-1\n", "", 1, "the key name is missing"),
        ("name: Studio-1", "name: Stu dio", 1, "name: must be letters"),
        ("base: debian:trixie", "base: Ubuntu!", 4, "base: must be debian:<suite>"),
        (
            "  - mousepad\n",
            "  - mousepad\n  - rm -rf /\n",
            7,
            "packages[1]: must be the name of a Debian package; it is 'rm -rf /'",
        ),
        ("packages:\n  - mousepad", "packages: mousepad", 5, "packages: must be a list"),
        ("uid: 1000", "uid: 0", 8, "users[0].uid: must be a number from 1000"),
        ("path: /etc/motd", "path: ../motd", 10, "files[0].path: must be an absolute path"),
        ("path: /etc/motd", "path: /etc/../motd", 10, "files[0].path: must be an absolute path"),
        ('mode: "0600"', 'mode: "rw"', 11, "files[0].mode: must be an octal mode"),
        (
            "launch_path: /usr/bin/mousepad",
            "launch_path: mousepad",
            19,
            "applications[0].launch_path: must be an absolute path",
        ),
        ("    display_name: Editor\n", "", 17, "the key display_name is missing"),
        ("description: Our tools", "description: Our tools\ndescription: twice", 4, "description: stands twice"),
        ("packages:", "packages: [", 6, "is not YAML"),
        (
            "commands:\n  - locale-gen",
            "commands:\n  - [locale-gen]",
            15,
            "commands[0]: must be a shell command, not a list",
        ),
    ],
)
def test_each_mistake_is_named_with_file_line_and_key(
    tmp_path: Path, before: str, after: str, line: int, says: str
) -> None:
    assert before in GOOD
    with pytest.raises(RecipeInvalid) as caught:
        read_recipe(written(tmp_path, GOOD.replace(before, after, 1)))
    assert f"studio.yaml, line {line}: " in str(caught.value)
    assert says in str(caught.value)


def test_two_applications_of_one_name_are_refused(tmp_path: Path) -> None:
    text = GOOD + "  - {name: editor, display_name: Other, launch_path: /usr/bin/other}\n"
    with pytest.raises(RecipeInvalid, match="editor stands twice"):
        read_recipe(written(tmp_path, text))


@pytest.mark.parametrize("text", ["", "[]", "- a", "just words", "a: &x [*x]"])
def test_other_documents_are_refused_in_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeInvalid, match=r"studio\.yaml"):
        read_recipe(written(tmp_path, text))


def test_name_of_the_file_is_checked(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="lower-case"):
        read_recipe(written(tmp_path, GOOD, "My Studio.yaml"))


def test_bases_come_first(tmp_path: Path) -> None:
    written(tmp_path, GOOD.replace("debian:trixie", "z-base"), "a-top.yaml")
    written(tmp_path, GOOD.replace("Studio-1", "Base-1"), "z-base.yaml")
    assert [r.store_ref for r in read_recipes(tmp_path)] == ["z-base", "a-top"]


def test_missing_base_circle_and_repeated_name_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path, GOOD.replace("debian:trixie", "nowhere"), "one.yaml")
    with pytest.raises(RecipeInvalid, match=r"there is no recipe nowhere\.yaml"):
        read_recipes(tmp_path)
    one.write_text(GOOD.replace("debian:trixie", "two"))
    two = written(tmp_path, GOOD.replace("debian:trixie", "one").replace("Studio-1", "Studio-2"), "two.yaml")
    with pytest.raises(RecipeInvalid, match="a circle"):
        read_recipes(tmp_path)
    two.write_text(GOOD)
    with pytest.raises(RecipeInvalid, match="the same name Studio-1"):
        read_recipes(tmp_path)


def test_content_hash_follows_the_recipe_and_its_base(tmp_path: Path) -> None:
    written(tmp_path, GOOD.replace("debian:trixie", "base"), "top.yaml")
    base = written(tmp_path, GOOD.replace("Studio-1", "Base-1"), "base.yaml")

    def hashes() -> dict[str, str]:
        recipes = read_recipes(tmp_path)
        return {r.store_ref: content_hash(r, recipes) for r in recipes}

    first = hashes()
    assert hashes() == first
    base.write_text(base.read_text().replace("  - mousepad", "  - mousepad\n  - less"))
    assert all(hashes()[ref] != first[ref] for ref in ("base", "top"))


def test_shipped_recipes_are_valid_and_complete() -> None:
    recipes = {r.store_ref: r for r in read_recipes(RECIPES)}
    assert {u.name: u.uid for u in recipes["fanlight-base"].users} == {"user": 1000, "display": 1001}
    names = {a.name for a in recipes["fanlight-sample"].applications or ()}
    assert names == {"text-editor", "calculator", "terminal", "firefox", "drawing"}


# ── One recipe, its base and what it takes along ──────────────────────────────────────────────────────────────────────


def built(name: str, ref: str) -> BuiltImage:
    return BuiltImage(
        store_ref=ref,
        name=name,
        display_name=name,
        description="",
        base_image_name=None,
        applications=(),
        content_hash="0123456789abcdef",
        runtime_version="v",
        built_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_one_file_brings_its_bases_from_beside_it_and_nothing_else(tmp_path: Path) -> None:
    top = written(tmp_path, GOOD.replace("debian:trixie", "ground"), "top.yaml")
    written(tmp_path, GOOD.replace("Studio-1", "Ground-1"), "ground.yaml")
    written(tmp_path, GOOD.replace("Studio-1", "Other-1"), "other.yaml")
    assert [r.store_ref for r in read_recipes(top)] == ["ground", "top"]


def test_a_base_may_be_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    written(tmp_path / "bases", GOOD.replace("Studio-1", "Ground-1"), "ground.yaml")
    top = written(tmp_path, GOOD.replace("debian:trixie", "bases/ground.yaml"), "top.yaml")
    recipes = read_recipes(top)
    assert [r.store_ref for r in recipes] == ["ground", "top"]
    assert base_of(recipes[1], recipes) == recipes[0]
    with pytest.raises(RecipeInvalid, match=r"gone\.yaml: cannot be read"):
        read_recipes(written(tmp_path, GOOD.replace("debian:trixie", "bases/gone.yaml"), "top.yaml"))


def test_a_base_may_be_a_built_image_by_its_name(tmp_path: Path) -> None:
    image = built("Fanlight-Sample-Debian13", "fanlight-sample")
    top = written(tmp_path, GOOD.replace("debian:trixie", image.name), "top.yaml")
    recipes = read_recipes(top, [image])
    assert base_of(recipes[0], recipes, [image]) == image
    rebuilt = replace(image, content_hash="another")
    assert content_hash(recipes[0], recipes, [image]) != content_hash(recipes[0], recipes, [rebuilt])
    with pytest.raises(RecipeInvalid, match=r"no built image of that name \(none\)"):
        read_recipes(top)


def test_files_come_from_beside_the_recipe_with_mode_and_owner(tmp_path: Path) -> None:
    data = bytes(range(256))
    (tmp_path / "logo.png").write_bytes(data)
    text = GOOD.replace("    content: |\n      hello\n", "    source: logo.png\n    owner: user:audio\n")
    recipe = read_recipe(written(tmp_path, text))
    assert (recipe.files[0].data, recipe.files[0].owner, recipe.files[0].mode) == (data, "user:audio", 0o600)
    first = content_hash(recipe, [recipe])
    (tmp_path / "logo.png").write_bytes(data[::-1])
    changed = read_recipe(tmp_path / "studio.yaml")
    assert content_hash(changed, [changed]) != first


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ("content: |\n      hello", "source: ../secret", 12, "files[0].source: must be the name of a file beside"),
        ("content: |\n      hello", "source: /etc/shadow", 12, "files[0].source: must be the name of a file beside"),
        ("content: |\n      hello", "source: gone", 12, "gone cannot be read: No such file or directory"),
        ("content: |\n      hello", "owner: root", 10, "files[0]: needs either content or source"),
        ("content: |\n", "owner: 'a b'\n    content: |\n", 12, "files[0].owner: must be an account of the image"),
        ("commands:\n  - locale-gen", "commands:\n  - {run: x, network: maybe}", 15, "must be true or false"),
        (
            "base: debian:trixie",
            "base: fanlight-base\nsnapshot: 20261101T000000Z",
            5,
            "goes with a base debian:<suite> only",
        ),
        ("base: debian:trixie", "base: debian:trixie\nsnapshot: yesterday", 5, "snapshot: must be a time as"),
        ("  - mousepad\n", "  - mousepad=\n", 6, "packages[0]: must be the name of a Debian package"),
    ],
)
def test_each_mistake_in_the_newer_keys_is_named(tmp_path: Path, before: str, after: str, line: int, says: str) -> None:
    assert before in GOOD
    with pytest.raises(RecipeInvalid) as caught:
        read_recipe(written(tmp_path, GOOD.replace(before, after, 1)))
    assert f"studio.yaml, line {line}: " in str(caught.value)
    assert says in str(caught.value)


def test_pins_snapshot_network_and_found_applications_are_read_and_count(tmp_path: Path) -> None:
    text = GOOD.replace("- mousepad", "- mousepad=0.6.3-1").replace("- locale-gen", "- {run: fetch, network: true}")
    text = text.replace("base: debian:trixie", "base: debian:trixie\nsnapshot: 20261101T000000Z")
    text = text[: text.index("applications:")] + "applications: auto\n"
    recipe = read_recipe(written(tmp_path, text))
    assert recipe.packages == ("mousepad=0.6.3-1",)
    assert recipe.commands == (RecipeCommand(run="fetch", network=True),)
    assert (recipe.snapshot, recipe.applications) == ("20261101T000000Z", None)
    content = recipe.content()
    assert (content["snapshot"], content["commands"]) == ("20261101T000000Z", ({"run": "fetch", "network": True},))


def test_a_place_that_is_no_recipe_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="does not exist"):
        read_recipes(tmp_path / "gone.yaml")
    with pytest.raises(RecipeInvalid, match=r"ends in \.yaml"):
        read_recipes(written(tmp_path, GOOD, "recipe.txt"))


# ── Session scripts ───────────────────────────────────────────────────────────────────────────────────────────────────

SCRIPTS = """\
session_scripts:
  session_start:
    waiting_time: 20
    system: |
      #!/bin/sh
      touch /run/started
  session_termination:
    user: |
      #!/bin/sh
      cp -r ~/work /srv
"""


def test_session_scripts_become_files_in_the_services_own_layout(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD + SCRIPTS))
    place = "/opt/appstream/SessionScripts"
    files = {file.path: (file.content, file.mode) for file in recipe.files if file.path.startswith(place)}
    config = files.pop(f"{place}/config.json")
    assert files == {
        f"{place}/session-start-system.sh": ("#!/bin/sh\ntouch /run/started\n", 0o755),
        f"{place}/session-termination-user.sh": ("#!/bin/sh\ncp -r ~/work /srv\n", 0o755),
    }
    assert config[1] == 0o644
    read = parse_config(config[0].encode())
    assert read.of(ScriptEvent.START) == EventScripts(
        scripts=(Script(context=ScriptContext.SYSTEM, path=f"{place}/session-start-system.sh"),),
        waiting_time_in_seconds=20,
    )
    assert read.of(ScriptEvent.TERMINATION).waiting_time_in_seconds == 30


def test_a_recipe_without_session_scripts_stays_the_image_that_it_was(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    assert [file.path for file in recipe.files] == ["/etc/motd"]
    assert "session_scripts" not in recipe.content()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("session_scripts: {}\n", "session_scripts: needs at least one of session_start, session_termination."),
        ("session_scripts: {start: {}}\n", "session_scripts.start: is no key of a recipe. Known here: session_start,"),
        (
            "session_scripts: {session_start: {}}\n",
            "session_scripts.session_start: needs at least one of system, user.",
        ),
        (SCRIPTS.replace("#!/bin/sh", "set -e"), "system: must be a script: its first line names its interpreter"),
        (SCRIPTS.replace("20", "61"), "waiting_time: must be a number of seconds from 1 to 60; it is '61'."),
        (SCRIPTS.replace("20", "soon"), "waiting_time: must be a number of seconds from 1 to 60; it is 'soon'."),
    ],
)
def test_a_mistake_in_session_scripts_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RecipeInvalid) as raised:
        read_recipe(written(tmp_path, GOOD + text))
    assert says in str(raised.value)


def test_a_configuration_among_the_files_is_refused_because_nobody_checked_it(tmp_path: Path) -> None:
    text = GOOD.replace("path: /etc/motd", "path: /opt/appstream/SessionScripts/config.json")
    with pytest.raises(RecipeInvalid, match="is written by session_scripts, which checks what stands in it"):
        read_recipe(written(tmp_path, text))
