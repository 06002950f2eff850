"""Two users on one instance, from boto3 to the pixels of both: nothing is mixed up, and a drained instance goes.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from e2e.administrators import Administrator
from e2e.browsers import Visitor, visitor
from e2e.http_clients import Answer, ask, upgrade_status
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

NAME = "e2e-seats"
HER_TEXT, HIS_TEXT = "heron 2468", "walnut 1357"
# Somebody who may come in does so within a second.
TURNED_AWAY_IN_SECONDS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    name: str
    visitor: Visitor
    portal: str

    @property
    def ref(self) -> str:
        return self.visitor.page.url.rstrip("/").rsplit("/", 1)[1]

    @property
    def cookies(self) -> Mapping[str, str]:
        return {c["name"]: c["value"] for c in self.visitor.context.cookies(self.visitor.page.url)}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def asks(self, path: str, *, of: "Person", cookie: str | None = None) -> Answer:
        headers = {"Cookie": cookie or self.cookie, "X-Fanlight-Page": "1"}
        return ask("GET", f"{self.portal}/s/{of.ref}/{path}", headers)

    def sends(self, name: str, content: bytes, *, kind: str, to: "Person", cookie: str | None = None) -> int:
        """Send a file as My Files does; `kind` is "home" or "temporary"."""
        headers = {"Cookie": cookie or self.cookie, "Origin": self.portal, "X-Fanlight-Page": "1"}
        query = f"path={name}&size={len(content)}&offset=0&conflict=replace&fingerprint="
        return ask("PUT", f"{self.portal}/s/{to.ref}/api/{kind}/uploads/{name}-upload?{query}", headers, content).status

    def finds(self, *, kind: str) -> set[str]:
        lines = self.asks(f"api/{kind}/folder?path=", of=self).body.splitlines()
        return {row[0] for line in lines for row in json.loads(line).get("entries", ())}

    def uploads(self, name: str, content: bytes, *, to: "Person", cookie: str | None = None) -> int:
        headers = {"Cookie": cookie or self.cookie, "Origin": self.portal, "X-Upload-Path": name}
        return ask("POST", f"{self.portal}/s/{to.ref}/stream/api/upload", headers, content).status


@dataclass(slots=True)
class Story:
    administrator: Administrator
    instances: Instances
    ada: Person
    bob: Person
    cid: Person
    instance_id: str = ""

    def comes(self, person: Person, application: str) -> None:
        person.visitor.open(self.administrator.url(NAME, person.name, application))

    def drain_statuses(self) -> Mapping[str, str]:
        return {s["UserId"]: s["InstanceDrainStatus"] for s in self.administrator.sessions(NAME)}

    def waits(self, person: Person) -> bool:
        found = [(s["State"], s.get("InstanceId")) for s in self.administrator.sessions(NAME, person.name)]
        return found == [("PENDING", None)] and person.visitor.state == "waiting"

    def becomes(self, *, active: int, available: int, draining: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Wait for what the fleet tells of its sessions. `draining`: instances, sessions on them, places left there."""
        is_used = bool(active or draining[0])
        wanted = {
            "Desired": 1,
            "Running": 1,
            "InUse": int(is_used),
            "Available": int(not is_used),
            "DesiredUserSessions": 2,
            "ActiveUserSessions": active,
            "AvailableUserSessions": available,
            "ActualUserSessions": active + available,
            "Draining": draining[0],
            "DrainModeActiveUserSessions": draining[1],
            "DrainModeUnusedUserSessions": draining[2],
        }

        def status() -> object:
            return self.administrator.fleet(NAME)["ComputeCapacityStatus"]

        try:
            wait_for(lambda: status() == wanted, timeout=60, what="the status")
        except AssertionError:
            assert status() == wanted


