"""What the people of a studio may do: what memberships and the service's two managed policies gave them. Pure.

A studio's administrators use everything in it and decide who uses its launch profiles. A user of a launch profile sees that
profile, and has sessions of it that are his own. Making and changing what a studio consists of is for other keys.
"""

from dataclasses import dataclass

# The catalogue of the installation, which names no studio.
OF_ANYBODY = frozenset({"GetEula", "ListEulas"})
OF_THE_OWNER = frozenset(
    {
        "CreateStreamingSessionStream",
        "DeleteStreamingSession",
        "GetStreamingSession",
        "GetStreamingSessionBackup",
        "GetStreamingSessionStream",
        "StartStreamingSession",
        "StopStreamingSession",
    }
)
LISTS_BY_OWNER = frozenset({"ListStreamingSessions", "ListStreamingSessionBackups"})
OF_PROFILE_USERS = frozenset(
    {
        "CreateStreamingSession",
        "GetLaunchProfile",
        "GetLaunchProfileDetails",
        "GetLaunchProfileInitialization",
        "GetLaunchProfileMember",
        "ListLaunchProfileMembers",
    }
)
LISTS_BY_PRINCIPAL = frozenset({"ListLaunchProfiles"})
OF_ADMINISTRATORS = (
    OF_THE_OWNER
    | LISTS_BY_OWNER
    | OF_PROFILE_USERS
    | LISTS_BY_PRINCIPAL
    | {
        "AcceptEulas",
        "DeleteLaunchProfileMember",
        "GetStreamingImage",
        "GetStudio",
        "GetStudioComponent",
        "GetStudioMember",
        "ListEulaAcceptances",
        "ListStreamingImages",
        "ListStudioComponents",
        "ListStudioMembers",
        "PutLaunchProfileMembers",
        "UpdateLaunchProfileMember",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asks for; `owned_by` and `principal_id` are what the request says, None: nothing."""

    operation: str
    owned_by: str | None = None
    principal_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a person is to what a request names: of the studio, of the launch profile, of the session or backup."""

    is_administrator: bool = False
    uses_profile: bool = False
    is_owner: bool = False


def may(person: str, wish: Wish, standing: Standing) -> bool:
    """Return whether the person may have it."""
    operation = wish.operation
    if operation in OF_ANYBODY or (standing.is_administrator and operation in OF_ADMINISTRATORS):
        return True
    if operation in OF_THE_OWNER:
        return standing.is_owner
    if operation in LISTS_BY_OWNER:
        return wish.owned_by == person
    if operation in LISTS_BY_PRINCIPAL:
        return wish.principal_id == person
    return operation in OF_PROFILE_USERS and standing.uses_profile and wish.owned_by in (None, person)
