"""What the tests of the services share."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from fanlight.domain.fleets import Fleet, FleetEvent
from fanlight.domain.images import Application
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions
from fanlight.domain.streaming_sessions import StreamingGrant
from fanlight.services import AppStreamServices
from fanlight.services.fleet_wishes import NewFleet
from fanlight.services.image_catalogues import ImageManifest

NOW = datetime(2026, 3, 29, 1, 30, 0, tzinfo=UTC)
HERE = Scope("000000000000", "us-east-1")
OTHER_ACCOUNT = Scope("111111111111", "us-east-1")
OTHER_REGION = Scope("000000000000", "eu-west-1")
ELSEWHERE = (OTHER_ACCOUNT, OTHER_REGION)
SAMPLE_ARN = "arn:aws:appstream:us-east-1::image/Sample"

SAMPLE = ImageManifest(
    store_ref="sample",
    name="Sample",
    display_name="Sample image",
    description="Two applications",
    created_at=NOW,
    agent_version="0.1.0",
    base_image_name="Base",
    applications=(
        Application(name="Editor", display_name="Text editor", launch_path="/usr/bin/editor", icon="editor.png"),
        Application(name="Hidden", display_name="Hidden", launch_path="/usr/bin/hidden", enabled=False),
    ),
)


class MovableClock(Protocol):
    def now(self) -> datetime: ...
    def advance(self, by: timedelta) -> None: ...


@dataclass(frozen=True)
class Rig:
    services: AppStreamServices
    transactions: Transactions
    clock: MovableClock
    woken: list[tuple[str, str]]

    async def fleet(self, name: str = "cad", scope: Scope = HERE) -> Fleet:
        async with self.transactions.begin() as work:
            return await work.fleets.get(scope, name)

    async def apply(self, name: str, *events: FleetEvent, scope: Scope = HERE, **changes: Any) -> Fleet:
        """Do what a reconciler would: let things happen to a fleet."""
        async with self.transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            for event in events:
                fleet = await work.fleets.save(fleet.after(event))
            if changes:
                fleet = await work.fleets.save(replace(fleet, **changes))
            await work.commit()
        return fleet

    async def run_fleet(self, name: str = "cad", scope: Scope = HERE) -> Fleet:
        return await self.apply(name, FleetEvent.START_REQUESTED, FleetEvent.CAPACITY_REACHED, scope=scope)

    async def add_instances(self, fleet: Fleet, *states: InstanceState) -> None:
        async with self.transactions.begin(write=True) as work:
            for number, state in enumerate(states):
                await work.instances.add(
                    Instance(
                        instance_id=f"{fleet.fleet_id}-{number}",
                        scope=fleet.scope,
                        fleet_id=fleet.fleet_id,
                        image_ref="sample",
                        state=state,
                        launched_at=NOW,
                    )
                )
            await work.commit()


def new_fleet(name: str = "cad", **overrides: Any) -> NewFleet:
    defaults: dict[str, Any] = {
        "name": name,
        "instance_type": "stream.standard.medium",
        "desired_instances": 2,
        "image_name": "Sample",
    }
    return NewFleet(**{**defaults, **overrides})


def grant(**overrides: Any) -> StreamingGrant:
    defaults: dict[str, Any] = {
        "scope": HERE,
        "stack_name": "design",
        "fleet_name": "cad",
        "user_id": "ada",
        "application_id": None,
        "session_context": None,
        "expires_at": NOW + timedelta(seconds=60),
    }
    return StreamingGrant(**{**defaults, **overrides})


def query_of(url: str) -> tuple[str, str]:
    """Return parameters and signature of a streaming URL, as a gateway reads them."""
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    return query["parameters"][0], query["signature"][0]