@pytest.fixture(scope="module")
def story(real_installation: Installation, browser: Browser) -> Iterator[Story]:
    administrator = Administrator(real_installation.client())
    client = administrator.client
    client.create_stack(Name=NAME, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
    client.create_fleet(
        Name=NAME,
        ImageName="Fanlight-Sample-Debian13",
        InstanceType="stream.standard.medium",
        ComputeCapacity={"DesiredSessions": 2},
        MaxSessionsPerInstance=2,
    )
    client.associate_fleet(FleetName=NAME, StackName=NAME)
    administrator.start(NAME)
    with ExitStack() as leaving:
        ada, bob, cid = (
            Person(name, leaving.enter_context(visitor(browser)), real_installation.portal_url)
            for name in ("seat-ada", "seat-bob", "seat-cid")
        )
        yield Story(administrator, Instances(real_installation), ada, bob, cid)
    administrator.remove(NAME)


def test_two_users_see_the_same_instance_at_the_same_time(story: Story) -> None:
    fleet = story.administrator.fleet(NAME)
    assert (fleet["MaxSessionsPerInstance"], fleet["State"]) == (2, "RUNNING")
    story.becomes(active=0, available=2)
    story.comes(story.ada, "text-editor")
    story.comes(story.bob, "terminal")
    for person in (story.ada, story.bob):
        person.visitor.wait_for_picture()
    assert [person.visitor.state for person in (story.ada, story.bob)] == ["stream", "stream"]
    on = {person.name: story.administrator.instance_of(NAME, person.name) for person in (story.ada, story.bob)}
    [story.instance_id] = set(on.values())
    there = story.administrator.client.describe_sessions(StackName=NAME, FleetName=NAME, InstanceId=story.instance_id)[
        "Sessions"
    ]
    assert {s["UserId"]: s["InstanceDrainStatus"] for s in there} == dict.fromkeys(on, "ACTIVE")
    assert story.instance_id in story.instances.running()
    story.becomes(active=2, available=0)


def test_each_reads_what_they_typed_and_nothing_of_the_other(story: Story) -> None:
    ada, bob = story.ada.visitor, story.bob.visitor
    ada.wait_for_text("Mousepad")
    bob.wait_for_text("Terminal")
    for person, text in ((ada, HER_TEXT), (bob, HIS_TEXT)):
        person.click_stream()
        person.type(text)
    hers, his = ada.wait_for_text(HER_TEXT), bob.wait_for_text(HIS_TEXT)
    assert "walnut" not in hers.lower()
    assert "heron" not in his.lower()


def test_no_cookie_of_one_opens_stream_or_files_of_the_other(story: Story) -> None:
    ada, bob = story.ada, story.bob
    contents = {ada: b"of ada", bob: b"of bob"}
    for person, content in contents.items():
        assert person.uploads("note.txt", content, to=person) == 200
    for person, other in ((ada, bob), (bob, ada)):
        [value], [name] = person.cookies.values(), other.cookies
        for cookie in (person.cookie, f"{name}={value}", f"{person.cookie}; {name}={value}"):
            for path in ("", "stream/", "api/state", "api/files?folder=", "stream/api/files/note.txt"):
                assert person.asks(path, of=other, cookie=cookie).status in (403, 404), path
            assert person.uploads("mine.txt", b"x", to=other, cookie=cookie) == 403
            stream = f"{person.portal}/s/{other.ref}/stream/api/websockets"
            assert upgrade_status(stream, origin=person.portal, cookie=cookie) == 403
    # What is theirs is open to each, under the same name and with their own content.
    for person, content in contents.items():
        listed = json.loads(person.asks("api/files?folder=", of=person).body)["entries"]
        assert {entry["name"] for entry in listed} == {"HomeFolder", "note.txt"}
        answer = person.asks("stream/api/files/note.txt", of=person)
        assert (answer.status, answer.body) == (200, content)


def test_each_has_their_own_folders_in_my_files(story: Story) -> None:
    ada, bob = story.ada, story.bob
    for kind in ("home", "temporary"):
        for person in (ada, bob):
            name = f"of-{person.name}"

            def is_sent(person: Person = person, name: str = name, kind: str = kind) -> bool:
                return person.sends(name, name.encode(), kind=kind, to=person) == 200

            wait_for(is_sent, timeout=60, what=f"{name} in {kind}")
        for person, other in ((ada, bob), (bob, ada)):
            assert {name for name in person.finds(kind=kind) if name.startswith("of-")} == {f"of-{person.name}"}
            assert person.asks(f"api/{kind}/file?path=of-{person.name}", of=person).body == f"of-{person.name}".encode()
            for path in (f"of-{other.name}", f"../of-{other.name}", f"..%2F..%2F{other.name}"):
                assert person.asks(f"api/{kind}/file?path={path}", of=person).status in (400, 404), path
            for path in ("folder?path=", "uploads", f"file?path=of-{other.name}", "zip?path="):
                assert person.asks(f"api/{kind}/{path}", of=other).status in (403, 404), path
            assert person.sends("mine", b"x", kind=kind, to=other) == 403
    # The same in the instance: as the other, not even its name is to be seen.
    found = story.instances.run(
        story.instance_id, "find", "/home", "-xdev", "-name", "of-seat-???", "-printf", "%f %u\n"
    )
    rows = sorted(line.split() for line in found.stdout.decode().splitlines())
    assert [name for name, _ in rows] == ["of-seat-ada", "of-seat-bob"]
    assert len({owner for _, owner in rows}) == 2


def test_a_third_user_waits_while_both_places_are_taken(story: Story) -> None:
    story.comes(story.cid, "text-editor")
    wait_for(lambda: story.waits(story.cid), timeout=5, what="the third user waits")
    assert story.drain_statuses()[story.cid.name] == "NOT_APPLICABLE"
    story.becomes(active=2, available=0)
    story.administrator.expire(NAME, story.cid.name)
    story.cid.visitor.wait_for_state("ended", "refused")


def test_a_drained_instance_keeps_its_users_and_takes_no_other(story: Story) -> None:
    client, ada = story.administrator.client, story.administrator.session(NAME, story.ada.name)
    client.drain_session_instance(SessionId=ada["Id"])
    assert story.drain_statuses() == {story.ada.name: "DRAINING", story.bob.name: "DRAINING"}
    story.becomes(active=0, available=0, draining=(1, 2, 0))

    story.administrator.expire(NAME, story.bob.name)
    story.bob.visitor.wait_for_state("ended")
    story.becomes(active=0, available=0, draining=(1, 1, 1))
    story.ada.visitor.type(" still")
    story.ada.visitor.wait_for_text(f"{HER_TEXT} still")
    story.comes(story.cid, "text-editor")
    wait_for(lambda: story.waits(story.cid), timeout=5, what="the third user waits although a place is free")
    until = time.monotonic() + TURNED_AWAY_IN_SECONDS
    while time.monotonic() < until:
        assert story.waits(story.cid)
        time.sleep(0.2)
    assert story.administrator.instance_of(NAME, story.ada.name) == story.instance_id


def test_a_fresh_instance_takes_the_place_of_a_drained_one_when_its_last_user_left(story: Story) -> None:
    story.administrator.expire(NAME, story.ada.name)
    story.ada.visitor.wait_for_state("ended")
    story.cid.visitor.wait_for_picture()
    assert story.administrator.instance_of(NAME, story.cid.name) != story.instance_id
    assert story.instance_id not in story.instances.names()
    assert story.drain_statuses() == {story.cid.name: "ACTIVE"}
    story.becomes(active=1, available=1)
    assert "heron" not in story.cid.visitor.wait_for_text("File").lower()
