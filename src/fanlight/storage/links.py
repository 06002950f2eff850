"""Symbolic links in the directory of the buckets: nobody can make one through S3 or a door, but who works there might.

rclone lists none and reads none, but writes through them, to wherever they lead.
"""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

# Whether one of the names that lead from a user's folder to a file is a link.
LeadsAway = Callable[[Sequence[bytes]], bool]


def no_links(_: Sequence[bytes]) -> bool:
    """S3 has none."""
    return False


def links_below(folder: Path) -> LeadsAway:
    def leads_away(steps: Sequence[bytes]) -> bool:
        place = os.fsencode(folder)
        for step in steps:
            place += b"/" + step
            try:
                if stat.S_ISLNK(os.lstat(place).st_mode):
                    return True
            except OSError:  # nothing is there, so nothing below it
                return False
        return False

    return leads_away
