"""Licence agreements that a studio accepts before it uses an image that comes with them.

The operator writes which there are; an id follows from the name, so that an acceptance outlives any change of the text.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

from fanlight.domain.nimble.identifiers import ResourceKind, arn_of
from fanlight.domain.places import Scope

_VERSION_BYTE, _VARIANT_BYTE = 6, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Eula:
    """`content` is the text or its address; `images` are the names of images that come with it."""

    name: str
    content: str
    images: tuple[str, ...] = ()
    written_at: datetime

    @property
    def eula_id(self) -> str:
        """The id: a digest of the name, in the form of the service's ids; like `new_id`'s it begins with no dash."""
        raw = bytearray(hashlib.sha256(f"fanlight eula {self.name}".encode()).digest()[:16])
        raw[_VERSION_BYTE] = raw[_VERSION_BYTE] & 0x0F | 0x40
        raw[_VARIANT_BYTE] = raw[_VARIANT_BYTE] & 0x3F | 0x80
        made = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        return f"A{made[1:]}" if made.startswith("-") else made


@dataclass(frozen=True, slots=True, kw_only=True)
class EulaAcceptance:
    acceptance_id: str
    scope: Scope
    studio_id: str
    eula_id: str
    accepted_at: datetime
    accepted_by: str

    @property
    def arn(self) -> str:
        return arn_of(self.scope, ResourceKind.EULA_ACCEPTANCE, self.acceptance_id)
