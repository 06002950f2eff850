"""Random sequences of operations, legal and illegal, against a model of the rules; what breaks is shrunk by Hypothesis.

Each sequence has an account of its own in one store with the simulated engine, and speaks to the API's dispatcher in
bytes. Nothing is reconciled between operations: time passes in the step `settle` alone, in which reconcilers start,
bring everything to rest and end, as over a restart. So STARTING and STOPPING last as long as a sequence wants.

FANLIGHT_RANDOM_SEQUENCES says how many sequences (scripts/test: thousands).
"""

import asyncio
import itertools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.serialize import JSONSerializer, RpcV2CBORSerializer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from random_builders import BuilderRules

from e2e.simulated_system import System, stopped_system, until
from fanlight.api.appstream.handlers import appstream_service
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.protocol.errors import COMMON_STATUS, WireError
from fanlight.api.protocol.operations import CBOR, JSON
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import UrlRefused
from fanlight.domain.places import Scope
from random_requests import params

SEQUENCES = int(os.environ.get("FANLIGHT_RANDOM_SEQUENCES", "200"))
STEPS = 20
IMAGE = "Fanlight-Sample-Debian13"
FLEETS, STACKS, USERS = ("cad", "office", "lab"), ("draw", "write"), ("ada", "bob", "eve")
NOT_FOUND, IN_USE = "ResourceNotFoundException", "ResourceInUseException"
EXISTS, LIMIT = "ResourceAlreadyExistsException", "LimitExceededException"
NOT_PERMITTED, NOT_AVAILABLE = "OperationNotPermittedException", "ResourceNotAvailableException"

fleet_names, stack_names, users = st.sampled_from(FLEETS), st.sampled_from(STACKS), st.sampled_from(USERS)
SERVICE = appstream_service()
OPERATIONS = sorted(SERVICE.registry.built)


class Refusal(Exception):
    """The service said no; `code` is what the client sees."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class World:
    """One store and engine for all sequences, and a loop to run them in."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.accounts = itertools.count(1)

    def open(self, directory: Path) -> None:
        self.system: System = self.run(
            self.stack.enter_async_context(stopped_system(directory, capacity_wait=timedelta(days=1)))
        )
        self.dispatcher = Dispatcher(
            SERVICE, self.system.services, revision=self.system.store.transactions.revision, is_strict=True
        )

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()


@dataclass
class ModelFleet:
    fleet_type: str
    view: str
    desired: int
    state: str = "STOPPED"
    display_name: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class ModelSession:
    stack: str
    fleet: str
    user: str
    is_active: bool = False
    is_ending: bool = False


WORLD: World


