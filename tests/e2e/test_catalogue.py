"""Which application: the catalogue of APP view, the launcher in a session, and the whole desktop of DESKTOP view."""

from collections.abc import Callable, Iterator

import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import wait_for
from e2e.instances import USER_ID, Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

APPLICATIONS = ["Calculator", "Drawing", "Firefox", "Terminal", "Text Editor"]


def runs_in(instances: Instances, instance_id: str, program: str) -> bool:
    return instances.run(instance_id, "pgrep", "-u", str(USER_ID), "-f", program).returncode == 0


def test_a_url_without_application_shows_the_catalogue_and_the_chosen_one_starts(
    fleet: str, administrator: Administrator, instances: Instances, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    ada.open(administrator.url(fleet, "cat-ada"))
    ada.wait_for_state("catalogue")
    tiles = ada.page.locator("#view .tile")
    assert sorted(tiles.locator(".tile-name").all_inner_texts()) == APPLICATIONS
    # Real pictures that have loaded, not the letters that stand for missing ones.
    ada.page.wait_for_function(
        "[...document.querySelectorAll('#view .tile img')].filter(i => i.naturalWidth >= 32).length === 5"
    )
    assert administrator.sessions(fleet, "cat-ada") == [], "looking at the catalogue must not take an instance"

    tiles.filter(has_text="Calculator").click()
    ada.wait_for_picture()
    instance = administrator.instance_of(fleet, "cat-ada")
    wait_for(lambda: runs_in(instances, instance, "galculator"), timeout=10, what="the calculator runs")

    ada.press_tool("apps")
    ada.page.locator("#panels .tile").filter(has_text="Terminal").click()
    wait_for(lambda: runs_in(instances, instance, "xfce4-terminal"), timeout=10, what="the terminal runs")
    assert runs_in(instances, instance, "galculator"), "the launcher opens one more application, it replaces none"
    assert administrator.instance_of(fleet, "cat-ada") == instance


@pytest.fixture
def desktop_fleet(administrator: Administrator) -> Iterator[str]:
    name = "e2e-desktop"
    administrator.make(name, StreamView="DESKTOP")
    yield name
    administrator.remove(name)


def test_desktop_view_opens_the_desktop_without_a_question(
    desktop_fleet: str, administrator: Administrator, instances: Instances, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    ada.open(administrator.url(desktop_fleet, "desk-ada"))
    assert ada.wait_for_state("stream", "catalogue") == "stream"
    ada.wait_for_picture()
    instance = administrator.instance_of(desktop_fleet, "desk-ada")
    wait_for(lambda: runs_in(instances, instance, "tint2"), timeout=10, what="the desktop's panel runs")
