"""What every ImageStore promises, as tests. A store's own test module subclasses `ImageStoreContract` and gives fixtures.

* `store`: the store under test; `driver`: the instance driver beside it, prepared;
* `spec`: a function `spec(**overrides) -> InstanceSpec` with a new instance id each time and an image that exists;
* `stop_behind`: stops the instance of that id and keeps its disk.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from instance_driver import MakeSpec, eventually, seen

from fanlight.domain.errors import ImageMissing, PublishRefused
from fanlight.domain.ports import ImageStore, InstanceDriver, Power

REF = "img-0123456789abcdef0123456789abcdef"
StopBehind = Callable[[str], Awaitable[None]]


async def refs(store: ImageStore) -> dict[str, dict[str, str]]:
    return {image.ref: dict(image.properties) for image in await store.observe() if image.ref.startswith("img-")}


class ImageStoreContract:
    settle_seconds = 60.0

    @pytest.fixture
    async def stopped(self, driver: InstanceDriver, spec: MakeSpec, stop_behind: StopBehind) -> str:
        wished = spec()
        await driver.launch(wished)
        await self.has_power(driver, wished.instance_id, Power.RUNNING)
        await stop_behind(wished.instance_id)
        await self.has_power(driver, wished.instance_id, Power.STOPPED)
        return wished.instance_id

    async def has_power(self, driver: InstanceDriver, instance_id: str, power: Power) -> None:
        async def probe() -> Any:
            found = await seen(driver, instance_id)
            return found is not None and found.power is power

        await eventually(probe, within=self.settle_seconds, what=f"{instance_id} is {power}")

    async def test_a_stopped_instance_becomes_an_image_that_others_are_launched_from(
        self, store: ImageStore, driver: InstanceDriver, spec: MakeSpec, stopped: str
    ) -> None:
        await store.publish(stopped, REF, {"fanlight.installation": "here"})
        await store.publish(stopped, REF, {"fanlight.installation": "again"})
        [properties] = (await refs(store)).values()
        assert properties["fanlight.installation"] == "here"
        assert [image.size_in_bytes > 0 for image in await store.observe() if image.ref == REF] == [True]
        assert (await seen(driver, stopped)) is not None, "the instance stays"
        await store.warm(REF)
        launched = spec(image_ref=REF)
        await driver.launch(launched)
        await self.has_power(driver, launched.instance_id, Power.RUNNING)
        await driver.terminate(launched.instance_id)
        await store.delete(REF)
        await store.delete(REF)
        assert await refs(store) == {}
        with pytest.raises(ImageMissing):
            await driver.launch(spec(image_ref=REF))

    async def test_an_instance_that_runs_or_is_not_there_is_not_published(
        self, store: ImageStore, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        running = spec()
        await driver.launch(running)
        await self.has_power(driver, running.instance_id, Power.RUNNING)
        for instance_id in (running.instance_id, "i-nobody"):
            with pytest.raises(PublishRefused, match=instance_id):
                await store.publish(instance_id, REF, {})
        assert await refs(store) == {}

    async def test_a_copy_lives_without_its_source(
        self, store: ImageStore, driver: InstanceDriver, spec: MakeSpec, stopped: str
    ) -> None:
        with pytest.raises(ImageMissing):
            await store.copy(REF, "img-copy", "us-west-2")
        await store.publish(stopped, REF, {})
        await store.copy(REF, "img-copy", "us-west-2")
        await store.copy(REF, "img-copy", "us-west-2")
        await store.delete(REF)
        assert list(await refs(store)) == ["img-copy"]
        launched = spec(image_ref="img-copy")
        await driver.launch(launched)
        await self.has_power(driver, launched.instance_id, Power.RUNNING)
        await store.delete("img-copy")
        assert await refs(store) == {}
