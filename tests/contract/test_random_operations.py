"""Random sequences of operations, legal and illegal, against a model of the rules; what breaks is shrunk by Hypothesis.

Each sequence has an account of its own in one store with the simulated engine, and speaks to the API's dispatchers in
bytes. Nothing is reconciled between operations: time passes in the step `settle` alone, in which reconcilers start,
bring everything to rest and end, as over a restart. So STARTING and STOPPING last as long as a sequence wants.

FANLIGHT_RANDOM_SEQUENCES says how many sequences (scripts/test: thousands).
"""

import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
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

from fanlight.domain.errors import UrlRefused
from random_model import fleets as fleet_model
from random_model import stacks as stack_model
from random_model.anything import Anything
from random_model.builders import BuilderRules
from random_model.fleets import EXISTS, IN_USE, LIMIT, NOT_FOUND, NOT_PERMITTED, ModelFleet
from random_model.keys import DENIED, KEYS, allows, policy_of
from random_model.neighbours import Neighbours, is_full, is_reserved, tag_keys, tag_values
from random_model.resting import Resting
from random_model.sessions import ModelSession, application
from random_model.stacks import VALIDATION, ModelStack
from random_model.world import APPSTREAM, QUOTAS, Account, Refusal, World

SEQUENCES = int(os.environ.get("FANLIGHT_RANDOM_SEQUENCES", "200"))
STEPS = 20
FLEETS, STACKS, USERS = ("cad", "office", "lab"), ("draw", "write"), ("ada", "bob", "eve")
NOT_AVAILABLE = "ResourceNotAvailableException"

fleet_names, stack_names, users = st.sampled_from(FLEETS), st.sampled_from(STACKS), st.sampled_from(USERS)
resources = st.one_of(
    st.tuples(st.just("fleet"), fleet_names), st.tuples(st.just("stack"), stack_names), st.just(("image", "none"))
)
WORLD: World


