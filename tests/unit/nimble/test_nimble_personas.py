"""What keys of people may do: a studio's administrators and users of its launch profiles, each cell of both personas."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from fanlight.api.spec.nimble_model import nimble_table
from fanlight.domain.nimble import personas
from fanlight.domain.nimble.personas import OF_ANYBODY, Standing, Wish, may
from nimble_rig import EULAS, KEY, NEW_STUDIO, Studio, ask

OPERATIONS = sorted(nimble_table()["operations"])
NOBODY, ADMINISTRATOR = Standing(), Standing(is_administrator=True)
OWNER, USER = Standing(is_owner=True), Standing(uses_profile=True)

# What the two managed policies and memberships gave, written down independently of the code.
MATRIX = """
operation                        nobody administrator owner user
AcceptEulas                      -      x             -     -
CreateLaunchProfile              -      -             -     -
CreateStreamingImage             -      -             -     -
CreateStreamingSession           -      x             -     x
CreateStreamingSessionStream     -      x             x     -
CreateStudio                     -      -             -     -
CreateStudioComponent            -      -             -     -
DeleteLaunchProfile              -      -             -     -
DeleteLaunchProfileMember        -      x             -     -
DeleteStreamingImage             -      -             -     -
DeleteStreamingSession           -      x             x     -
DeleteStudio                     -      -             -     -
DeleteStudioComponent            -      -             -     -
DeleteStudioMember               -      -             -     -
GetEula                          x      x             x     x
GetLaunchProfile                 -      x             -     x
GetLaunchProfileDetails          -      x             -     x
GetLaunchProfileInitialization   -      x             -     x
GetLaunchProfileMember           -      x             -     x
GetStreamingImage                -      x             -     -
GetStreamingSession              -      x             x     -
GetStreamingSessionBackup        -      x             x     -
GetStreamingSessionStream        -      x             x     -
GetStudio                        -      x             -     -
GetStudioComponent               -      x             -     -
GetStudioMember                  -      x             -     -
ListEulaAcceptances              -      x             -     -
ListEulas                        x      x             x     x
ListLaunchProfileMembers         -      x             -     x
ListLaunchProfiles               -      x             -     -
ListStreamingImages              -      x             -     -
ListStreamingSessionBackups      -      x             -     -
ListStreamingSessions            -      x             -     -
ListStudioComponents             -      x             -     -
ListStudioMembers                -      x             -     -
ListStudios                      -      -             -     -
ListTagsForResource              -      -             -     -
PutLaunchProfileMembers          -      x             -     -
PutStudioMembers                 -      -             -     -
StartStreamingSession            -      x             x     -
StartStudioSSOConfigurationRepair -     -             -     -
StopStreamingSession             -      x             x     -
TagResource                      -      -             -     -
UntagResource                    -      -             -     -
UpdateLaunchProfile              -      -             -     -
UpdateLaunchProfileMember        -      x             -     -
UpdateStreamingImage             -      -             -     -
UpdateStudio                     -      -             -     -
UpdateStudioComponent            -      -             -     -
"""
ROWS = {line.split()[0]: line.split()[1:] for line in MATRIX.strip().splitlines()[1:]}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_persona_may_what_the_service_let_it(operation: str) -> None:
    found = ["x" if may("ada", Wish(operation=operation), one) else "-" for one in (NOBODY, ADMINISTRATOR, OWNER, USER)]
    assert found == ROWS[operation]


def test_lists_and_creations_are_one_s_own() -> None:
    for operation in ("ListStreamingSessions", "ListStreamingSessionBackups"):
        assert may("ada", Wish(operation=operation, owned_by="ada"), NOBODY)
        assert not may("ada", Wish(operation=operation, owned_by="bob"), NOBODY)
    assert may("ada", Wish(operation="ListLaunchProfiles", principal_id="ada"), NOBODY)
    assert not may("ada", Wish(operation="ListLaunchProfiles", principal_id="bob"), NOBODY)
    assert may("ada", Wish(operation="CreateStreamingSession", owned_by="ada"), USER)
    assert not may("ada", Wish(operation="CreateStreamingSession", owned_by="bob"), USER)
    assert may("ada", Wish(operation="CreateStreamingSession", owned_by="bob"), ADMINISTRATOR)


def test_every_name_in_the_rules_is_an_operation() -> None:
    named = OF_ANYBODY | personas.OF_ADMINISTRATORS
    assert named <= set(OPERATIONS)
    assert set(ROWS) == set(OPERATIONS)


async def person(studio: Studio, name: str, account: str = KEY.account_id) -> Any:
    key = await studio.nimble.services.access_keys.create(account, person=name)
    return studio.nimble.client(key)


async def denied(call: Any, **arguments: Any) -> None:
    with pytest.raises(ClientError) as error:
        await ask(call, **arguments)
    assert error.value.response["Error"]["Code"] == "AccessDeniedException", error.value
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


async def join(studio: Studio, operation: str, name: str, **at: str) -> None:
    persona = "ADMINISTRATOR" if operation == "put_studio_members" else "USER"
    members = [{"principalId": name, "persona": persona}]
    await studio.call(operation, **at, identityStoreId="d-1", members=members)


async def test_a_user_has_his_launch_profiles_and_his_sessions_and_nothing_else(studio: Studio) -> None:
    mine, other = await studio.profile(), await studio.profile()
    await join(studio, "put_launch_profile_members", "ada", launchProfileId=mine)
    await join(studio, "put_launch_profile_members", "bob", launchProfileId=mine)
    ada, bob, at = await person(studio, "ada"), await person(studio, "bob"), {"studioId": studio.studio_id}

    listed = (await ask(ada.list_launch_profiles, **at, principalId="ada"))["launchProfiles"]
    assert [profile["launchProfileId"] for profile in listed] == [mine]
    await ask(ada.get_launch_profile_details, **at, launchProfileId=mine)
    for call, of in (
        (ada.get_launch_profile, {"launchProfileId": other}),
        (ada.list_launch_profiles, {"principalId": "bob"}),
        (ada.list_launch_profiles, {}),
        (ada.get_studio, {}),
        (ada.list_streaming_images, {}),
        (ada.create_streaming_session, {"launchProfileId": other}),
        (ada.create_streaming_session, {"launchProfileId": mine, "ownedBy": "bob"}),
        (ada.delete_launch_profile, {"launchProfileId": mine}),
    ):
        await denied(call, **at, **of)

    session = (await ask(ada.create_streaming_session, **at, launchProfileId=mine))["session"]
    assert (session["ownedBy"], session["createdBy"]) == ("ada", "ada")
    named = {**at, "sessionId": session["sessionId"]}
    await ask(ada.get_streaming_session, **named)
    found = (await ask(ada.list_streaming_sessions, **at, ownedBy="ada"))["sessions"]
    assert [one["sessionId"] for one in found] == [session["sessionId"]]
    for call in (bob.get_streaming_session, bob.delete_streaming_session, bob.create_streaming_session_stream):
        await denied(call, **named)
    await denied(bob.list_streaming_sessions, **at, ownedBy="ada")

    await studio.call("delete_launch_profile_member", launchProfileId=mine, principalId="ada")
    await denied(ada.create_streaming_session, **at, launchProfileId=mine)
    await ask(ada.get_streaming_session, **named)  # what is his stays his


async def test_an_administrator_uses_his_studio_and_decides_who_uses_its_profiles(studio: Studio) -> None:
    profile, at = await studio.profile(), {"studioId": studio.studio_id}
    await join(studio, "put_studio_members", "boss")
    boss = await person(studio, "boss")
    await ask(boss.get_studio, **at)
    await ask(boss.list_streaming_images, **at)
    accepted = (await ask(boss.accept_eulas, **at, eulaIds=[EULAS[0].eula_id]))["eulaAcceptances"]
    assert accepted[0]["acceptedBy"] == "boss"
    members = {"identityStoreId": "d-1", "members": [{"principalId": "ada", "persona": "USER"}]}
    await ask(boss.put_launch_profile_members, **at, launchProfileId=profile, **members)
    session = (await ask(boss.create_streaming_session, **at, launchProfileId=profile, ownedBy="ada"))["session"]
    assert (session["ownedBy"], session["createdBy"]) == ("ada", "boss")
    ada = await person(studio, "ada")
    await ask(ada.get_streaming_session, **at, sessionId=session["sessionId"])
    for call, of in (
        (boss.create_studio_component, {"name": "n", "type": "CUSTOM"}),
        (boss.delete_studio, {}),
        (
            boss.put_studio_members,
            {"identityStoreId": "d-1", "members": [{"principalId": "x", "persona": "ADMINISTRATOR"}]},
        ),
    ):
        await denied(call, **at, **of)  # fmt: skip
    elsewhere = (await ask(studio.api.create_studio, **{**NEW_STUDIO, "studioName": "other"}))["studio"]["studioId"]
    await studio.nimble.settle()
    await denied(boss.get_studio, studioId=elsewhere)
    # Naming his own studio opens no session of another.
    missing = {"studioId": elsewhere, "sessionId": session["sessionId"]}
    await denied(boss.get_streaming_session, **missing)


async def test_a_namesake_of_another_account_is_somebody_else(studio: Studio) -> None:
    profile = await studio.profile()
    await join(studio, "put_launch_profile_members", "ada", launchProfileId=profile)
    stranger = await person(studio, "ada", "111111111111")
    await denied(stranger.get_launch_profile, studioId=studio.studio_id, launchProfileId=profile)


async def test_such_a_key_is_for_no_other_service(studio: Studio) -> None:
    key = await studio.nimble.services.access_keys.create(KEY.account_id, person="ada")
    client = boto3.client(
        "appstream", endpoint_url=studio.nimble.url, region_name="us-east-1",
        aws_access_key_id=key.access_key_id, aws_secret_access_key=key.secret_access_key,
    )  # fmt: skip
    await denied(client.describe_fleets)
