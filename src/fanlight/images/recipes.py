"""Recipes: one readable YAML file says what an image is made of.

`images/fanlight-sample.yaml` is the example to copy; its comments explain every key.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from fanlight.images.session_scripts import CONFIG, read_session_scripts
from fanlight.images.yaml_reader import RecipeInvalid, Value, read_document

SUITE_PREFIX = "debian:"  # `base: debian:trixie` starts from nothing; any other base is another recipe's store_ref
AUTO_ICON = "auto"

_IMAGE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}")
_REF = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SUITE = re.compile(r"debian:[a-z]+")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_ACCOUNT = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MODE = re.compile(r"0?[0-7]{3,4}")
MAX_UID = 9_998  # above are the accounts of seats, see `fanlight.agentwire`
MAX_TEXT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeUser:
    name: str
    uid: int
    home: str
    shell: str = "/bin/bash"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFile:
    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeApplication:
    """`icon` is a path inside the image, or `auto`: the Icon of the desktop entry that starts `launch_path`."""

    name: str
    display_name: str
    launch_path: str
    launch_parameters: str = ""
    working_directory: str = ""
    description: str = ""
    icon: str = AUTO_ICON


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`store_ref` is the file's name without .yaml: what the engine and DATA_DIR/images call the image."""

    store_ref: str
    name: str
    display_name: str
    description: str
    base: str
    packages: tuple[str, ...] = ()
    users: tuple[RecipeUser, ...] = ()
    files: tuple[RecipeFile, ...] = ()
    commands: tuple[str, ...] = ()
    applications: tuple[RecipeApplication, ...] = ()

    @property
    def suite(self) -> str | None:
        """The Debian suite to start from, or None when the base is another image."""
        return self.base.removeprefix(SUITE_PREFIX) if self.base.startswith(SUITE_PREFIX) else None

    def content(self) -> dict[str, Any]:
        """Everything that makes a difference, for a content hash."""
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a file. Raises RecipeInvalid."""
    store_ref = path.stem
    if not _REF.fullmatch(store_ref):
        raise RecipeInvalid(
            f"{path}: the file name becomes the image's name in the engine: use lower-case letters, digits and hyphens only."
        )
    top = read_document(path).members(
        required=("name", "display_name", "description", "base"),
        optional=("packages", "users", "files", "commands", "applications", "session_scripts"),
    )
    recipe = Recipe(
        store_ref=store_ref,
        name=_matching(top["name"], _IMAGE_NAME, "letters, digits, dots, hyphens and underscores, at most 101"),
        display_name=_short(top["display_name"]),
        description=_short(top["description"]),
        base=top["base"].text(
            lambda v: bool(_SUITE.fullmatch(v) or _REF.fullmatch(v)),
            "debian:<suite>, such as debian:trixie, or the file name of another recipe without .yaml",
        ),
        packages=_list(top, "packages", lambda v: _matching(v, _PACKAGE, "the name of a Debian package")),
        users=_list(top, "users", _user),
        files=(*_list(top, "files", _file), *_session_script_files(top)),
        commands=_list(top, "commands", lambda v: v.text(lambda t: bool(t.strip()), "a shell command")),
        applications=_list(top, "applications", _application),
    )
    _refuse_repeats(top, "applications", [a.name for a in recipe.applications])
    _refuse_repeats(top, "users", [u.name for u in recipe.users])
    _refuse_repeats(top, "files", [f.path for f in recipe.files])
    if "session_scripts" not in top and any(file.path == CONFIG for file in recipe.files):
        top["files"].refuse(f"{CONFIG} is written by session_scripts, which checks what stands in it. Use that.")
    return recipe


def read_recipes(directory: Path) -> Sequence[Recipe]:
    """Return all recipes of a directory, each after the one it builds on. Raises RecipeInvalid."""
    recipes = {r.store_ref: r for r in map(read_recipe, sorted(directory.glob("*.yaml")))}
    if not recipes:
        raise RecipeInvalid(f"{directory} has no recipes (*.yaml).")
    names: dict[str, str] = {}
    for recipe in recipes.values():
        if other := names.get(recipe.name):
            raise RecipeInvalid(
                f"{directory}: {other}.yaml and {recipe.store_ref}.yaml have the same name {recipe.name}."
            )
        names[recipe.name] = recipe.store_ref
    ordered: dict[str, Recipe] = {}
    for recipe in recipes.values():
        _place(recipe, recipes, ordered, path=())
    return list(ordered.values())


def _place(
    recipe: Recipe, all_of_them: Mapping[str, Recipe], ordered: dict[str, Recipe], path: tuple[str, ...]
) -> None:
    if recipe.store_ref in path:
        raise RecipeInvalid(
            f"{recipe.store_ref}.yaml: base: {' builds on '.join((*path, recipe.store_ref))}: a circle."
        )
    if recipe.suite is None:
        base = all_of_them.get(recipe.base)
        if base is None:
            known = ", ".join(sorted(all_of_them))
            raise RecipeInvalid(
                f"{recipe.store_ref}.yaml: base: there is no recipe {recipe.base}.yaml beside it ({known})."
            )
        _place(base, all_of_them, ordered, (*path, recipe.store_ref))
    ordered[recipe.store_ref] = recipe


def _list(top: Mapping[str, Value], key: str, read: Any) -> tuple[Any, ...]:
    return top[key].items(read) if key in top else ()


def _session_script_files(top: Mapping[str, Value]) -> tuple[RecipeFile, ...]:
    """Session scripts are files like any other: a recipe without them stays the image that it was."""
    if "session_scripts" not in top:
        return ()
    files = read_session_scripts(top["session_scripts"])
    return tuple(RecipeFile(path=path, content=content, mode=mode) for path, (content, mode) in files.items())


def _refuse_repeats(top: Mapping[str, Value], key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            top[key].refuse(f"{name} stands twice. Remove or rename one.")


def _matching(value: Value, pattern: re.Pattern[str], expected: str) -> str:
    return value.text(lambda v: pattern.fullmatch(v) is not None, expected)


def _short(value: Value) -> str:
    return value.text(lambda v: 0 < len(v) <= MAX_TEXT, f"a text of 1 to {MAX_TEXT} characters")


def _path(value: Value) -> str:
    def is_plain(path: str) -> bool:
        return path.startswith("/") and ".." not in PurePosixPath(path).parts and not path.endswith("/")

    return value.text(is_plain, "an absolute path without .., such as /usr/bin/mousepad")


def _user(value: Value) -> RecipeUser:
    got = value.members(required=("name", "uid", "home"), optional=("shell",))
    uid = got["uid"].text(lambda v: v.isdecimal() and 1000 <= int(v) <= MAX_UID, f"a number from 1000 to {MAX_UID}")  # noqa: PLR2004 - Debian's first user
    user = RecipeUser(
        name=_matching(got["name"], _ACCOUNT, "lower-case letters, digits and hyphens"),
        uid=int(uid),
        home=_path(got["home"]),
    )
    return replace(user, shell=_path(got["shell"])) if "shell" in got else user


def _file(value: Value) -> RecipeFile:
    got = value.members(required=("path", "content"), optional=("mode",))
    file = RecipeFile(path=_path(got["path"]), content=got["content"].text())
    if "mode" not in got:
        return file
    return replace(file, mode=int(_matching(got["mode"], _MODE, "an octal mode such as 0644"), 8))


def _application(value: Value) -> RecipeApplication:
    got = value.members(
        required=("name", "display_name", "launch_path"),
        optional=("launch_parameters", "working_directory", "description", "icon"),
    )
    application = RecipeApplication(
        name=_matching(got["name"], _IMAGE_NAME, "letters, digits, dots, hyphens and underscores"),
        display_name=_short(got["display_name"]),
        launch_path=_path(got["launch_path"]),
    )
    if "launch_parameters" in got:
        application = replace(application, launch_parameters=got["launch_parameters"].text())
    if "working_directory" in got:
        application = replace(application, working_directory=_path(got["working_directory"]))
    if "description" in got:
        application = replace(application, description=_short(got["description"]))
    if "icon" in got and (icon := got["icon"].text()) != AUTO_ICON:
        application = replace(application, icon=_path(got["icon"]) if icon else AUTO_ICON)
    return application
