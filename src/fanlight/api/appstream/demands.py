"""Which resources an AppStream request names, so that policies of access keys can speak of them.

Told from the names of members: `fleet_name` is a fleet wherever it stands, and `name` in CreateFleet is one too. So an
operation that is built later has its resources without a table to forget it in.
"""

import re
from collections.abc import Sequence
from typing import Any

from fanlight.api.authorization import NO_RESOURCE, Demand
from fanlight.domain.access_keys import Caller
from fanlight.domain.places import Scope
from fanlight.services import AppStreamServices

_KINDS = {
    "Fleet": "fleet",
    "Stack": "stack",
    "Image": "image",
    "ImageBuilder": "image-builder",
    "AppBlock": "app-block",
    "AppBlockBuilder": "app-block-builder",
    "Application": "application",
}
_NAMING = {
    "fleet_name": "fleet",
    "stack_name": "stack",
    "image_name": "image",
    "source_image_name": "image",
    "existing_image_name": "image",
    "new_image_name": "image",
    "image_builder_name": "image-builder",
    "app_block_builder_name": "app-block-builder",
}
_ARNS = ("resource_arn", "image_arn", "app_block_arn", "application_arn", "arn")
_LISTS_OF_ARNS = ("arns",)
_VERB = re.compile(r"^(Create|Update|Delete|Describe|Start|Stop|Copy)(Updated|Imported)?")
_TAIL = re.compile(r"(StreamingURL|Permissions|s)$")


async def appstream_demands(
    operation: str, request: Any, caller: Caller, services: AppStreamServices
) -> Sequence[Demand]:
    """Return one demand for each resource that the request names; for `*` when it names none."""
    found: list[str] = []
    for kind, name in _named(operation, request):
        if kind == "image" and name != "*":
            # A name may mean an image of the account or a public one; they have different ARNs.
            found.append(await services.images.arn_of(caller.scope, name))
        else:
            found.append(caller.scope.arn(f"{kind}/{name}"))
    if region := getattr(request, "destination_region", None):  # a copy is made there, not where it is asked for
        found.append(Scope(caller.scope.account_id, region).arn(f"image/{request.destination_image_name}"))
    found += [arn for member in _ARNS if (arn := getattr(request, member, None))]
    found += [arn for member in _LISTS_OF_ARNS for arn in getattr(request, member, None) or ()]
    action = f"appstream:{operation}"
    return tuple((action, arn) for arn in dict.fromkeys(found)) or ((action, NO_RESOURCE),)


def _named(operation: str, request: Any) -> list[tuple[str, str]]:
    """Return kind and name of what is named; a Describe without names is about all of its kind."""
    found = [(kind, name) for member, kind in _NAMING.items() if (name := getattr(request, member, None))]
    own = kind_of(operation)
    if own is None:
        return found
    if name := getattr(request, "name", None):
        found.append((own, name))
    if hasattr(request, "names"):
        names = request.names or (() if getattr(request, "arns", None) else ("*",))
        found += [(own, name) for name in names]
    return found


def kind_of(operation: str) -> str | None:
    """Return the kind of resource that `Name` and `Names` of an operation mean; None when they mean none of them."""
    noun, verbs = _VERB.subn("", operation)
    return _KINDS.get(_TAIL.sub("", noun)) if verbs else None
