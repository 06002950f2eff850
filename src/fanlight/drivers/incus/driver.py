"""Run streaming instances on Incus.

Each call may be repeated, also by a successor after a crash: everything that matters is in Incus and in the socket
directories, what is kept in memory only bridges the moments in which Incus does not show yet what it has accepted.
One driver per project at a time: it hands out the addresses. Neighbours: `preparation` makes the surroundings,
`instances` translates, `process` lends this driver to the unprivileged api process.
"""

import asyncio
import logging
import pwd
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fanlight.config import Settings
from fanlight.domain.errors import (
    CapacityExhausted,
    DriverError,
    DriverUnavailable,
    ImageMissing,
    InstanceMissing,
    LaunchRefused,
    SnapshotRefused,
    SubnetUnusable,
)
from fanlight.domain.networks import Networks
from fanlight.domain.ports import Capabilities, InstanceSpec, ObservedInstance, Power
from fanlight.drivers.incus import instances
from fanlight.drivers.incus.bridges import Bridge, PreparedBridges
from fanlight.drivers.incus.client import IncusClient, IncusRefused
from fanlight.drivers.incus.file_systems import FileSystemMounts, Offered, names_in
from fanlight.drivers.incus.id_blocks import BLOCK, free_block, ids_of
from fanlight.drivers.incus.images import NO_ROOM
from fanlight.drivers.incus.power import destroy, start, stop
from fanlight.drivers.incus.preparation import prepare_host, prepare_store
from fanlight.drivers.incus.shares import Shares
from fanlight.drivers.incus.socket_directories import Owner, SocketDirectories
from fanlight.file_systems_file import FileSystemsFileInvalid, read_file_systems
from fanlight.networks_file import NetworksFileInvalid, read_networks

log = logging.getLogger(__name__)

# Below this the kernel is about to end processes, perhaps those of users: better to refuse one more instance.
MEMORY_RESERVE_IN_MIB = 512
_LAUNCHING = "Creating instance"
_QUOTA_DRIVERS = frozenset({"btrfs", "zfs", "lvm"})


