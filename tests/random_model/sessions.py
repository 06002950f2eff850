"""What must hold of instances and sessions whenever nothing is being done, whatever led there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fanlight.domain.instances import Instance, InstanceState
from random_model.fleets import SAMPLE, ModelFleet


@dataclass
class ModelSession:
    stack: str
    fleet: str
    user: str
    is_active: bool = False
    is_ending: bool = False
    instance_id: str | None = None


def complaint(
    fleet: ModelFleet, instances: Sequence[Instance], states: Mapping[str, str], store_refs: Mapping[str, str]
) -> str:
    """Return what of a RUNNING fleet is not at rest, "" when it is. `states` are those of its live sessions."""
    in_use = [one for one in instances if one.state is InstanceState.IN_USE]
    ready = [one for one in instances if one.state is InstanceState.READY]
    if len(in_use) + len(ready) != len(instances):
        return "instances come or go"
    waiting = [session for session, state in states.items() if state == "PENDING"]
    if waiting and (sum(one.free_places for one in instances) or len(instances) < fleet.instances):
        return "a session waits although there is room"
    held = {session for one in instances for session in one.session_ids}
    if held != states.keys() - set(waiting):
        return "places are held for others than the active sessions"
    always_on = fleet.members["FleetType"] == "ALWAYS_ON"
    if len(ready) != (max(fleet.instances - len(in_use), 0) if always_on else 0):
        return "not as many idle instances as wished"
    wrong = [
        one
        for one in ready
        if (one.image_ref, one.places) != (store_refs[fleet.members["ImageName"]], fleet.per_instance or 1)
    ]
    return "an idle instance is outdated" if wrong else ""


def application(fleet: ModelFleet) -> str:
    """Return what a user of the fleet may ask for."""
    if fleet.members["StreamView"] == "DESKTOP":
        return "Desktop"
    return "text-editor" if fleet.members["ImageName"] == SAMPLE else ""
