"""Time passes in one step: reconcilers bring everything to rest, and the rest is held against what the rules promise."""

from collections.abc import Mapping
from typing import Any

from hypothesis.stateful import rule

from e2e.simulated_system import until
from fanlight.domain.instances import Instance
from random_model.fleets import BASE, SAMPLE, ModelFleet
from random_model.sessions import ModelSession, complaint
from random_model.world import Account

STORE_REFS = {SAMPLE: "fanlight-sample", BASE: "fanlight-base"}


class Resting:
    """The step `settle`; mixed into the machine, which keeps the model."""

    account: Account
    fleets: dict[str, ModelFleet]
    sessions: dict[str, ModelSession]
    draining: set[str]
    targets: dict[str, tuple[int, int]]
    builders: dict[str, str]

    def rest_builders(self) -> None:
        raise NotImplementedError

    def _twice(self, operation: str, **body: Any) -> dict[str, Any]:
        raise NotImplementedError

    @rule()
    def settle(self) -> None:
        """Let the reconcilers bring everything to rest, and expect the rest that the rules promise."""
        for session_id, session in list(self.sessions.items()):
            if session.is_ending or self.fleets[session.fleet].state == "STOPPING":
                del self.sessions[session_id]
        for fleet in self.fleets.values():
            runs = "RUNNING" if fleet.can_launch else "STARTING"
            fleet.state = {"STARTING": runs, "STOPPING": "STOPPED"}.get(fleet.state, fleet.state)
        self.rest_builders()
        self.account.world.run(self._reconcile())
        for name in self.fleets:
            self._note_who_sits_where(name)
        self.targets = {name: bounds for name, bounds in self.targets.items() if name in self.fleets}
        self._check_capacities()

    async def _reconcile(self) -> None:
        async with self.account.world.system.reconciling():
            await until(self._is_at_rest, within=20, what=f"{self.fleets} {self.sessions}")

    async def _is_at_rest(self) -> bool:
        if not self.account.world.system.reconcilers.is_idle:
            return False
        made, _ = await self.account.world.system.services.image_builders.describe(self.account.scope)
        if {builder.name: builder.state for builder in made} != self.builders:
            return False
        described, _ = await self.account.world.system.services.fleets.describe(self.account.scope)
        for each in described:
            fleet = self.fleets.get(each.fleet.name)
            if fleet is None:
                continue
            live = await self._live(each.fleet.name)
            mine = {i for i, s in self.sessions.items() if s.fleet == each.fleet.name}
            if each.fleet.state != fleet.state or live.keys() != mine:
                return False
            instances = tuple((await self._instances(each.fleet.name)).values())
            if fleet.state == "STOPPED" and instances:
                return False
            if fleet.state == "RUNNING" and complaint(fleet, instances, live, STORE_REFS):
                return False
        return True

    async def _live(self, fleet: str) -> Mapping[str, str]:
        async with self.account.world.system.transactions.begin() as work:
            live = await work.sessions.live((await work.fleets.get(self.account.scope, fleet)).fleet_id)
        return {session.session_id: session.state for session in live}

    async def _instances(self, fleet: str) -> Mapping[str | None, Instance]:
        async with self.account.world.system.transactions.begin() as work:
            found = await work.instances.of_fleet((await work.fleets.get(self.account.scope, fleet)).fleet_id)
        return {instance.instance_id: instance for instance in found}

    def _note_who_sits_where(self, name: str) -> None:
        live = self.account.world.run(self._live(name))
        before = {i for i, s in self.sessions.items() if s.fleet == name and s.is_active}
        after = {i for i, state in live.items() if state == "ACTIVE"}
        assert before <= after, "a session that was ACTIVE stays so until it ends"
        for instance in self.account.world.run(self._instances(name)).values():
            assert len(instance.session_ids) <= instance.places, "more sessions than places"
            came = set(instance.session_ids) - before
            assert not came or instance.instance_id not in self.draining, "a session came to a drained instance"
            for session_id in instance.session_ids:
                session = self.sessions[session_id]
                assert session.instance_id in (None, instance.instance_id), "a session has moved"
                session.instance_id = instance.instance_id
            if instance.is_draining:
                self.draining.add(instance.instance_id)
        for session_id in after:
            self.sessions[session_id].is_active = True

    def _check_capacities(self) -> None:
        """At rest, what DescribeFleets says of capacity is what the sessions of the model need."""
        for said in self._twice("DescribeFleets")["Fleets"]:
            fleet, status = self.fleets[said["Name"]], said["ComputeCapacityStatus"]
            codes = {error["ErrorCode"] for error in said["FleetErrors"]}
            assert codes == (set() if fleet.can_launch or fleet.state != "STARTING" else {"SUBNET_NOT_FOUND"})
            active = [s for s in self.sessions.values() if s.fleet == said["Name"] and s.is_active]
            if fleet.state == "STOPPED":
                assert (status["Running"], status["InUse"], status["Available"]) == (0, 0, 0)
            if fleet.state == "RUNNING":
                assert status["InUse"] == len({s.instance_id for s in active})
            if fleet.per_instance is None:
                assert not any("Sessions" in name for name in status)
                continue
            actual = status["AvailableUserSessions"] + status["ActiveUserSessions"]
            assert status["ActualUserSessions"] == actual
            drained = {s.instance_id for s in active} & self.draining
            on_drained = [s for s in active if s.instance_id in drained]
            assert (status["Draining"], status["DrainModeActiveUserSessions"]) == (len(drained), len(on_drained))
            assert status["ActiveUserSessions"] == len(active) - len(on_drained)
