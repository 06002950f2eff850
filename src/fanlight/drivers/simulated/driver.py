"""InstanceDriver over asyncio tasks. What must survive stands in DATA_DIR/simulated; a new process plays it on."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from fanlight.domain.errors import (
    CapacityExhausted,
    DriverUnavailable,
    ImageMissing,
    InstanceMissing,
    SubnetExhausted,
)
from fanlight.domain.images import UPDATED_PROPERTY
from fanlight.domain.networks import NetworkInterface, Networks, free_address, interface_id_of, mac_of
from fanlight.domain.partial_sights import PartlyUnavailable
from fanlight.domain.ports import Capabilities, InstanceSpec, ObservedInstance, Power
from fanlight.drivers.hints import Hints
from fanlight.drivers.simulated.faults import Faults
from fanlight.drivers.simulated.guest import SimulatedGuest
from fanlight.drivers.simulated.images import SimulatedImageStore
from fanlight.drivers.simulated.records import Record, Records, check_id

_REGIONS = ("us-east-1", "us-west-2", "eu-west-1")  # what answers, of the usual ones, when a fault takes others away


class SimulatedDriver:
    """One for each data directory. `close` at the end of the process keeps every instance for the next one."""

    def __init__(
        self,
        *,
        data_dir: Path,
        run_dir: Path,
        images: SimulatedImageStore,
        boot_seconds: float = 0.0,
        faults: Faults | None = None,
        networks: Networks | None = None,
        default_network: str = "10.124.0.1/16",
    ) -> None:
        self.faults = faults or Faults()
        self._networks, self._default_network = networks or Networks(), IPv4Interface(default_network)
        self._homes = run_dir / "instances"
        self._images, self._boot_seconds = images, boot_seconds
        self._records = Records(data_dir / "simulated" / "instances")
        self._known: dict[str, Record] = {}
        self._guests: dict[str, asyncio.Task[None]] = {}
        self._hints = Hints()

    @property
    def capabilities(self) -> Capabilities:
        # Simulated instances have no disk that could outgrow its size.
        return Capabilities(
            isolates_network=False, enforces_disk_quota=True, streams_pixels=False, separates_users=False
        )

    async def prepare(self) -> None:
        """Read the records and play on. Raises DriverUnavailable when told to."""
        self._check()
        self._records.prepare()
        self._homes.mkdir(parents=True, exist_ok=True)
        for record in self._records.all():
            if record.spec.instance_id not in self._known:
                self._known[record.spec.instance_id] = record
                self._power_on(record)

    async def close(self) -> None:
        for instance_id in list(self._guests):
            await self._power_off(instance_id)

    async def launch(self, spec: InstanceSpec) -> None:
        self._check(spec)
        if spec.instance_id in self._known:
            return
        if self.faults.launch_error is not None:
            raise self.faults.launch_error
        if not self._images.has(spec.image_ref):
            raise ImageMissing(spec.image_ref)
        if self.faults.capacity is not None and len(self._known) >= self.faults.capacity:
            raise CapacityExhausted(f"The simulated engine has room for {self.faults.capacity} instances.")
        boot = self.faults.boot_seconds
        subnet_id, address = self._seat_for(spec)
        record = Record(
            spec=spec,
            launched_at=time.time(),
            boot_seconds=self._boot_seconds if boot is None else boot,
            address=address,
            subnet_id=subnet_id,
        )
        self._records.save(record)
        self._known[spec.instance_id] = record
        self._power_on(record)
        self._hints.tell(spec.instance_id)

    async def start(self, instance_id: str, runtime_version: str | None = None) -> None:
        """A simulated instance mounts no runtime. What was on its display is gone, as after any boot; files are there."""
        record = self._known.get(instance_id)
        self._check(record.spec if record else None)
        if record is None:
            raise InstanceMissing(f"The simulated engine has no instance {instance_id}.")
        if record.power is Power.RUNNING:
            return
        if runtime_version is not None:
            labels = {**record.spec.labels, "runtime_version": runtime_version}
            record.spec = replace(record.spec, labels=labels)
        record.power, record.launched_at = Power.RUNNING, time.time()
        has_files = self.faults.unsent is not None
        record.sessions = [replace(s, flushes=True) for s in record.sessions if has_files and not s.has_ended]
        self._records.save(record)
        self._power_on(record)
        self._hints.tell(instance_id)

    async def stop(self, instance_id: str) -> None:
        self._check(self._known[instance_id].spec if instance_id in self._known else None)
        if instance_id in self._known:
            await self.halt(instance_id)
            await asyncio.to_thread(shutil.rmtree, self._homes / check_id(instance_id), ignore_errors=True)

    async def terminate(self, instance_id: str) -> None:
        self._check(self._known[instance_id].spec if instance_id in self._known else None)
        record = self._known.pop(instance_id, None)
        await self._power_off(instance_id)
        # The directories first: a crash in between leaves a record, and that is played on and terminated again. And
        # always: an instance that was lost left them behind.
        await asyncio.to_thread(shutil.rmtree, self._homes / check_id(instance_id), ignore_errors=True)
        self._records.remove(instance_id)
        if record is not None:
            self._hints.tell(instance_id)

    async def observe(self) -> Sequence[ObservedInstance]:
        self._check()
        seen = [
            ObservedInstance(
                instance_id=instance_id,
                power=record.power,
                labels=dict(record.spec.labels),
                first_uid=os.getuid(),
                interface=_interface_of(record),
            )
            for instance_id, record in self._known.items()
        ]
        if away := self.faults.away_regions:
            answering = {*_REGIONS, *(one.labels.get("region", "") for one in seen)} - away
            shown = [one for one in seen if one.labels.get("region") in answering]
            raise PartlyUnavailable(f"Away: {', '.join(away)}.", seen=shown, regions=sorted(answering))
        return seen

    def changes(self) -> AsyncIterator[str]:
        return self._hints.listen()

    async def halt(self, instance_id: str) -> None:
        """A fault: the instance ends by itself, and the engine still knows it."""
        record = self._known[instance_id]
        record.power = Power.STOPPED
        self._records.save(record)
        await self._power_off(instance_id)
        self._hints.tell(instance_id)

    async def lose(self, instance_id: str) -> None:
        """A fault: the instance vanishes without a word, as with a host that died."""
        self._known.pop(instance_id)
        await self._power_off(instance_id)
        self._records.remove(instance_id)

    def record_of(self, instance_id: str) -> Record | None:
        """Return what is remembered of an instance, for the snapshots beside this driver. Raises as the driver does."""
        record = self._known.get(instance_id)
        self._check(record.spec if record else None)
        return record

    def save(self, record: Record) -> None:
        """Make a change of a record durable, as long as its instance is there."""
        if record.spec.instance_id in self._known:
            self._records.save(record)

    def _seat_for(self, spec: InstanceSpec) -> tuple[str, str]:
        """Return subnet and address, chosen as the real engine does. Raises NetworkUnusable, SubnetExhausted."""
        self._networks.check(spec.subnet_ids, spec.security_group_ids)
        hosts = {self._networks.subnets[one].host: one for one in spec.subnet_ids}
        if not hosts and spec.has_internet_access:
            hosts = {self._default_network: ""}
        if not hosts:
            return "", ""
        used = {IPv4Address(record.address) for record in self._known.values() if record.address}
        found = free_address(list(hosts), used)
        if found is None:
            raise SubnetExhausted("All addresses of the fleet's subnets are in use.")
        return hosts[found[0]], str(found[1])

    def _check(self, spec: InstanceSpec | None = None) -> None:
        if self.faults.unavailable is not None:
            raise self.faults.unavailable
        if spec is not None and spec.labels.get("region") in self.faults.away_regions:
            raise DriverUnavailable(f"The engine of {spec.labels['region']} does not answer.")

    def _power_on(self, record: Record) -> None:
        if record.power is not Power.RUNNING:
            return
        home = self._homes / record.spec.instance_id
        # mkdir obeys the umask, and these modes are part of the contract.
        for directory, mode in ((home, 0o710), (home / "host", 0o755), (home / "guest", 0o777)):
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)
        is_updated = self._images.properties_of(record.spec.image_ref).get(UPDATED_PROPERTY) == "true"
        guest = SimulatedGuest(record, home, self.faults, lambda: self.save(record), is_updated=is_updated)
        instance_id = record.spec.instance_id
        self._guests[instance_id] = asyncio.create_task(guest.run(), name=f"simulated instance {instance_id}")

    async def _power_off(self, instance_id: str) -> None:
        if task := self._guests.pop(instance_id, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _interface_of(record: Record) -> NetworkInterface | None:
    if not record.address:
        return None
    interface_id = interface_id_of(mac_of(IPv4Address(record.address)))
    return NetworkInterface(interface_id=interface_id, address=record.address, subnet_id=record.subnet_id)
