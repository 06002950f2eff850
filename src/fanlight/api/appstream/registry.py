"""What the handlers of AppStream are marked with; how a registry works stands in `fanlight.api.registry`."""

from fanlight.api.registry import NotBuilt, Operation, Registry, RegistryIncomplete, not_supported, operation

__all__ = ["NotBuilt", "Operation", "Registry", "RegistryIncomplete", "not_supported", "operation"]
