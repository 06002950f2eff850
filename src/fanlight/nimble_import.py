"""Recreate what `aws nimble get-…` and `list-…` once printed, through the API that it was printed by.

Everything here is a request that any client of Nimble Studio could send. What is made carries the tag
`fanlight:imported-from` with the id that it had, so that the import may be repeated: what is there already is found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ORIGIN_TAG = "fanlight:imported-from"
_MOST_LOOKS = 240
_GONE = ("DELETED", "DELETE_IN_PROGRESS", "CREATE_FAILED")

Thing = Mapping[str, Any]


class ImportFailed(Exception):
    """The import cannot go on; the text says where and what to do."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of resource: what wraps it in output, what its id is called, and the operations that make and read it."""

    name: str
    member: str
    many: str
    id_member: str
    operation: str


STUDIO = _Kind("studio", "studio", "studios", "studioId", "studio")
IMAGE = _Kind("streaming image", "streamingImage", "streamingImages", "streamingImageId", "streaming_image")
COMPONENT = _Kind("studio component", "studioComponent", "studioComponents", "studioComponentId", "studio_component")
PROFILE = _Kind("launch profile", "launchProfile", "launchProfiles", "launchProfileId", "launch_profile")
KINDS = (STUDIO, IMAGE, COMPONENT, PROFILE)

_STUDIO_MEMBERS = ("adminRoleArn", "displayName", "studioName", "userRoleArn")
_COMPONENT_MEMBERS = (
    "configuration",
    "description",
    "ec2SecurityGroupIds",
    "initializationScripts",
    "name",
    "runtimeRoleArn",
    "scriptParameters",
    "secureInitializationRoleArn",
    "subtype",
    "type",
)
_PROFILE_MEMBERS = ("description", "ec2SubnetIds", "launchProfileProtocolVersions", "name")

_OF_COMPONENT_TYPES = {
    "ACTIVE_DIRECTORY": "instances here join no Active Directory; take it out of launch profiles.",
    "SHARED_FILE_SYSTEM": "say in the file systems file which directory of the host it is (docs/nimble.md).",
    "LICENSE_SERVICE": "let instances reach its endpoint, by subnet and security groups.",
    "COMPUTE_FARM": "let instances reach its endpoint, by subnet and security groups.",
}


@dataclass(slots=True)
class Old:
    """What there was, by kind and old id; what is printed later replaces what was printed before."""

    things: dict[str, dict[str, Thing]] = field(default_factory=lambda: {kind.name: {} for kind in KINDS})
    unfinished: list[str] = field(default_factory=list)  # names of documents whose list goes on elsewhere

    def of(self, kind: _Kind) -> Mapping[str, Thing]:
        return self.things[kind.name]


def read_output(documents: Sequence[tuple[str, Any]]) -> Old:
    """Return what the parsed documents (name, content) hold. Raises ImportFailed for one that holds nothing of this."""
    old = Old()
    for name, document in documents:
        found = list(_things(document))
        if not found:
            raise ImportFailed(
                f"{name} has no studio, streaming image, studio component or launch profile in it. "
                "Give files that `aws nimble get-…` or `list-…` printed as JSON."
            )
        if document.get("nextToken") or document.get("NextToken"):
            old.unfinished.append(name)
        for kind, thing in found:
            if thing.get("state") not in _GONE:
                old.things[kind.name][str(thing[kind.id_member])] = thing
    return old


def _things(document: Any) -> Iterator[tuple[_Kind, Thing]]:
    if not isinstance(document, Mapping):
        return
    for kind in KINDS:
        many = document.get(kind.many)
        for thing in [*(many if isinstance(many, list) else []), document.get(kind.member)]:
            if isinstance(thing, Mapping) and isinstance(thing.get(kind.id_member), str):
                yield kind, thing


@dataclass(slots=True)
class Report:
    """What was done, and what a person has to do; a sentence each."""

    made: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)


