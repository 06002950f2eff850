"""Clients for Nimble Studio, which botocore knows no longer: today's botocore, told the model again.

What old clients send themselves is tried with them (tests/e2e); this one is for rules.
"""

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.errors import ChangedMeanwhile
from fanlight.domain.networks import Networks, SecurityGroup, Subnet
from fanlight.domain.nimble.eulas import Eula
from fanlight.domain.nimble.identifiers import ResourceKind, new_id
from fanlight.domain.nimble.launch_profiles import LaunchProfile
from fanlight.domain.nimble.resources import Resource, ResourceState, Status
from fanlight.domain.nimble.streaming_images import StreamingImage
from fanlight.domain.nimble.studio_components import StudioComponent
from fanlight.domain.nimble.studios import Studio as StoredStudio
from fanlight.domain.places import Scope
from fanlight.nimble_client import write_model as write
from fanlight.reconcilers.nimble_resources import NimbleResourceReconciler
from fanlight.services import AppStreamServices
from fanlight.store import Store

KEY = AccessKey(
    access_key_id="AKIDNIMBLE",
    secret_access_key="secret/of+the+tests",
    account_id="000000000000",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
EULAS = tuple(
    Eula(
        name=f"Eula {number}",
        content="https://example.com/eula",
        images=("sample",),
        written_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    for number in range(60)
)
DELETED_KEPT = timedelta(minutes=30)
NETWORKS = Networks(
    subnets={"subnet-1": Subnet(subnet_id="subnet-1", host=IPv4Interface("10.9.0.1/24"))},
    groups={"sg-1": SecurityGroup(group_id="sg-1")},
)


class Clock:
    """The wall clock, and what a test moves it by."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


NEW_COMPONENT: dict[str, Any] = {"name": "tools", "type": "CUSTOM"}


def new_profile(component_id: str, image_id: str, **changes: Any) -> dict[str, Any]:
    """Return what CreateLaunchProfile needs; `changes` replace members of the stream configuration."""
    return {
        "name": "artists",
        "ec2SubnetIds": ["subnet-1"],
        "launchProfileProtocolVersions": ["2021-03-31"],
        "studioComponentIds": [component_id],
        "streamConfiguration": {
            "clipboardMode": "ENABLED",
            "ec2InstanceTypes": ["g4dn.xlarge"],
            "streamingImageIds": [image_id],
            **changes,
        },
    }


NEW_STUDIO = {
    "studioName": "lumen",
    "displayName": "Lumen Pictures",
    "adminRoleArn": "arn:aws:iam::000000000000:role/admins",
    "userRoleArn": "arn:aws:iam::000000000000:role/users",
}


def write_model(directory: Path) -> Path:
    """Write the model, with waiters that do not wait between two looks; return the directory for a search path."""
    write(directory)
    path = directory / "nimble" / "2020-08-01" / "waiters-2.json"
    waiters = json.loads(path.read_text())["waiters"]
    path.write_text(json.dumps({"version": 2, "waiters": {name: {**one, "delay": 0} for name, one in waiters.items()}}))
    return directory


def nimble_client(url: str, key: AccessKey, models: Path, *, region: str = "us-east-1") -> Any:
    return model_session(models).client(
        "nimble",
        endpoint_url=url,
        config=Config(retries={"total_max_attempts": 1}),
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        region_name=region,
    )


@functools.cache
def model_session(models: Path) -> boto3.session.Session:
    """Return one session for all clients: it reads the models once."""
    session = boto3.session.Session()
    session._loader.search_paths.append(str(models))
    return session


@dataclass
class Nimble:
    """`settle` does what the reconcilers would do by themselves; nothing moves before."""

    url: str
    store: Store
    services: AppStreamServices
    clock: Clock
    models: Path
    audit_file: Path
    portal: list[str]
    woken: set[str] = field(default_factory=set)

    def client(self, key: AccessKey = KEY, *, region: str = "us-east-1") -> Any:
        return nimble_client(self.url, key, self.models, region=region)

    async def settle_but_images(self) -> None:
        """Bring everything but streaming images to where it stays."""
        await self._settle(lambda resource: resource.KIND is not ResourceKind.STREAMING_IMAGE)

    async def settle_one(self, resource_id: str) -> None:
        reconciler = NimbleResourceReconciler(self.store.transactions, self.clock, NETWORKS, DELETED_KEPT)
        await reconciler.reconcile(resource_id)

    async def forget_everything(self) -> None:
        """Empty the store of resources and tokens."""
        async with self.store.transactions.begin(write=True) as work:
            scope = Scope(KEY.account_id, "us-east-1")
            for kind in (StoredStudio, StudioComponent, LaunchProfile, StreamingImage):
                for one in await work.nimble.resources.page(kind, scope, states=frozenset(ResourceState), limit=1000):
                    await work.nimble.resources.remove(one)
            await work.commit()

    async def settle(self) -> None:
        """Bring everything to where it stays."""
        await self._settle(lambda _: True)

    async def _settle(self, is_meant: Callable[[Resource], bool]) -> None:
        reconciler = NimbleResourceReconciler(self.store.transactions, self.clock, NETWORKS, DELETED_KEPT)
        async with self.store.transactions.begin() as work:
            found = [await work.nimble.resources.find(one) for one in await work.nimble.resources.unsettled()]
        waiting = {resource.resource_id for resource in found if resource and is_meant(resource)}
        while waiting:
            resource_id = waiting.pop()
            with contextlib.suppress(ChangedMeanwhile):
                when = await reconciler.reconcile(resource_id)
                if when is not None and when <= self.clock.now():
                    waiting.add(resource_id)


@dataclass
class Studio:
    """One studio that is READY, and a client whose calls do not stop the server."""

    nimble: Nimble
    studio_id: str
    api: Any

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Call for this studio, and let what was asked come about; return the answer to the call."""
        answer = await ask(getattr(self.api, operation), studioId=self.studio_id, **arguments)
        await self.nimble.settle()
        return answer

    async def component(self, **members: Any) -> str:
        """Make a component and return its id."""
        made = await self.call("create_studio_component", **{**NEW_COMPONENT, **members})
        return str(made["studioComponent"]["studioComponentId"])

    async def image(self, **members: Any) -> str:
        """Put a streaming image that is READY into the store, as if it had been created; return its id."""
        now = self.nimble.clock.now()
        image = StreamingImage(
            **{
                "resource_id": new_id(),
                "studio_id": self.studio_id,
                "scope": Scope(KEY.account_id, "us-east-1"),
                "state": ResourceState.READY,
                "status": Status(code="STREAMING_IMAGE_READY"),
                "created_at": now,
                "updated_at": now,
                "state_since": now,
                "name": "blender",
                "ec2_image_id": "ami-1",
                "owner": self.studio_id,
                **members,
            }
        )
        async with self.nimble.store.transactions.begin(write=True) as work:
            await work.nimble.resources.add(image)
            await work.commit()
        return image.resource_id

    async def profile(self, **changes: Any) -> str:
        """Make a launch profile of a component and an image of its own; return its id."""
        wanted = new_profile(await self.component(), await self.image(), **changes)
        made = await self.call("create_launch_profile", **wanted)
        return str(made["launchProfile"]["launchProfileId"])


async def ask(method: Callable[..., Any], **arguments: Any) -> Any:
    return await asyncio.to_thread(method, **arguments)
