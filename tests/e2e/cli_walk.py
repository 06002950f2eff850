"""The AWS CLI, unmodified, through every operation of fleets, stacks, associations, sessions and tags, one command after another.

A program of its own: the CLI's own entry point is called with the words of each command, in one process, because to start
it anew for each takes a second. Prints the operations it ran and what they said, as JSON.
"""

import contextlib
import io
import json
import sys
import time
from typing import Any

from awscli.clidriver import create_clidriver

NAME = "cli-walk"
said: dict[str, Any] = {}


def aws(*words: str, expect: int = 0) -> Any:
    """Run one command and return its answer, or what it complained of."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    complaints = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        code = create_clidriver().main(["appstream", *words, "--output", "json"])
    for stream in (out, complaints):
        stream.flush()
    printed, complained = out.buffer.getvalue().decode(), complaints.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert (code != 0) == (expect != 0), f"{words}: {code} {complained}"
    answer = complained if expect else json.loads(printed or "{}")
    said[words[0]] = answer
    return answer


def main(image: str) -> None:
    aws("create-stack", "--name", NAME, "--display-name", "From the CLI", "--tags", "made=by-the-cli")
    aws("update-stack", "--name", NAME, "--user-settings", "Action=FILE_DOWNLOAD,Permission=DISABLED")
    aws("describe-stacks", "--names", NAME)
    words = ("--image-name", image, "--instance-type", "stream.standard.small")
    fleet = aws("create-fleet", "--name", NAME, *words, "--compute-capacity", "DesiredInstances=1")["Fleet"]
    aws("update-fleet", "--name", NAME, "--display-name", "Renamed", "--idle-disconnect-timeout-in-seconds", "70")
    aws("tag-resource", "--resource-arn", fleet["Arn"], "--tags", "team=tests,phase=one")
    aws("untag-resource", "--resource-arn", fleet["Arn"], "--tag-keys", "phase")
    aws("list-tags-for-resource", "--resource-arn", fleet["Arn"])
    aws("associate-fleet", "--fleet-name", NAME, "--stack-name", NAME)
    aws("list-associated-fleets", "--stack-name", NAME)
    aws("list-associated-stacks", "--fleet-name", NAME)
    aws("describe-images", "--type", "PUBLIC")
    aws("start-fleet", "--name", NAME)
    become("RUNNING")
    aws("wait", "fleet-started", "--names", NAME)
    pair = ("--stack-name", NAME, "--fleet-name", NAME)
    aws("create-streaming-url", *pair, "--user-id", "ada", "--validity", "60")
    aws("describe-sessions", *pair)
    aws("drain-session-instance", "--session-id", "00000000-0000-4000-8000-000000000000", expect=1)
    aws("expire-session", "--session-id", "00000000-0000-4000-8000-000000000000")
    aws("stop-fleet", "--name", NAME)
    become("STOPPED")
    aws("wait", "fleet-stopped", "--names", NAME)
    aws("disassociate-fleet", "--fleet-name", NAME, "--stack-name", NAME)
    aws("delete-fleet", "--name", NAME)
    aws("delete-stack", "--name", NAME)
    print(json.dumps(said, default=str))


def become(state: str) -> None:
    """Wait for the fleet: the CLI's own waiter looks every 30 seconds only."""
    deadline = time.monotonic() + 30
    while aws("describe-fleets", "--names", NAME)["Fleets"][0]["State"] != state:
        assert time.monotonic() < deadline, f"the fleet is not {state}"
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
