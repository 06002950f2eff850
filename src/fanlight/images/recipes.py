"""Recipes: one readable YAML file says what an image is made of.

`images/fanlight-sample.yaml` is the example to copy; `docs/recipes.md` explains every key. Neighbour: `recipe_sets`
finds the recipes that one builds on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from fanlight.images.session_scripts import CONFIG, read_session_scripts
from fanlight.images.yaml_reader import RecipeInvalid, Value, read_document

SUITE_PREFIX = "debian:"  # `base: debian:trixie` starts from nothing; any other base is an image
AUTO_ICON = "auto"
FIND_APPLICATIONS = "auto"
MAX_FILE_BYTES = 64 * 1024 * 1024  # larger things are better a package, or an archive that a command unpacks

_IMAGE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}")
_REF = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SUITE = re.compile(r"debian:[a-z]+")
_BASE_FILE = re.compile(r"[^\s:]+\.yaml")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[0-9][A-Za-z0-9.+:~-]*)?")
_SNAPSHOT = re.compile(r"\d{8}T\d{6}Z")
_OWNER = re.compile(r"[a-z_][a-z0-9_-]{0,30}(:[a-z_][a-z0-9_-]{0,30})?")
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
    """`owner` is `account` or `account:group` of the image; root when empty. Bytes are `content` in `encoding`."""

    path: str
    content: str
    mode: int = 0o644
    owner: str = ""
    encoding: str = "utf-8"

    @property
    def data(self) -> bytes:
        return self.content.encode(self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeCommand:
    """A shell command. Without `network` it reaches nothing outside the image."""

    run: str
    network: bool = False


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
    """`store_ref` is the file's name without .yaml: what the engine and DATA_DIR/images call the image.

    `base` is debian:<suite>, the store_ref of a recipe, or the name of a built image; `base_file` is where the recipe of
    the base stands when it is not beside this one. `applications` is None when they are found as desktop entries.
    """

    store_ref: str
    name: str
    display_name: str
    description: str
    base: str
    packages: tuple[str, ...] = ()
    users: tuple[RecipeUser, ...] = ()
    files: tuple[RecipeFile, ...] = ()
    commands: tuple[RecipeCommand, ...] = ()
    applications: tuple[RecipeApplication, ...] | None = ()
    snapshot: str = ""
    base_file: Path | None = None

    @property
    def suite(self) -> str | None:
        """The Debian suite to start from, or None when the base is another image."""
        return self.base.removeprefix(SUITE_PREFIX) if self.base.startswith(SUITE_PREFIX) else None

    def content(self) -> dict[str, Any]:
        """Everything that makes a difference, for a content hash: a key that a recipe does not use changes nothing."""
        content = asdict(self)
        del content["base_file"]
        if not self.snapshot:
            del content["snapshot"]
        for file in content["files"]:
            if not file["owner"]:
                del file["owner"]
            if file["encoding"] == "utf-8":
                del file["encoding"]
        content["commands"] = tuple(asdict(c) if c.network else c.run for c in self.commands)
        return content


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a file. Raises RecipeInvalid."""
    store_ref = path.stem
    if not _REF.fullmatch(store_ref):
        raise RecipeInvalid(
            f"{path}: the file name becomes the image's name in the engine: use lower-case letters, digits and hyphens only."
        )
    top = read_document(path).members(
        required=("name", "display_name", "description", "base"),
        optional=("packages", "users", "files", "commands", "applications", "session_scripts", "snapshot"),
    )
    base = top["base"].text(
        lambda v: any(pattern.fullmatch(v) for pattern in (_SUITE, _IMAGE_NAME, _BASE_FILE)),
        "debian:<suite>, such as debian:trixie, the file name of another recipe, or the name of a built image",
    )
    is_file = base.endswith(".yaml")
    recipe = Recipe(
        store_ref=store_ref,
        name=_matching(top["name"], _IMAGE_NAME, "letters, digits, dots, hyphens and underscores, at most 101"),
        display_name=_short(top["display_name"]),
        description=_short(top["description"]),
        base=Path(base).stem if is_file else base,
        base_file=(path.parent / base).resolve() if is_file else None,
        packages=_list(top, "packages", lambda v: _matching(v, _PACKAGE, "the name of a Debian package")),
        users=_list(top, "users", _user),
        files=(*_list(top, "files", lambda v: _file(v, path.parent)), *_session_script_files(top)),
        commands=_list(top, "commands", _command),
        applications=_applications(top),
        snapshot=_snapshot(top),
    )
    _refuse_repeats(top, "applications", [a.name for a in recipe.applications or ()])
    _refuse_repeats(top, "users", [u.name for u in recipe.users])
    _refuse_repeats(top, "files", [f.path for f in recipe.files])
    if "session_scripts" not in top and any(file.path == CONFIG for file in recipe.files):
        top["files"].refuse(f"{CONFIG} is written by session_scripts, which checks what stands in it. Use that.")
    return recipe


def _applications(top: Mapping[str, Value]) -> tuple[RecipeApplication, ...] | None:
    if "applications" in top and top["applications"].is_text(FIND_APPLICATIONS):
        return None
    return _list(top, "applications", _application)


def _snapshot(top: Mapping[str, Value]) -> str:
    if "snapshot" not in top:
        return ""
    if not _SUITE.fullmatch(top["base"].text()):
        top["snapshot"].refuse(
            "goes with a base debian:<suite> only; every other base brings its own packages' source."
        )
    return _matching(top["snapshot"], _SNAPSHOT, "a time as the archive of Debian's past writes it: 20261101T000000Z")


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


def _file(value: Value, directory: Path) -> RecipeFile:
    got = value.members(required=("path",), optional=("content", "source", "mode", "owner"))
    if ("content" in got) == ("source" in got):
        value.refuse("needs either content or source: the text itself, or the name of a file beside the recipe.")
    if "content" in got:
        file = RecipeFile(path=_path(got["path"]), content=got["content"].text())
    else:
        data = _source(got["source"], directory)
        file = RecipeFile(path=_path(got["path"]), content=data.decode("latin-1"), encoding="latin-1")
    if "mode" in got:
        file = replace(file, mode=int(_matching(got["mode"], _MODE, "an octal mode such as 0644"), 8))
    if "owner" in got:
        file = replace(file, owner=_matching(got["owner"], _OWNER, "an account of the image, or account:group"))
    return file


def _source(value: Value, directory: Path) -> bytes:
    """Return what stands in a file beside the recipe or below. Raises RecipeInvalid."""

    def is_below(name: str) -> bool:
        return bool(name) and not name.startswith("/") and ".." not in PurePosixPath(name).parts

    path = directory / value.text(is_below, "the name of a file beside the recipe, or below it, without ..")
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        value.refuse(f"{path} cannot be read: {error.strerror}.")
    if len(data) > MAX_FILE_BYTES:
        value.refuse(
            f"{path} has more than {MAX_FILE_BYTES // 2**20} MiB: make it a package, or have a command fetch it."
        )
    return data


def _command(value: Value) -> RecipeCommand:
    def is_command(text: str) -> bool:
        return bool(text.strip())

    if not value.is_mapping:
        return RecipeCommand(run=value.text(is_command, "a shell command"))
    got = value.members(required=("run",), optional=("network",))
    network = got["network"].text(lambda v: v in ("true", "false"), "true or false") if "network" in got else "false"
    return RecipeCommand(run=got["run"].text(is_command, "a shell command"), network=network == "true")


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
