"""Tags, by AppStream's own operations and by the Resource Groups Tagging API, as boto3 and account tools use both."""

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError

ARN = "arn:aws:appstream:us-east-1:000000000000"
FLEET = {
    "ImageName": "sample",
    "InstanceType": "stream.standard.small",
    "ComputeCapacity": {"DesiredInstances": 1},
}


async def call(client: Any, operation: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(getattr(client, operation), **arguments)


async def refusal(client: Any, operation: str, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        await call(client, operation, **arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture
async def tagged(api: Any) -> Any:
    """Two fleets and a stack with tags, one stack without, and a fleet of the same name in another region."""
    client = api.client()
    await call(client, "create_fleet", Name="cad", Tags={"Team": "design", "Cost": "1"}, **FLEET)
    await call(client, "create_fleet", Name="film", Tags={"Team": "media", "Empty": ""}, **FLEET)
    await call(client, "create_stack", Name="studio", Tags={"Team": "design"})
    await call(client, "create_stack", Name="bare")
    await call(api.client(region_name="eu-west-1"), "create_fleet", Name="cad", Tags={"Team": "far"}, **FLEET)
    return api


def arns(answer: Any) -> list[str]:
    return [found["ResourceARN"].rpartition(":")[2] for found in answer["ResourceTagMappingList"]]


async def test_tags_of_appstream_are_listed_put_over_and_removed(tagged: Any, protocol: str) -> None:
    client, arn = tagged.client(), f"{ARN}:fleet/cad"
    await call(client, "tag_resource", ResourceArn=arn, Tags={"Team": "cad", "team": "x", "None": ""})
    listed = (await call(client, "list_tags_for_resource", ResourceArn=arn))["Tags"]
    assert listed == {"Team": "cad", "team": "x", "Cost": "1", "None": ""}
    await call(client, "untag_resource", ResourceArn=arn, TagKeys=["team", "never"])
    assert "team" not in (await call(client, "list_tags_for_resource", ResourceArn=arn))["Tags"]
    bare = await call(client, "list_tags_for_resource", ResourceArn=f"{ARN}:stack/bare")
    assert bare["Tags"] == {}


@pytest.mark.parametrize(
    "arn",
    [
        f"{ARN}:fleet/none",
        f"{ARN}:image/none",
        f"{ARN}:session/cad",
        "arn:aws:appstream:us-east-1::image/sample",
        "arn:aws:appstream:us-east-1:111111111111:fleet/cad",
        "arn:aws:appstream:us-west-2:000000000000:fleet/cad",
        "arn:aws:s3:::bucket",
    ],
)
async def test_what_is_not_the_callers_has_no_tags(tagged: Any, arn: str) -> None:
    client = tagged.client()
    assert (await refusal(client, "list_tags_for_resource", ResourceArn=arn))[0] == "ResourceNotFoundException"
    assert (await refusal(client, "tag_resource", ResourceArn=arn, Tags={"a": "b"}))[0] == "ResourceNotFoundException"
    assert (await refusal(client, "untag_resource", ResourceArn=arn, TagKeys=["a"]))[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"aws:team": "x"}, "ValidationException"),
        ({"AWS:team": "x"}, "ValidationException"),
        ({"k" * 129: "x"}, "ValidationException"),
        ({"k": "v" * 257}, "ValidationException"),
        ({"k": "<b>"}, "ValidationException"),
        ({f"k{number}": "" for number in range(51)}, "ValidationException"),
        ({f"k{number}": "" for number in range(49)}, "LimitExceededException"),
    ],
)
async def test_a_tag_that_cannot_be_is_refused(tagged: Any, tags: dict[str, str], code: str) -> None:
    client, arn = tagged.client(), f"{ARN}:fleet/cad"
    before = await call(client, "list_tags_for_resource", ResourceArn=arn)
    assert (await refusal(client, "tag_resource", ResourceArn=arn, Tags=tags))[0] == code
    assert (await call(client, "list_tags_for_resource", ResourceArn=arn))["Tags"] == before["Tags"]
    if code == "ValidationException" and "AWS:team" not in tags:
        assert (await refusal(client, "create_stack", Name="new", Tags=tags))[0] == code


