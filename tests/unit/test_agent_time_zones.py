"""The browser's time zone in an image."""

from pathlib import Path

import pytest

from fanlight.agent.time_zones import with_known_zone


@pytest.fixture
def root(tmp_path: Path) -> Path:
    zones = tmp_path / "usr/share/zoneinfo"
    (zones / "Asia").mkdir(parents=True)
    (zones / "Asia/Kolkata").write_bytes(b"TZif2")
    (zones / "tzdata.zi").write_text("# version 2025b\nL Asia/Kolkata Asia/Calcutta\nL Gone/Away Old/Name\n")
    (tmp_path / "usr/share/secret").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("Asia/Kolkata", "Asia/Kolkata"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Old/Name", None),
        ("Nowhere/City", None),
        ("Asia", None),
        ("../secret", None),
        ("/etc/localtime", None),
        ("", None),
    ],
)
def test_only_zones_that_the_image_has_are_set(root: Path, said: str, becomes: str | None) -> None:
    assert with_known_zone({"A": "b", "TZ": said}, root).get("TZ") == becomes


def test_an_environment_without_a_zone_stays_as_it_is(root: Path) -> None:
    assert with_known_zone({"A": "b"}, root) == {"A": "b"}
    assert with_known_zone({"TZ": "Asia/Kolkata"}, root / "nothing") == {}
