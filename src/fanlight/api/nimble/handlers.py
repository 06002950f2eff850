"""All operations of Nimble Studio in one registry: the handlers of each resource."""

from fanlight.api.aws_services import AwsService
from fanlight.api.nimble import (
    eulas,
    launch_profile_parts,
    launch_profiles,
    members,
    streaming_images,
    streaming_sessions,
    studio_components,
    studios,
    tags,
)
from fanlight.api.nimble.demands import nimble_demands, person_may
from fanlight.api.nimble.errors import RESPELLED, WIRE_CODES, context_of
from fanlight.api.registry import Registry
from fanlight.api.spec.nimble_model import NIMBLE
from fanlight.api.types import nimble as types
from fanlight.services import AppStreamServices


def nimble_service() -> AwsService[AppStreamServices]:
    """Return Nimble Studio as the listener serves it."""
    return AwsService(
        name=NIMBLE,
        registry=Registry.of_modules(
            eulas,
            launch_profile_parts,
            launch_profiles,
            members,
            streaming_images,
            streaming_sessions,
            studio_components,
            studios,
            tags,
        ),
        types=types,
        demands=nimble_demands,
        person_may=person_may,
        namespace="com.amazonaws.nimble",
        codes=WIRE_CODES,
        respelled=RESPELLED,
        context_of=context_of,
    )
