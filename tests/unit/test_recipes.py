"""Recipes: what is read, and how each mistake is named."""

from pathlib import Path

import pytest

from fanlight.images.building import RECIPES, content_hash
from fanlight.images.recipes import AUTO_ICON, read_recipe, read_recipes
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
    assert recipe.applications[0].icon == AUTO_ICON


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
    names = {a.name for a in recipes["fanlight-sample"].applications}
    assert names == {"text-editor", "calculator", "terminal", "firefox", "drawing"}
