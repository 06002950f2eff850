"""What the random sequences do with image builders, and the rules that they must keep. A part of their state machine."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

builder_names = st.sampled_from(("workshop", "bench"))
# What time alone makes of a state.
AT_REST = {"PENDING": "RUNNING", "STOPPING": "STOPPED"}
_NOT_FOUND, _NOT_PERMITTED = "ResourceNotFoundException", "OperationNotPermittedException"


class BuilderRules:
    """`builders` is the model: state by name."""

    builders: dict[str, str]
    expect: Any
    ask: Any

    def _refusal(self, name: str, allowed: tuple[str, ...], otherwise: str = _NOT_PERMITTED) -> str | None:
        if name not in self.builders:
            return _NOT_FOUND
        return None if self.builders[name] in allowed else otherwise

    @rule(name=builder_names)
    def create_builder(self, name: str) -> None:
        refusal = "ResourceAlreadyExistsException" if name in self.builders else None
        wanted = {"InstanceType": "stream.standard.small", "ImageName": "Fanlight-Sample-Debian13"}
        self.expect(refusal, "CreateImageBuilder", Name=name, **wanted)
        self.builders.setdefault(name, "PENDING")

    @rule(name=builder_names)
    def start_builder(self, name: str) -> None:
        refusal = self._refusal(name, ("STOPPED",), "ResourceNotAvailableException")
        self.expect(refusal, "StartImageBuilder", Name=name)
        if refusal is None:
            self.builders[name] = "PENDING"

    @rule(name=builder_names)
    def stop_builder(self, name: str) -> None:
        refusal = self._refusal(name, ("RUNNING",))
        self.expect(refusal, "StopImageBuilder", Name=name)
        if refusal is None:
            self.builders[name] = "STOPPING"

    @rule(name=builder_names)
    def delete_builder(self, name: str) -> None:
        refusal = self._refusal(name, ("RUNNING", "STOPPED", "FAILED"))
        self.expect(refusal, "DeleteImageBuilder", Name=name)
        if refusal is None:
            self.builders[name] = "DELETING"

    @rule(name=builder_names)
    def open_builder(self, name: str) -> None:
        self.expect(self._refusal(name, ("RUNNING",)), "CreateImageBuilderStreamingURL", Name=name)

    def rest_builders(self) -> None:
        """Let the model's time pass."""
        self.builders = {n: AT_REST.get(state, state) for n, state in self.builders.items() if state != "DELETING"}

    def described_builders(self) -> dict[str, str]:
        return {one["Name"]: one["State"] for one in self.ask("DescribeImageBuilders")["ImageBuilders"]}
