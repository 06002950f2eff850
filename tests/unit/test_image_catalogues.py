"""What a build leaves for others to read, and the runtimes it keeps."""

import asyncio
import fcntl
import json
import stat
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from fanlight.config import Settings
from fanlight.domain.ports import StoredImage
from fanlight.images import RecipeInvalid, build, current_version, list_images, prune
from fanlight.images.building import RECIPES
from fanlight.images.catalogues import publish, read_catalogue
from fanlight.images.launchers import launcher_files
from fanlight.images.recipes import Recipe, RecipeApplication, read_recipe
from fanlight.images.rootfs import DOWNLOAD_SHARE, _apt_fraction
from fanlight.services.image_catalogues import read_catalogues

PNG = b"\x89PNG\r\n\x1a\n"


def studio(*applications: RecipeApplication) -> Recipe:
    return Recipe(
        store_ref="studio",
        name="Studio-1",
        display_name="Studio",
        description="Our tools",
        base="debian:trixie",
        applications=applications,
    )


EDITOR = RecipeApplication(
    name="editor", display_name="Editor <&>", launch_path="/usr/bin/an editor", launch_parameters="--x '%'"
)


def published(directory: Path, recipe: Recipe, runtime_version: str = "r1") -> None:
    publish(
        directory,
        recipe,
        {a.name: PNG for a in recipe.applications},
        base_image_name=None,
        content_hash="c",
        runtime_version=runtime_version,
    )


def test_catalogue_is_what_the_service_reads(tmp_path: Path) -> None:
    published(tmp_path / "images", studio(EDITOR))
    manifests, complaints = read_catalogues(tmp_path / "images")
    assert complaints == []
    assert (manifests[0].name, manifests[0].agent_version) == ("Studio-1", "r1")
    assert manifests[0].applications[0].launch_parameters == "--x '%'"
    (ours,) = list_images(Settings(data_dir=tmp_path))
    assert (ours.applications, ours.built_at) == (manifests[0].applications, manifests[0].created_at)


def test_catalogue_and_icons_are_readable_by_everybody_and_replaced_whole(tmp_path: Path) -> None:
    published(tmp_path, studio(EDITOR))
    published(tmp_path, studio(), runtime_version="r2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["studio"]
    assert list((tmp_path / "studio" / "icons").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "studio").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "studio" / "catalogue.json").stat().st_mode) == 0o644


def test_catalogue_of_another_format_is_none_of_ours(tmp_path: Path) -> None:
    published(tmp_path, studio())
    path = tmp_path / "studio" / "catalogue.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    assert read_catalogue(tmp_path, "studio") is None
    assert read_catalogue(tmp_path, "other") is None


def test_launchers_quote_what_the_recipe_says() -> None:
    files = dict(launcher_files(studio(EDITOR), {"editor": PNG}))
    entry = files["/usr/share/fanlight/launchers/00-editor.desktop"].decode()
    assert "Exec='/usr/bin/an editor' --x '%%'\n" in entry
    menu = files["/usr/share/fanlight/menu.xml"].decode()
    assert 'label="Editor &lt;&amp;&gt;"' in menu
    assert list(launcher_files(studio(), {})) == []


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        ("", "/bin/pwd"),
        ("/home/user", "/bin/pwd"),
        ("/home/user/my plans", """/bin/sh -c 'cd "$HOME"'"'"'/my plans'"'"' && exec "$@"' sh /bin/pwd"""),
        ("/srv/plans", """/bin/sh -c 'cd /srv/plans && exec "$@"' sh /bin/pwd"""),
    ],
)
def test_launchers_start_in_the_home_of_whoever_sits_there(directory: str, command: str) -> None:
    application = RecipeApplication(
        name="pwd", display_name="Where", launch_path="/bin/pwd", working_directory=directory
    )
    files = dict(launcher_files(studio(application), {"pwd": PNG}))
    lines = files["/usr/share/fanlight/launchers/00-pwd.desktop"].decode().splitlines()
    assert f"Exec={command}" in lines
    assert not [line for line in lines if line.startswith("Path=")]
    assert f"<command>{escape(command)}</command>" in files["/usr/share/fanlight/menu.xml"].decode()


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("dlstatus:3:100.0:Retrieving", DOWNLOAD_SHARE),
        ("pmstatus:mousepad:100.0:Installed", 1.0),
        ("pmstatus:mousepad:oops:Installed", None),
        ("dlstatus:", None),
        ("Reading package lists...", None),
    ],
)
def test_progress_follows_apt(line: str, fraction: float | None) -> None:
    told: list[float] = []
    _apt_fraction(line, told.append)
    assert told == ([] if fraction is None else [pytest.approx(fraction)])


def test_runtimes_in_use_and_the_current_one_are_kept(tmp_path: Path) -> None:
    for version in ("01-01-2026-aaaaaaaa", "02-01-2026-bbbbbbbb", "03-01-2026-cccccccc"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "VERSION").write_text(version)
    (tmp_path / "notes").mkdir()
    (tmp_path / "current").symlink_to("03-01-2026-cccccccc")
    assert current_version(tmp_path) == "03-01-2026-cccccccc"
    prune(tmp_path, {"01-01-2026-aaaaaaaa"})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "01-01-2026-aaaaaaaa",
        "03-01-2026-cccccccc",
        "current",
        "notes",
    ]


class UntouchedStore:
    async def import_rootfs(self, *_: object) -> None:
        raise AssertionError("nothing was to be imported")

    async def observe(self) -> list[StoredImage]:
        raise AssertionError("nothing was to be asked")

    async def delete(self, ref: str) -> None:
        raise AssertionError(ref)

    async def warm(self, ref: str) -> None:
        raise AssertionError(ref)


async def test_bad_recipe_stops_the_build_before_anything_is_done(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "bad.yaml").write_text("name: [x]\n")
    data = tmp_path / "data"
    with pytest.raises(RecipeInvalid):
        await build(settings=Settings(data_dir=data), store=UntouchedStore(), recipes=recipes)
    assert not data.exists()


async def test_second_build_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    said: list[str] = []
    with (tmp_path / "cache" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await build(
                    settings=Settings(data_dir=tmp_path),
                    store=UntouchedStore(),
                    progress=lambda progress: said.append(progress.message),
                )
    assert said == ["waits for another build to end"]
    assert not (tmp_path / "cache" / "build.log").exists()


def test_sample_recipe_is_the_one_to_copy() -> None:
    assert read_recipe(RECIPES / "fanlight-sample.yaml").base == "fanlight-base"
