"""Which ids an instance is given."""

from pathlib import Path

import pytest

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable
from fanlight.drivers.incus.id_blocks import BLOCK, blocks_of_host, free_block, ids_of


def files(directory: Path, users: str, groups: str) -> list[Path]:
    (directory / "subuid").write_text(users)
    (directory / "subgid").write_text(groups)
    return [directory / "subuid", directory / "subgid"]


def test_the_blocks_lie_in_roots_ranges_of_both_files_but_for_the_first_of_each(tmp_path: Path) -> None:
    users = f"alice:100000:65536\nroot:1000000:{4 * BLOCK}\n\nroot:nonsense\nroot:9000000:{BLOCK}\n"
    groups = f"root:1000000:{3 * BLOCK + 1}\n"
    assert blocks_of_host(files(tmp_path, users, groups)) == [1000000 + BLOCK, 1000000 + 2 * BLOCK]


@pytest.mark.parametrize("users", ["", "alice:100000:65536\n", f"root:1000000:{2 * BLOCK - 1}\n"])
def test_a_host_without_ids_to_give_says_where_they_are_missing(tmp_path: Path, users: str) -> None:
    made = files(tmp_path, users, "root:1000000:1000000000\n")
    with pytest.raises(DriverUnavailable, match=r"subuid .*host-setup"):
        blocks_of_host(made)
    with pytest.raises(DriverUnavailable, match="host-setup"):
        blocks_of_host([tmp_path / "missing", tmp_path / "missing"])


def test_ids_count_from_the_moment_they_are_asked_for_and_with_their_number() -> None:
    found = [
        {"config": {"volatile.idmap.base": "100000"}},
        {"config": {"security.idmap.base": "300000"}},  # created, not started yet
        {"config": {"volatile.idmap.base": "500000", "security.idmap.size": "200000"}},
        {"config": {}},
    ]
    assert ids_of(found) == {range(100000, 165536), range(300000, 365536), range(500000, 700000)}


@pytest.mark.parametrize(
    ("used", "free"),
    [
        ([], {0, 1, 2, 3}),
        ([range(BLOCK, 2 * BLOCK)], {0, 2, 3}),
        ([range(BLOCK - 1, 2 * BLOCK - 1)], {2, 3}),
        ([range(BLOCK + 1, 2 * BLOCK + 1)], {0, 3}),
        ([range(BLOCK, 4 * BLOCK)], {0}),
        ([range(50 * BLOCK, 51 * BLOCK)], {0, 1, 2, 3}),
    ],
)
def test_a_free_block_overlaps_with_nothing(used: list[range], free: set[int]) -> None:
    blocks = [0, BLOCK, 2 * BLOCK, 3 * BLOCK]
    assert {free_block(blocks, used) // BLOCK for _ in range(200)} == free


def test_when_all_are_used_the_host_is_full() -> None:
    with pytest.raises(CapacityExhausted, match="/etc/subuid"):
        free_block([0, BLOCK], [range(2 * BLOCK)])
