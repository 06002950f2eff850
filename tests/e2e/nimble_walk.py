"""The whole life of a studio with boto3 as it was in 2024; run by the tests with the interpreter that has it.

Every waiter and every paginator of the client is used. Prints what was said, as JSON.
"""

import json
import sys

import boto3

OFTEN = {"Delay": 0.2, "MaxAttempts": 300}


def main(ami_id):
    nimble = boto3.client("nimble")
    pages, waited, errors = {}, [], {}

    def wait(name, **of):
        nimble.get_waiter(name).wait(**of, WaiterConfig=OFTEN)
        waited.append(name)

    def listed(operation, key, **of):
        found = [one for page in nimble.get_paginator(operation).paginate(**of) for one in page[key]]
        pages[operation] = len(found)
        return found

    def refused(operation, **arguments):
        try:
            getattr(nimble, operation)(**arguments)
        except nimble.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            errors[operation] = [type(error).__name__, status, bool(error.response["ResponseMetadata"]["RequestId"])]

    role = "arn:aws:iam::000000000000:role/r"
    wanted = {"studioName": "walk", "displayName": "Walk", "adminRoleArn": role, "userRoleArn": role}
    studio_id = nimble.create_studio(**wanted, clientToken="same")["studio"]["studioId"]
    again = nimble.create_studio(**wanted, clientToken="same")["studio"]["studioId"]
    at = {"studioId": studio_id}
    wait("studio_ready", **at)
    listed("list_studios", "studios")
    refused("create_studio", **wanted)
    refused("start_studio_sso_configuration_repair", **at)
    refused("get_studio", studioId="us-east-1:stid-0000000000000000")
    member = {"identityStoreId": "d-1", "members": [{"principalId": "boss", "persona": "ADMINISTRATOR"}]}
    nimble.put_studio_members(**at, **member)
    listed("list_studio_members", "members", **at)
    listed("list_eulas", "eulas")
    listed("list_eula_acceptances", "eulaAcceptances", **at)

    image = nimble.create_streaming_image(**at, name="image", ec2ImageId=ami_id, tags={"a": "b"})["streamingImage"]
    image_at = {**at, "streamingImageId": image["streamingImageId"]}
    wait("streaming_image_ready", **image_at)
    listed("list_streaming_images", "streamingImages", **at, owner=studio_id)
    nimble.tag_resource(resourceArn=image["arn"], tags={"c": "d"})
    nimble.untag_resource(resourceArn=image["arn"], tagKeys=["a"])
    tags = nimble.list_tags_for_resource(resourceArn=image["arn"])["tags"]

    component = nimble.create_studio_component(**at, name="tools", type="CUSTOM")["studioComponent"]
    component_at = {**at, "studioComponentId": component["studioComponentId"]}
    wait("studio_component_ready", **component_at)
    listed("list_studio_components", "studioComponents", **at, types=["CUSTOM", "COMPUTE_FARM"])
    stream = {
        "clipboardMode": "ENABLED",
        "ec2InstanceTypes": ["g4dn.xlarge"],
        "streamingImageIds": [image["streamingImageId"]],
        "maxStoppedSessionLengthInMinutes": 60,
        "sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 2},
    }
    profile = nimble.create_launch_profile(
        **at,
        name="artists",
        ec2SubnetIds=[],
        launchProfileProtocolVersions=["2021-03-31"],
        streamConfiguration=stream,
        studioComponentIds=[component["studioComponentId"]],
    )["launchProfile"]
    profile_at = {**at, "launchProfileId": profile["launchProfileId"]}
    wait("launch_profile_ready", **profile_at)
    user = {"identityStoreId": "d-1", "members": [{"principalId": "artist", "persona": "USER"}]}
    nimble.put_launch_profile_members(**profile_at, **user)
    listed("list_launch_profile_members", "members", **profile_at)
    listed("list_launch_profiles", "launchProfiles", **at, principalId="artist")
    details = nimble.get_launch_profile_details(**profile_at)

    session = nimble.create_streaming_session(**at, launchProfileId=profile["launchProfileId"], ownedBy="artist")
    session_at = {**at, "sessionId": session["session"]["sessionId"]}
    wait("streaming_session_ready", **session_at)
    stream_id = nimble.create_streaming_session_stream(**session_at)["stream"]["streamId"]
    wait("streaming_session_stream_ready", **session_at, streamId=stream_id)
    url = nimble.get_streaming_session_stream(**session_at, streamId=stream_id)["stream"]["url"]
    nimble.stop_streaming_session(**session_at)
    wait("streaming_session_stopped", **session_at)
    backups = listed("list_streaming_session_backups", "streamingSessionBackups", **at)
    nimble.start_streaming_session(**session_at, backupId=backups[0]["backupId"])
    wait("streaming_session_ready", **session_at)
    started = nimble.get_streaming_session(**session_at)["session"]["startedFromBackupId"]
    listed("list_streaming_sessions", "sessions", **at, ownedBy="artist")
    nimble.delete_streaming_session(**session_at)
    wait("streaming_session_deleted", **session_at)

    refused("delete_studio_component", **component_at)
    nimble.delete_launch_profile(**profile_at)
    wait("launch_profile_deleted", **profile_at)
    nimble.delete_studio_component(**component_at)
    wait("studio_component_deleted", **component_at)
    nimble.delete_streaming_image(**image_at)
    wait("streaming_image_deleted", **image_at)
    nimble.delete_studio(**at)
    wait("studio_deleted", **at)
    said = {
        "version": boto3.__version__,
        "same": studio_id == again,
        "waited": sorted(set(waited)),
        "waiters": sorted(nimble.waiter_names),
        "pages": pages,
        "errors": errors,
        "tags": tags,
        "details": [len(details["streamingImages"]), len(details["studioComponentSummaries"])],
        "url": url,
        "started_from": started == backups[0]["backupId"],
    }
    print(json.dumps(said))


main(sys.argv[1])
