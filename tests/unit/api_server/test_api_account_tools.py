"""What account tools ask, in their order and with the rights they need: Cloud Custodian, Prowler, the AWS CLI."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from api_server_rig import KEY, AccessKey

from fanlight.domain.policies import read_only_policy

ARN = "arn:aws:appstream:us-east-1:000000000000"
FLEET = {
    "ImageName": "sample",
    "InstanceType": "stream.standard.small",
    "ComputeCapacity": {"DesiredInstances": 1},
}


def pages(client: Any, operation: str, key: str, **arguments: Any) -> list[Any]:
    found = client.get_paginator(operation).paginate(**arguments)
    return [item for page in found for item in page[key]]


@pytest.fixture
async def auditor(api: Any) -> AccessKey:
    """A read-only key for an account with a tagged fleet and a stack."""
    client = api.client()
    await asyncio.to_thread(client.create_fleet, Name="cad", Tags={"Team": "design"}, **FLEET)
    await asyncio.to_thread(client.create_stack, Name="studio")
    return await api.services.access_keys.create(KEY.account_id, policy=read_only_policy())


async def test_prowler_walks_regions_fleets_and_tags(api: Any, auditor: AccessKey) -> None:
    def walk() -> list[tuple[str, Any]]:
        assert api.client(service="sts", key=auditor).get_caller_identity()["Account"] == "000000000000"
        seen = []
        for region in api.client(service="ec2", key=auditor).describe_regions()["Regions"]:
            client = api.client(key=auditor, region_name=region["RegionName"])
            for fleet in pages(client, "describe_fleets", "Fleets"):
                # A key that is missing here would end the scan of the whole region.
                assert fleet["MaxUserDurationInSeconds"] >= 600
                assert fleet["DisconnectTimeoutInSeconds"] >= 60
                assert fleet["EnableDefaultInternetAccess"] is False
                seen.append((fleet["Name"], client.list_tags_for_resource(ResourceArn=fleet["Arn"])["Tags"]))
        return seen

    assert await asyncio.to_thread(walk) == [("cad", {"Team": "design"})]


async def test_custodian_joins_tags_to_resources_and_marks_them(api: Any, auditor: AccessKey) -> None:
    def run() -> dict[str, Any]:
        fleets = pages(api.client(key=auditor), "describe_fleets", "Fleets")
        tagging = api.client(service="resourcegroupstaggingapi", key=auditor)
        arns = [fleet["Arn"] for fleet in fleets]
        tagged = pages(tagging, "get_resources", "ResourceTagMappingList", ResourceARNList=arns)
        assert [found["ResourceARN"] for found in tagged] == arns
        changing = api.client(service="resourcegroupstaggingapi")
        assert changing.tag_resources(ResourceARNList=arns, Tags={"maid_status": "stop@2026/12/01"}) ["FailedResourcesMap"] == {}  # fmt: skip
        marked = pages(tagging, "get_resources", "ResourceTagMappingList", TagFilters=[{"Key": "maid_status"}])
        assert changing.untag_resources(ResourceARNList=arns, TagKeys=["maid_status"])["FailedResourcesMap"] == {}
        return {tag["Key"]: tag["Value"] for tag in marked[0]["Tags"]}

    assert await asyncio.to_thread(run) == {"Team": "design", "maid_status": "stop@2026/12/01"}


async def test_the_aws_cli_asks_all_of_them(api: Any, auditor: AccessKey) -> None:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": auditor.access_key_id,
        "AWS_SECRET_ACCESS_KEY": auditor.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": api.url,
    }

    def aws(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("aws")
        return subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    who, tagged, refused = await asyncio.gather(
        asyncio.to_thread(aws, "sts", "get-caller-identity"),
        asyncio.to_thread(
            aws, "resourcegroupstaggingapi", "get-resources", "--resource-type-filters", "appstream:fleet"
        ),
        asyncio.to_thread(aws, "appstream", "stop-fleet", "--name", "cad"),
    )
    assert json.loads(who.stdout)["Arn"].endswith(auditor.access_key_id)
    assert json.loads(tagged.stdout)["ResourceTagMappingList"][0]["ResourceARN"] == f"{ARN}:fleet/cad"
    assert refused.returncode != 0
    assert "AccessDeniedException" in refused.stderr
