"""How an image builder asks its host for an image: one JSON text, cut into ImageRequestParts, put together again.

The catalogue comes with its icons, so the text may be longer than a line may be. The host takes the parts of one
request at a time, in order, and never more than MAX_REQUEST_CHARACTERS. What it then has is well formed and no more
than that: whether a name is allowed, a picture a picture or a path a path is for others to say.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from fanlight.agentwire.messages import ImageRequestPart, MalformedMessage, read

MAX_APPLICATIONS = 50
MAX_ICON_BYTES = 98_304  # more than a picture of 128 by 128 pixels can ever need
MAX_REQUEST_CHARACTERS = 8 * 1024 * 1024
PART_CHARACTERS = 24_000  # JSON may need two characters for one, and the rest of the line has its place too
MAX_PARTS = MAX_REQUEST_CHARACTERS // PART_CHARACTERS + 1
MAX_ID_CHARACTERS = 64
_MAX_TEXT = 4_096
_MAX_TAGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedApplication:
    """`icon` is a PNG in base64; empty when there is none."""

    name: str
    display_name: str
    launch_path: str
    launch_parameters: str = ""
    working_directory: str = ""
    description: str = ""
    icon: str = ""

    def picture(self) -> bytes | None:
        """Raises MalformedMessage."""
        if not self.icon:
            return None
        try:
            found = base64.b64decode(self.icon, validate=True)
        except (ValueError, binascii.Error) as error:
            raise MalformedMessage("an icon is not base64") from error
        if len(found) > MAX_ICON_BYTES:
            raise MalformedMessage("an icon is too large")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    request_id: str
    name: str
    display_name: str = ""
    description: str = ""
    is_dry_run: bool = False
    has_dynamic_app_catalog: bool = False
    uses_latest_agent_version: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    applications: tuple[RequestedApplication, ...] = ()

    def parts(self) -> Iterator[ImageRequestPart]:
        """Raises MalformedMessage when it is longer than any host takes."""
        # Plain letters only: then a part of the text is never longer in a line than PART_CHARACTERS allows for.
        text = json.dumps(asdict(self), separators=(",", ":"))
        if len(text) > MAX_REQUEST_CHARACTERS:
            raise MalformedMessage(f"a request of {len(text)} characters is over the limit of {MAX_REQUEST_CHARACTERS}")
        total = -(-len(text) // PART_CHARACTERS)
        for number in range(total):
            piece = text[number * PART_CHARACTERS : (number + 1) * PART_CHARACTERS]
            yield ImageRequestPart(request_id=self.request_id, number=number, total=total, text=piece)


def image_request_of(text: str) -> ImageRequest:
    """Raises MalformedMessage."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("an image request is not JSON") from error
    if not isinstance(members, dict) or not isinstance(listed := members.pop("applications", None), list):
        raise MalformedMessage("not an image request")
    if len(listed) > MAX_APPLICATIONS:
        raise MalformedMessage("too many applications")
    applications = tuple(_application_of(each) for each in listed)
    request: ImageRequest = read(ImageRequest, members)
    texts = (request.name, request.display_name, request.description, *request.tags, *request.tags.values())
    if len(request.tags) > _MAX_TAGS or any(len(each) > _MAX_TEXT for each in texts):
        raise MalformedMessage("an image request says too much")
    return replace(request, applications=applications)


def _application_of(members: object) -> RequestedApplication:
    application: RequestedApplication = read(RequestedApplication, members)
    texts = {name: value for name, value in asdict(application).items() if name != "icon"}
    if any(len(each) > _MAX_TEXT for each in texts.values()):
        raise MalformedMessage("an application says too much")
    application.picture()
    return application


class PartsOfRequests:
    """Puts the parts of one connection together. Takes the parts of one request at a time, each just once, in order."""

    def __init__(self) -> None:
        self._request_id = ""
        self._total = 0
        self._pieces: list[str] = []

    def take(self, part: ImageRequestPart) -> ImageRequest | None:
        """Return the request when this was its last part. Raises MalformedMessage."""
        if part.number == 0:  # the guest may give one up and begin another
            self._request_id, self._total, self._pieces = part.request_id, part.total, []
        if not 0 < len(part.request_id) <= MAX_ID_CHARACTERS or not 0 < part.total <= MAX_PARTS:
            raise MalformedMessage("no such request")
        is_next = part.request_id == self._request_id and part.total == self._total and part.number == len(self._pieces)
        if not is_next or len(part.text) > PART_CHARACTERS:
            raise MalformedMessage("not the next part of a request")
        self._pieces.append(part.text)
        if len(self._pieces) < part.total:
            return None
        text, self._pieces, self._request_id = "".join(self._pieces), [], ""
        request = image_request_of(text)
        if request.request_id != part.request_id:
            raise MalformedMessage("the parts of another request")
        return request
