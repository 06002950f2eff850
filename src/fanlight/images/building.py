"""Build images from recipes: base first, then what stands on it; into the engine's store, then into the catalogue."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fanlight.config import Settings
from fanlight.domain.errors import DomainError, DriverError
from fanlight.domain.ports import RootfsStore
from fanlight.images import runtime
from fanlight.images.catalogues import BuiltImage, publish, read_catalogue, read_catalogues
from fanlight.images.found_applications import find_applications_of, read_applications, write_applications
from fanlight.images.icons import make_icon
from fanlight.images.launchers import launcher_files
from fanlight.images.recipe_sets import base_of, read_recipes
from fanlight.images.recipes import Recipe, RecipeApplication
from fanlight.images.rootfs import Rootfs, apply_recipe
from fanlight.images.shell import CommandFailed, Shell
from fanlight.images.yaml_reader import RecipeInvalid

BUILDER = 2  # raise it when the way of building changes what comes out
CONTENT_PROPERTY = "user.fanlight.content"
VERSIONS_PROPERTY = "user.fanlight.packages"
HASH_LENGTH = 16
_LOOK_FOR_TURN_IN_SECONDS = 0.5
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
    store: RootfsStore | None,
    progress: OnProgress = lambda _: None,
    recipes: Path = RECIPES,
    force: bool = False,
    cache: Path | None = None,
) -> Sequence[BuiltImage]:
    """Build the runtime and the recipe of a file or every recipe of a directory, but for those that are up to date.

    Needs root. What a file's recipe builds on is made too, and offered only if it is in a directory that is built.
    `force` builds all images anew, with the newest packages. `cache` (default: DATA_DIR/cache) keeps packages and what
    was built; installations may share one, and take turns. Without a store only the runtime is built.
    Raises BuildFailed, or RecipeInvalid before anything is done.
    """
    known = read_recipes(recipes, read_catalogues(settings.data_dir / "images"))
    wanted = known[-1:] if recipes.suffix == ".yaml" else known
    cache = cache or settings.data_dir / "cache"
    for directory in (settings.data_dir, settings.data_dir / "images", cache, cache / "packages", cache / "work"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_turn(cache / "lock", progress))
        work = stack.enter_context(_workshop(cache / "work"))
        (cache / "build.log").write_text("", encoding="utf-8")
        builder = _Builder(settings, cache, work, progress)
        try:
            version = await builder.runtime()
            if store is None:
                return []
            return [await builder.image(recipe, known, store, version, force=force) for recipe in wanted]
        except (CommandFailed, DriverError, OSError) as error:
            raise BuildFailed(f"The build failed: {error}") from error


@dataclass(frozen=True, slots=True)
class _Made:
    """What a build leaves in the cache: CACHE/image-<store_ref>-<content hash>/."""

    directory: Path

    @property
    def archive(self) -> Path:
        return self.directory / "rootfs.tar.zst"

    @property
    def found(self) -> Path:
        return self.directory / "applications.json"

    def icons(self) -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in (self.directory / "icons").glob("*.png")}

    def versions_hash(self) -> str:
        return hashlib.sha256((self.directory / "packages.txt").read_bytes()).hexdigest()[:16]


class _Builder:
    """One run: where things are, and who hears of it."""

    def __init__(self, settings: Settings, cache: Path, work: Path, progress: OnProgress) -> None:
        self._settings = settings
        self._shell = Shell(cache / "build.log", cache / "packages")
        self._work = work
        self._progress = progress
        self._cache = cache
        self._images = settings.data_dir / "images"

    async def runtime(self) -> str:
        def tell(fraction: float) -> None:
            self._progress(Progress(stage="runtime", fraction=fraction, message="building the runtime"))

        version = await runtime.build_runtime(
            runtimes=self._settings.data_dir / "runtime",
            work=self._work,
            bootstrap=self._bootstrap(runtime.SUITE),
            requirements=RUNTIME_REQUIREMENTS,
            shell=self._shell,
            mirror=self._settings.debian_mirror,
            on_fraction=tell,
        )
        self._progress(Progress(stage="runtime", fraction=1.0, message=f"runtime {version} is ready"))
        return version

    async def image(
        self, recipe: Recipe, recipes: Sequence[Recipe], store: RootfsStore, runtime_version: str, *, force: bool
    ) -> BuiltImage:
        """Return the image, after building and importing it if it is not up to date."""
        content = content_hash(recipe, recipes, self._built())
        known = read_catalogue(self._images, recipe.store_ref)
        stored = {image.ref: image.properties.get(CONTENT_PROPERTY) for image in await store.observe()}
        is_stored = not force and stored.get(recipe.store_ref) == content
        if (
            known is not None
            and is_stored
            and (known.content_hash, known.runtime_version) == (content, runtime_version)
        ):
            self._progress(Progress(stage=recipe.store_ref, fraction=1.0, message=f"{recipe.name} is up to date"))
            return known
        made = await self._made(recipe, recipes, force=force)
        if not is_stored:
            await self._import(recipe, made, content, store)
        base = base_of(recipe, recipes, self._built())
        image = publish(
            self._images,
            recipe if recipe.applications is not None else replace(recipe, applications=read_applications(made.found)),
            made.icons(),
            base_image_name=base.name if base else None,
            content_hash=content,
            runtime_version=runtime_version,
        )
        self._forget_others(recipe, made)
        self._tell(recipe, 1.0, "ready")
        return image

    async def _import(self, recipe: Recipe, made: _Made, content: str, store: RootfsStore) -> None:
        self._tell(recipe, 0.85, "importing it into the engine")
        properties = {
            CONTENT_PROPERTY: content,
            VERSIONS_PROPERTY: made.versions_hash(),
            "description": f"{recipe.display_name}: {recipe.description}",
        }
        await store.import_rootfs(recipe.store_ref, made.archive, properties)
        self._tell(recipe, 0.92, "unpacking it, so that instances start fast")
        await store.warm(recipe.store_ref)

    async def _made(self, recipe: Recipe, recipes: Sequence[Recipe], *, force: bool) -> _Made:
        """Return the recipe's result, from the cache when it is there."""
        made = _Made(self._cache / f"image-{recipe.store_ref}-{content_hash(recipe, recipes, self._built())}")
        if made.directory.is_dir() and not force:
            return made
        place = Path(tempfile.mkdtemp(prefix=f"{recipe.store_ref}-", dir=self._work))
        fresh = _Made(place / "made")
        (fresh.directory / "icons").mkdir(parents=True)
        epoch = _epoch_of(recipe, recipes)
        rootfs = Rootfs(place / "rootfs", self._shell.with_epoch(epoch), self._settings.debian_mirror)
        rootfs.path.mkdir()
        await self._fill(rootfs, recipe, recipes)
        self._tell(recipe, 0.65, "drawing icons")
        icons, complete = await self._icons(rootfs, recipe)
        for name, picture in icons.items():
            (fresh.directory / "icons" / f"{name}.png").write_bytes(picture)
        write_applications(fresh.found, complete.applications or ())
        for path, content in launcher_files(complete, icons):
            await rootfs.add_bytes(path, content)
        (fresh.directory / "packages.txt").write_text(await rootfs.versions(), encoding="utf-8")
        await rootfs.finish()
        self._tell(recipe, 0.7, "packing")
        await rootfs.pack(fresh.archive, newest=epoch)
        await asyncio.to_thread(shutil.rmtree, rootfs.path)
        shutil.rmtree(made.directory, ignore_errors=True)
        fresh.directory.rename(made.directory)
        return made

    async def _icons(self, rootfs: Rootfs, recipe: Recipe) -> tuple[dict[str, bytes], Recipe]:
        """Return the icons, and the recipe with its applications: those found may lack an icon, those given may not."""
        if recipe.applications is not None:
            return {a.name: await make_icon(rootfs.path, self._shell, a) for a in recipe.applications}, recipe
        found: Sequence[RecipeApplication] = find_applications_of(rootfs.path)
        icons = {}
        for application in found:
            try:
                icons[application.name] = await make_icon(rootfs.path, self._shell, application)
            except RecipeInvalid as error:
                self._shell.note(f"{application.name} is listed without an icon: {error}")
        return icons, replace(recipe, applications=tuple(found))

    async def _fill(self, rootfs: Rootfs, recipe: Recipe, recipes: Sequence[Recipe]) -> None:
        self._tell(recipe, 0.0, "preparing")
        base = base_of(recipe, recipes, self._built())
        if isinstance(base, BuiltImage):
            await rootfs.unpack(self._archive_of(base))
        elif base is not None:
            # The base was made just before, or by an earlier run.
            await rootfs.unpack((await self._made(base, recipes, force=False)).archive)
        elif recipe.suite is not None:
            await rootfs.bootstrap(recipe.suite, self._bootstrap(recipe.suite, recipe.snapshot), recipe.snapshot)
        await apply_recipe(rootfs, recipe, lambda f: self._tell(recipe, 0.15 + 0.5 * f, "installing packages"))

    def _tell(self, recipe: Recipe, fraction: float, message: str) -> None:
        self._progress(Progress(stage=recipe.store_ref, fraction=fraction, message=f"{recipe.name}: {message}"))

    def _built(self) -> Sequence[BuiltImage]:
        return read_catalogues(self._images)

    def _archive_of(self, image: BuiltImage) -> Path:
        """Return the root file system that was made for a built image. Raises CommandFailed when the cache lost it."""
        made = _Made(self._cache / f"image-{image.store_ref}-{image.content_hash}")
        if not made.archive.is_file():
            raise CommandFailed(
                f"The base {image.name} is no longer in {self._cache}: build it again, with the same --cache."
            )
        return made.archive

    def _bootstrap(self, suite: str, snapshot: str = "") -> Path:
        return self._cache / f"bootstrap-{suite}{'-' if snapshot else ''}{snapshot}.tar"

    def _forget_others(self, recipe: Recipe, kept: _Made) -> None:
        for path in self._cache.glob(f"image-{recipe.store_ref}-{'?' * HASH_LENGTH}"):
            if path != kept.directory:
                shutil.rmtree(path, ignore_errors=True)


