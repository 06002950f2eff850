"""Build images from recipes: base first, then what stands on it; into the engine's store, then into the catalogue."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fanlight.config import Settings
from fanlight.domain.errors import DomainError, DriverError
from fanlight.domain.ports import ImageStore
from fanlight.images import runtime
from fanlight.images.catalogues import BuiltImage, publish, read_catalogue
from fanlight.images.icons import make_icon
from fanlight.images.launchers import launcher_files
from fanlight.images.recipes import Recipe, read_recipes
from fanlight.images.rootfs import Rootfs, apply_recipe
from fanlight.images.shell import CommandFailed, Shell
from fanlight.images.yaml_reader import RecipeInvalid

BUILDER = 1  # raise it when the way of building changes what comes out
CONTENT_PROPERTY = "user.fanlight.content"
VERSIONS_PROPERTY = "user.fanlight.packages"
_CHECKOUT = Path(__file__).parents[3]
RECIPES = _CHECKOUT / "images"
RUNTIME_REQUIREMENTS = _CHECKOUT / "requirements" / "runtime.txt"


class BuildFailed(DomainError):
    """An image or the runtime could not be built; what was there before still is. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`fraction` is that of the stage, 0 to 1; `stage` is `runtime` or an image's store_ref."""

    stage: str
    fraction: float
    message: str


OnProgress = Callable[[Progress], None]


