"""What Nimble Studio calls things: ids that its clients have stored in the forms of the service, and ARNs."""

import base64
import re
import secrets
import string
from enum import StrEnum
from uuid import uuid4

from fanlight.domain.places import Scope

_STUDIO_LETTERS = string.ascii_lowercase + string.digits
_STUDIO_LENGTH = 16
_ARN = re.compile(r"arn:aws:nimble:(?P<region>[^:]+):(?P<account>[^:]+):(?P<kind>[a-z-]+)/(?P<id>[A-Za-z0-9_-]+)")


class ResourceKind(StrEnum):
    """What ARNs call each kind."""

    STUDIO = "studio"
    STUDIO_COMPONENT = "studio-component"
    LAUNCH_PROFILE = "launch-profile"
    STREAMING_IMAGE = "streaming-image"
    STREAMING_SESSION = "streaming-session"
    STREAMING_SESSION_BACKUP = "streaming-session-backup"
    EULA = "eula"
    EULA_ACCEPTANCE = "eula-acceptance"


def new_id() -> str:
    """Return a new id of anything but a studio: a random UUID in 22 letters of base64url.

    None begins with a dash: the AWS CLI takes a value that does for an option.
    """
    while (made := base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


def new_studio_id(region: str) -> str:
    """Return a new id of a studio, which begins with its region: `us-west-2:stid-nyoqq12fteqy1x48`."""
    return f"{region}:stid-{''.join(secrets.choice(_STUDIO_LETTERS) for _ in range(_STUDIO_LENGTH))}"


def arn_of(scope: Scope, kind: ResourceKind, resource_id: str) -> str:
    """Return the ARN; a studio's lacks the region that its id begins with."""
    short = resource_id.removeprefix(f"{scope.region}:") if kind is ResourceKind.STUDIO else resource_id
    return f"arn:aws:nimble:{scope.region}:{scope.account_id}:{kind}/{short}"


def read_arn(scope: Scope, arn: str) -> tuple[ResourceKind, str] | None:
    """Return kind and id of what an ARN of this account and region names, None for any other text."""
    found = _ARN.fullmatch(arn)
    if found is None or (found["region"], found["account"]) != (scope.region, scope.account_id):
        return None
    try:
        kind = ResourceKind(found["kind"])
    except ValueError:
        return None
    return kind, f"{scope.region}:{found['id']}" if kind is ResourceKind.STUDIO else found["id"]
