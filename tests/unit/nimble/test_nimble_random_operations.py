"""Random sequences over studios, what stands in them, their members and what they accepted, each step foretold: the code that
answers, and every state after it.

The oracle is a few lines over the states of a dictionary; it knows nothing of tokens, units of work or SQL. A sequence that
fails is printed and comes again with its seed.
"""

import json
import os
import random
from collections.abc import Mapping
from typing import Any

import pytest

from fanlight.api.catalogue import aws_services
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import REST
from fanlight.api.protocol.rest_json import RestRequest
from fanlight.domain.access_keys import Caller
from fanlight.domain.images import Image, Visibility
from fanlight.domain.nimble.streaming_images import provided_id
from fanlight.domain.places import Scope
from nimble_rig import EULAS, KEY, NEW_STUDIO, Nimble, new_profile

# A tenth of what AppStream's has: as many for each kind of resource.
SEEDS = range(int(os.environ.get("FANLIGHT_RANDOM_SEQUENCES", "400")) // 10)
STEPS = 20
CALLER = Caller(KEY.access_key_id, KEY.account_id, "us-east-1", "r-1")
USABLE = {"READY", "UPDATE_IN_PROGRESS", "UPDATE_FAILED", "DELETE_FAILED"}
CHANGEABLE = {"READY", "UPDATE_FAILED", "DELETE_FAILED"}
ABSENT = {"DELETED", "CREATE_FAILED"}
NAMES = {"studio": "Studio", "component": "StudioComponent", "profile": "LaunchProfile"}
IDS = {"studio": "studioId", "component": "studioComponentId", "profile": "launchProfileId"}
PERSONAS = {"studio": "ADMINISTRATOR", "profile": "USER"}
PRINCIPALS = ("ada", "bob")
EULA_IDS = [eula.eula_id for eula in EULAS[:3]]
IMAGE_ID = "0123456789abcdef0123456789abcdef"
STREAMABLE, MISSING = provided_id(IMAGE_ID), "missing"


class World:
    """The server, and what the oracle thinks is in it."""

    def __init__(self, nimble: Nimble, seed: int) -> None:
        (service,) = [service for service in aws_services() if service.name == "nimble"]
        revision = nimble.store.transactions.revision
        self.dispatcher = Dispatcher(service, nimble.services, revision=revision, is_strict=True)
        self.nimble, self.random = nimble, random.Random(seed)
        self.states: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.studio_of: dict[str, str] = {}
        self.components_of: dict[str, str] = {}  # launch profile → its component
        self.images_of: dict[str, str] = {}  # launch profile → its streaming image
        self.members: dict[str, set[str]] = {}  # of a studio or launch profile
        self.accepted: dict[str, dict[str, str]] = {}  # studio → EULA → acceptance
        self.names: dict[str, str] = {}  # of studios
        self.directories: set[str] = set()
        self.story: list[str] = []

    async def call(self, operation: str, body: Mapping[str, Any] | None = None, token: str = "", **labels: str) -> Any:
        """Return the answer, or the code of the refusal."""
        headers = (("X-Amz-Client-Token", token),) if token else ()
        payload = RestRequest(tuple(labels.items()), "", headers, json.dumps(body or {}).encode())
        try:
            answer = await self.dispatcher.dispatch(REST, operation, payload, CALLER, Outcome())
        except WireError as error:
            self.story.append(f"{operation} {labels} {body} → {error.code}")
            return error.code
        self.story.append(f"{operation} {labels} {body} → done")
        return json.loads(answer)

    def some(self, *kinds: str) -> str | None:
        found = [one for one, kind in self.kinds.items() if kind in kinds]
        return self.random.choice(found) if found else None

    def labels(self, resource_id: str) -> dict[str, str]:
        kind = self.kinds[resource_id]
        return {"studioId": self.studio_of[resource_id], IDS[kind]: resource_id}

    # ── Steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def make_studio(self) -> None:
        wanted = {**NEW_STUDIO, "studioName": self.random.choice(["one", "two", "three"])}
        taken = any(
            self.kinds[one] == "studio" and self.names[one] == wanted["studioName"] and self.states[one] not in ABSENT
            for one in self.names
        )
        answer = await self.call("CreateStudio", wanted)
        if taken:
            assert answer == "ConflictException"
        else:
            self.add("studio", answer["studio"]["studioId"], answer["studio"]["studioId"])
            self.names[answer["studio"]["studioId"]] = wanted["studioName"]

    async def make_component(self) -> None:
        if (studio := self.some("studio")) is None:
            return
        kind = self.random.choice(["CUSTOM", "ACTIVE_DIRECTORY"])
        body, token = {"name": "c", "type": kind}, str(self.random.random())
        answer = await self.call("CreateStudioComponent", body, token, studioId=studio)
        if (expected := self.entry_to(studio)) is not None:
            assert answer == expected
            return
        component_id = answer["studioComponent"]["studioComponentId"]
        again = await self.call("CreateStudioComponent", body, token, studioId=studio)
        assert again["studioComponent"]["studioComponentId"] == component_id
        other = await self.call("CreateStudioComponent", {**body, "name": "d"}, token, studioId=studio)
        assert other == "ValidationException"
        self.add("component", component_id, studio)
        if kind == "ACTIVE_DIRECTORY":
            self.directories.add(component_id)

    async def make_profile(self) -> None:
        if (component := self.some("component")) is None or (studio := self.some("studio")) is None:
            return
        image = self.random.choice([STREAMABLE, STREAMABLE, MISSING])
        answer = await self.call("CreateLaunchProfile", new_profile(component, image), studioId=studio)
        expected = self.entry_to(studio)
        if expected is None and self.studio_of[component] != studio:
            expected = "ResourceNotFoundException"
        if expected is None and self.states[component] not in USABLE:
            expected = "ConflictException"
        if expected is not None:
            assert answer == expected
            return
        profile_id = answer["launchProfile"]["launchProfileId"]
        self.add("profile", profile_id, studio)
        self.components_of[profile_id], self.images_of[profile_id] = component, image

    async def put_member(self) -> None:
        if (one := self.some(*PERSONAS)) is None:
            return
        member = {"principalId": self.random.choice(PRINCIPALS), "persona": PERSONAS[self.kinds[one]]}
        body = {"identityStoreId": "d-1", "members": [member]}
        answer = await self.call(f"Put{self.noun_of_members(one)}Members", body, **self.labels(one))
        if self.kinds[one] == "studio":
            expected = self.entry_to(one)
        else:
            expected = "ResourceNotFoundException" if self.states[one] in ABSENT else None
        assert answer == (expected or {})
        if expected is None:
            self.members[one].add(member["principalId"])

    async def remove_member(self) -> None:
        if (one := self.some(*PERSONAS)) is None:
            return
        principal = self.random.choice(PRINCIPALS)
        operation = f"Delete{self.noun_of_members(one)}Member"
        answer = await self.call(operation, **self.labels(one), principalId=principal)
        assert answer == ({} if principal in self.members[one] else "ResourceNotFoundException")
        self.members[one].discard(principal)

    async def accept(self) -> None:
        if (studio := self.some("studio")) is None:
            return
        wanted = self.random.sample([*EULA_IDS, "unknown"], self.random.randint(0, 2))
        answer = await self.call("AcceptEulas", {"eulaIds": wanted}, studioId=studio)
        expected = "ValidationException" if not wanted else self.entry_to(studio)
        if expected is None and "unknown" in wanted:
            expected = "ResourceNotFoundException"
        if expected is not None:
            assert answer == expected
            return
        for one in answer["eulaAcceptances"]:
            assert self.accepted[studio].setdefault(one["eulaId"], one["eulaAcceptanceId"]) == one["eulaAcceptanceId"]
        assert set(wanted) <= set(self.accepted[studio])

    async def update(self) -> None:
        if (one := self.some(*NAMES)) is None:
            return
        body = {"displayName": "n"} if self.kinds[one] == "studio" else {"name": "n"}
        answer = await self.call(f"Update{NAMES[self.kinds[one]]}", body, **self.labels(one))
        if self.states[one] in CHANGEABLE:
            self.states[one] = "UPDATE_IN_PROGRESS"
        else:
            assert answer == "ConflictException"

    async def delete(self) -> None:
        if (one := self.some(*NAMES)) is None:
            return
        answer = await self.call(f"Delete{NAMES[self.kinds[one]]}", **self.labels(one))
        if self.states[one] in ("DELETE_IN_PROGRESS", "DELETED"):
            assert not isinstance(answer, str)
        elif self.states[one] not in CHANGEABLE | {"CREATE_FAILED"} or self.is_used(one):
            assert answer == "ConflictException"
        else:
            self.states[one] = "DELETE_IN_PROGRESS"

    async def look(self) -> None:
        for one, state in self.states.items():
            answer = await self.call(f"Get{NAMES[self.kinds[one]]}", **self.labels(one))
            (shown,) = answer.values()
            assert shown["state"] == state, one
            self.story.pop()
        for one, members in self.members.items():
            answer = await self.call(f"List{self.noun_of_members(one)}Members", **self.labels(one))
            assert {member["principalId"] for member in answer["members"]} == members, one
        for studio, accepted in self.accepted.items():
            answer = await self.call("ListEulaAcceptances", studioId=studio)
            shown = {each["eulaId"]: each["eulaAcceptanceId"] for each in answer["eulaAcceptances"]}
            assert shown == accepted, studio

    async def settle(self) -> None:
        """Settle one after the other, in the order of the oracle: what is deleted frees what it used."""
        for one in [one for one, state in self.states.items() if state.endswith("_IN_PROGRESS")]:
            self.states[one] = self.end_of(one)
            if self.states[one] == "DELETED":
                self.members.get(one, set()).clear()
                self.accepted.get(one, {}).clear()
            await self.nimble.settle_one(one)
        self.story.append("settled")

    # ── The oracle ────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, kind: str, resource_id: str, studio: str) -> None:
        self.states[resource_id], self.kinds[resource_id] = "CREATE_IN_PROGRESS", kind
        self.studio_of[resource_id] = studio
        if kind in PERSONAS:
            self.members[resource_id] = set()
        if kind == "studio":
            self.accepted[resource_id] = {}

    def noun_of_members(self, one: str) -> str:
        return NAMES[self.kinds[one]]

    def entry_to(self, studio: str) -> str | None:
        """Return the code that answers to a creation in a studio, None when it is let in."""
        if self.states[studio] in ABSENT:
            return "ResourceNotFoundException"
        return None if self.states[studio] in USABLE else "ConflictException"

    def is_used(self, one: str) -> bool:
        return any(
            component == one and self.states[profile] not in ABSENT for profile, component in self.components_of.items()
        )

    def end_of(self, one: str) -> str:
        state, kind = self.states[one], self.kinds[one]
        if state == "UPDATE_IN_PROGRESS":
            return "READY"
        if state == "DELETE_IN_PROGRESS":
            inside = [
                other
                for other, studio in self.studio_of.items()
                if studio == one and other != one and self.states[other] not in ABSENT
            ]
            return "DELETE_FAILED" if kind == "studio" and inside else "DELETED"
        if kind == "profile":
            return "READY" if self.images_of[one] == STREAMABLE else "CREATE_FAILED"
        settled = USABLE | {"DELETE_IN_PROGRESS"}
        rivals = [
            other
            for other in self.directories
            if other != one and self.studio_of[other] == self.studio_of[one] and self.states[other] in settled
        ]
        return "CREATE_FAILED" if one in self.directories and rivals else "READY"


async def add_image(nimble: Nimble) -> None:
    """Add the image that everybody may stream."""
    async with nimble.store.transactions.begin(write=True) as work:
        await work.images.add(
            Image(
                image_id=IMAGE_ID, scope=Scope("", ""), name="sample", store_ref="sample", visibility=Visibility.PUBLIC,
                created_at=nimble.clock.now(),
            )
        )  # fmt: skip
        await work.commit()


@pytest.mark.parametrize("part", range(4))
async def test_every_step_of_random_sequences_answers_as_foretold(nimble: Nimble, part: int) -> None:
    await add_image(nimble)
    for seed in SEEDS[part::4]:
        world = World(nimble, seed)
        steps = [
            world.make_studio,
            world.make_component,
            world.make_component,
            world.make_profile,
            world.put_member,
            world.remove_member,
            world.accept,
            world.update,
            world.delete,
            world.settle,
            world.settle,
            world.look,
        ]
        try:
            for _ in range(STEPS):
                await world.random.choice(steps)()
            await world.settle()
            await world.look()
        except (AssertionError, TypeError, KeyError) as error:
            raise AssertionError("\n".join([f"seed {seed}", *world.story, repr(error)])) from error
        await nimble.forget_everything()
