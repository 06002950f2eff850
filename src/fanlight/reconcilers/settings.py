"""What the reconcilers may be told. Everything else about their behaviour stands in the planners."""

from dataclasses import dataclass
from datetime import timedelta

from fanlight.domain.instance_plan import UNSENT_KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerSettings:
    """`installation` tells our instances from those of another installation on the same engine.

    `launches_in_flight` at a time: more make each slower and the first one later. `disk_in_gib` is each instance's
    limit, not a reservation. `unsent_files_kept` is how long an instance stays to send what users saved in it;
    `losses_kept` how long it is known that some were lost, for the user who comes back.
    """

    installation: str = "fanlight"
    capacity_wait: timedelta = timedelta(seconds=30)
    expired_sessions_kept: timedelta = timedelta(hours=1)
    nimble_deleted_kept: timedelta = timedelta(minutes=30)
    unsent_files_kept: timedelta = UNSENT_KEPT
    losses_kept: timedelta = timedelta(days=30)
    launches_in_flight: int = 8
    disk_in_gib: int = 10
    sweep_interval: timedelta = timedelta(seconds=30)
    look_interval: timedelta = timedelta(seconds=5)
    prune_interval: timedelta = timedelta(seconds=60)
    shortest_backoff: timedelta = timedelta(seconds=1)
    longest_backoff: timedelta = timedelta(seconds=60)
    home_folder_quota_in_bytes: int | None = None  # of each user
    application_settings_limit_in_bytes: int = 2**30  # of each user and settings group

    def backoff(self, failures: int) -> timedelta:
        """Return how long to wait after so many failures in a row, at least one."""
        return min(self.shortest_backoff * (1 << min(failures - 1, 16)), self.longest_backoff)
