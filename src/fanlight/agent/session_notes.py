"""Notes of sessions that have folders, on the disk of their instance: what an agent that begins anew must know of them.

They stand beside the caches of their folders, for root alone, and go with them at the session's end.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fanlight.agent.rclone import CACHES
from fanlight.agentwire.messages import StorageMount

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionNote:
    """Which session sits on a seat, and how its files are reached."""

    seat: int
    session_id: str
    mounts: tuple[StorageMount, ...]

    def write(self, root: Path = Path("/")) -> None:
        """Write it as a whole or not at all; the caches' directory is there. Raises OSError."""
        path = root / CACHES.lstrip("/") / str(self.seat) / "session.json"
        fresh = path.with_suffix(".new")
        content = json.dumps({"session_id": self.session_id, "mounts": [asdict(one) for one in self.mounts]})
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(content)
        fresh.replace(path)


def found_notes(root: Path = Path("/")) -> list[SessionNote]:
    """Return what an earlier life of the instance left; a note that cannot be read is passed over."""
    notes = []
    for path in sorted((root / CACHES.lstrip("/")).glob("*/session.json")):
        try:
            kept = json.loads(path.read_bytes())
            mounts = tuple(StorageMount(**one) for one in kept["mounts"])
            notes.append(SessionNote(int(path.parent.name), str(kept["session_id"]), mounts))
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("a session that was cut short is not known any more", extra={"why": str(error)})
    return notes
