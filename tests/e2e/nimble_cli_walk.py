"""The AWS CLI of the day Nimble Studio was last in it, unmodified, through every operation, one command after another.

Like `cli_walk`, a program of its own that calls the CLI's own entry point. Prints what each operation said last, as JSON.
"""

import contextlib
import io
import json
import sys
import time

from awscli.clidriver import create_clidriver

PATIENCE_IN_SECONDS = 60
said = {}
driver = create_clidriver()  # once: to make it takes longer than most commands


def aws(*words, expect=0):
    """Run one command and return its answer, or what it complained of."""
    out, complaints = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        code = driver.main(["nimble", *words, "--output", "json"])
    for stream in (out, complaints):
        stream.flush()
    printed, complained = out.buffer.getvalue().decode(), complaints.buffer.getvalue().decode()
    assert (code != 0) == (expect != 0), f"{words}: {code} {complained}"
    answer = complained if expect else json.loads(printed or "{}")
    said[words[0]] = answer
    return answer


def become(kind, state, *place):
    """Look until it is in the state, more often than the CLI's own waiter, which then has nothing to wait for."""
    deadline = time.monotonic() + PATIENCE_IN_SECONDS
    while (found := next(iter(aws(f"get-{kind}", *place).values())))["state"] != state:
        assert time.monotonic() < deadline, f"the {kind} is {found['state']}, not {state}"
        time.sleep(0.1)
    aws("wait", f"{kind}-{state.lower()}", *place)
    return found


def main(ami):
    role = "arn:aws:iam::000000000000:role/r"
    words = ("--studio-name", "cliwalk", "--display-name", "From the CLI", "--admin-role-arn", role)
    studio = aws("create-studio", *words, "--user-role-arn", role, "--tags", "made=by-the-cli")["studio"]
    at = ("--studio-id", studio["studioId"])
    become("studio", "READY", *at)
    aws("update-studio", *at, "--display-name", "Renamed")
    become("studio", "READY", *at)
    aws("list-studios")
    aws("start-studio-sso-configuration-repair", *at, expect=1)
    member = ("--identity-store-id", "d-1", "--members", "principalId=boss,persona=ADMINISTRATOR")
    aws("put-studio-members", *at, *member)
    aws("list-studio-members", *at, "--max-items", "1")
    aws("get-studio-member", *at, "--principal-id", "boss")
    aws("delete-studio-member", *at, "--principal-id", "boss")
    aws("tag-resource", "--resource-arn", studio["arn"], "--tags", "team=tests,phase=one")
    aws("untag-resource", "--resource-arn", studio["arn"], "--tag-keys", "phase", "made")
    aws("list-tags-for-resource", "--resource-arn", studio["arn"])

    image = aws("create-streaming-image", *at, "--name", "image", "--ec2-image-id", ami)["streamingImage"]
    image_at = (*at, "--streaming-image-id", image["streamingImageId"])
    become("streaming-image", "READY", *image_at)
    aws("update-streaming-image", *image_at, "--description", "of the CLI")
    become("streaming-image", "READY", *image_at)
    aws("list-streaming-images", *at)
    eulas = [one["eulaId"] for one in aws("list-eulas")["eulas"]]
    aws("get-eula", "--eula-id", eulas[0])
    aws("accept-eulas", *at, "--eula-ids", *eulas)
    aws("list-eula-acceptances", *at, "--eula-ids", *eulas)

    script = {"platform": "LINUX", "runContext": "SYSTEM_INITIALIZATION", "script": "true"}
    component = aws(
        "create-studio-component", *at, "--name", "tools", "--type", "CUSTOM", "--initialization-scripts", json.dumps([script])
    )["studioComponent"]  # fmt: skip
    component_at = (*at, "--studio-component-id", component["studioComponentId"])
    become("studio-component", "READY", *component_at)
    aws(
        "update-studio-component", *component_at, "--description", "of the CLI", "--script-parameters", "key=AB,value=c"
    )
    become("studio-component", "READY", *component_at)
    aws("list-studio-components", *at, "--types", "CUSTOM", "COMPUTE_FARM", "--states", "READY")
    stream = {
        "clipboardMode": "ENABLED",
        "ec2InstanceTypes": ["g4dn.xlarge"],
        "streamingImageIds": [image["streamingImageId"]],
        "maxStoppedSessionLengthInMinutes": 60,
        "sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 1},
    }
    profile = aws(
        "create-launch-profile", *at, "--name", "artists", "--ec2-subnet-ids", "[]",
        "--launch-profile-protocol-versions", "2021-03-31", "--stream-configuration", json.dumps(stream),
        "--studio-component-ids", component["studioComponentId"],
    )["launchProfile"]  # fmt: skip
    profile_at = (*at, "--launch-profile-id", profile["launchProfileId"])
    become("launch-profile", "READY", *profile_at)
    aws("update-launch-profile", *profile_at, "--description", "of the CLI")
    become("launch-profile", "READY", *profile_at)
    aws("get-launch-profile-details", *profile_at)
    purpose = ("--launch-purpose", "STREAMING", "--platform", "LINUX")
    aws("get-launch-profile-initialization", *profile_at, "--launch-profile-protocol-versions", "2021-03-31", *purpose)
    user = ("--principal-id", "artist")
    aws(
        "put-launch-profile-members",
        *profile_at,
        "--identity-store-id",
        "d-1",
        "--members",
        "principalId=artist,persona=USER",
    )
    aws("update-launch-profile-member", *profile_at, *user, "--persona", "USER")
    aws("get-launch-profile-member", *profile_at, *user)
    aws("list-launch-profile-members", *profile_at)
    aws("list-launch-profiles", *at, *user)

    session = aws("create-streaming-session", *profile_at, "--owned-by", "artist")["session"]
    session_at = (*at, "--session-id", session["sessionId"])
    become("streaming-session", "READY", *session_at)
    stream_id = aws("create-streaming-session-stream", *session_at, "--expiration-in-seconds", "60")["stream"][
        "streamId"
    ]
    become("streaming-session-stream", "READY", *session_at, "--stream-id", stream_id)
    aws("stop-streaming-session", *session_at)
    become("streaming-session", "STOPPED", *session_at)
    backup = ("--backup-id", aws("list-streaming-session-backups", *at)["streamingSessionBackups"][0]["backupId"])
    aws("get-streaming-session-backup", *at, *backup)
    aws("start-streaming-session", *session_at, *backup)
    become("streaming-session", "READY", *session_at)
    aws("list-streaming-sessions", *at, "--owned-by", "artist")
    aws("delete-streaming-session", *session_at)
    become("streaming-session", "DELETED", *session_at)

    aws("delete-launch-profile-member", *profile_at, *user)
    aws("delete-launch-profile", *profile_at)
    become("launch-profile", "DELETED", *profile_at)
    aws("delete-studio-component", *component_at)
    become("studio-component", "DELETED", *component_at)
    aws("delete-streaming-image", *image_at)
    become("streaming-image", "DELETED", *image_at)
    aws("delete-studio", *at)
    become("studio", "DELETED", *at)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