async def test_tags_go_with_their_resource(tagged: Any) -> None:
    client = tagged.client()
    await call(client, "delete_stack", Name="studio")
    await call(client, "create_stack", Name="studio")
    tags = (await call(client, "list_tags_for_resource", ResourceArn=f"{ARN}:stack/studio"))["Tags"]
    assert tags == {}
    assert "stack/studio" not in arns(await call(tagged.client(service="resourcegroupstaggingapi"), "get_resources"))


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, ["fleet/cad", "fleet/film", "stack/studio"]),
        ({"ResourceTypeFilters": ["appstream"]}, ["fleet/cad", "fleet/film", "stack/studio"]),
        ({"ResourceTypeFilters": ["appstream:fleet"]}, ["fleet/cad", "fleet/film"]),
        ({"ResourceTypeFilters": ["appstream:stack", "appstream:image"]}, ["stack/studio"]),
        ({"ResourceTypeFilters": ["ec2:instance"]}, []),
        ({"TagFilters": [{"Key": "Team", "Values": ["design"]}]}, ["fleet/cad", "stack/studio"]),
        ({"TagFilters": [{"Key": "Team", "Values": ["design", "media"]}, {"Key": "Empty"}]}, ["fleet/film"]),
        ({"TagFilters": [{"Key": "Empty", "Values": [""]}]}, ["fleet/film"]),
        ({"TagFilters": [{"Key": "team"}]}, []),
        ({"ResourceARNList": [f"{ARN}:fleet/cad", f"{ARN}:stack/bare", f"{ARN}:stack/none"]}, ["fleet/cad"]),
    ],
)
async def test_resources_are_found_by_their_tags(tagged: Any, question: dict[str, Any], found: list[str]) -> None:
    answer = await call(tagged.client(service="resourcegroupstaggingapi"), "get_resources", **question)
    assert (arns(answer), answer["PaginationToken"]) == (found, "")


async def test_the_tags_of_a_resource_come_with_it(tagged: Any, protocol: str) -> None:
    client = tagged.client(service="resourcegroupstaggingapi")
    answer = await call(client, "get_resources", ResourceARNList=[f"{ARN}:fleet/cad"], IncludeComplianceDetails=True)
    assert answer["ResourceTagMappingList"] == [
        {
            "ResourceARN": f"{ARN}:fleet/cad",
            "Tags": [{"Key": "Cost", "Value": "1"}, {"Key": "Team", "Value": "design"}],
            "ComplianceDetails": {
                "NoncompliantKeys": [],
                "KeysWithNoncompliantValues": [],
                "MissingTagKeys": [],
                "ComplianceStatus": True,
            },
        }
    ]
    far = await call(tagged.client(service="resourcegroupstaggingapi", region_name="eu-west-1"), "get_resources")
    assert [found["Tags"] for found in far["ResourceTagMappingList"]] == [[{"Key": "Team", "Value": "far"}]]


async def test_pages_follow_each_other(tagged: Any) -> None:
    client = tagged.client(service="resourcegroupstaggingapi")
    pages = await asyncio.to_thread(
        lambda: list(client.get_paginator("get_resources").paginate(ResourcesPerPage=2, TagFilters=[{"Key": "Team"}]))
    )
    assert [arns(page) for page in pages] == [["fleet/cad", "fleet/film"], ["stack/studio"]]
    token = pages[0]["PaginationToken"]
    assert (await refusal(client, "get_resources", PaginationToken=token))[0] == "InvalidParameterException"
    assert (await refusal(client, "get_resources", PaginationToken="junk"))[0] == "InvalidParameterException"


async def test_a_page_of_tags_never_splits_a_resource(tagged: Any) -> None:
    many = {f"key{number:02}": "v" for number in range(48)}
    for name in ("fleet/cad", "fleet/film", "stack/studio"):
        await call(tagged.client(), "tag_resource", ResourceArn=f"{ARN}:{name}", Tags=many)
    client = tagged.client(service="resourcegroupstaggingapi")
    first = await call(client, "get_resources", TagsPerPage=100)
    assert arns(first) == ["fleet/cad", "fleet/film"]
    rest = await call(client, "get_resources", TagsPerPage=100, PaginationToken=first["PaginationToken"])
    assert (arns(rest), rest["PaginationToken"]) == (["stack/studio"], "")


