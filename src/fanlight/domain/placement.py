"""Which instance a session sits on. Pure.

The fullest instance first, so that empty ones stay empty: those can be given up, be replaced by a newer image, and be
whole for a user who is alone on it. Among equally full ones the oldest. One with an image that the fleet no longer has
comes last: it is there until its successor is. An instance never has more sessions than places.
"""

from collections.abc import Sequence
from datetime import datetime

from fanlight.domain.fleets import Fleet
from fanlight.domain.instances import Instance


def place(instances: Sequence[Instance], *, ahead: int, image_ref: str | None = None) -> Instance | None:
    """Return the instance for the next session, None when there is no place.

    `ahead` is how many sessions have waited for longer: as many places are theirs. `image_ref` is where the engine has
    the fleet's image, None when it has none.
    """
    free = [instance for instance in instances if instance.free_places]
    if sum(instance.free_places for instance in free) <= ahead:
        return None

    def rank(instance: Instance) -> tuple[bool, int, datetime, str]:
        is_outdated = image_ref is not None and instance.image_ref != image_ref
        since = instance.ready_at or instance.launched_at
        return is_outdated, -len(instance.session_ids), since, instance.instance_id

    return min(free, key=rank)


def may_launch(fleet: Fleet, instances: Sequence[Instance], *, ahead: int) -> bool:
    """Return whether an ON_DEMAND fleet may have one more instance, when those who came before have got theirs."""
    live = sum(1 for instance in instances if not instance.is_leaving)
    return live + ahead // fleet.places_per_instance < fleet.desired_instances
