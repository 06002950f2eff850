"""Stacks and associations: full user settings, web addresses only, one fleet per stack."""

from dataclasses import replace
from typing import Any

import pytest
from service_rig import ELSEWHERE, HERE, NOW, Rig, grant, new_fleet

from fanlight.domain.errors import (
    AlreadyExists,
    DomainError,
    InUse,
    InvalidCombination,
    InvalidPageToken,
    LimitExceeded,
    NotFound,
    NotSupported,
)
from fanlight.domain.stacks import UserAction, UserSettings
from fanlight.domain.streaming_sessions import SessionEvent
from fanlight.services import associations
from fanlight.services.stacks import PAGE_SIZE, NewStack, StackChange

COPY_FROM, COPY_TO = UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE, UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE
DEFAULT_ACTIONS = frozenset(
    {
        UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE,
        UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE,
        UserAction.FILE_UPLOAD,
        UserAction.FILE_DOWNLOAD,
        UserAction.PRINTING_TO_LOCAL_DEVICE,
        UserAction.DOMAIN_PASSWORD_SIGNIN,
    }
)


async def test_a_new_stack_has_the_documented_defaults(rig: Rig) -> None:
    stack = await rig.services.stacks.create(HERE, NewStack(name="design"))
    assert stack.enabled_actions == DEFAULT_ACTIONS
    assert (stack.display_name, stack.description, stack.redirect_url, stack.feedback_url) == (None, None, None, None)
    assert (stack.arn, stack.created_at) == ("arn:aws:appstream:us-east-1:000000000000:stack/design", NOW)
    assert await rig.services.stacks.describe(HERE) == ((stack,), None)


async def test_settings_that_are_not_given_have_their_defaults(rig: Rig) -> None:
    permissions = {UserAction.FILE_UPLOAD: False, UserAction.AUTO_TIME_ZONE_REDIRECTION: True}
    stack = await rig.services.stacks.create(HERE, NewStack(name="design", permissions=permissions))
    enabled = (DEFAULT_ACTIONS - {UserAction.FILE_UPLOAD}) | {UserAction.AUTO_TIME_ZONE_REDIRECTION}
    assert stack.user_settings == UserSettings(enabled_actions=enabled)


