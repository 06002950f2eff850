"""The sample stack and fleet, made through the public API with the client that users have.

Everything here is a request that any AppStream client could send: there is no private door.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fanlight.config import Settings
from fanlight.installation import Credentials

STACK_NAME = "sample-stack"
FLEET_NAME = "sample-fleet"
IMAGE_NAME = "Fanlight-Sample-Debian13"
USER_ID = "sample-user"
URL_VALIDITY_IN_SECONDS = 7 * 24 * 3600
_POLL_IN_SECONDS = 0.3


class SampleFailed(Exception):
    """The sample could not be made; the text says at which step and what the service answered."""


@dataclass(frozen=True, slots=True)
class Sample:
    streaming_url: str
    fleet_state: str


def client(settings: Settings, credentials: Credentials) -> Any:
    """Return an AppStream client of this installation."""
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    return session.create_client(
        "appstream",
        region_name=settings.regions[0],
        endpoint_url=settings.api_url,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        verify=str(settings.tls_cert) if settings.tls_cert else True,
        config=Config(retries={"max_attempts": 3}, connect_timeout=5, read_timeout=30),
    )


def make_sample(
    settings: Settings,
    credentials: Credentials,
    *,
    report: Callable[[str], None],
    timeout_in_seconds: float = 180.0,
) -> Sample:
    """Create (or find) the sample stack and fleet, start the fleet, and return a streaming URL.

    Raises SampleFailed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    appstream = client(settings, credentials)
    try:
        _ensure(appstream, report)
        state = _wait_until_running(appstream, report, time.monotonic() + timeout_in_seconds)
        url = appstream.create_streaming_url(
            StackName=STACK_NAME, FleetName=FLEET_NAME, UserId=USER_ID, Validity=URL_VALIDITY_IN_SECONDS
        )["StreamingURL"]
    except (ClientError, BotoCoreError) as error:
        raise SampleFailed(f"The sample could not be made: {error}") from error
    return Sample(url, state)


def _ensure(appstream: Any, report: Callable[[str], None]) -> None:
    exceptions = appstream.exceptions
    report("stack")
    try:
        appstream.describe_stacks(Names=[STACK_NAME])
    except exceptions.ResourceNotFoundException:
        appstream.create_stack(Name=STACK_NAME, DisplayName="Sample applications")
    report("fleet")
    try:
        appstream.describe_fleets(Names=[FLEET_NAME])
    except exceptions.ResourceNotFoundException:
        appstream.create_fleet(
            Name=FLEET_NAME,
            DisplayName="Sample fleet",
            ImageName=IMAGE_NAME,
            InstanceType="stream.standard.medium",
            FleetType="ALWAYS_ON",
            ComputeCapacity={"DesiredInstances": 1},
        )
    appstream.associate_fleet(FleetName=FLEET_NAME, StackName=STACK_NAME)


def _wait_until_running(appstream: Any, report: Callable[[str], None], deadline: float) -> str:
    while True:
        fleet = appstream.describe_fleets(Names=[FLEET_NAME])["Fleets"][0]
        state = str(fleet["State"])
        if state == "RUNNING":
            return state
        if state == "STOPPED":
            appstream.start_fleet(Name=FLEET_NAME)
        report(f"fleet {state}")
        if time.monotonic() > deadline:
            causes = "; ".join(f"{e['ErrorCode']}: {e['ErrorMessage']}" for e in fleet.get("FleetErrors", ()))
            raise SampleFailed(f"The fleet {FLEET_NAME} is still {state}. {causes or 'It reports no error.'}")
        time.sleep(_POLL_IN_SECONDS)
