"""CreateUpdatedImage for real: an image whose packages come from a repository that gets newer ones while we look."""

import asyncio
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from e2e.installation import Installation, wait_for
from e2e.instances import Instances
from e2e.package_repositories import PACKAGE, Repository, package_repository
from fanlight.domain.images import Application, Image, made_ref
from fanlight.domain.places import Scope
from fanlight.store import open_store

pytestmark = [pytest.mark.incus, pytest.mark.timeout(300)]

ACCOUNT, REGION = "000000000000", "us-east-1"
IMAGE = "hello"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with package_repository(tmp_path / "packages") as made:
        yield made


class Engine:
    """The images of an installation as the engine has them."""

    def __init__(self, installation: Installation) -> None:
        self.project, self.pool = installation.settings["incus_project"], installation.settings["incus_pool"]
        self._of_others: frozenset[str] = frozenset()  # the installation is shared with tests that made images too
        self._of_others = frozenset(self.images())

    def incus(self, *words: str) -> str:
        done = subprocess.run(
            ["incus", "--project", self.project, *words], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def launch(self, image: str, name: str) -> None:
        """Run an instance of an image in which nothing runs."""
        init = "raw.lxc=lxc.init.cmd = /bin/sleep infinity"
        self.incus("launch", image, name, "--no-profiles", "--storage", self.pool, "--config", init)

    def images(self) -> dict[str, str]:
        """Return the fingerprints of the images that were made here, by name."""
        found = json.loads(self.incus("image", "list", "--format", "json"))
        named = {alias["name"]: one["fingerprint"] for one in found for alias in one["aliases"]}
        own = {name for name in named if name.startswith("img-")} - self._of_others
        return {name: named[name] for name in own}

    def version_in(self, image: str) -> str:
        """Return the version of the package in an image."""
        self.launch(image, "fl-look")
        try:
            return self.incus("exec", "fl-look", "--", "dpkg-query", "-W", "-f", "${Version}", PACKAGE)
        finally:
            self.incus("delete", "--force", "fl-look")


@pytest.fixture
def engine(installation: Installation) -> Iterator[Engine]:
    made = Engine(installation)
    yield made
    for name in made.images():
        made.incus("image", "delete", name)


def make_image(installation: Installation, engine: Engine, repository: Repository, package: Path) -> Image:
    """Give the account an image of its own, with the package installed from the repository."""
    image_id = uuid.uuid4().hex
    image = Image(
        image_id=image_id,
        scope=Scope(ACCOUNT, REGION),
        name=IMAGE,
        store_ref=made_ref(image_id),
        applications=(Application(name="hello", display_name="Hello", launch_path=f"/usr/bin/{PACKAGE}"),),
        created_at=datetime.now(UTC),
    )
    engine.launch("fanlight-base", "fl-make")
    try:
        engine.incus("file", "push", str(package), "fl-make/root/package.deb")
        script = f"dpkg -i /root/package.deb && rm /root/package.deb && printf '%s' '{repository.source}' >/etc/apt/sources.list"
        engine.incus("exec", "fl-make", "--", "sh", "-ec", script)
        engine.incus("stop", "--force", "fl-make")
        engine.incus("publish", "fl-make", "--alias", image.store_ref, "--compression", "zstd")
    finally:
        engine.incus("delete", "--force", "fl-make")

    async def add() -> None:
        database = installation.data_dir / "state" / "fanlight.db"
        async with open_store(f"sqlite:///{database}") as store, store.transactions.begin(write=True) as work:
            await work.images.add(image)
            await work.commit()

    asyncio.run(add())
    return image


def can_update(client: Any, name: str) -> bool:
    answer = client.create_updated_image(existingImageName=name, newImageName="any", dryRun=True)
    assert "image" not in answer
    return bool(answer["canUpdateImage"])


def update(
    client: Any, name: str, new_name: str, *, meanwhile: Callable[[], None] = lambda: None, **members: Any
) -> dict[str, Any]:
    """Make an updated image and return its record once nothing is done about it any more."""
    begun = client.create_updated_image(existingImageName=name, newImageName=new_name, **members)
    assert begun["canUpdateImage"]
    assert begun["image"]["State"] == "CREATING"
    meanwhile()

    def finished() -> dict[str, Any] | None:
        image = dict(client.describe_images(Names=[new_name])["Images"][0])
        told.add(image.get("StateChangeReason", {}).get("Message", ""))
        return image if image["State"] != "CREATING" else None

    told: set[str] = set()
    made = dict(wait_for(finished, timeout=120, what=f"{new_name} is made", interval=0.25))
    assert any("packing the root file system" in text for text in told), told
    return made


def test_an_image_gets_the_newer_packages_and_is_current_then(
    installation: Installation, instances: Instances, engine: Engine, repository: Repository
) -> None:
    """GIVEN an image with a package whose repository gets a newer version
    WHEN it is asked whether it can be updated, and updated
    THEN a new image has the newer package, and cannot be updated any more, though everything was killed meanwhile; a
    version that does not start makes none.
    """

    def kill() -> None:
        """kill -9 of everything while the new image is being packed."""
        wait_for(lambda: "packing the root" in installation.log(), timeout=60, what="the image is packed")
        installation.kill_everything()
        installation.start()

    client = installation.client()
    image = make_image(installation, engine, repository, repository.publish("1.0"))
    fleets = instances.names()
    assert not can_update(client, IMAGE)

    repository.publish("2.0")
    assert can_update(client, IMAGE)
    made = update(client, IMAGE, "hello-2", newImageDescription="newer", newImageTags={"Team": "CAD"}, meanwhile=kill)
    assert (made["State"], made["Description"], made["Visibility"]) == ("AVAILABLE", "newer", "PRIVATE"), made
    assert [application["Name"] for application in made["Applications"]] == ["hello"]
    (new_ref,) = engine.images().keys() - {image.store_ref}
    assert engine.version_in(new_ref) == "2.0"
    assert engine.version_in(image.store_ref) == "1.0"
    assert not can_update(client, "hello-2")

    repository.publish("3.0", is_broken=True)
    before = engine.images()
    failed = update(client, "hello-2", "hello-3")
    assert failed["State"] == "FAILED", failed
    assert failed["StateChangeReason"]["Code"] == "IMAGE_UPDATE_FAILURE"
    (error,) = failed["ImageErrors"]
    assert error["ErrorMessage"].startswith("The application hello: it ended with 3")
    assert engine.images() == before, "the old image is as it was, and nothing is left of the new one"
    assert instances.names() == fleets