async def test_the_longest_copy_is_kept_for_each_direction_and_forgotten_with_the_settings(rig: Rig) -> None:
    wanted = NewStack(name="design", permissions={COPY_TO: True}, maximum_lengths={COPY_TO: 100})
    stack = await rig.services.stacks.create(HERE, wanted)
    assert stack.user_settings == UserSettings(max_copy_to=100)
    stack = await rig.services.stacks.update(HERE, "design", StackChange(description="x"))
    assert stack.user_settings == UserSettings(max_copy_to=100)
    stack = await rig.services.stacks.update(
        HERE, "design", StackChange(permissions={COPY_FROM: True}, maximum_lengths={COPY_FROM: 1})
    )
    assert stack.user_settings == UserSettings(max_copy_from=1)
    stack = await rig.services.stacks.update(HERE, "design", StackChange(deleted={"USER_SETTINGS"}))
    assert stack.user_settings == UserSettings()


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"redirect_url": "javascript:alert(1)"}, InvalidCombination, "RedirectURL is not a web address."),
        ({"redirect_url": "example.org"}, InvalidCombination, "RedirectURL is not a web address."),
        ({"redirect_url": "https:///path"}, InvalidCombination, "RedirectURL is not a web address."),
        ({"redirect_url": "https://[broken"}, InvalidCombination, "RedirectURL is not a web address."),
        ({"feedback_url": "https://a.b/\r\nX: y"}, InvalidCombination, "FeedbackURL is not a web address."),
        ({"feedback_url": "data:text/html,x"}, InvalidCombination, "FeedbackURL is not a web address."),
        (
            {"permissions": {UserAction.DOMAIN_SMART_CARD_SIGNIN: True}},
            NotSupported,
            "UserSettings: DOMAIN_SMART_CARD_SIGNIN cannot be ENABLED: Fanlight joins instances to no domain.",
        ),
        (
            {"permissions": {UserAction.SMART_CARD_REDIRECTION: True}},
            NotSupported,
            "UserSettings: SMART_CARD_REDIRECTION cannot be ENABLED: Fanlight does not pass smart cards on.",
        ),
        (
            {"permissions": {COPY_TO: True}, "maximum_lengths": {COPY_TO: 0}},
            InvalidCombination,
            "UserSettings: MaximumLength of CLIPBOARD_COPY_TO_LOCAL_DEVICE is 0; it must be between 1 and 20971520.",
        ),
        (
            {"permissions": {COPY_FROM: True}, "maximum_lengths": {COPY_FROM: 20_971_521}},
            InvalidCombination,
            "UserSettings: MaximumLength of CLIPBOARD_COPY_FROM_LOCAL_DEVICE is 20971521; it must be",
        ),
        (
            {"permissions": {COPY_FROM: False}, "maximum_lengths": {COPY_FROM: 1}},
            InvalidCombination,
            "UserSettings: CLIPBOARD_COPY_FROM_LOCAL_DEVICE is DISABLED, so it has no MaximumLength.",
        ),
        (
            {"permissions": {UserAction.FILE_UPLOAD: True}, "maximum_lengths": {UserAction.FILE_UPLOAD: 1}},
            InvalidCombination,
            "UserSettings: FILE_UPLOAD has no MaximumLength; only the two CLIPBOARD_COPY actions have one.",
        ),
        (
            {"permissions": {UserAction.DOMAIN_PASSWORD_SIGNIN: False}},
            InvalidCombination,
            "UserSettings: one of DOMAIN_PASSWORD_SIGNIN and DOMAIN_SMART_CARD_SIGNIN must be ENABLED.",
        ),
    ],
)
async def test_wrong_values_are_refused_at_creation_and_at_update(
    rig: Rig, wrong: dict[str, Any], error: type[DomainError], text: str
) -> None:
    before = await rig.services.stacks.create(HERE, NewStack(name="good"))
    for attempt in (
        rig.services.stacks.create(HERE, NewStack(name="design", **wrong)),
        rig.services.stacks.update(HERE, "good", StackChange(**wrong)),
    ):
        with pytest.raises(error) as raised:
            await attempt
        assert str(raised.value).startswith(text)
    assert await rig.services.stacks.describe(HERE) == ((before,), None)


async def test_an_update_changes_what_it_names(rig: Rig) -> None:
    wanted = NewStack(
        name="design", display_name="D", redirect_url="https://a.example", feedback_url="http://b.example:8080/x?y=z"
    )
    before = await rig.services.stacks.create(HERE, wanted)
    after = await rig.services.stacks.update(HERE, "design", StackChange(description="", redirect_url=""))
    assert after == replace(before, version=1, description="", redirect_url="")
    after = await rig.services.stacks.update(
        HERE, "design", StackChange(permissions={UserAction.FILE_DOWNLOAD: False}, deleted={"REDIRECT_URL"})
    )
    assert (after.redirect_url, after.enabled_actions) == (None, DEFAULT_ACTIONS - {UserAction.FILE_DOWNLOAD})
    after = await rig.services.stacks.update(
        HERE, "design", StackChange(deleted={"USER_SETTINGS", "FEEDBACK_URL", "THEME_NAME", "STORAGE_CONNECTORS"})
    )
    assert after == replace(before, version=3, description="", redirect_url=None, feedback_url=None)
    with pytest.raises(InvalidCombination, match="FEEDBACK_URL is both given and in AttributesToDelete"):
        await rig.services.stacks.update(
            HERE, "design", StackChange(feedback_url="https://b.example", deleted={"FEEDBACK_URL"})
        )


async def test_stacks_of_other_scopes_are_not_there(rig: Rig) -> None:
    await rig.services.stacks.create(HERE, NewStack(name="design"))
    with pytest.raises(AlreadyExists, match=r"The stack design already exists\."):
        await rig.services.stacks.create(HERE, NewStack(name="design"))
    for scope in ELSEWHERE:
        assert await rig.services.stacks.describe(scope) == ((), None)
        for attempt in (
            rig.services.stacks.describe(scope, names=["design"]),
            rig.services.stacks.update(scope, "design", StackChange(description="mine")),
            rig.services.stacks.delete(scope, "design"),
        ):
            with pytest.raises(NotFound, match=r"^The stack design does not exist\.$"):
                await attempt
        await rig.services.stacks.create(scope, NewStack(name="design"))


