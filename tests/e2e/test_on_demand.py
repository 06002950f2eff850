"""An ON_DEMAND fleet: nobody pays for an idle instance, and the first user waits seconds, not minutes."""

from collections.abc import Callable, Iterator

import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor

pytestmark = [pytest.mark.incus, pytest.mark.browser]


@pytest.fixture
def cold_fleet(administrator: Administrator) -> Iterator[str]:
    name = "e2e-on-demand"
    administrator.make(name, FleetType="ON_DEMAND")
    yield name
    administrator.remove(name)


def test_the_first_user_gets_an_instance_made_for_them(
    cold_fleet: str, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    ada.open(administrator.url(cold_fleet, "cold-ada", "text-editor"))
    ada.wait_for_picture()
    ada.wait_for_text("File")
    assert administrator.fleet(cold_fleet)["ComputeCapacityStatus"]["InUse"] == 1
