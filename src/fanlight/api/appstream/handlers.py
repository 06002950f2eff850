"""All operations of AppStream in one registry: the handlers of each resource, and what is not built yet."""

from functools import cache

from fanlight.api import types
from fanlight.api.appstream import (
    associations,
    fleets,
    image_builders,
    image_copies,
    image_imports,
    image_updates,
    images,
    stacks,
    streaming_sessions,
    tags,
    unsupported,
)
from fanlight.api.appstream.demands import appstream_demands
from fanlight.api.appstream.errors import WIRE_CODES
from fanlight.api.appstream.registry import Registry
from fanlight.api.aws_services import AwsService
from fanlight.api.spec import APPSTREAM_NAMESPACE
from fanlight.services import AppStreamServices


def appstream_registry() -> Registry[AppStreamServices]:
    """Return the registry. Whether it matches the model is checked by whoever serves it (`verify_complete`)."""
    return Registry.of_modules(
        associations,
        fleets,
        image_builders,
        image_copies,
        image_updates,
        image_imports,
        images,
        stacks,
        streaming_sessions,
        tags,
        unsupported,
    )


@cache
def appstream_service() -> AwsService[AppStreamServices]:
    """Return AppStream as the listener serves it."""
    return AwsService(
        name="appstream",
        registry=appstream_registry(),
        types=types,
        demands=appstream_demands,
        namespace=APPSTREAM_NAMESPACE,
        codes=WIRE_CODES,
        # The API reference gives 400 for every error of every operation. The newest model says 404 and the like for
        # some; clients go by the code.
        modelled_status=400,
    )
