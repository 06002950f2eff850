"""What sequences do with image builders, and the rules that they must keep."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

builder_names = st.sampled_from(("workshop", "bench"))
# What time alone makes of a state.
AT_REST = {"PENDING": "RUNNING", "STOPPING": "STOPPED"}
_NOT_FOUND, _NOT_PERMITTED = "ResourceNotFoundException", "OperationNotPermittedException"


class BuilderRules:
    """`builders` is the model: state by name; mixed into the machine."""

    builders: dict[str, str]

    def expect(
        self, refusals: set[str], operation: str, service: str = "appstream", **body: Any
    ) -> dict[str, Any] | None:
        raise NotImplementedError

    def _twice(self, operation: str, **body: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _refusals(self, name: str, allowed: tuple[str, ...], otherwise: str = _NOT_PERMITTED) -> set[str]:
        if name not in self.builders:
            return {_NOT_FOUND}
        return set() if self.builders[name] in allowed else {otherwise}

    def _become(self, name: str, state: str, refusals: set[str], operation: str) -> None:
        if self.expect(refusals, operation, Name=name) is not None and not refusals:
            self.builders[name] = state

    @rule(name=builder_names)
    def create_builder(self, name: str) -> None:
        refusals = {"ResourceAlreadyExistsException"} if name in self.builders else set()
        wanted = {"InstanceType": "stream.standard.small", "ImageName": "Fanlight-Sample-Debian13"}
        if self.expect(refusals, "CreateImageBuilder", Name=name, **wanted) is not None and not refusals:
            self.builders[name] = "PENDING"

    @rule(name=builder_names)
    def start_builder(self, name: str) -> None:
        refusals = self._refusals(name, ("STOPPED",), "ResourceNotAvailableException")
        self._become(name, "PENDING", refusals, "StartImageBuilder")

    @rule(name=builder_names)
    def stop_builder(self, name: str) -> None:
        self._become(name, "STOPPING", self._refusals(name, ("RUNNING",)), "StopImageBuilder")

    @rule(name=builder_names)
    def delete_builder(self, name: str) -> None:
        refusals = self._refusals(name, ("RUNNING", "STOPPED", "FAILED"))
        self._become(name, "DELETING", refusals, "DeleteImageBuilder")

    @rule(name=builder_names)
    def open_builder(self, name: str) -> None:
        self.expect(self._refusals(name, ("RUNNING",)), "CreateImageBuilderStreamingURL", Name=name)

    def rest_builders(self) -> None:
        """Let the model's time pass."""
        self.builders = {n: AT_REST.get(state, state) for n, state in self.builders.items() if state != "DELETING"}

    def described_builders(self) -> dict[str, str]:
        return {one["Name"]: one["State"] for one in self._twice("DescribeImageBuilders")["ImageBuilders"]}
