"""What an administrator does with unmodified boto3, in the words of the tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.installation import wait_for

SAMPLE_IMAGE = "Fanlight-Sample-Debian13"
# The service's own waiters, asked more often: their default of 30 s would be the slowest part of every test.
OFTEN = {"Delay": 1, "MaxAttempts": 120}


@dataclass(frozen=True, slots=True)
class Administrator:
    """`client` is a boto3 AppStream client."""

    client: Any

    def make(
        self, name: str, *, capacity: int | None = 1, image: str = SAMPLE_IMAGE, start: bool = True, **fleet: Any
    ) -> None:
        """Make stack and fleet of one name, associate them, start the fleet and wait until it runs."""
        self.client.create_stack(Name=name)
        wished = {"Name": name, "ImageName": image, "InstanceType": "stream.standard.medium"} | fleet
        if capacity is not None:
            wished["ComputeCapacity"] = {"DesiredInstances": capacity}
        self.client.create_fleet(**wished)
        self.client.associate_fleet(FleetName=name, StackName=name)
        if start:
            self.start(name)

    def start(self, name: str) -> None:
        self.client.start_fleet(Name=name)
        self.client.get_waiter("fleet_started").wait(Names=[name], WaiterConfig=OFTEN)

    def stop(self, name: str) -> None:
        self.client.stop_fleet(Name=name)
        self.client.get_waiter("fleet_stopped").wait(Names=[name], WaiterConfig=OFTEN)

    def remove(self, name: str) -> None:
        """Take away what `make` made, whatever state it is in."""
        if self.fleet(name)["State"] != "STOPPED":
            self.stop(name)
        self.client.disassociate_fleet(FleetName=name, StackName=name)
        self.client.delete_fleet(Name=name)
        self.client.delete_stack(Name=name)

    def fleet(self, name: str) -> Mapping[str, Any]:
        return dict(self.client.describe_fleets(Names=[name])["Fleets"][0])

    def url(self, name: str, user: str, application: str | None = None, validity_in_seconds: int = 600) -> str:
        wished = {"ApplicationId": application} if application else {}
        answer = self.client.create_streaming_url(
            StackName=name, FleetName=name, UserId=user, Validity=validity_in_seconds, **wished
        )
        return str(answer["StreamingURL"])

    def sessions(self, name: str, user: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Return the sessions that live."""
        wished = {"UserId": user} if user else {}
        answer = self.client.describe_sessions(StackName=name, FleetName=name, AuthenticationType="API", **wished)
        return [each for each in answer["Sessions"] if each["State"] != "EXPIRED"]

    def session(self, name: str, user: str) -> Mapping[str, Any]:
        """Wait for the user's one live session to be ACTIVE, and return it."""

        def active() -> Mapping[str, Any] | None:
            found = self.sessions(name, user)
            return found[0] if found and found[0]["State"] == "ACTIVE" else None

        return dict(wait_for(active, timeout=20, what=f"an ACTIVE session of {user}"))

    def instance_of(self, name: str, user: str) -> str:
        """Return the engine's name of the instance that the user's session runs on."""
        return str(self.session(name, user)["InstanceId"])

    def expire(self, name: str, user: str) -> None:
        for session in self.sessions(name, user):
            self.client.expire_session(SessionId=session["Id"])

    def wait_for_capacity(self, name: str, available: int = 1, timeout: float = 60) -> None:
        """Wait until so many instances are free."""

        def is_free() -> bool:
            return int(self.fleet(name)["ComputeCapacityStatus"].get("Available", 0)) >= available

        wait_for(is_free, timeout=timeout, what=f"{available} free instances of {name}: {self.fleet(name)}")
