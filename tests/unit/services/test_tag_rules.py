"""One set of rules for tags, whatever they are tied to and whichever operation brings them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from service_rig import HERE, Rig, new_fleet

from fanlight.domain.alarms import Comparison
from fanlight.domain.errors import InvalidCombination, LimitExceeded
from fanlight.services.alarms import AlarmWish
from fanlight.services.scalable_targets import TargetWish
from fanlight.services.scaling_policies import alarm_arn
from fanlight.services.stacks import NewStack

Tagging = Callable[[Rig, dict[str, str]], Awaitable[Any]]


def alarm(tags: dict[str, str]) -> AlarmWish:
    return AlarmWish(
        name="busy",
        metric_name="CapacityUtilization",
        namespace="AWS/AppStream",
        dimensions={"Fleet": "cad"},
        statistic="Average",
        period_in_seconds=60,
        evaluation_periods=1,
        threshold=75,
        comparison=Comparison.GREATER_THAN,
        tags=tags,
    )


def target(tags: dict[str, str]) -> TargetWish:
    return TargetWish(fleet_name="cad", min_capacity=1, max_capacity=2, tags=tags)


WAYS: dict[str, Tagging] = {
    "a new fleet": lambda rig, tags: rig.services.fleets.create(HERE, new_fleet("new", tags=tags)),
    "a new stack": lambda rig, tags: rig.services.stacks.create(HERE, NewStack(name="new", tags=tags)),
    "a fleet": lambda rig, tags: rig.services.tags.tag(HERE, HERE.arn("fleet/cad"), tags),
    "an alarm": lambda rig, tags: rig.services.alarms.tags.tag(HERE, alarm_arn(HERE, "busy"), tags),
    "an alarm that is replaced": lambda rig, tags: rig.services.alarms.put(HERE, alarm(tags)),
    "a target that is changed": lambda rig, tags: rig.services.scalable_targets.register(HERE, target(tags)),
}


@pytest.fixture
async def ready(rig: Rig) -> Rig:
    await rig.services.fleets.create(HERE, new_fleet("cad"))
    await rig.services.alarms.put(HERE, alarm({"team": "cad"}))
    await rig.services.scalable_targets.register(HERE, target({"team": "cad"}))
    return rig


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "tags", [{"aws:mine": "1"}, {"AWS:mine": "1"}, {"ok": "1", "no!": "1"}, {"ok": "x" * 257}, {"": "1"}]
)
async def test_what_no_tag_may_be_is_refused_and_nothing_is_done(
    ready: Rig, way: Tagging, tags: dict[str, str]
) -> None:
    with pytest.raises(InvalidCombination, match="tag"):
        await way(ready, tags)
    assert [found.fleet.name for found in (await ready.services.fleets.describe(HERE))[0]] == ["cad"]
    assert (await ready.services.stacks.describe(HERE))[0] == ()
    assert await ready.services.tags.of(HERE, HERE.arn("fleet/cad")) == {}
    assert await ready.services.alarms.tags.of(HERE, alarm_arn(HERE, "busy")) == {"team": "cad"}


@pytest.mark.parametrize("name", ["a fleet", "an alarm", "a target that is changed"])
async def test_a_resource_has_fifty_tags_at_most(ready: Rig, name: str) -> None:
    await WAYS[name](ready, {"team": "cad", **{f"key {number}": "" for number in range(49)}})
    await WAYS[name](ready, {"team": "other"})
    with pytest.raises(LimitExceeded, match="more than 50 tags"):
        await WAYS[name](ready, {"one more": ""})
