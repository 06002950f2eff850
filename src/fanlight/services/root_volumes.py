"""Whether an instance can be held to the size of its root volume."""

from collections.abc import Awaitable, Callable

from fanlight.domain.errors import NotSupported


async def check_root_volume(size_in_gib: int | None, sizes_root_volumes: Callable[[], Awaitable[bool]] | None) -> None:
    """Let a size be given only where the engine holds to it. Raises NotSupported, DriverUnavailable (nobody knows yet)."""
    if size_in_gib is None or sizes_root_volumes is None:
        return
    if not await sizes_root_volumes():
        raise NotSupported(
            "RootVolumeConfig is not supported: the storage pool of this installation does not limit the size of a "
            "root volume. Leave it out, or let the operator use a btrfs pool."
        )