class Importer:
    """`images` maps old ec2ImageIds or streamingImageIds to identifiers of images here (`fanlight images list`).

    `pause` is called between two looks at something that comes about.
    """

    def __init__(self, client: Any, images: Mapping[str, str], pause: Callable[[], None]) -> None:
        self._client, self._images, self._pause = client, images, pause
        self._new: dict[str, str] = {}  # old id → new id
        self.report = Report()

    def run(self, old: Old, studio_id: str | None = None) -> Report:
        """Make what there was, in the studio `studio_id` of this installation or in one like the old. Raises ImportFailed."""
        for name in old.unfinished:
            self._ask(
                f"{name} is one page of a longer list: print the list anew, without --no-paginate, and import again."
            )
        studio = studio_id or self._studio(old)
        for image_id, image in old.of(IMAGE).items():
            self._image(studio, image_id, image)
        for component_id, component in old.of(COMPONENT).items():
            self._component(studio, component_id, component)
        for profile_id, profile in old.of(PROFILE).items():
            self._profile(studio, profile_id, profile)
        self._ask("Members of studios and launch profiles are not in these files: put them anew.")
        return self.report

    def _studio(self, old: Old) -> str:
        studios = old.of(STUDIO)
        if len(studios) != 1:
            raise ImportFailed(
                f"The files have {len(studios)} studios; components and launch profiles do not say which is theirs. Give "
                "the files of one studio, or name a studio of this installation with --studio."
            )
        ((old_id, studio),) = studios.items()
        wanted = _members(studio, _STUDIO_MEMBERS)
        if missing := [name for name in _STUDIO_MEMBERS if name not in wanted]:
            raise ImportFailed(f"The studio {old_id} lacks {', '.join(missing)}: give what get-studio printed.")
        if _inside(studio, "studioEncryptionConfiguration").get("keyType") == "CUSTOMER_MANAGED_KEY":
            self._ask(f"studio {old_id}: its customer managed key is left out, for nothing here has it.")
        return self._make(STUDIO, {}, old_id, studio, wanted)

    def _image(self, studio_id: str, old_id: str, image: Thing) -> None:
        old_ami = str(image.get("ec2ImageId"))
        ami = self._images.get(old_id) or self._images.get(old_ami)
        if ami is None:
            self.report.skipped.append(f"streaming image {old_id} ({image.get('name')})")
            self._ask(
                f"streaming image {old_id} ({image.get('name')}): make an image of its applications here, and import again "
                f"with --image {old_ami}=ami-…, as `fanlight images list` shows it."
            )
            return
        if image.get("platform") == "WINDOWS":
            self._ask(f"streaming image {old_id}: it was of Windows; {ami} is Linux.")
        wanted = {**_members(image, ("name", "description")), "ec2ImageId": ami}
        self._make(IMAGE, {"studioId": studio_id}, old_id, image, wanted)

    def _component(self, studio_id: str, old_id: str, component: Thing) -> None:
        if (what := _OF_COMPONENT_TYPES.get(str(component.get("type")))) is not None:
            self._ask(f"studio component {old_id}: {what}")
        scripts = component.get("initializationScripts")
        if isinstance(scripts, list) and any(
            isinstance(script, Mapping) and script.get("platform") == "WINDOWS" for script in scripts
        ):
            self._ask(f"studio component {old_id}: its scripts for Windows are kept and never run.")
        if component.get("runtimeRoleArn") or component.get("secureInitializationRoleArn"):
            self._ask(
                f"studio component {old_id}: nobody assumes its roles; give scripts what they need by parameters."
            )
        wanted = _members(component, _COMPONENT_MEMBERS)
        self._make(COMPONENT, {"studioId": studio_id}, old_id, component, wanted)

    def _profile(self, studio_id: str, old_id: str, profile: Thing) -> None:
        stream = _inside(profile, "streamConfiguration")
        before = {
            "streaming images": _texts(stream, "streamingImageIds"),
            "studio components": _texts(profile, "studioComponentIds"),
        }
        after = {what: [self._new[one] for one in ids if one in self._new] for what, ids in before.items()}
        for what, ids in before.items():
            if not after[what]:
                self.report.skipped.append(f"launch profile {old_id} ({profile.get('name')})")
                self._ask(f"launch profile {old_id}: it has none of its {what} here; import again when there is one.")
                return
            if len(after[what]) < len(ids):
                self._ask(f"launch profile {old_id}: some of its {what} are not here; update it when they are.")
        wanted = {
            **_members(profile, _PROFILE_MEMBERS),
            "streamConfiguration": {**stream, "streamingImageIds": after["streaming images"]},
            "studioComponentIds": after["studio components"],
        }
        place = {"studioId": studio_id}
        new_id = self._make(PROFILE, place, old_id, profile, wanted)
        found = self._client.get_launch_profile(**place, launchProfileId=new_id)["launchProfile"]
        for validation in found.get("validationResults") or ():
            if validation["state"] == "VALIDATION_FAILED":
                self._ask(f"launch profile {old_id}: {validation['statusMessage']}")

    def _make(self, kind: _Kind, place: Mapping[str, str], old_id: str, thing: Thing, wanted: Thing) -> str:
        """Return the id of what was made of it, now or in an earlier import. Raises ImportFailed."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            known = self._known(kind, place, old_id)
            if known is None:
                create = getattr(self._client, f"create_{kind.operation}")
                made = create(**place, **wanted, tags={**_kept_tags(thing), ORIGIN_TAG: old_id})
                new_id = str(made[kind.member][kind.id_member])
                self._wait(kind, place, new_id)
            else:
                new_id = known
        except (ClientError, BotoCoreError) as error:
            raise ImportFailed(f"{kind.name} {old_id}: {error}") from error
        lines = self.report.made if known is None else self.report.found
        lines.append(f"{kind.name} {old_id} → {new_id}")
        self._new[old_id] = new_id
        return new_id

    def _known(self, kind: _Kind, place: Mapping[str, str], old_id: str) -> str | None:
        for page in self._client.get_paginator(f"list_{kind.operation}s").paginate(**place):
            for thing in page[kind.many]:
                if (thing.get("tags") or {}).get(ORIGIN_TAG) == old_id and thing.get("state") not in _GONE:
                    return str(thing[kind.id_member])
        return None

    def _wait(self, kind: _Kind, place: Mapping[str, str], new_id: str) -> None:
        """Return when it is READY. Raises ImportFailed when it failed, or takes too long."""
        read = getattr(self._client, f"get_{kind.operation}")
        thing: Thing = {}
        for _ in range(_MOST_LOOKS):
            self._pause()
            thing = read(**place, **{kind.id_member: new_id})[kind.member]
            if thing["state"] == "READY":
                return
            if str(thing["state"]).endswith("_FAILED"):
                break
        raise ImportFailed(
            f"The {kind.name} {new_id} is {thing['state']} ({thing.get('statusCode')}): {thing.get('statusMessage')}"
        )

    def _ask(self, what: str) -> None:
        self.report.by_hand.append(what)


def _inside(thing: Thing, name: str) -> Thing:
    found = thing.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(thing: Thing, name: str) -> Sequence[str]:
    found = thing.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _members(thing: Thing, names: Sequence[str]) -> dict[str, Any]:
    return {name: thing[name] for name in names if thing.get(name) is not None}


def _kept_tags(thing: Thing) -> dict[str, str]:
    """Return its tags without those that the service itself put there."""
    tags = _inside(thing, "tags")
    return {key: value for key, value in tags.items() if not key.lower().startswith("aws:") and key != "resourceArn"}