@pytest.mark.parametrize(
    "question",
    [
        {"ResourceARNList": [f"{ARN}:fleet/cad"], "ResourcesPerPage": 5},
        {"ResourcesPerPage": 0},
        {"ResourcesPerPage": 101},
        {"TagsPerPage": 150},
        {"TagsPerPage": 100, "ResourcesPerPage": 5},
        {"ExcludeCompliantResources": True},
        {"ResourceTypeFilters": ["a:b:c"]},
        {"TagFilters": [{"Values": ["x"]}]},
        {"ResourceTypeFilters": ["x" * 257]},
    ],
)
async def test_a_question_without_sense_is_refused(tagged: Any, question: dict[str, Any]) -> None:
    client = tagged.client(service="resourcegroupstaggingapi")
    assert (await refusal(client, "get_resources", **question))[0] == "InvalidParameterException"


async def test_keys_and_values_in_use_are_listed(tagged: Any) -> None:
    client = tagged.client(service="resourcegroupstaggingapi")
    keys = await call(client, "get_tag_keys")
    assert (keys["TagKeys"], keys["PaginationToken"]) == (["Cost", "Empty", "Team"], "")
    assert (await call(client, "get_tag_values", Key="Team"))["TagValues"] == ["design", "media"]
    assert (await call(client, "get_tag_values", Key="Empty"))["TagValues"] == [""]
    assert (await call(client, "get_tag_values", Key="none"))["TagValues"] == []


async def test_many_keys_come_in_pages(tagged: Any) -> None:
    for start, name in ((0, "fleet/cad"), (45, "fleet/film"), (90, "stack/studio")):
        tags = {f"key{number:03}": "v" for number in range(start, start + 45)}
        await call(tagged.client(), "tag_resource", ResourceArn=f"{ARN}:{name}", Tags=tags)
    client = tagged.client(service="resourcegroupstaggingapi")
    pages = await asyncio.to_thread(lambda: list(client.get_paginator("get_tag_keys").paginate()))
    assert [len(page["TagKeys"]) for page in pages] == [100, 38]


async def test_many_resources_are_tagged_at_once_and_failures_named(tagged: Any, protocol: str) -> None:
    client = tagged.client(service="resourcegroupstaggingapi")
    known, foreign = f"{ARN}:fleet/film", "arn:aws:appstream:us-east-1:111111111111:fleet/cad"
    answer = await call(
        client, "tag_resources", ResourceARNList=[known, foreign, "junk"], Tags={"c7n": "mark", "Team": "x"}
    )
    assert set(answer["FailedResourcesMap"]) == {foreign, "junk"}
    assert answer["FailedResourcesMap"][foreign]["StatusCode"] == 400
    assert answer["FailedResourcesMap"][foreign]["ErrorCode"] == "InvalidParameterException"
    assert foreign in answer["FailedResourcesMap"][foreign]["ErrorMessage"]
    listed = await call(tagged.client(), "list_tags_for_resource", ResourceArn=known)
    assert listed["Tags"] == {"Team": "x", "Empty": "", "c7n": "mark"}
    removed = await call(client, "untag_resources", ResourceARNList=[known, foreign], TagKeys=["c7n", "never"])
    assert set(removed["FailedResourcesMap"]) == {foreign}
    listed = await call(tagged.client(), "list_tags_for_resource", ResourceArn=known)
    assert listed["Tags"] == {"Team": "x", "Empty": ""}


async def test_reserved_keys_are_refused_as_a_whole(tagged: Any) -> None:
    client = tagged.client(service="resourcegroupstaggingapi")
    arn = f"{ARN}:fleet/cad"
    for key in ("aws:x", "Aws:x"):
        code, message = await refusal(client, "tag_resources", ResourceARNList=[arn], Tags={key: "v"})
        assert code == "InvalidParameterException"
        assert "reserved" in message
    assert (await refusal(client, "untag_resources", ResourceARNList=[arn], TagKeys=["aws:x"]))[0] == (
        "InvalidParameterException"
    )
