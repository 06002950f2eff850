"""The whole life of a studio with boto3 as it was when Nimble Studio closed; `nimble_walk.mjs` is the same in JavaScript.

Every waiter and every paginator of the client is used. At each moment that a person has something to do it prints what
there is, as a line of JSON, and goes on when a line comes in (`nimble_lives`). The argument says what to make.
"""

import json
import sys

import boto3

OFTEN = {"Delay": 0.5, "MaxAttempts": 360}


def tell(moment, **facts):
    print(json.dumps({"moment": moment, **facts}), flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody is there any more")


def main(wanted):
    nimble = boto3.client("nimble")
    pages, waited, errors = {}, set(), {}

    def wait(name, **of):
        nimble.get_waiter(name).wait(**of, WaiterConfig=OFTEN)
        waited.add(name)

    def listed(operation, key, **of):
        found = [one for page in nimble.get_paginator(operation).paginate(**of) for one in page[key]]
        pages[operation] = len(found)
        return found

    def refused(operation, **arguments):
        try:
            getattr(nimble, operation)(**arguments)
        except nimble.exceptions.ClientError as error:
            answer = error.response["ResponseMetadata"]
            errors[operation] = [type(error).__name__, answer["HTTPStatusCode"], bool(answer["RequestId"])]

    role = "arn:aws:iam::000000000000:role/r"
    new_studio = {"studioName": wanted["name"], "displayName": "Walk", "adminRoleArn": role, "userRoleArn": role}
    token = f"{wanted['name']}-token"
    studio = nimble.create_studio(**new_studio, clientToken=token)["studio"]
    again = nimble.create_studio(**new_studio, clientToken=token)["studio"]
    at = {"studioId": studio["studioId"]}
    wait("studio_ready", **at)
    listed("list_studios", "studios")
    refused("create_studio", **new_studio)
    refused("start_studio_sso_configuration_repair", **at)
    refused("get_studio", studioId="us-east-1:stid-0000000000000000")
    refused("update_studio", **at, displayName="n" * 65)
    member = {"identityStoreId": "d-1", "members": [{"principalId": "boss", "persona": "ADMINISTRATOR"}]}
    nimble.put_studio_members(**at, **member)
    listed("list_studio_members", "members", **at)
    nimble.tag_resource(resourceArn=studio["arn"], tags={"a": "b", "c": "d"})
    nimble.untag_resource(resourceArn=studio["arn"], tagKeys=["a"])
    tags = nimble.list_tags_for_resource(resourceArn=studio["arn"])["tags"]

    image = nimble.create_streaming_image(**at, name="image", ec2ImageId=wanted["ami"])["streamingImage"]
    image_at = {**at, "streamingImageId": image["streamingImageId"]}
    wait("streaming_image_ready", **image_at)
    listed("list_streaming_images", "streamingImages", **at, owner=studio["studioId"])
    components = []
    for new_component in wanted["components"]:
        component = nimble.create_studio_component(**at, **new_component)["studioComponent"]
        components.append(component["studioComponentId"])
        wait("studio_component_ready", **at, studioComponentId=components[-1])
    types = ["CUSTOM", "SHARED_FILE_SYSTEM"]
    listed("list_studio_components", "studioComponents", **at, types=types, PaginationConfig={"PageSize": 1})
    profile = nimble.create_launch_profile(
        **at,
        name="artists",
        ec2SubnetIds=[],
        launchProfileProtocolVersions=["2021-03-31"],
        streamConfiguration={**wanted["stream"], "streamingImageIds": [image["streamingImageId"]]},
        studioComponentIds=components,
    )["launchProfile"]
    profile_at = {**at, "launchProfileId": profile["launchProfileId"]}
    wait("launch_profile_ready", **profile_at)
    user = {"identityStoreId": "d-1", "members": [{"principalId": "artist", "persona": "USER"}]}
    nimble.put_launch_profile_members(**profile_at, **user)
    listed("list_launch_profile_members", "members", **profile_at)
    listed("list_launch_profiles", "launchProfiles", **at, principalId="artist", states=["READY", "DELETED"])
    details = nimble.get_launch_profile_details(**profile_at)

    refused("create_streaming_session", **profile_at, ownedBy="artist")  # the agreement of the image comes first
    eulas = [one["eulaId"] for one in listed("list_eulas", "eulas")]
    nimble.accept_eulas(**at, eulaIds=eulas)
    listed("list_eula_acceptances", "eulaAcceptances", **at, eulaIds=eulas)
    session_at = {
        **at,
        "sessionId": nimble.create_streaming_session(**profile_at, ownedBy="artist")["session"]["sessionId"],
    }

    def session():
        found = nimble.get_streaming_session(**session_at)["session"]
        return {name: str(found.get(name)) for name in wanted["shown"]}

    def new_stream():
        stream_at = {
            **session_at,
            "streamId": nimble.create_streaming_session_stream(**session_at, expirationInSeconds=3600)["stream"][
                "streamId"
            ],
        }
        wait("streaming_session_stream_ready", **stream_at)
        return nimble.get_streaming_session_stream(**stream_at)["stream"]["url"]

    wait("streaming_session_ready", **session_at)
    tell("ready", session=session(), url=new_stream())
    nimble.stop_streaming_session(**session_at)
    tell("stopping")
    wait("streaming_session_stopped", **session_at)
    (backup,) = listed("list_streaming_session_backups", "streamingSessionBackups", **at)
    tell("stopped", session=session(), backup=backup["state"])
    nimble.start_streaming_session(**session_at)
    wait("streaming_session_ready", **session_at)
    tell("started", session=session(), url=new_stream())
    nimble.stop_streaming_session(**session_at)
    wait("streaming_session_stopped", **session_at)
    nimble.start_streaming_session(**session_at, backupId=backup["backupId"])
    wait("streaming_session_ready", **session_at)
    listed("list_streaming_session_backups", "streamingSessionBackups", **at)
    listed("list_streaming_sessions", "sessions", **at, ownedBy="artist")
    is_restored = session()["startedFromBackupId"] == backup["backupId"]
    tell("restored", session=session(), url=new_stream(), is_restored=is_restored)
    nimble.delete_streaming_session(**session_at)
    wait("streaming_session_deleted", **session_at)

    refused("delete_studio_component", **at, studioComponentId=components[0])
    nimble.delete_launch_profile(**profile_at)
    wait("launch_profile_deleted", **profile_at)
    for component in components:
        nimble.delete_studio_component(**at, studioComponentId=component)
        wait("studio_component_deleted", **at, studioComponentId=component)
    nimble.delete_streaming_image(**image_at)
    wait("streaming_image_deleted", **image_at)
    nimble.delete_studio(**at)
    wait("studio_deleted", **at)
    tell(
        "deleted",
        client=f"boto3 {boto3.__version__}",
        is_same=again["studioId"] == studio["studioId"],
        has_times=hasattr(studio["createdAt"], "year"),
        waited=sorted(waited),
        waiters=sorted(nimble.waiter_names),
        pages=pages,
        paginators=sorted(name for name in nimble.meta.method_to_api_mapping if nimble.can_paginate(name)),
        errors=errors,
        tags=tags,
        details=[len(details["streamingImages"]), len(details["studioComponentSummaries"])],
    )


main(json.loads(sys.argv[1]))
