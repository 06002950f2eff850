"""A session as its user and its image see it: variables, session scripts, a second link, a second browser.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from e2e.administrators import Administrator
from e2e.browsers import Visitor, visitor
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

USER, CONTEXT, TYPED = "ada.l@example", "project=7 & more", "still here 1357"
SCRIPTS = "/opt/appstream/SessionScripts"
CONFIG = {
    "SessionStart": {
        "Executables": [
            {"Context": "system", "Filename": f"{SCRIPTS}/start.sh", "Arguments": "'one word'", "S3LogEnabled": True},
            {"Context": "user", "Filename": f"{SCRIPTS}/fail.sh"},
        ],
        "WaitingTime": 20,
    },
    "SessionTermination": {
        "Executables": [
            {"Context": "system", "Filename": f"{SCRIPTS}/end.sh"},
            {"Context": "user", "Filename": f"{SCRIPTS}/hang.sh"},
        ],
        "WaitingTime": 2,
    },
}
FILES = {
    "config.json": json.dumps(CONFIG),
    "start.sh": '#!/bin/sh\nenv >/root/start.env\n. /etc/profile\necho "$(id -un) got $1 for $AppStream_UserName"\n',
    "fail.sh": "#!/bin/sh\nenv >~/start.env\nexit 3\n",
    "end.sh": '#!/bin/sh\necho "goodbye to $AppStream_UserName, $(pgrep -c mousepad) open"\n',
    "hang.sh": "#!/bin/sh\nsleep 600\n",
}
PLACE = f'mkdir -p {SCRIPTS} && cat >{SCRIPTS}/"$1" && chmod 755 {SCRIPTS}/"$1"'


@dataclass
class Story:
    installation: Installation
    fleet: str
    visitor: Visitor
    session: dict[str, Any]

    @property
    def administrator(self) -> Administrator:
        return Administrator(self.installation.client())

    @property
    def instance_id(self) -> str:
        return str(self.session["InstanceId"])

    def url(self) -> str:
        """Return another link for the same user."""
        answer = self.administrator.client.create_streaming_url(
            StackName=self.fleet, FleetName=self.fleet, UserId=USER, ApplicationId="text-editor", SessionContext=CONTEXT,
            Validity=600,
        )  # fmt: skip
        return str(answer["StreamingURL"])


@pytest.fixture(scope="module")
def story(real_installation: Installation, shared_fleet: str, browser: Browser) -> Iterator[Story]:
    if real_installation.process is None:
        real_installation.start()
    instances = Instances(real_installation)
    Administrator(real_installation.client()).wait_for_capacity(shared_fleet)
    free = instances.running()
    for instance_id in free:
        for name, content in FILES.items():
            done = instances.run(instance_id, "sh", "-c", PLACE, "sh", name, given=content.encode())
            assert done.returncode == 0, done.stderr
    with visitor(browser) as ada:
        told = Story(real_installation, shared_fleet, ada, {})
        ada.open(told.url())
        ada.wait_for_picture()
        told.session = dict(told.administrator.session(shared_fleet, USER))
        for instance_id in free - {told.instance_id}:
            instances.run(instance_id, "rm", "-r", SCRIPTS)
        yield told
        told.administrator.expire(shared_fleet, USER)


@pytest.fixture
def inside(story: Story) -> Instances:
    return Instances(story.installation)


def variables(text: bytes | str) -> dict[str, str]:
    lines = text.decode() if isinstance(text, bytes) else text
    pairs = (line.partition("=") for line in lines.replace("\0", "\n").splitlines())
    return {name: value for name, _, value in pairs if name.upper().startswith("APPSTREAM")}


def test_the_documented_variables_reach_shells_applications_and_scripts(story: Story, inside: Instances) -> None:
    fleet = story.administrator.fleet(story.fleet)
    shell = inside.run(story.instance_id, "bash", "-lc", "env", as_user=True)
    seen = variables(shell.stdout)
    reserved_at = seen.pop("AppStream_Session_Reservation_DateTime")
    assert reserved_at == f"{story.session['StartTime']:%Y-%m-%dT%H:%M:%SZ}"
    assert seen == {
        "AppStream_Stack_Name": story.fleet,
        "AppStream_User_Access_Mode": "custom",
        "AppStream_UserName": USER,
        "AppStream_Session_ID": story.session["Id"],
        "APPSTREAM_SESSION_CONTEXT": CONTEXT,
        "AppStream_Image_Arn": fleet["ImageArn"],
        "AppStream_Instance_Type": "stream.standard.medium",
        "AppStream_Resource_Type": "fleet",
        "AppStream_Resource_Name": story.fleet,
    }
    application = inside.run(story.instance_id, "sh", "-c", 'cat "/proc/$(pgrep -o mousepad)/environ"')
    assert variables(application.stdout).items() >= seen.items()
    for path in ("/root/start.env", "/home/user/start.env"):
        assert variables(inside.read(story.instance_id, path) or b"").items() >= seen.items(), path
    # Whom else the instance may serve: no business of theirs.
    stranger = ("setpriv", "--reuid", "4321", "--regid", "4321", "--clear-groups")
    assert variables(inside.run(story.instance_id, *stranger, "bash", "-lc", "env").stdout) == {}
    for path in ("/etc/profile.d/appstream_user_vars.sh", f"{SCRIPTS}/config.json", f"{SCRIPTS}/end.sh"):
        done = inside.run(story.instance_id, "sh", "-c", f"echo x >>{path}", as_user=True)
        assert done.returncode != 0, path


def test_start_scripts_ran_and_a_failed_one_is_told_to_user_and_operator(story: Story, inside: Instances) -> None:
    assert "set up for the start of this session failed" in story.visitor.words()
    said = f"system ended with 0 after 0.* root got one word for {USER}; user ended with 3"
    first, last = said.split("*")
    line = next(line for line in story.installation.log().splitlines() if first in line and story.instance_id in line)
    assert last in line
    output = inside.read(story.instance_id, "/var/log/fanlight/0/session-start-system.log")
    assert output == f"root got one word for {USER}\n".encode()
    assert inside.run(story.instance_id, "cat", "/var/log/fanlight/0/session-start-system.log", as_user=True).returncode


def test_another_link_in_another_browser_finds_session_and_windows_after_the_first_was_closed(
    story: Story, browser: Browser
) -> None:
    story.visitor.wait_for_text("File")
    story.visitor.click_stream()
    story.visitor.type(TYPED)
    story.visitor.wait_for_text(TYPED)
    story.visitor.page.goto("about:blank")
    wait_for(
        lambda: story.administrator.session(story.fleet, USER)["ConnectionState"] == "NOT_CONNECTED",
        timeout=10,
        what="NOT_CONNECTED",
    )
    with visitor(browser) as other:
        other.open(story.url())
        other.wait_for_picture()
        other.wait_for_text(TYPED)
        now = story.administrator.session(story.fleet, USER)
        assert (now["Id"], now["InstanceId"], now["MaxExpirationTime"]) == tuple(
            story.session[name] for name in ("Id", "InstanceId", "MaxExpirationTime")
        )
        # The newer of two browsers takes over, each with a link of its own.
        story.visitor.open(story.url())
        story.visitor.wait_for_state("stream")
        other.wait_for_state("superseded")
        assert "Opened elsewhere" in other.words()
        assert other.stream is None
    story.visitor.wait_for_text(TYPED)


def test_end_scripts_run_before_the_programs_go_and_a_hanging_one_holds_nothing_up(
    story: Story, inside: Instances
) -> None:
    story.administrator.client.expire_session(SessionId=story.session["Id"])
    story.visitor.wait_for_state("ended", timeout=5)
    wait_for(lambda: story.instance_id not in inside.names(), timeout=30, what=f"{story.instance_id} is gone")
    line = next(line for line in story.installation.log().splitlines() if "SessionTermination" in line)
    assert story.instance_id in line
    assert f"goodbye to {USER}, 1 open; user was stopped after 2 s" in line