async def build(
    *,
    settings: Settings,
    store: ImageStore | None,
    progress: OnProgress = lambda _: None,
    recipes: Path = RECIPES,
    force: bool = False,
) -> Sequence[BuiltImage]:
    """Build the runtime and every recipe of a directory, those that are up to date excepted. Needs root.

    `force` builds all images anew, with the newest packages. Without a store (the simulated engine) catalogues alone
    could not be made either, so a store is needed for images: None builds the runtime only.
    Raises BuildFailed, or RecipeInvalid before anything is done.
    """
    wanted = read_recipes(recipes)
    cache = settings.data_dir / "cache"
    for directory in (settings.data_dir, cache, cache / "packages", cache / "work", settings.data_dir / "images"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _only_one(cache / "lock"), _workshop(cache / "work") as work:
        shell = Shell(cache / "build.log", cache / "packages")
        (cache / "build.log").write_text("", encoding="utf-8")
        try:
            builder = _Builder(settings, shell, work, progress)
            version = await builder.runtime()
            if store is None:
                return []
            return [await builder.image(recipe, wanted, store, version, force=force) for recipe in wanted]
        except (CommandFailed, DriverError, OSError) as error:
            raise BuildFailed(f"The build failed: {error}") from error


class _Builder:
    """One run: where things are, and who hears of it."""

    def __init__(self, settings: Settings, shell: Shell, work: Path, progress: OnProgress) -> None:
        self._settings = settings
        self._shell = shell
        self._work = work
        self._progress = progress
        self._cache = settings.data_dir / "cache"
        self._images = settings.data_dir / "images"

    async def runtime(self) -> str:
        def tell(fraction: float) -> None:
            self._progress(Progress(stage="runtime", fraction=fraction, message="building the runtime"))

        version = await runtime.build_runtime(
            self._settings.data_dir / "runtime",
            self._work,
            self._bootstrap(runtime.SUITE),
            RUNTIME_REQUIREMENTS,
            self._shell,
            self._settings.debian_mirror,
            tell,
        )
        self._progress(Progress(stage="runtime", fraction=1.0, message=f"runtime {version} is ready"))
        return version

    async def image(
        self, recipe: Recipe, recipes: Sequence[Recipe], store: ImageStore, runtime_version: str, *, force: bool
    ) -> BuiltImage:
        """Return the image, after building it if it is not up to date."""
        content = content_hash(recipe, recipes)
        known = read_catalogue(self._images, recipe.store_ref)
        stored = {image.ref: image.properties.get(CONTENT_PROPERTY) for image in await store.observe()}
        is_current = known is not None and known.content_hash == content == stored.get(recipe.store_ref)
        if known is not None and is_current and not force:
            self._progress(Progress(stage=recipe.store_ref, fraction=1.0, message=f"{recipe.name} is up to date"))
            return known
        base = next((r for r in recipes if r.store_ref == recipe.base), None)
        archive = self._archive(recipe, content)
        icons, versions = await self._make(recipe, base, recipes, archive)
        self._tell(recipe, 0.85, "importing it into the engine")
        properties = {
            CONTENT_PROPERTY: content,
            VERSIONS_PROPERTY: hashlib.sha256(versions.encode()).hexdigest()[:16],
            "description": f"{recipe.display_name}: {recipe.description}",
        }
        await store.import_rootfs(recipe.store_ref, archive, properties)
        self._tell(recipe, 0.92, "unpacking it, so that instances start fast")
        await store.warm(recipe.store_ref)
        image = publish(
            self._images,
            recipe,
            icons,
            base_image_name=base.name if base else None,
            content_hash=content,
            runtime_version=runtime_version,
        )
        self._forget_other_archives(recipe, archive)
        self._tell(recipe, 1.0, f"{recipe.name} is ready")
        return image

    async def _make(
        self, recipe: Recipe, base: Recipe | None, recipes: Sequence[Recipe], archive: Path
    ) -> tuple[dict[str, bytes], str]:
        """Build the archive; return the icons and the packages' versions."""
        place = Path(tempfile.mkdtemp(prefix=f"{recipe.store_ref}-", dir=self._work))
        place.chmod(0o755)  # it becomes the image's /
        rootfs = Rootfs(place, self._shell, self._settings.debian_mirror)
        self._tell(recipe, 0.0, "preparing")
        if base is None:
            suite = recipe.suite
            assert suite is not None  # noqa: S101 - read_recipes has seen to it
            await rootfs.bootstrap(suite, self._bootstrap(suite))
        else:
            await rootfs.unpack(await self._archive_of_base(base, recipes))
        await apply_recipe(rootfs, recipe, lambda f: self._tell(recipe, 0.15 + 0.5 * f, "installing packages"))
        self._tell(recipe, 0.65, "drawing icons")
        icons = {a.name: await make_icon(rootfs.path, self._shell, a) for a in recipe.applications}
        for path, content in launcher_files(recipe, icons):
            await rootfs.add_bytes(path, content)
        versions = await rootfs.versions()
        await rootfs.finish()
        self._tell(recipe, 0.7, "packing")
        await rootfs.pack(archive.with_suffix(".new"))
        archive.with_suffix(".new").replace(archive)
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        return icons, versions

    async def _archive_of_base(self, base: Recipe, recipes: Sequence[Recipe]) -> Path:
        """The base was built just before, or by an earlier run whose archive somebody may have removed."""
        archive = self._archive(base, content_hash(base, recipes))
        if not archive.exists():
            grand = next((r for r in recipes if r.store_ref == base.base), None)
            await self._make(base, grand, recipes, archive)
        return archive

    def _tell(self, recipe: Recipe, fraction: float, message: str) -> None:
        self._progress(Progress(stage=recipe.store_ref, fraction=fraction, message=f"{recipe.name}: {message}"))

    def _bootstrap(self, suite: str) -> Path:
        return self._cache / f"bootstrap-{suite}.tar"

    def _archive(self, recipe: Recipe, content: str) -> Path:
        return self._cache / f"image-{recipe.store_ref}-{content}.tar.zst"

    def _forget_other_archives(self, recipe: Recipe, kept: Path) -> None:
        for path in self._cache.glob(f"image-{recipe.store_ref}-????????????????.tar.zst"):
            if path != kept:
                path.unlink()


def content_hash(recipe: Recipe, recipes: Sequence[Recipe]) -> str:
    """Return a hash of all that decides what an image is made of, its bases included (package versions excepted)."""
    base = next((r for r in recipes if r.store_ref == recipe.base), None)
    below = content_hash(base, recipes) if base else ""
    whole = json.dumps([BUILDER, recipe.content(), below], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Let one build run at a time per data directory. Raises BuildFailed when there is another."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildFailed(
                f"Another build is running with this data directory ({lock.parent}). Wait for it."
            ) from None
        yield


@contextmanager
def _workshop(parent: Path) -> Iterator[Path]:
    """Lend an empty directory and clear it away, with what a killed build left there."""
    for left in parent.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    place = Path(tempfile.mkdtemp(dir=parent))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


__all__ = ["BuildFailed", "OnProgress", "Progress", "RecipeInvalid", "build", "content_hash"]
