"""What Incus's list is taken to mean."""

import pytest

from fanlight.domain.ports import Power
from fanlight.drivers.incus.instances import observation_of

NEVER = "1970-01-01T00:00:00Z"
ONCE = "2026-11-21T07:05:54Z"


@pytest.mark.parametrize(
    ("status", "last_used_at", "is_being_launched", "power"),
    [
        ("Running", ONCE, False, Power.RUNNING),
        ("Running", ONCE, True, Power.RUNNING),
        ("Stopped", NEVER, True, Power.STARTING),
        ("Stopped", ONCE, True, Power.STARTING),  # seen: the time is set just before it runs
        ("Stopped", ONCE, False, Power.STOPPED),
        ("Stopped", NEVER, False, Power.FAILED),
        ("Error", ONCE, False, Power.FAILED),
    ],
)
def test_a_stopped_instance_is_only_starting_while_it_is_being_launched(
    status: str, last_used_at: str, *, is_being_launched: bool, power: Power
) -> None:
    found = {"name": "i-1", "status": status, "last_used_at": last_used_at, "config": {}, "devices": {}}
    assert observation_of(found, is_being_launched=is_being_launched).power is power