class Rules(BuilderRules, Neighbours, Resting, Anything, RuleBasedStateMachine):
    """The rules of fleets, stacks, associations, sessions, image builders and tags, in the model's own few words."""

    @initialize(quotas=st.sampled_from((0, 0, 0, 0, 1, 2)))
    def begin(self, quotas: int) -> None:
        self.account = Account(WORLD, quotas)
        self.limits = QUOTAS[quotas]
        self.key = ""
        self.fleets: dict[str, ModelFleet] = {}
        self.stacks: dict[str, ModelStack] = {}
        self.fleet_of: dict[str, str] = {}  # stack → fleet
        self.builders = {}
        self.sessions: dict[str, ModelSession] = {}
        self.draining: set[str] = set()  # instances that take no more sessions
        self.targets, self.policies, self.alarms = {}, set(), set()
        self.checked_at: int | None = None

    def expect(
        self, refusals: set[str], operation: str, service: str = APPSTREAM, **body: Any
    ) -> dict[str, Any] | None:
        """Ask, and hold the answer against the model. Return it; None when the key of the sequence may not ask this."""
        if not allows(self.key, self.account.scope, service, operation, body):
            # A broken constraint of the model is told first: what is asked for is not known before.
            refusals = {DENIED, *(refusals & {VALIDATION})}
        answer, code = None, None
        try:
            answer = self.account.ask(operation, service, **body)
        except Refusal as refused:
            code = refused.code
        said = f"{operation} {body}: {code or 'success'} instead of {refusals or 'success'}"
        assert code in refusals if refusals else code is None, said
        return answer if answer is not None or code is not None else {}

    def _is_denied(self, operation: str, **body: Any) -> bool:
        return not allows(self.key, self.account.scope, APPSTREAM, operation, body)

    @rule(key=st.sampled_from(("", "", *KEYS)))
    def take_key(self, key: str) -> None:
        self.key = key
        self.account.policy = policy_of(key, self.account.scope)

    # ── Stacks ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=stack_names, members=stack_model.new_stacks)
    def create_stack(self, name: str, members: dict[str, Any]) -> None:
        stack, refusals = stack_model.changed(ModelStack(), members)
        refusals |= {EXISTS} if name in self.stacks else set()
        refusals |= {LIMIT} if len(self.stacks) >= self.limits.get("Stacks", 99) else set()
        if self.expect(refusals, "CreateStack", Name=name, **members) is not None and stack and not refusals:
            self.stacks[name] = stack

    @rule(name=stack_names, members=stack_model.stack_changes)
    def update_stack(self, name: str, members: dict[str, Any]) -> None:
        stack, refusals = stack_model.changed(self.stacks.get(name, ModelStack()), members)
        refusals |= set() if name in self.stacks else {NOT_FOUND}
        if self.expect(refusals, "UpdateStack", Name=name, **members) is not None and stack and not refusals:
            self.stacks[name] = stack

    @rule(name=stack_names)
    def delete_stack(self, name: str) -> None:
        refusals = {NOT_FOUND} if name not in self.stacks else {IN_USE} if name in self.fleet_of else set()
        if self.expect(refusals, "DeleteStack", Name=name) is not None and not refusals:
            del self.stacks[name]

    # ── Fleets ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=fleet_names, members=fleet_model.new_fleets)
    def create_fleet(self, name: str, members: dict[str, Any]) -> None:
        fleet, refusals = fleet_model.created(members)
        refusals |= {EXISTS} if name in self.fleets else set()
        refusals |= {LIMIT} if len(self.fleets) >= self.limits.get("Fleets", 99) else set()
        if fleet and fleet_model.over_quota(self.limits, self.fleets, name, fleet, None):
            refusals.add(LIMIT)
        if self.expect(refusals, "CreateFleet", Name=name, **members) is not None and fleet and not refusals:
            self.fleets[name] = fleet

    @rule(name=fleet_names, members=fleet_model.fleet_changes)
    def update_fleet(self, name: str, members: dict[str, Any]) -> None:
        before = self.fleets.get(name)
        after, refusals = (
            fleet_model.updated(before, members) if before else (None, {NOT_FOUND, *_any_refusal(members)})
        )
        if before and after and fleet_model.over_quota(self.limits, self.fleets, name, after, before):
            refusals.add(LIMIT)
        if self.expect(refusals, "UpdateFleet", Name=name, **members) is not None and after and not refusals:
            self.fleets[name] = after

    @rule(name=fleet_names)
    def start_fleet(self, name: str) -> None:
        fleet, refusals = self.fleets.get(name), set()
        if fleet is None:
            refusals = {NOT_FOUND}
        elif fleet.state == "STOPPING":
            refusals = {NOT_PERMITTED}
        elif fleet.state == "STOPPED":
            active = sum(other.state != "STOPPED" for other in self.fleets.values())
            is_over = fleet_model.over_quota(self.limits, self.fleets, name, fleet, None)
            refusals = {LIMIT} if is_over or active >= self.limits.get("Active fleets", 99) else set()
        if self.expect(refusals, "StartFleet", Name=name) is not None and fleet and not refusals:
            fleet.state = "STARTING" if fleet.state == "STOPPED" else fleet.state

    @rule(name=fleet_names)
    def stop_fleet(self, name: str) -> None:
        fleet = self.fleets.get(name)
        done = self.expect(set() if fleet else {NOT_FOUND}, "StopFleet", Name=name)
        if done is not None and fleet is not None and fleet.state in ("STARTING", "RUNNING"):
            fleet.state = "STOPPING"

    @rule(name=fleet_names)
    def delete_fleet(self, name: str) -> None:
        fleet = self.fleets.get(name)
        is_in_use = name in self.fleet_of.values() or (fleet is not None and fleet.state != "STOPPED")
        refusals = {NOT_FOUND} if fleet is None else {IN_USE} if is_in_use else set()
        if self.expect(refusals, "DeleteFleet", Name=name) is not None and not refusals:
            del self.fleets[name]

    # ── Tags ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(what=resources, key=tag_keys, value=tag_values)
    def tag(self, what: tuple[str, str], key: str, value: str) -> None:
        arn = self.account.arn(*what)
        tags = self.find_tagged(arn)
        refusals = {VALIDATION} if is_reserved(key) else {NOT_FOUND} if tags is None else set()
        refusals |= {LIMIT} if not refusals and tags is not None and is_full(tags, key) else set()
        done = self.expect(refusals, "TagResource", ResourceArn=arn, Tags={key: value})
        if done is not None and tags is not None and not refusals:
            tags[key] = value

    @rule(what=resources)
    def tag_to_the_brim(self, what: tuple[str, str]) -> None:
        """Fifty tags are as many as a resource may have, whatever it has already."""
        arn = self.account.arn(*what)
        tags = self.find_tagged(arn)
        many = {f"key {number}": "x" for number in range(50)}
        refusals = {NOT_FOUND} if tags is None else {LIMIT} if tags.keys() - many.keys() else set()
        done = self.expect(refusals, "TagResource", ResourceArn=arn, Tags=many)
        if done is not None and tags is not None and not refusals:
            tags |= many

    @rule(what=resources, key=tag_keys)
    def untag(self, what: tuple[str, str], key: str) -> None:
        arn = self.account.arn(*what)
        tags = self.find_tagged(arn)
        refusals = {VALIDATION} if is_reserved(key) else {NOT_FOUND} if tags is None else set()
        if self.expect(refusals, "UntagResource", ResourceArn=arn, TagKeys=[key]) is not None and tags is not None:
            tags.pop(key, None)

    def find_tagged(self, arn: str) -> dict[str, str] | None:
        kind, _, name = arn.rpartition(":")[2].partition("/")
        found: ModelFleet | ModelStack | None = {"fleet": self.fleets, "stack": self.stacks}.get(kind, {}).get(name)  # type: ignore[attr-defined]
        return found.tags if found else None

    def tagged(self) -> dict[str, dict[str, str]]:
        fleets = {self.account.arn("fleet", name): fleet.tags for name, fleet in self.fleets.items()}
        return fleets | {self.account.arn("stack", name): stack.tags for name, stack in self.stacks.items()}

    # ── Associations ──────────────────────────────────────────────────────────────────────────────────────────────

    @rule(stack=stack_names, fleet=fleet_names)
    def associate(self, stack: str, fleet: str) -> None:
        refusals = set()
        if stack not in self.stacks or fleet not in self.fleets:
            refusals = {NOT_FOUND}
        elif self.fleet_of.get(stack, fleet) != fleet:
            refusals = {LIMIT}
        if self.expect(refusals, "AssociateFleet", StackName=stack, FleetName=fleet) is not None and not refusals:
            self.fleet_of[stack] = fleet

    @rule(stack=stack_names, fleet=fleet_names)
    def disassociate(self, stack: str, fleet: str) -> None:
        refusals = set()
        if self.fleet_of.get(stack) != fleet:
            refusals = {NOT_FOUND}
        elif any((s.stack, s.fleet) == (stack, fleet) for s in self.sessions.values()):
            refusals = {IN_USE}
        if self.expect(refusals, "DisassociateFleet", StackName=stack, FleetName=fleet) is not None and not refusals:
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
        refusals = set()
        if stack not in self.stacks or fleet not in self.fleets:
            refusals = {NOT_FOUND}
        elif self.fleet_of.get(stack) != fleet:
            refusals = {NOT_PERMITTED}
        elif self.fleets[fleet].state != "RUNNING":
            refusals = {NOT_AVAILABLE}
        wanted = application(self.fleets[fleet]) if fleet in self.fleets else "text-editor"
        body = {"ApplicationId": wanted} if wanted else {}
        answer = self.expect(refusals, "CreateStreamingURL", StackName=stack, FleetName=fleet, UserId=user, **body)
        if answer is not None and not refusals:
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
        if self.expect(set(), "ExpireSession", SessionId=session_id) is not None:
            self.sessions[session_id].is_ending = True

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def drain(self, data: Any) -> None:
        """A seat is drained away from others only where there could be others."""
        session_id = data.draw(st.sampled_from((*sorted(self.sessions), "00000000-0000-4000-8000-000000000000")))
        session = self.sessions.get(session_id)
        refusals = {NOT_FOUND} if session is None else set()
        if session is not None:
            instance = WORLD.run(self._instances(session.fleet)).get(session.instance_id)
            refusals = set() if instance is not None and instance.places > 1 else {NOT_PERMITTED}
        if self.expect(refusals, "DrainSessionInstance", SessionId=session_id) is not None and session and not refusals:
            self.draining.add(str(session.instance_id))

    # ── What always holds ─────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def what_is_described_is_what_the_rules_say(self) -> None:
        if not hasattr(self, "fleets"):
            return
        revision = WORLD.system.store.transactions.revision()
        if revision is not None and revision == self.checked_at:
            return  # nobody wrote anything since
        self.checked_at = revision
        fleets = {f["Name"]: fleet_model.of_wire(f) for f in self._twice("DescribeFleets")["Fleets"]}
        wanted = {name: fleet.shown() for name, fleet in self.fleets.items()}
        assert fleets == wanted, f"{fleets} instead of {wanted}"
        assert self.described_builders() == self.builders
        stacks = {s["Name"]: stack_model.of_wire(s) for s in self._twice("DescribeStacks")["Stacks"]}
        offered = {name: stack.members for name, stack in self.stacks.items()}
        assert stacks == offered, f"{stacks} instead of {offered}"
        for stack in self.stacks:
            names = self._twice("ListAssociatedFleets", StackName=stack)["Names"]
            assert names == [fleet for behind, fleet in self.fleet_of.items() if behind == stack]
        for arn, tags in self.tagged().items():
            assert self._twice("ListTagsForResource", ResourceArn=arn)["Tags"] == tags
        self.check_neighbours()

    def _twice(self, operation: str, **body: Any) -> dict[str, Any]:
        first = self.account.ask(operation, unlimited=True, **body)
        assert first == self.account.ask(operation, unlimited=True, **body), (
            f"{operation} changes while nothing happens"
        )
        return first

    def teardown(self) -> None:
        """Everything can be given back, from wherever a sequence ended."""
        if not hasattr(self, "fleets"):
            return
        self.take_key("")
        for session_id in list(self.sessions):
            self.expect(set(), "ExpireSession", SessionId=session_id)
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
        assert self._twice("DescribeFleets")["Fleets"] == self._twice("DescribeStacks")["Stacks"] == []


def _any_refusal(members: dict[str, Any]) -> set[str]:
    """Return what a change of a fleet that nobody has may be refused with before that is found out."""
    return fleet_model.updated(ModelFleet(members=dict(fleet_model.DEFAULTS), instances=0), members)[1]


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    global WORLD  # noqa: PLW0603 - Hypothesis makes the machines itself and hands them nothing
    caplog.set_level(logging.ERROR)
    WORLD = World()
    WORLD.open(tmp_path)
    yield WORLD
    WORLD.close()


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("world")
def test_random_operations_do_what_the_rules_say(caplog: pytest.LogCaptureFixture) -> None:
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
