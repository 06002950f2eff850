"""All operations of AppStream in one registry: the handlers of each resource, and what is not built yet."""

from fanlight.api.appstream import associations, fleets, images, stacks, streaming_sessions, tags, unsupported
from fanlight.api.appstream.registry import Registry
from fanlight.services import AppStreamServices


def appstream_registry() -> Registry[AppStreamServices]:
    """Return the registry. Whether it matches the model is checked by whoever serves it (`verify_complete`)."""
    return Registry.of_modules(associations, fleets, images, stacks, streaming_sessions, tags, unsupported)
