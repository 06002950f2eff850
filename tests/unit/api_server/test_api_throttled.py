"""A throttled key, as boto3 and the AWS CLI live through it: their own retries succeed, on every service."""

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_server_rig import KEY
from botocore.config import Config
from botocore.exceptions import ClientError

from fanlight.api.listener import ApiSettings


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    return replace(settings, reads_per_second=2.0, writes_per_second=2.0)


def client(api: Any, mode: str, attempts: int, service: str = "appstream") -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=api.url,
        region_name="us-east-1",
        aws_access_key_id=KEY.access_key_id,
        aws_secret_access_key=KEY.secret_access_key,
        config=Config(retries={"mode": mode, "total_max_attempts": attempts}),
    )


def repeated(call: Any) -> None:
    for _ in range(6):
        call()


OPERATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "appstream": ("describe_stacks", {}),
    "application-autoscaling": ("describe_scalable_targets", {"ServiceNamespace": "appstream"}),
    "cloudwatch": ("list_metrics", {}),
    "resourcegroupstaggingapi": ("get_resources", {}),
    "ec2": ("describe_regions", {}),
    "sts": ("get_caller_identity", {}),
}


@pytest.mark.parametrize("mode", ["standard", "legacy"])
@pytest.mark.usefixtures("protocol")
async def test_boto3_retries_by_itself_and_succeeds(api: Any, mode: str) -> None:
    patient = client(api, mode, 8)
    answers = await asyncio.gather(*(asyncio.to_thread(patient.describe_stacks) for _ in range(6)))
    assert [answer["Stacks"] for answer in answers] == [[]] * 6
    assert any(answer["ResponseMetadata"]["RetryAttempts"] for answer in answers)


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("appstream", "ThrottlingException", 400),
        ("application-autoscaling", "ThrottlingException", 400),
        ("cloudwatch", "ThrottlingException", 400),
        ("resourcegroupstaggingapi", "ThrottledException", 400),
        ("ec2", "RequestLimitExceeded", 503),
        ("sts", "Throttling", 400),
    ],
)
async def test_each_service_names_it_so_that_boto3_retries(api: Any, service: str, code: str, status: int) -> None:
    hasty = client(api, "standard", 1, service)
    name, arguments = OPERATIONS[service]
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(repeated, lambda: getattr(hasty, name)(**arguments))
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["Error"]["Message"]) == (code, "Rate exceeded")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    patient = client(api, "standard", 8, service)
    again = await asyncio.to_thread(lambda: getattr(patient, name)(**arguments))
    assert again["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_the_aws_cli_retries_by_itself_and_succeeds(api: Any) -> None:
    """The bucket is kept empty until the CLI was throttled; then its own retries get through."""
    hasty = client(api, "standard", 1)

    def refused_operations() -> list[str]:
        lines = api.audit_file.read_text(encoding="utf-8").splitlines() if api.audit_file.exists() else []
        calls = map(json.loads, lines)
        return [call["operation"] for call in calls if call.get("error_code") == "ThrottlingException"]

    async def keep_empty() -> None:
        while "DescribeFleets" not in refused_operations():
            with suppress(ClientError):
                await asyncio.to_thread(hasty.describe_stacks)

    emptying = asyncio.create_task(keep_empty())
    async with asyncio.timeout(100):
        while not emptying.done():  # a refill may come at the very moment of its only request: then it asks again
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, str(Path(sys.executable).with_name("aws"))),
                *("appstream", "describe-fleets", "--output", "json", "--endpoint-url", api.url),
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(api.audit_file.parent),
                    "AWS_ACCESS_KEY_ID": KEY.access_key_id,
                    "AWS_SECRET_ACCESS_KEY": KEY.secret_access_key,
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "AWS_MAX_ATTEMPTS": "10",
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            printed, complaints = await program.communicate()
            assert program.returncode == 0, complaints.decode()
    assert json.loads(printed) == {"Fleets": []}


async def test_a_throttled_request_is_in_the_audit_log_with_its_caller(api: Any) -> None:
    hasty = client(api, "standard", 1)
    with pytest.raises(ClientError):
        await asyncio.to_thread(repeated, hasty.describe_stacks)
    last = json.loads(api.audit_file.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["access_key_id"], last["error_code"]) == (KEY.access_key_id, "ThrottlingException")


async def test_a_stranger_cannot_use_up_anybodys_bucket(api: Any) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as http:
        for _ in range(20):
            headers = {
                "X-Amz-Target": "PhotonAdminProxyService.DescribeStacks",
                "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY.access_key_id}/20260101/us-east-1/appstream/aws4_request, "
                f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
            }
            async with http.post(api.url, data=b"{}", headers=headers) as answer:
                assert answer.status == 403
    await asyncio.to_thread(client(api, "standard", 1).describe_stacks)
