"""What a key must be allowed for Application Auto Scaling: what changes the fleet needs the right to change it."""

from types import SimpleNamespace

import pytest

from fanlight.api.neighbours.autoscaling import autoscaling_service
from fanlight.api.neighbours.scaling_demands import CHANGING, scaling_demands
from fanlight.domain.access_keys import Caller

CALLER = Caller("AKIATEST", "000000000000", "us-east-1", "request")
FLEET = "arn:aws:appstream:us-east-1:000000000000:fleet/cad"


@pytest.mark.parametrize("name", sorted(autoscaling_service().registry.built))
async def test_whoever_has_a_fleet_changed_must_be_allowed_to_change_it(name: str) -> None:
    """To take a target, a policy or an action away is to let the fleet alone: that needs its own action only."""
    demands = await scaling_demands(name, SimpleNamespace(resource_id="fleet/cad"), CALLER, None)
    own = (f"application-autoscaling:{name}", "*")
    assert demands == ((own, ("appstream:UpdateFleet", FLEET)) if name in CHANGING else (own,))
    assert not name.startswith(("Delete", "Deregister", "Describe")) or name not in CHANGING
    assert not name.startswith(("Put", "Register")) or name in CHANGING
