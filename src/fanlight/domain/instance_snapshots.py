"""What the domain needs of an engine to go back to an earlier state of an instance's disk."""

from collections.abc import Sequence
from typing import Protocol


class InstanceSnapshots(Protocol):
    """Snapshots stand beside their instance in its engine, and go with it. Every call may be repeated."""

    async def create(self, instance_id: str, name: str) -> None:
        """Keep the disk of a stopped instance as it is now. A `name` that is there already is success: it stays as it was.

        Raises InstanceMissing, SnapshotRefused (the instance runs), CapacityExhausted, DriverUnavailable.
        """

    async def names(self, instance_id: str) -> Sequence[str]:
        """Return the snapshots, the oldest first; of an unknown instance there are none. Raises DriverUnavailable."""
        ...

    async def restore(self, instance_id: str, name: str) -> None:
        """Put the disk of a stopped instance back; later snapshots stay. What it had since then is gone.

        Raises InstanceMissing, SnapshotMissing, SnapshotRefused (the instance runs), CapacityExhausted, DriverUnavailable.
        """

    async def delete(self, instance_id: str, name: str) -> None:
        """Unknown is success, also of an unknown instance. Raises DriverUnavailable."""
