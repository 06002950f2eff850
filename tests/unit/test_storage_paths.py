"""Which paths climb out of a user's files, and which only look strange."""

import pytest

from fanlight.storage.front import climbs


@pytest.mark.parametrize(
    "path",
    ["/a..b", "/...", "/100%25.txt", "/..a/b", "/%E2%80%AE.txt", "/", "/a/", "/%3Cb%3E", "/%252e%252e/", "/a%5c..%5cb"],
)
def test_a_strange_name_is_a_name(path: str) -> None:
    assert not climbs(path)


@pytest.mark.parametrize("path", ["/..", "/a/../b", "/%2e%2e/", "/%2E./a", "/a%2f..%2Fb", "/a%00b", "/./a"])
def test_a_step_upwards_is_one_however_it_is_written(path: str) -> None:
    assert climbs(path)