class IncusDriver:
    """InstanceDriver on one project of an Incus. Needs root. Call `prepare` first; `close` when done."""

    def __init__(self, settings: Settings, shares: Shares | None = None) -> None:
        """`shares` is one object for all drivers of this host; without it this is the only one."""
        shares = shares or Shares([settings.incus_socket])
        self._settings, self._shares = settings, shares
        self._client = IncusClient(settings.incus_socket, settings.incus_project)
        # As Incus sees them: it compares the paths of mounts with those that the project allows, word by word.
        self._run_dir = settings.effective_run_dir.resolve()
        self._runtimes = (settings.data_dir / "runtime").resolve()
        self._directories: SocketDirectories | None = None
        self._capabilities: Capabilities | None = None
        self._why_unprepared = ""
        self._launches: dict[str, asyncio.Task[None]] = {}
        self._specs: dict[str, InstanceSpec] = {}  # of the launches that are under way
        self._failures: dict[str, ObservedInstance] = {}
        self._blocks: list[int] = []  # of ids, of this host
        self._guard = shares.guard_of(settings)
        self._networks = Networks()
        self._file_systems: Offered = {}
        self._mounts = FileSystemMounts(settings.incus_project)
        self._bridges = PreparedBridges(of_subnet={})
        # By instance; what Incus shows is added at each launch.
        self._seats, self._ways, self._first_uids = shares.seats, shares.ways, shares.first_uids

    @property
    def client(self) -> IncusClient:
        """The connection, for the image store beside this driver."""
        return self._client

    @property
    def project(self) -> str:
        return self._settings.incus_project

    async def close(self) -> None:
        """Let go of the connection. Launches under way go on inside Incus."""
        for launch in self._launches.values():
            launch.cancel()
        await asyncio.gather(*self._launches.values(), return_exceptions=True)
        await self._client.close()

    @property
    def capabilities(self) -> Capabilities:
        """Known once `prepare` has seen the storage pool. Raises DriverUnavailable before."""
        if self._capabilities is None:
            raise DriverUnavailable(f"The engine is not prepared yet. {self._why_unprepared}".strip())
        return self._capabilities

    async def prepare(self) -> None:
        """Make project, network, pool and RUN_DIR/instances ready. Raises DriverUnavailable with what to do."""
        try:
            async with self._shares.preparing:
                await self._prepare()
        except DriverUnavailable as error:
            self._why_unprepared = str(error)
            raise

    async def _prepare(self) -> None:
        directories = self._sockets()
        if not directories.is_short_enough(instances.LONGEST_INSTANCE_ID):
            raise DriverUnavailable(
                f"The run directory {self._run_dir} is too long a path for sockets below it. Set a shorter --run-dir."
            )
        paths = self._disk_paths
        self._blocks = self._shares.blocks_for(self._settings.incus_socket)
        try:
            self._networks = read_networks(self._settings.networks_file, self._settings.incus_subnet)
            self._file_systems = {one.name: one for one in read_file_systems(self._settings)}
        except (NetworksFileInvalid, FileSystemsFileInvalid) as error:
            raise DriverUnavailable(str(error)) from error
        prepared = await prepare_host(self._client, self._settings, self._networks, paths)
        self._bridges = prepared.bridges
        await self._guard_host(await self._list_everywhere())
        await self._guard.restore()
        try:
            directories.prepare()
        except OSError as error:
            raise DriverUnavailable(f"The run directory {self._run_dir} cannot be used: {error}.") from error
        self._capabilities = Capabilities(
            isolates_network=True,
            enforces_disk_quota=prepared.pool_driver in _QUOTA_DRIVERS,
            streams_pixels=True,
            separates_users=True,
        )

    async def prepare_store(self) -> None:
        """Make pool and project ready, for building images and not for launching. Raises DriverUnavailable."""
        await prepare_store(self._client, self._settings, self._disk_paths)

    async def restore_guard(self) -> bool:
        """Guard the host again if somebody took the guard away or changed it; return whether that was so.

        It is made anew from what Incus shows now. Raises DriverUnavailable.
        """
        was_gone = await self._guard.restore()
        await self._guard_host(await self._list_everywhere())
        return was_gone

    async def _guard_host(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Load the guard for what Incus shows and what is being launched. Raises DriverUnavailable."""
        shown = {one["name"]: way for one in found if (way := instances.way_of(one))} | self._ways
        ours = {name: way for name, way in shown.items() if way.bridge in self._bridges.names}
        await self._guard.load(self._bridges, self._networks, ours)

    async def remove_leftovers(self, others: Sequence["IncusDriver"] = ()) -> None:
        """Remove socket directories that have no instance, here or at the others. Raises DriverUnavailable.

        Only for the process that launches: it alone knows which directories wait for an instance that it asks for now.
        """
        directories, engines = self._sockets(), (self, *others)
        try:
            for instance_id in (directories.ids() | self._mounts.ids()).difference(
                *[await one.being_created() for one in engines]
            ):
                async with self._lock(instance_id):
                    if not any([await one.has(instance_id) for one in engines]):
                        self._remove_directories(instance_id)
                        log.info("socket directories without an instance removed", extra={"instance_id": instance_id})
        except OSError as error:
            raise DriverUnavailable(f"The run directory {self._run_dir} cannot be used: {error}.") from error

    async def launch(self, spec: InstanceSpec) -> None:
        """Return once accepted, not once running.

        Raises CapacityExhausted, ImageMissing, NetworkUnusable, LaunchRefused, DriverUnavailable. The label `runtime_version` chooses
        the runtime; without it the instance gets the newest that is installed, and the label that says which it was.
        """
        _check(spec)
        async with self._lock(spec.instance_id):
            if spec.instance_id in self._launches or await self._find(spec.instance_id):
                return
            await self._check_image(spec.image_ref)
            _check_memory()
            runtime = _runtime(self._runtimes, spec.labels.get(instances.RUNTIME_VERSION_LABEL))
            labelled = replace(spec, labels={**spec.labels, instances.RUNTIME_VERSION_LABEL: runtime.name})
            try:
                await self._begin(labelled, await self._place_of(labelled, runtime))
            except IncusRefused as refused:
                self._forget(spec.instance_id)
                if refused.says(*NO_ROOM):
                    raise CapacityExhausted(f"No room for {spec.instance_id}: {refused.text}.") from refused
                raise LaunchRefused(f"The engine refuses {spec.instance_id}: {refused.text}.") from refused

    async def has(self, instance_id: str) -> bool:
        """Return whether it is here, or being launched. Raises DriverUnavailable."""
        can_exist = instances.INSTANCE_ID.fullmatch(instance_id) is not None
        return can_exist and (instance_id in self._launches or await self._find(instance_id) is not None)

    async def start(self, instance_id: str, runtime_version: str | None = None) -> None:
        """Start a stopped instance on its own disk, and return once it runs. Its address and its ids are still its own.

        Raises InstanceMissing, CapacityExhausted, LaunchRefused, DriverUnavailable.
        """
        async with self._lock(instance_id):
            found = await self._find(instance_id) if instances.INSTANCE_ID.fullmatch(instance_id) else None
            if found is None:
                raise InstanceMissing(f"The engine has no instance {instance_id}.")
            if found["status"] in ("Running", "Ready", "Starting"):
                return
            _check_memory()
            self._make_directories(instance_id)
            if names := names_in(found["devices"]):
                await self._mount(instance_id, names, int(found["config"]["security.idmap.base"]))
            try:
                if runtime_version is not None:
                    await self._client.run(
                        "PATCH", f"instances/{instance_id}", self._with_runtime(found, runtime_version)
                    )
                await self._guard_host(await self._list_everywhere())
                await start(self._client, instance_id)
            except IncusRefused as refused:
                if refused.is_missing:
                    raise InstanceMissing(f"The engine has no instance {instance_id}.") from refused
                if refused.says(*NO_ROOM):
                    raise CapacityExhausted(f"No room for {instance_id}: {refused.text}.") from refused
                raise LaunchRefused(f"The engine does not start {instance_id}: {refused.text}.") from refused

    @asynccontextmanager
    async def standing_still(self, instance_id: str) -> AsyncIterator[IncusClient]:
        """Keep others from a stopped instance while the block runs; its socket directories are there meanwhile.

        Incus takes no change of an instance whose mounts have no source. Raises InstanceMissing, SnapshotRefused,
        DriverUnavailable.
        """
        async with self._lock(instance_id):
            found = await self._find(instance_id) if instances.INSTANCE_ID.fullmatch(instance_id) else None
            if found is None:
                raise InstanceMissing(f"The engine has no instance {instance_id}.")
            if found["status"] != "Stopped":
                raise SnapshotRefused(f"The instance {instance_id} is {found['status']}: stop it first.")
            self._make_directories(instance_id)
            self._mounts.make(instance_id, names_in(found["devices"]), {}, 0)
            try:
                yield self._client
            finally:
                with suppress(OSError):  # `remove_leftovers` looks again
                    self._remove_directories(instance_id)

    def _with_runtime(self, found: Mapping[str, Any], version: str) -> dict[str, Any]:
        """Return the change that mounts another runtime. Raises LaunchRefused when it is not installed."""
        runtime = _runtime(self._runtimes, version)
        device = {**found["devices"]["runtime"], "source": str(runtime)}
        return {"devices": {"runtime": device}, "config": {instances.RUNTIME_LABEL: runtime.name}}

    async def stop(self, instance_id: str) -> None:
        """Return once it stands still. Its disk stays, its socket directories go. Raises DriverUnavailable."""
        if not instances.INSTANCE_ID.fullmatch(instance_id):
            return
        async with self._lock(instance_id):
            if launch := self._launches.get(instance_id):
                await asyncio.wait([launch])
            if await self._find(instance_id) is None:
                return
            try:
                await stop(self._client, instance_id)
                self._remove_directories(instance_id)
            except IncusRefused as refused:
                raise DriverUnavailable(f"The engine does not stop {instance_id}: {refused.text}.") from refused
            except OSError as error:
                text = f"The socket directories of {instance_id} cannot be removed: {error}."
                raise DriverUnavailable(text) from error

    async def terminate(self, instance_id: str) -> None:
        """Destroy it and its socket directories. Unknown or already gone is success. Raises DriverUnavailable."""
        if not instances.INSTANCE_ID.fullmatch(instance_id):
            return  # never launched: no instance can have such an id
        async with self._lock(instance_id):
            if launch := self._launches.get(instance_id):
                await asyncio.wait([launch])  # Incus refuses to stop or delete what it is still creating
            if await self._find(instance_id):
                await self._destroy(instance_id)
            self._forget(instance_id)

    async def observe(self) -> Sequence[ObservedInstance]:
        """Return everything this installation launched and nothing else. Raises DriverUnavailable."""
        launching = set(self._launches)
        found = await self._list()
        if any(one["status"] == "Stopped" and one["name"] not in launching for one in found):
            # Ended by itself, or a launch that a predecessor of this process began: ask in this order, so that one
            # which comes up in between is seen running.
            launching |= await self.being_created()
            found = await self._list()
        observed = {
            one["name"]: instances.observation_of(one, is_being_launched=one["name"] in launching) for one in found
        }
        for instance_id, spec in self._specs.items():  # accepted, perhaps not in the list yet
            starting = ObservedInstance(instance_id=instance_id, power=Power.STARTING, labels=dict(spec.labels))
            observed.setdefault(instance_id, starting)
        return list((observed | self._failures).values())

    async def runtimes_in_use(self) -> set[str]:
        """Return the versions of the runtime that instances have mounted. Raises DriverUnavailable."""
        return {
            Path(one["devices"]["runtime"]["source"]).name for one in await self._list() if "runtime" in one["devices"]
        }

    async def changes(self) -> AsyncIterator[str]:
        """Yield instance ids to look at again, until the connection to Incus ends. Raises DriverUnavailable."""
        async with aclosing(self._client.events()) as events:
            async for event in events:
                words = str(event.get("source", "")).partition("?")[0].split("/")
                if words[:3] == ["", "1.0", "instances"] and len(words) > 3:  # noqa: PLR2004 - /1.0/instances/NAME
                    yield words[3]

    # ── Launch ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _place_of(self, spec: InstanceSpec, runtime: Path) -> instances.Place:
        """Make the socket directories, choose address and ids, open its way out.

        Raises CapacityExhausted, NetworkUnusable, DriverUnavailable.
        """
        directories = self._sockets()
        file_systems = self._mounts.devices_of(spec.instance_id, spec.file_systems, self._file_systems)
        await self._reserve(spec)
        try:
            self._make_directories(spec.instance_id)
            await self._mount(spec.instance_id, names_in(file_systems), self._first_uids[spec.instance_id])
        except DriverUnavailable:
            self._release(spec.instance_id)
            raise
        return instances.Place(
            host_sockets=directories.host(spec.instance_id),
            guest_sockets=directories.guest(spec.instance_id),
            runtime=runtime,
            pool=self._settings.incus_pool,
            first_uid=self._first_uids[spec.instance_id],
            seat=self._seats.get(spec.instance_id),
            file_systems=file_systems,
        )

    def _make_directories(self, instance_id: str) -> None:
        """Raises DriverUnavailable."""
        try:
            self._sockets().make(instance_id)
        except OSError as error:
            raise DriverUnavailable(f"The socket directories of {instance_id} cannot be made: {error}.") from error

    async def _mount(self, instance_id: str, names: Sequence[str], first_uid: int) -> None:
        """Raises DriverUnavailable."""
        try:
            await asyncio.to_thread(self._mounts.make, instance_id, names, self._file_systems, first_uid)
        except OSError as error:
            raise DriverUnavailable(f"The file systems of {instance_id} cannot be mounted: {error}.") from error

    def _remove_directories(self, instance_id: str) -> None:
        """Raises OSError."""
        self._mounts.remove(instance_id)
        self._sockets().remove(instance_id)

    @property
    def _disk_paths(self) -> tuple[Path, ...]:
        return (self._run_dir / "instances", self._runtimes, self._mounts.root)

    async def _reserve(self, spec: InstanceSpec) -> None:
        """Choose address and ids, and let the guard know. Raises CapacityExhausted, NetworkUnusable, DriverUnavailable."""
        bridges = self._bridges_for(spec)
        found = await self._list_everywhere()
        # No await between choosing and remembering: two launches never get the same.
        ids = {range(first, first + BLOCK) for first in self._first_uids.values()}
        self._first_uids[spec.instance_id] = free_block(self._blocks, ids | ids_of(found))
        if not bridges:
            return
        used = instances.addresses_of(found) | {str(seat.address) for seat in self._seats.values()}
        try:
            seat = instances.free_seat(bridges, used)
            self._seats[spec.instance_id], self._ways[spec.instance_id] = seat, instances.way_to(seat, spec)
            await self._guard_host(found)
        except DriverError:
            self._release(spec.instance_id)
            raise

    def _bridges_for(self, spec: InstanceSpec) -> list[Bridge]:
        """Return where the instance may have its interface; none when it gets none. Raises NetworkUnusable."""
        self._networks.check(spec.subnet_ids, spec.security_group_ids)
        if not spec.subnet_ids:
            return [self._bridges.of_subnet[""]] if spec.has_internet_access else []
        usable = [self._bridges.of_subnet[one] for one in spec.subnet_ids if one in self._bridges.of_subnet]
        if not usable:
            raise SubnetUnusable(" ".join(self._bridges.unusable.get(one, "") for one in spec.subnet_ids).strip())
        return usable

    async def _list_everywhere(self) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = await self._client.get_everywhere("instances", recursion=1)
        except IncusRefused as refused:
            raise DriverUnavailable(f"The engine does not list its instances: {refused.text}.") from refused
        return found

    def _release(self, instance_id: str) -> None:
        self._seats.pop(instance_id, None)
        self._ways.pop(instance_id, None)
        self._first_uids.pop(instance_id, None)

    async def _begin(self, spec: InstanceSpec, place: instances.Place) -> None:
        operation = await self._client.send("POST", "instances", instances.request_of(spec, place))
        if operation:
            self._specs[spec.instance_id] = spec
            launch = asyncio.create_task(self._follow(spec.instance_id, operation), name=f"launch {spec.instance_id}")
            self._launches[spec.instance_id] = launch

    async def _follow(self, instance_id: str, operation: str) -> None:
        """Wait for the end of a launch and remember its failure until the instance is terminated."""
        try:
            await self._client.wait(operation)
        except IncusRefused as refused:
            # Missing: finished, and forgotten by Incus before we asked. Exists: a predecessor of this process was first.
            if not (refused.is_missing or refused.says("already exists", "unique constraint")):
                self._failures[instance_id] = ObservedInstance(
                    instance_id=instance_id,
                    power=Power.FAILED,
                    labels=dict(self._specs[instance_id].labels),
                    detail=refused.text,
                )
                log.warning("launch failed", extra={"instance_id": instance_id, "reason": refused.text})
        except DriverUnavailable as error:
            # Nothing is known; the next observation tells.
            log.warning("launch lost sight of", extra={"instance_id": instance_id, "reason": str(error)})
        finally:
            del self._launches[instance_id], self._specs[instance_id]

    async def _check_image(self, ref: str) -> None:
        """Raises ImageMissing. Incus itself would notice only after it has accepted the launch."""
        try:
            await self._client.get(f"images/aliases/{ref}")
        except IncusRefused as refused:
            if refused.is_missing:
                raise ImageMissing(ref) from refused
            raise DriverUnavailable(f"The engine does not show the image {ref}: {refused.text}.") from refused

    def _forget(self, instance_id: str) -> None:
        self._failures.pop(instance_id, None)
        self._release(instance_id)
        try:
            self._remove_directories(instance_id)
        except OSError as error:
            raise DriverUnavailable(f"The socket directories of {instance_id} cannot be removed: {error}.") from error

    # ── Incus ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _destroy(self, instance_id: str) -> None:
        try:
            await destroy(self._client, instance_id)
        except IncusRefused as refused:
            raise DriverUnavailable(f"The engine does not destroy {instance_id}: {refused.text}.") from refused

    async def _find(self, instance_id: str) -> dict[str, Any] | None:
        """Return what Incus says of one instance of ours, or None."""
        try:
            found: dict[str, Any] = await self._client.get(f"instances/{instance_id}")
        except IncusRefused as refused:
            if refused.is_missing:
                return None
            raise DriverUnavailable(f"The engine does not show {instance_id}: {refused.text}.") from refused
        return found if instances.is_ours(found) else None

    async def _list(self) -> list[dict[str, Any]]:
        try:
            found = await self._client.get("instances", recursion=1)
        except IncusRefused as refused:
            raise DriverUnavailable(f"The engine does not list its instances: {refused.text}.") from refused
        return [one for one in found if instances.is_ours(one)]

    async def being_created(self) -> set[str]:
        """Return the instances that Incus is creating now."""
        with suppress(IncusRefused):
            operations = await self._client.get("operations", recursion=1)
            return {
                path.partition("?")[0].rpartition("/")[2]
                for one in operations.get("running", [])
                if one["description"] == _LAUNCHING
                for path in one["resources"].get("instances", [])
            }
        return set()

    # ── This host ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _lock(self, instance_id: str) -> asyncio.Lock:
        return self._shares.lock(instance_id)

    def _sockets(self) -> SocketDirectories:
        if self._directories is None:
            api, storage = (self._account_of(user) for user in (self._settings.api_user, self._settings.storage_user))
            owner = Owner(api.pw_uid, api.pw_gid, storage.pw_uid)
            self._directories = SocketDirectories(self._run_dir, owner)
        return self._directories

    @staticmethod
    def _account_of(user: str) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(user)
        except KeyError:
            raise DriverUnavailable(
                f"The user {user} does not exist on this host: scripts/host-setup makes it."
            ) from None


def _check(spec: InstanceSpec) -> None:
    """Raises LaunchRefused for what no engine of this kind could take."""
    if not instances.INSTANCE_ID.fullmatch(spec.instance_id):
        raise LaunchRefused(
            f"{spec.instance_id!r} cannot be the id of an instance: a letter first, then letters, digits and hyphens, "
            f"at most {instances.LONGEST_INSTANCE_ID} in lower case."
        )
    if min(spec.cpu_count, spec.memory_in_mib, spec.disk_in_gib) < 1:
        raise LaunchRefused(f"Instance {spec.instance_id} needs at least one processor, 1 MiB and 1 GiB of disk.")
    for name, value in spec.labels.items():
        if not instances.LABEL_NAME.fullmatch(name) or not _is_label_value(value):
            raise LaunchRefused(f"The label {name!r} of instance {spec.instance_id} cannot be stored by this engine.")


def _is_label_value(value: str) -> bool:
    return len(value) <= instances.LONGEST_LABEL_VALUE and value.isprintable()


def _check_memory() -> None:
    """Raises CapacityExhausted when the host itself is nearly out of memory. Limits alone allow more than there is."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and int(value.split()[0]) < MEMORY_RESERVE_IN_MIB * 1024:
            raise CapacityExhausted(
                f"This host has less than {MEMORY_RESERVE_IN_MIB} MiB of memory left. Lower the capacity of fleets."
            )


def _runtime(installed: Path, version: str | None) -> Path:
    """Return the directory of a runtime. Raises LaunchRefused when it is not installed."""
    chosen = (installed / (version or "current")).resolve()
    # The version comes from the less privileged api process: it names a child of the directory, and nothing else.
    if chosen.parent != installed or not (chosen / "bin" / "fanlight-init").is_file():
        raise LaunchRefused(
            f"The runtime {version or 'current'} is not installed in {installed}. Build it with: fanlight images build"
        )
    return chosen
