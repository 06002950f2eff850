"""Let time pass for one session without waiting for it: its stored times move into the past.

Time-outs are enforced from stored times, also by a process that has just begun. So the rows of a real installation are
moved, its API process is killed, and what comes up in its place finds that the time is over.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

from e2e.installation import Installation

PATIENCE_IN_SECONDS = 10.0
PAST = ("created_at", "started_at", "connected_since", "disconnected_at", "idle_since")


def pass_time(installation: Installation, session_id: str, by: timedelta) -> None:
    """Let the session be older by so much, and the process that reads it be a new one."""
    _move(installation, session_id, dict.fromkeys((*PAST, "max_expires_at"), -by))


def expire_at(installation: Installation, session_id: str, moment: datetime) -> None:
    """Let the session's longest duration be over at that moment: as if it had begun so much earlier."""
    by = moment - stored_time(installation, session_id, "max_expires_at")
    _move(installation, session_id, {"max_expires_at": by})


def stored_time(installation: Installation, session_id: str, column: str) -> datetime:
    with _database(installation) as database:
        query = f"SELECT {column} FROM streaming_sessions WHERE session_id = ?"
        ((stored,),) = database.execute(query, (session_id,))
    return _read(stored)


def _move(installation: Installation, session_id: str, by: dict[str, timedelta]) -> None:
    with _database(installation) as database:
        row = database.execute(
            f"SELECT {', '.join(by)} FROM streaming_sessions WHERE session_id = ?",
            (session_id,),
        ).fetchone()
        moved = {n: _written(_read(v) + by[n]) for n, v in zip(by, row, strict=True) if v is not None}
        changes = ", ".join(f"{name} = :{name}" for name in moved)
        # A newer version: what the running process read before must not be written over this.
        database.execute(
            f"UPDATE streaming_sessions SET {changes}, version = version + 1 WHERE session_id = :id",
            {**moved, "id": session_id},
        )
    installation.kill("api")
    installation.wait_until_it_answers()


def note_minutes(installation: Installation, fleet: str, count: int) -> None:
    """Let the metrics of a fleet say for the minutes before this one what is the case now."""
    client = installation.client()
    capacity = client.describe_fleets(Names=[fleet])["Fleets"][0]["ComputeCapacityStatus"]
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    with _database(installation) as database:
        for ago in range(1, count + 1):
            database.execute(
                "INSERT OR REPLACE INTO fleet_observations (account_id, region, fleet_name, at, is_always_on, available,"
                " in_use, pending, insufficient_capacity_errors) VALUES ('000000000000', 'us-east-1', ?, ?, 1, ?, ?, 0, 0)",
                (fleet, _written(minute - timedelta(minutes=ago)), capacity["Available"], capacity["InUse"]),
            )


@contextmanager
def _database(installation: Installation) -> Iterator[sqlite3.Connection]:
    """One transaction on the database of a running installation, which waits for its turn like any other writer."""
    path = installation.data_dir / "state" / "fanlight.db"
    with closing(sqlite3.connect(path, timeout=PATIENCE_IN_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
