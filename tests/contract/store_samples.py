"""Entities for tests of the store and of the services."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fanlight.domain.fleets import Fleet
from fanlight.domain.image_builders import ImageBuilder
from fanlight.domain.images import Application, Image, Visibility
from fanlight.domain.instances import Instance
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import StreamingSession

NOW = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
HERE = Scope("000000000000", "us-east-1")
OTHER_ACCOUNT = Scope("111111111111", "us-east-1")
OTHER_REGION = Scope("000000000000", "eu-west-1")


def fleet(name: str = "cad", **overrides: Any) -> Fleet:
    scope = overrides.get("scope", HERE)
    defaults: dict[str, Any] = {
        "fleet_id": f"{scope.account_id}-{scope.region}-{name}",
        "scope": scope,
        "name": name,
        "image_name": "Sample",
        "image_arn": f"arn:aws:appstream:{scope.region}::image/Sample",
        "instance_type": "stream.standard.medium",
        "platform": "UBUNTU_PRO_2404",
        "desired_instances": 2,
        "created_at": NOW,
    }
    return Fleet(**{**defaults, **overrides})


def stack(name: str = "design", **overrides: Any) -> Stack:
    scope = overrides.get("scope", HERE)
    defaults: dict[str, Any] = {
        "stack_id": f"{scope.account_id}-{scope.region}-{name}",
        "scope": scope,
        "name": name,
        "created_at": NOW,
    }
    return Stack(**{**defaults, **overrides})


def image(name: str = "Sample", **overrides: Any) -> Image:
    scope = overrides.get("scope", Scope("", ""))
    defaults: dict[str, Any] = {
        "image_id": f"{scope.account_id}-{scope.region}-{name}",
        "scope": scope,
        "name": name,
        "store_ref": name.lower(),
        "visibility": Visibility.PRIVATE if scope.account_id else Visibility.PUBLIC,
        "applications": (
            Application(name="Editor", display_name="Text editor", launch_path="/usr/bin/editor", icon="editor.png"),
            Application(name="Hidden", display_name="Hidden", launch_path="/usr/bin/hidden", enabled=False),
        ),
        "created_at": NOW,
    }
    return Image(**{**defaults, **overrides})


def instance(instance_id: str = "i-1", **overrides: Any) -> Instance:
    defaults: dict[str, Any] = {
        "instance_id": instance_id,
        "scope": HERE,
        "fleet_id": "fleet-1",
        "image_ref": "sample",
        "launched_at": NOW,
    }
    return Instance(**{**defaults, **overrides})


def image_builder(name: str = "workshop", **overrides: Any) -> ImageBuilder:
    scope = overrides.get("scope", HERE)
    defaults: dict[str, Any] = {
        "builder_id": f"{scope.account_id}-{scope.region}-{name}",
        "scope": scope,
        "name": name,
        "image_name": "Sample",
        "image_arn": f"arn:aws:appstream:{scope.region}::image/Sample",
        "image_ref": "sample",
        "instance_id": f"i-{scope.account_id}-{scope.region}-{name}",
        "instance_type": "stream.standard.medium",
        "platform": "UBUNTU_PRO_2404",
        "agent_version": "01-01-2026-00000000",
        "created_at": NOW,
        "begun_at": NOW,
    }
    return ImageBuilder(**{**defaults, **overrides})


def session(session_id: str = "s-1", **overrides: Any) -> StreamingSession:
    defaults: dict[str, Any] = {
        "session_id": session_id,
        "scope": HERE,
        "stack_name": "design",
        "fleet_name": "cad",
        "fleet_id": "fleet-1",
        "user_id": "ada",
        "created_at": NOW,
        "max_expires_at": NOW + timedelta(hours=16),
    }
    return StreamingSession(**{**defaults, **overrides})


async def put(transactions: Transactions, *entities: Any) -> None:
    """Add entities in one unit of work."""
    async with transactions.begin(write=True) as work:
        for entity in entities:
            match type(entity).__name__:
                case "Fleet":
                    await work.fleets.add(entity)
                case "Stack":
                    await work.stacks.add(entity)
                case "Image":
                    await work.images.add(entity)
                case "Instance":
                    await work.instances.add(entity)
                case "ImageBuilder":
                    await work.image_builders.add(entity)
                case "StreamingSession":
                    await work.sessions.add(entity)
                case other:
                    raise AssertionError(other)
        await work.commit()