class Rules(BuilderRules, RuleBasedStateMachine):
    """The rules of fleets, stacks, associations, sessions and image builders, in the model's own few words."""

    @initialize()
    def begin(self) -> None:
        self.scope = Scope(f"{next(WORLD.accounts):012}", "us-east-1")
        self.fleets: dict[str, ModelFleet] = {}
        self.stacks: dict[str, str] = {}  # name → display name
        self.fleet_of: dict[str, str] = {}  # stack → fleet
        self.sessions: dict[str, ModelSession] = {}
        self.builders = {}

    # ── Speaking to the API ───────────────────────────────────────────────────────────────────────────────────────

    def ask(self, operation: str, **body: Any) -> dict[str, Any]:
        """Return the answer. Raises Refusal with a code that the operation may answer; anything else fails the test."""
        return dict(json.loads(self.ask_raw(operation, json.dumps(body).encode())))

    def ask_raw(self, operation: str, body: bytes, wire: Any = JSON) -> bytes:
        caller = Caller("AKIATEST", self.scope.account_id, self.scope.region, "request")
        try:
            return bytes(WORLD.run(WORLD.dispatcher.dispatch(wire, operation, body, caller, Outcome())))
        except WireError as error:
            refused = error
        assert refused.status < 500, f"{operation}: {refused.status} {refused.code} {refused}"
        assert refused.code in SERVICE.declared(operation) | COMMON_STATUS.keys(), f"{operation} answers {refused.code}"
        assert str(refused), f"{operation} refuses without a word"
        raise Refusal(refused.code)

    def expect(self, refusal: str | None, operation: str, **body: Any) -> dict[str, Any]:
        answer, code = {}, None
        try:
            answer = self.ask(operation, **body)
        except Refusal as refused:
            code = refused.code
        assert code == refusal, f"{operation} {body}: {code or 'success'} instead of {refusal or 'success'}"
        return answer

    # ── Stacks ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=stack_names, display_name=st.sampled_from(("", "One", "Two")))
    def create_stack(self, name: str, display_name: str) -> None:
        self.expect(EXISTS if name in self.stacks else None, "CreateStack", Name=name, DisplayName=display_name)
        self.stacks.setdefault(name, display_name)

    @rule(name=stack_names)
    def update_stack(self, name: str) -> None:
        self.expect(None if name in self.stacks else NOT_FOUND, "UpdateStack", Name=name, DisplayName="Changed")
        if name in self.stacks:
            self.stacks[name] = "Changed"

    @rule(name=stack_names)
    def delete_stack(self, name: str) -> None:
        refusal = NOT_FOUND if name not in self.stacks else IN_USE if name in self.fleet_of else None
        self.expect(refusal, "DeleteStack", Name=name)
        if refusal is None:
            del self.stacks[name]

    # ── Fleets ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        name=fleet_names,
        fleet_type=st.sampled_from(("ALWAYS_ON", "ON_DEMAND")),
        view=st.sampled_from(("APP", "DESKTOP")),
        desired=st.integers(1, 2),
    )
    def create_fleet(self, name: str, fleet_type: str, view: str, desired: int) -> None:
        self.expect(
            EXISTS if name in self.fleets else None,
            "CreateFleet",
            Name=name,
            ImageName=IMAGE,
            InstanceType="stream.standard.small",
            FleetType=fleet_type,
            StreamView=view,
            ComputeCapacity={"DesiredInstances": desired},
        )
        self.fleets.setdefault(name, ModelFleet(fleet_type, view, desired))

    @rule(name=fleet_names)
    def start_fleet(self, name: str) -> None:
        fleet = self.fleets.get(name)
        refusal = NOT_FOUND if fleet is None else NOT_PERMITTED if fleet.state == "STOPPING" else None
        self.expect(refusal, "StartFleet", Name=name)
        if fleet is not None and fleet.state == "STOPPED":
            fleet.state = "STARTING"

    @rule(name=fleet_names)
    def stop_fleet(self, name: str) -> None:
        fleet = self.fleets.get(name)
        self.expect(None if fleet else NOT_FOUND, "StopFleet", Name=name)
        if fleet is not None and fleet.state in ("STARTING", "RUNNING"):
            fleet.state = "STOPPING"

    @rule(name=fleet_names)
    def delete_fleet(self, name: str) -> None:
        fleet = self.fleets.get(name)
        is_in_use = name in self.fleet_of.values() or (fleet is not None and fleet.state != "STOPPED")
        refusal = NOT_FOUND if fleet is None else IN_USE if is_in_use else None
        self.expect(refusal, "DeleteFleet", Name=name)
        if refusal is None:
            del self.fleets[name]

    @rule(name=fleet_names, display_name=st.sampled_from(("One", "Two")))
    def rename_fleet(self, name: str, display_name: str) -> None:
        if self._may_update(name, is_legal_while_running=True, DisplayName=display_name):
            self.fleets[name].display_name = display_name

    @rule(name=fleet_names, desired=st.integers(1, 3))
    def resize_fleet(self, name: str, desired: int) -> None:
        if self._may_update(name, is_legal_while_running=True, ComputeCapacity={"DesiredInstances": desired}):
            self.fleets[name].desired = desired

    @rule(name=fleet_names, view=st.sampled_from(("APP", "DESKTOP")))
    def turn_view(self, name: str, view: str) -> None:
        is_same = name in self.fleets and self.fleets[name].view == view
        if self._may_update(name, is_legal_while_running=is_same, StreamView=view):
            self.fleets[name].view = view

    def _may_update(self, name: str, *, is_legal_while_running: bool, **change: Any) -> bool:
        fleet = self.fleets.get(name)
        refusal = NOT_FOUND
        if fleet is not None:
            is_legal = fleet.state == "STOPPED" or (fleet.state == "RUNNING" and is_legal_while_running)
            refusal = None if is_legal else IN_USE
        self.expect(refusal, "UpdateFleet", Name=name, **change)
        return refusal is None

    @rule(name=fleet_names, key=st.sampled_from(("env", "team")), value=st.sampled_from(("", "1", "2")))
    def tag_fleet(self, name: str, key: str, value: str) -> None:
        known = name in self.fleets
        self.expect(None if known else NOT_FOUND, "TagResource", ResourceArn=self._arn(name), Tags={key: value})
        if known:
            self.fleets[name].tags[key] = value

    @rule(name=fleet_names, key=st.sampled_from(("env", "team")))
    def untag_fleet(self, name: str, key: str) -> None:
        known = name in self.fleets
        self.expect(None if known else NOT_FOUND, "UntagResource", ResourceArn=self._arn(name), TagKeys=[key])
        if known:
            self.fleets[name].tags.pop(key, None)

    def _arn(self, fleet: str) -> str:
        return f"arn:aws:appstream:us-east-1:{self.scope.account_id}:fleet/{fleet}"

    # ── Associations ──────────────────────────────────────────────────────────────────────────────────────────────

    @rule(stack=stack_names, fleet=fleet_names)
    def associate(self, stack: str, fleet: str) -> None:
        refusal = None
        if stack not in self.stacks or fleet not in self.fleets:
            refusal = NOT_FOUND
        elif self.fleet_of.get(stack, fleet) != fleet:
            refusal = LIMIT
        self.expect(refusal, "AssociateFleet", StackName=stack, FleetName=fleet)
        if refusal is None:
            self.fleet_of[stack] = fleet

    @rule(stack=stack_names, fleet=fleet_names)
    def disassociate(self, stack: str, fleet: str) -> None:
        refusal = None
        if self.fleet_of.get(stack) != fleet:
            refusal = NOT_FOUND
        elif any((s.stack, s.fleet) == (stack, fleet) for s in self.sessions.values()):
            refusal = IN_USE
        self.expect(refusal, "DisassociateFleet", StackName=stack, FleetName=fleet)
        if refusal is None:
            del self.fleet_of[stack]

    # ── Sessions ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(stack=stack_names, fleet=fleet_names, user=users)
    def open_url(self, stack: str, fleet: str, user: str) -> None:
        self._open(stack, fleet, user)

    @precondition(lambda self: any(self.fleets[f].state == "RUNNING" for f in self.fleet_of.values()))
    @rule(data=st.data(), user=users)
    def open_legal_url(self, data: Any, user: str) -> None:
        pairs = [(s, f) for s, f in self.fleet_of.items() if self.fleets[f].state == "RUNNING"]
        self._open(*data.draw(st.sampled_from(pairs)), user)

    def _open(self, stack: str, fleet: str, user: str) -> None:
        refusal = None
        if stack not in self.stacks or fleet not in self.fleets:
            refusal = NOT_FOUND
        elif self.fleet_of.get(stack) != fleet:
            refusal = NOT_PERMITTED
        elif self.fleets[fleet].state != "RUNNING":
            refusal = NOT_AVAILABLE
        application = "Desktop" if fleet in self.fleets and self.fleets[fleet].view == "DESKTOP" else "text-editor"
        answer = self.expect(
            refusal, "CreateStreamingURL", StackName=stack, FleetName=fleet, UserId=user, ApplicationId=application
        )
        if refusal is None:
            self._follow(answer["StreamingURL"], stack, fleet, user)

    def _follow(self, url: str, stack: str, fleet: str, user: str) -> None:
        """Do what the gateway does with the URL: a live session is rejoined, otherwise one is made."""
        mine = {i: s for i, s in self.sessions.items() if (s.stack, s.fleet, s.user) == (stack, fleet, user)}
        if any(s.is_ending for s in mine.values()):
            with pytest.raises(UrlRefused) as refused:
                WORLD.run(self._redeem(url))
            assert refused.value.code == "SESSION_ENDING"
            return
        session_id = WORLD.run(self._redeem(url))
        if mine:
            assert list(mine) == [session_id], "a second URL of the same user rejoins"
        self.sessions.setdefault(session_id, ModelSession(stack, fleet, user))

    @staticmethod
    async def _redeem(url: str) -> str:
        query = parse_qs(urlsplit(url).query)
        sessions = WORLD.system.services.sessions
        grant = await sessions.redeem(query["parameters"][0], query["signature"][0])
        return str((await sessions.open_session(grant, None)).session_id)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def expire_session(self, data: Any) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.sessions)))
        self.expect(None, "ExpireSession", SessionId=session_id)
        self.sessions[session_id].is_ending = True

    # ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def settle(self) -> None:
        """Let the reconcilers bring everything to rest, and expect the rest that the rules promise."""
        for session_id, session in list(self.sessions.items()):
            if session.is_ending or self.fleets[session.fleet].state == "STOPPING":
                del self.sessions[session_id]
        for fleet in self.fleets.values():
            fleet.state = {"STARTING": "RUNNING", "STOPPING": "STOPPED"}.get(fleet.state, fleet.state)
        self.rest_builders()
        WORLD.run(self._reconcile())
        for name, fleet in self.fleets.items():
            self._note_who_is_active(name, fleet)

    async def _reconcile(self) -> None:
        async with WORLD.system.reconciling():
            await until(self._is_at_rest, within=20, what=f"{self.fleets} {self.sessions}")

    async def _is_at_rest(self) -> bool:
        if not WORLD.system.reconcilers.is_idle:
            return False
        services = WORLD.system.services
        builders, _ = await services.image_builders.describe(self.scope)
        if {builder.name: builder.state for builder in builders} != self.builders:
            return False
        described, _ = await services.fleets.describe(self.scope)
        for each in described:
            fleet = self.fleets.get(each.fleet.name)
            if fleet is None:
                continue
            live = await self._live(each.fleet.name)
            waiting = [s for s in live.values() if s == "PENDING"]
            if each.fleet.state != fleet.state or live.keys() != self._live_by_model(each.fleet.name):
                return False
            active = len(live) - len(waiting)
            is_full = active >= fleet.desired or not waiting
            if fleet.state == "RUNNING" and (each.capacity.in_use != active or not is_full):
                return False
            wanted = max(fleet.desired - active, 0) if fleet.fleet_type == "ALWAYS_ON" else 0
            if fleet.state == "RUNNING" and each.capacity.running - each.capacity.in_use != wanted:
                return False
        return True

    async def _live(self, fleet: str) -> dict[str, str]:
        async with WORLD.system.transactions.begin() as work:
            live = await work.sessions.live((await work.fleets.get(self.scope, fleet)).fleet_id)
        return {session.session_id: session.state for session in live}

    def _live_by_model(self, fleet: str) -> set[str]:
        return {i for i, s in self.sessions.items() if s.fleet == fleet}

    def _note_who_is_active(self, name: str, fleet: ModelFleet) -> None:
        live = WORLD.run(self._live(name))
        before = {i for i, s in self.sessions.items() if s.fleet == name and s.is_active}
        after = {i for i, state in live.items() if state == "ACTIVE"}
        assert before <= after, "a session that was ACTIVE stays so until it ends"
        assert len(after) == max(len(before), min(len(live), fleet.desired)), f"{name}: {after} of {live}"
        for session_id in after:
            self.sessions[session_id].is_active = True

    # ── Anything at all ───────────────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), operation=st.sampled_from(OPERATIONS))
    def ask_anything(self, data: Any, operation: str) -> None:
        """Whatever the model of the service allows, with names nobody has: an answer or a declared refusal."""
        model = SERVICE.model.operation_model(operation)
        if operation in ("CreateFleet", "CreateStack"):
            return  # what they make is a world of its own
        given = data.draw(params(model.input_shape))
        wire, serializer = data.draw(st.sampled_from(((JSON, JSONSerializer), (CBOR, RpcV2CBORSerializer))))
        with suppress(Refusal):
            self.ask_raw(operation, serializer().serialize_to_request(given, model)["body"], wire)

    @rule(operation=st.sampled_from(OPERATIONS), body=st.binary(max_size=40), wire=st.sampled_from((JSON, CBOR)))
    def send_junk(self, operation: str, body: bytes, wire: Any) -> None:
        with suppress(Refusal):
            self.ask_raw(operation, body, wire)

    # ── What always holds ─────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def what_is_described_is_what_the_rules_say(self) -> None:
        if not hasattr(self, "fleets"):
            return
        fleets = {f["Name"]: f for f in self._twice("DescribeFleets")["Fleets"]}
        said = {n: (f["State"], f["StreamView"], f.get("DisplayName", "")) for n, f in fleets.items()}
        assert said == {n: (f.state, f.view, f.display_name) for n, f in self.fleets.items()}
        wanted = {n: f["ComputeCapacityStatus"]["Desired"] for n, f in fleets.items()}
        assert wanted == {n: f.desired for n, f in self.fleets.items()}
        assert self.described_builders() == self.builders
        stacks = {s["Name"]: s.get("DisplayName", "") for s in self._twice("DescribeStacks")["Stacks"]}
        assert stacks == self.stacks
        for stack in self.stacks:
            names = self._twice("ListAssociatedFleets", StackName=stack)["Names"]
            assert names == [fleet for behind, fleet in self.fleet_of.items() if behind == stack]
        for name, fleet in self.fleets.items():
            assert self._twice("ListTagsForResource", ResourceArn=self._arn(name))["Tags"] == fleet.tags

    def _twice(self, operation: str, **body: Any) -> dict[str, Any]:
        first, second = self.ask(operation, **body), self.ask(operation, **body)
        assert first == second, f"{operation} changes while nothing happens"
        return first

    def teardown(self) -> None:
        """Everything can be given back, from wherever a sequence ended."""
        if not hasattr(self, "fleets"):
            return
        for session_id in list(self.sessions):
            self.expect(None, "ExpireSession", SessionId=session_id)
            self.sessions[session_id].is_ending = True
        for name in self.fleets:
            self.stop_fleet(name)
        if self.sessions or self.builders or any(fleet.state != "STOPPED" for fleet in self.fleets.values()):
            self.settle()
        for name in list(self.builders):
            self.delete_builder(name)
        if self.builders:
            self.settle()
        for stack, fleet_name in list(self.fleet_of.items()):
            self.disassociate(stack, fleet_name)
        for stack in list(self.stacks):
            self.delete_stack(stack)
        for name in list(self.fleets):
            self.delete_fleet(name)
        assert self.ask("DescribeFleets")["Fleets"] == self.ask("DescribeStacks")["Stacks"] == []


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    global WORLD  # noqa: PLW0603 - Hypothesis makes the machines itself and hands them nothing
    caplog.set_level(logging.ERROR)
    WORLD = World()
    WORLD.open(tmp_path)
    yield WORLD
    WORLD.close()


@pytest.mark.timeout(1200)
def test_random_operations_do_what_the_rules_say(world: World, caplog: pytest.LogCaptureFixture) -> None:
    run_state_machine_as_test(
        Rules,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            deadline=timedelta(seconds=60),
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
