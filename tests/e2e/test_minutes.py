"""What takes minutes, on the real engine and side by side: ends by time with their warnings, and scaling by load.

One story. Two users do nothing from its beginning on, and an idle minute really passes for them; meanwhile a session is
disconnected for too long, another lasts as long as it may, and alarms of two fleets judge the minute. Longer times than
that have passed in the stored rows only (`past_times`).
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from e2e.administrators import Administrator
from e2e.browsers import Visitor, visitor
from e2e.installation import Installation, wait_for
from e2e.instances import Instances
from e2e.past_times import expire_at, note_minutes, pass_time, stored_time

pytestmark = [pytest.mark.incus, pytest.mark.browser]

TYPED = "still here 8642"
AFTER, FEEDBACK = "https://intranet.example.org/apps", "https://example.org/feedback"
MINUTE, DISCONNECT = timedelta(minutes=1), timedelta(minutes=10)
TRACKED, STEPPED = "e2e-tracked", "e2e-stepped"
TRACKING = {
    "TargetValue": 60.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "AppStreamAverageCapacityUtilization"},
}
STEP_DOWN = {
    "AdjustmentType": "ChangeInCapacity",
    "StepAdjustments": [{"MetricIntervalUpperBound": 0.0, "ScalingAdjustment": -1}],
}
ONCE_A_MINUTE_IN_SECONDS = 130.0  # a minute in which the process was killed may go unmeasured


@dataclass(slots=True)
class Story:
    installation: Installation
    fleet: str
    browser: Browser
    ada: Visitor
    bob: Visitor
    quiet_since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def administrator(self) -> Administrator:
        return Administrator(self.installation.client())

    @property
    def instances(self) -> Instances:
        return Instances(self.installation)

    def opens(self, person: Visitor, name: str) -> None:
        person.open(self.administrator.url(self.fleet, name, "text-editor"))
        person.wait_for_picture()

    @contextmanager
    def comes(self, name: str) -> Iterator[Visitor]:
        self.administrator.wait_for_capacity(self.fleet)
        with visitor(self.browser) as person:
            self.opens(person, name)
            yield person

    def connection(self, name: str) -> str:
        found = self.administrator.sessions(self.fleet, name)
        return str(found[0]["ConnectionState"]) if found else "over"

    def is_gone(self, session: Any) -> None:
        """Wait until the session is EXPIRED and its instance destroyed."""
        name = session["UserId"]
        wait_for(lambda: self.connection(name) == "over", timeout=10, what=f"the end of {name}'s session")
        instance_id = session["InstanceId"]
        wait_for(lambda: instance_id not in self.instances.names(), timeout=30, what=f"{instance_id} is gone")


@pytest.fixture(scope="module")
def story(real_installation: Installation, shared_fleet: str, browser: Browser) -> Iterator[Story]:
    if real_installation.process is None:
        real_installation.start()
    client = real_installation.client()
    Administrator(client).wait_for_capacity(shared_fleet, 2)
    client.update_fleet(Name=shared_fleet, IdleDisconnectTimeoutInSeconds=60, DisconnectTimeoutInSeconds=600)
    with ExitStack() as leaving:
        ada, bob = (leaving.enter_context(visitor(browser)) for _ in range(2))
        told = Story(real_installation, shared_fleet, browser, ada, bob)
        told.opens(bob, "idle-bob")
        told.opens(ada, "idle-ada")
        ada.wait_for_text("File")
        ada.click_stream()
        ada.type(TYPED)
        told.quiet_since = datetime.now(UTC)
        yield told
        for session in told.administrator.sessions(shared_fleet):
            client.expire_session(SessionId=session["Id"])
        client.update_fleet(Name=shared_fleet, IdleDisconnectTimeoutInSeconds=0, DisconnectTimeoutInSeconds=900)
        client.update_stack(Name=shared_fleet, AttributesToDelete=["REDIRECT_URL", "FEEDBACK_URL"])


@pytest.fixture(scope="module")
def scaled(story: Story) -> Iterator[None]:
    """A fleet with a user on its only instance, which wants room; and one of two instances, of which nobody uses any."""
    administrator = story.administrator
    administrator.make(TRACKED, start=False)
    administrator.make(STEPPED, capacity=2, start=False)
    for name in (TRACKED, STEPPED):
        administrator.client.start_fleet(Name=name)
    administrator.wait_for_capacity(TRACKED)
    administrator.wait_for_capacity(STEPPED, 2)
    with visitor(story.browser) as eve:
        eve.open(administrator.url(TRACKED, "scaling-eve", "text-editor"))
        administrator.session(TRACKED, "scaling-eve")
    register(story.installation)
    note_minutes(story.installation, TRACKED, 2)
    yield
    for name in (TRACKED, STEPPED):
        story.installation.client("application-autoscaling").deregister_scalable_target(**target(name))
        administrator.remove(name)


def target(fleet: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "appstream",
        "ResourceId": f"fleet/{fleet}",
        "ScalableDimension": "appstream:fleet:DesiredCapacity",
    }


def register(installation: Installation) -> None:
    scaling = installation.client("application-autoscaling")
    for name in (TRACKED, STEPPED):
        scaling.register_scalable_target(**target(name), MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(
        **target(TRACKED),
        PolicyName="room for more",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=TRACKING,
    )
    steps = scaling.put_scaling_policy(
        **target(STEPPED), PolicyName="fewer", PolicyType="StepScaling", StepScalingPolicyConfiguration=STEP_DOWN
    )
    installation.client("cloudwatch").put_metric_alarm(
        AlarmName="nobody there",
        Namespace="AWS/AppStream",
        MetricName="CapacityUtilization",
        Dimensions=[{"Name": "Fleet", "Value": STEPPED}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=10.0,
        ComparisonOperator="LessThanThreshold",
        AlarmActions=[steps["PolicyARN"]],
    )


def test_who_does_nothing_is_warned_in_the_page_before_the_end_of_the_minute(story: Story) -> None:
    assert "because of inactivity" not in story.ada.words()
    for person in (story.ada, story.bob):
        wait_for(
            lambda person=person: re.search(r"You will be disconnected in \d+.s because of inactivity", person.words()),
            timeout=45,
            what="the warning",
        )
        assert person.state == "stream"


@pytest.mark.usefixtures("scaled")
def test_who_leaves_has_until_the_disconnect_timeout_to_come_back(story: Story) -> None:
    with story.comes("left-eve") as eve:
        session = story.administrator.session(story.fleet, "left-eve")
        eve.page.goto("about:blank")
        wait_for(lambda: story.connection("left-eve") == "NOT_CONNECTED", timeout=10, what="NOT_CONNECTED")
        pass_time(story.installation, session["Id"], DISCONNECT / 2)
        story.opens(eve, "left-eve")
        assert story.administrator.session(story.fleet, "left-eve")["Id"] == session["Id"]
        eve.page.goto("about:blank")
        wait_for(lambda: story.connection("left-eve") == "NOT_CONNECTED", timeout=10, what="NOT_CONNECTED again")
        pass_time(story.installation, session["Id"], DISCONNECT)
        story.is_gone(session)


def test_the_longest_duration_is_told_before_it_is_over_and_leads_to_the_stacks_own_pages(story: Story) -> None:
    client = story.administrator.client
    with story.comes("long-max") as person:
        session = story.administrator.session(story.fleet, "long-max")
        # The addresses of the end count, not those of the beginning.
        client.update_stack(Name=story.fleet, RedirectURL=AFTER, FeedbackURL=FEEDBACK)
        expire_at(story.installation, session["Id"], datetime.now(UTC) + timedelta(seconds=295))
        wait_for(
            lambda: re.search(r"This session ends in 4.min\. Save your work", person.words()),
            timeout=30,
            what="the warning five minutes before",
        )
        end = datetime.now(UTC) + timedelta(seconds=22)
        expire_at(story.installation, session["Id"], end)
        wait_for(
            lambda: re.search(r"This session ends in [12]0.s\. Save your work", person.words()),
            timeout=20,
            what="the last warning",
        )
        person.wait_for_state("ended", timeout=25)
        assert datetime.now(UTC) > end - timedelta(seconds=1)
        visited: list[dict[str, str]] = []

        def answer(route: Route) -> None:
            visited.append(route.request.headers)
            route.fulfill(body="<p>The intranet", content_type="text/html")

        person.page.route(f"{AFTER}**", answer)
        assert "It reached the longest time that this fleet allows." in person.words()
        feedback = person.page.get_by_role("link", name="Give feedback")
        feedback.wait_for()
        assert feedback.get_attribute("href") == FEEDBACK
        assert re.search(r"You are taken to intranet\.example\.org in \d+.s", person.words())
        person.page.wait_for_url(AFTER, timeout=60_000)
        assert [headers.get("referer") for headers in visited] == [None]
    story.is_gone(session)


@pytest.mark.usefixtures("scaled")
def test_alarms_of_a_tracked_and_a_stepped_fleet_change_how_many_instances_run(story: Story) -> None:
    administrator = story.administrator
    scaling = story.installation.client("application-autoscaling")

    def outcome(fleet: str) -> tuple[str, str] | None:
        answer = scaling.describe_scaling_activities(ServiceNamespace="appstream", ResourceId=f"fleet/{fleet}")
        found = [(one["Description"], one["StatusCode"]) for one in answer["ScalingActivities"]]
        return found[0] if found else None

    def capacity(fleet: str) -> tuple[int, int, int]:
        status = administrator.fleet(fleet)["ComputeCapacityStatus"]
        return status["Desired"], status["Running"], status["InUse"]

    for fleet, wanted in ((TRACKED, 2), (STEPPED, 1)):
        wait_for(
            lambda fleet=fleet, wanted=wanted: (
                outcome(fleet) == (f"Setting desired capacity to {wanted}.", "Successful")
            ),
            timeout=ONCE_A_MINUTE_IN_SECONDS,
            what=f"a changed capacity of {fleet}",
        )
    wait_for(lambda: capacity(TRACKED) == (2, 2, 1), timeout=20, what="two instances, one of them in use")
    wait_for(lambda: capacity(STEPPED) == (1, 1, 0), timeout=20, what="one instance, not in use")
    wait_for(
        lambda: (running(story, TRACKED), running(story, STEPPED)) == (2, 1), timeout=20, what="that of the engine"
    )


def running(story: Story, fleet: str) -> int:
    """Return how many instances of the fleet the engine itself has running."""
    return sum(1 for one in story.instances.labels() if one.get("fleet") == fleet)


def test_who_did_nothing_for_the_idle_time_is_cut_off_and_may_come_back_in_time(story: Story) -> None:
    for person, name in ((story.ada, "idle-ada"), (story.bob, "idle-bob")):
        person.wait_for_state("idle", timeout=75)
        assert "You were disconnected because of inactivity" in person.words()
        assert story.connection(name) == "NOT_CONNECTED"
    ada, bob = (story.administrator.session(story.fleet, name) for name in ("idle-ada", "idle-bob"))
    idle = stored_time(story.installation, ada["Id"], "disconnected_at") - story.quiet_since
    # The agent says it every five seconds, and a busy machine takes its time for the last keys.
    assert MINUTE - timedelta(seconds=1) <= idle <= 2 * MINUTE
    pass_time(story.installation, bob["Id"], DISCONNECT)
    story.bob.wait_for_state("ended", timeout=15)
    assert "did not come back in time" in story.bob.words()
    story.is_gone(bob)
    # Ada is still in time.
    story.ada.page.get_by_role("button", name="Reconnect").click()
    story.ada.wait_for_state("stream")
    story.ada.wait_for_text(TYPED)
    assert story.connection("idle-ada") == "CONNECTED"