async def test_pages_of_stacks_follow_each_other(rig: Rig) -> None:
    names = [f"stack-{number:03}" for number in range(PAGE_SIZE + 1)]
    for name in names:
        await rig.services.stacks.create(HERE, NewStack(name=name))
    first, token = await rig.services.stacks.describe(HERE)
    second, end = await rig.services.stacks.describe(HERE, next_token=token)
    assert ([stack.name for stack in (*first, *second)], end) == (names, None)


async def test_a_stack_with_a_fleet_is_not_deleted(pair: Rig) -> None:
    with pytest.raises(InUse) as raised:
        await pair.services.stacks.delete(HERE, "design")
    assert str(raised.value) == (
        "Cannot delete stack design. This stack has fleets associated with it. Only stacks with no fleets associated "
        "with it can be deleted."
    )
    await pair.services.associations.disassociate(HERE, "design", "cad")
    await pair.services.stacks.delete(HERE, "design")
    with pytest.raises(NotFound):
        await pair.services.stacks.describe(HERE, names=["design"])


# ── Associations ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stack_has_one_fleet_and_a_fleet_may_have_several_stacks(pair: Rig) -> None:
    await pair.services.associations.associate(HERE, "design", "cad")  # again: success
    await pair.services.fleets.create(HERE, new_fleet("other"))
    with pytest.raises(LimitExceeded, match=r"The stack design is associated with the fleet cad.*Disassociate that"):
        await pair.services.associations.associate(HERE, "design", "other")
    await pair.services.stacks.create(HERE, NewStack(name="second"))
    await pair.services.associations.associate(HERE, "second", "cad")
    assert await pair.services.associations.fleets_of(HERE, "design") == (("cad",), None)
    assert await pair.services.associations.stacks_of(HERE, "cad") == (("design", "second"), None)


async def test_unknown_names_have_no_associations_and_cannot_get_any(pair: Rig) -> None:
    service = pair.services.associations
    assert await service.fleets_of(HERE, "lost") == ((), None)
    assert await service.stacks_of(HERE, "lost") == ((), None)
    for attempt, text in (
        (service.associate(HERE, "lost", "cad"), "The stack lost does not exist."),
        (service.associate(HERE, "design", "lost"), "The fleet lost does not exist."),
        (service.disassociate(HERE, "lost", "cad"), "The stack lost does not exist."),
        (service.disassociate(HERE, "design", "lost"), "The fleet lost does not exist."),
    ):
        with pytest.raises(NotFound) as raised:
            await attempt
        assert str(raised.value) == text
    await service.disassociate(HERE, "design", "cad")
    with pytest.raises(NotFound, match="The association of stack and fleet design/cad does not exist"):
        await service.disassociate(HERE, "design", "cad")
    for scope in ELSEWHERE:
        with pytest.raises(NotFound):
            await service.associate(scope, "design", "cad")


async def test_a_pair_that_users_stream_through_stays(pair: Rig) -> None:
    session = await pair.services.sessions.open_session(grant(), "Editor")
    with pytest.raises(InUse, match=r"Users stream from the fleet cad through the stack design. End their sessions"):
        await pair.services.associations.disassociate(HERE, "design", "cad")
    async with pair.transactions.begin(write=True) as work:
        await work.sessions.save(session.after(SessionEvent.ENDED))
        await work.commit()
    await pair.services.associations.disassociate(HERE, "design", "cad")


async def test_association_lists_are_paged(pair: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associations, "PAGE_SIZE", 1)
    await pair.services.stacks.create(HERE, NewStack(name="second"))
    await pair.services.associations.associate(HERE, "second", "cad")
    first, token = await pair.services.associations.stacks_of(HERE, "cad")
    assert (first, await pair.services.associations.stacks_of(HERE, "cad", token)) == (("design",), (("second",), None))
    with pytest.raises(InvalidPageToken):
        await pair.services.associations.stacks_of(HERE, "other", token)
    with pytest.raises(InvalidPageToken):
        await pair.services.associations.fleets_of(HERE, "cad", token)
