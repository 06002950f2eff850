"""Stacks and associations as boto3 sees them, in both protocols: whole round trips, paginators, orders of deletion."""

from typing import Any

import pytest
from test_api_clients import FLEET, call, refusal

MANY = 101  # one more than a page

STACK_IN_USE = (
    "Cannot delete stack design. This stack has fleets associated with it. Only stacks with no fleets associated "
    "with it can be deleted."
)
EVERYTHING: dict[str, Any] = {
    "DisplayName": "Design",
    "Description": "For drawing",
    "RedirectURL": "https://intranet.example.org/apps",
    "FeedbackURL": "https://intranet.example.org/say",
    "EmbedHostDomains": ["portal.example.org"],
    "StreamingExperienceSettings": {"PreferredProtocol": "UDP"},
    "ContentRedirection": {"HostToClient": {"Enabled": False, "AllowedUrls": ["https://example.org/*"]}},
    "StorageConnectorAuthentication": "REUSE_CREDENTIALS",
    "StorageConnectors": [
        {
            "ConnectorType": "HOMEFOLDERS",
            "ResourceIdentifier": "arn:aws:s3:::appstream2-36fb080bb8-us-east-1-000000000000",
        }
    ],
}


async def test_what_is_asked_comes_back_until_it_is_taken_away(api: Any, protocol: str) -> None:
    client = api.client()
    settings = {"Enabled": True, "SettingsGroup": "design"}
    made = (await call(client, "create_stack", Name="design", **EVERYTHING, ApplicationSettings=settings))["Stack"]
    assert {name: made[name] for name in EVERYTHING} == EVERYTHING
    assert made["ApplicationSettings"]["S3BucketName"].startswith("appstream-app-settings-us-east-1-")
    assert len(made["UserSettings"]) == 9
    assert (await call(client, "describe_stacks", Names=["design"]))["Stacks"] == [made]
    assert (await call(client, "update_stack", Name="design"))["Stack"] == made

    attributes = list(client.meta.service_model.shape_for("StackAttribute").enum)
    bare = (await call(client, "update_stack", Name="design", AttributesToDelete=attributes))["Stack"]
    kept = ("DisplayName", "Description")
    assert {name: bare.get(name) for name in EVERYTHING if name not in kept} == {
        "RedirectURL": None,
        "FeedbackURL": None,
        "EmbedHostDomains": [],
        "StreamingExperienceSettings": {"PreferredProtocol": "TCP"},
        "ContentRedirection": None,
        "StorageConnectorAuthentication": None,
        "StorageConnectors": [],
    }
    assert {name: bare[name] for name in kept} == {name: EVERYTHING[name] for name in kept}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        (
            {"StorageConnectors": [{"ConnectorType": "GOOGLE_DRIVE", "Domains": ["example.org"]}]},
            "OperationNotPermittedException",
        ),
        ({"StorageConnectors": [{"ConnectorType": "ONE_DRIVE"}]}, "InvalidParameterCombinationException"),
        ({"AccessEndpoints": [{"EndpointType": "STREAMING", "VpceId": "vpce-1"}]}, "OperationNotPermittedException"),
        ({"ApplicationSettings": {"Enabled": True}}, "InvalidParameterCombinationException"),
        ({"RedirectURL": "javascript:alert(1)"}, "InvalidParameterCombinationException"),
        ({"EmbedHostDomains": ["no host"]}, "ValidationException"),
    ],
)
async def test_what_cannot_be_is_refused_and_makes_nothing(
    api: Any, protocol: str, members: dict[str, Any], code: str
) -> None:
    client = api.client()
    assert (await refusal(client, "create_stack", Name="design", **members))[0] == code
    assert (await call(client, "describe_stacks"))["Stacks"] == []


async def test_stack_and_fleet_are_deleted_in_the_order_that_clients_know(api: Any, protocol: str) -> None:
    client = api.client()
    await call(client, "create_stack", Name="design")
    await call(client, "create_fleet", **FLEET)
    for _ in range(2):
        assert (await call(client, "associate_fleet", FleetName="cad", StackName="design")).keys() == {
            "ResponseMetadata"
        }
    await call(client, "create_fleet", **{**FLEET, "Name": "second"})
    assert (await refusal(client, "associate_fleet", FleetName="second", StackName="design"))[0] == (
        "LimitExceededException"
    )
    assert (await refusal(client, "delete_stack", Name="design"))[:2] == (
        "ResourceInUseException",
        STACK_IN_USE,
    )
    assert (await refusal(client, "delete_fleet", Name="cad"))[:2] == (
        "ResourceInUseException",
        "The fleet cad is associated with a stack. To delete the fleet, you must dissociate it from the stack.",
    )
    await call(client, "disassociate_fleet", FleetName="cad", StackName="design")
    assert (await refusal(client, "disassociate_fleet", FleetName="cad", StackName="design"))[0] == (
        "ResourceNotFoundException"
    )
    await call(client, "delete_stack", Name="design")
    for operation, arguments in (("delete_stack", {"Name": "design"}), ("describe_stacks", {"Names": ["design"]})):
        assert (await refusal(client, operation, **arguments))[0] == "ResourceNotFoundException"
    assert (await call(client, "list_associated_fleets", StackName="design"))["Names"] == []
    await call(client, "delete_fleet", Name="cad")


async def test_paginators_walk_through_many_stacks_of_one_fleet(api: Any, protocol: str) -> None:
    client = api.client()
    names = [f"stack-{number:03}" for number in range(MANY)]
    await call(client, "create_fleet", **FLEET)
    for name in names:
        await call(client, "create_stack", Name=name)
        await call(client, "associate_fleet", FleetName="cad", StackName=name)
    for operation, arguments, key in (
        ("describe_stacks", {}, "Stacks"),
        ("list_associated_stacks", {"FleetName": "cad"}, "Names"),
    ):
        first = await call(client, operation, **arguments)
        second = await call(client, operation, **arguments, NextToken=first["NextToken"])
        assert "NextToken" not in second
        found = [one if isinstance(one, str) else one["Name"] for one in (*first[key], *second[key])]
        assert found == names
    assert (await refusal(client, "list_associated_stacks", FleetName="cad", NextToken="x"))[0] == "ValidationException"
