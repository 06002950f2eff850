"""Which instance a session sits on. Pure.

The fullest instance first, so that empty ones stay empty: those can be given up, be replaced by a newer image, and be
whole for a user who is alone on it. Among equally full ones the oldest. An instance never has more sessions than places.
"""

from collections.abc import Sequence

from fanlight.domain.fleets import Fleet
from fanlight.domain.instances import Instance


def place(instances: Sequence[Instance], *, ahead: int) -> Instance | None:
    """Return the instance for the next session, None when there is no place.

    `ahead` is how many sessions have waited for longer: as many places are theirs.
    """
    free = [instance for instance in instances if instance.free_places]
    if sum(instance.free_places for instance in free) <= ahead:
        return None
    return min(free, key=lambda i: (-len(i.session_ids), i.ready_at or i.launched_at, i.instance_id))


def may_launch(fleet: Fleet, instances: Sequence[Instance], *, ahead: int) -> bool:
    """Return whether an ON_DEMAND fleet may have one more instance, when those who came before have got theirs."""
    live = sum(1 for instance in instances if not instance.is_leaving)
    return live + ahead // fleet.places_per_instance < fleet.desired_instances
