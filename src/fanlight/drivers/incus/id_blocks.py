"""Which ids of the host an instance gets: 65,536 of its own.

Left to itself, Incus gives the same ids to instances that are created at the same time. Then one instance's root is the
other's root for the kernel: in its limits, its keyrings and its answer to who is at the other end of a socket.
"""

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable

BLOCK = 65_536
_FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


def blocks_of_host(files: Sequence[Path] = _FILES) -> list[int]:
    """Return the first id of each block that root may hand out, ascending. Raises DriverUnavailable when there is none.

    The first block of a range is left out: Incus gives it to all instances that are not isolated.
    """
    users, groups = ([ids for ids in map(_ids_of_root, _lines(path)) if ids] for path in files)
    blocks = sorted(
        first
        for ids in users
        for first in ids[BLOCK : 1 - BLOCK : BLOCK]
        if any(first in others and first + BLOCK - 1 in others for others in groups)
    )
    if not blocks:
        raise DriverUnavailable(
            f"Root has no ids for instances in {' and '.join(map(str, files))}: scripts/host-setup adds them."
        )
    return blocks


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return ()


def _ids_of_root(line: str) -> range | None:
    owner, _, numbers = line.strip().partition(":")
    first, _, count = numbers.partition(":")
    if owner not in ("root", "0") or not (first.isdigit() and count.isdigit()):
        return None
    return range(int(first), int(first) + int(count))


def ids_of(found: Iterable[Mapping[str, Any]]) -> set[range]:
    """Return the ids that instances in a list of Incus's have, or will have at their next start."""
    return {
        range(int(first), int(first) + int(one["config"].get("security.idmap.size") or BLOCK))
        for one in found
        for key in ("volatile.idmap.base", "security.idmap.base")
        if (first := one["config"].get(key, "")).isdigit()
    }


def free_block(blocks: Sequence[int], used: Iterable[range]) -> int:
    """Return one that overlaps with nothing that is used. Raises CapacityExhausted.

    By chance, so that two installations on one host hardly ever choose the same one in the same moment.
    """
    taken = {
        block
        for ids in used
        for block in blocks[bisect_right(blocks, ids.start - BLOCK) : bisect_left(blocks, ids.stop)]
    }
    free = [block for block in blocks if block not in taken]
    if not free:
        raise CapacityExhausted(
            "All ids that root may give to instances are in use. Add more to /etc/subuid and /etc/subgid."
        )
    return secrets.choice(free)