def _epoch_of(recipe: Recipe, recipes: Sequence[Recipe]) -> int | None:
    """Return the time of the snapshot at the bottom, in seconds since 1970; None when packages are those of today."""
    base = base_of(recipe, recipes)
    if isinstance(base, Recipe):
        return _epoch_of(base, recipes)
    if not recipe.snapshot:
        return None
    return int(datetime.strptime(recipe.snapshot, "%Y%m%dT%H%M%S%z").timestamp())


def content_hash(recipe: Recipe, recipes: Sequence[Recipe], built: Sequence[BuiltImage] = ()) -> str:
    """Return a hash of all that decides what an image is made of, its bases included (package versions excepted)."""
    base = base_of(recipe, recipes, built)
    below = ""
    if base is not None:
        below = base.content_hash if isinstance(base, BuiltImage) else content_hash(base, recipes, built)
    whole = json.dumps([BUILDER, recipe.content(), below], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:HASH_LENGTH]


@asynccontextmanager
async def _turn(lock: Path, progress: OnProgress) -> AsyncIterator[None]:
    """Hold while building: one build at a time uses a cache, and the next finds what the one before made."""
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(Progress(stage="runtime", fraction=0.0, message="waits for another build to end"))
                await asyncio.sleep(_LOOK_FOR_TURN_IN_SECONDS)
            else:
                break
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
