"""Stacks: what users are offered in front of a fleet."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit
from uuid import uuid4

from fanlight.domain.errors import InUse, InvalidCombination, NotSupported
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.domain.stacks import DISABLED_BY_DEFAULT, Stack, UserAction
from fanlight.services.names import all_named
from fanlight.services.page_tokens import PageTokens, cut

PAGE_SIZE = 100
# Nothing behind them yet. Accepting them would promise users what they do not get.
NOT_BUILT_ACTIONS = frozenset({UserAction.AUTO_TIME_ZONE_REDIRECTION, UserAction.SMART_CARD_REDIRECTION})

Permissions = Mapping[UserAction, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStack:
    """What CreateStack says; None takes the default. `permissions` may name some actions: the others have their defaults."""

    name: str
    display_name: str | None = None
    description: str | None = None
    redirect_url: str | None = None
    feedback_url: str | None = None
    permissions: Permissions | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackChange:
    """What UpdateStack says; None leaves as it is. `deleted` are names of attributes that go back to their defaults."""

    display_name: str | None = None
    description: str | None = None
    redirect_url: str | None = None
    feedback_url: str | None = None
    permissions: Permissions | None = None
    deleted: Collection[str] = ()


class StackService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens) -> None:
        self._transactions, self._clock, self._tokens = transactions, clock, tokens

    async def create(self, scope: Scope, wanted: NewStack) -> Stack:
        """Raises AlreadyExists, InvalidCombination (URLs, permissions), NotSupported (actions that are not built)."""
        _check_urls(wanted)
        stack = Stack(
            stack_id=uuid4().hex,
            scope=scope,
            name=wanted.name,
            display_name=wanted.display_name,
            description=wanted.description,
            redirect_url=wanted.redirect_url,
            feedback_url=wanted.feedback_url,
            enabled_actions=enabled_actions(wanted.permissions),
            created_at=self._clock.now(),
        )
        async with self._transactions.begin(write=True) as work:
            stack = await work.stacks.add(stack)
            await work.tags.put(stack.arn, wanted.tags or {})
            await work.commit()
        return stack

    async def describe(
        self, scope: Scope, *, names: Sequence[str] = (), next_token: str | None = None
    ) -> tuple[tuple[Stack, ...], str | None]:
        """Return one page of stacks by name and the token of the next. Raises NotFound for a missing name, InvalidPageToken."""
        after = self._tokens.read(scope, ["stacks"], next_token)
        async with self._transactions.begin() as work:
            page, has_more = await _page(work, scope, names, after)
        return tuple(page), self._tokens.issue(scope, ["stacks"], page[-1].name) if has_more else None

    async def update(self, scope: Scope, name: str, change: StackChange) -> Stack:
        """Raises NotFound, and what `create` raises for the new values."""
        _check_urls(change)
        async with self._transactions.begin(write=True) as work:
            stack = await work.stacks.save(_changed(await work.stacks.get(scope, name), change))
            await work.commit()
        return stack

    async def delete(self, scope: Scope, name: str) -> None:
        """Forget a stack and its tags. Raises NotFound, InUse (a fleet is associated)."""
        async with self._transactions.begin(write=True) as work:
            stack = await work.stacks.get(scope, name)
            if await work.associations.fleets_of(scope, name, limit=1):
                raise InUse(
                    "stack",
                    name,
                    f"Cannot delete stack {name}. This stack has fleets associated with it. Only stacks with no "
                    "fleets associated with it can be deleted.",
                )
            await work.stacks.remove(stack)
            await work.tags.drop(stack.arn)
            await work.commit()


async def _page(work: UnitOfWork, scope: Scope, names: Sequence[str], after: str) -> tuple[Sequence[Stack], bool]:
    if names:
        return await all_named("stack", names, lambda some: work.stacks.page(scope, names=some, limit=len(some))), False
    return cut(await work.stacks.page(scope, after=after, limit=PAGE_SIZE + 1), PAGE_SIZE)


def enabled_actions(permissions: Permissions | None) -> frozenset[UserAction]:
    """Return all enabled actions when some are given. Raises NotSupported, InvalidCombination."""
    given = permissions or {}
    for action in sorted(NOT_BUILT_ACTIONS):
        if given.get(action):
            raise NotSupported(f"UserSettings: {action} cannot be ENABLED; Fanlight does not offer it yet.")
    enabled = frozenset(action for action in UserAction if given.get(action, action not in DISABLED_BY_DEFAULT))
    if not enabled & {UserAction.DOMAIN_PASSWORD_SIGNIN, UserAction.DOMAIN_SMART_CARD_SIGNIN}:
        raise InvalidCombination(
            "UserSettings: one of DOMAIN_PASSWORD_SIGNIN and DOMAIN_SMART_CARD_SIGNIN must be ENABLED."
        )
    return enabled


def _changed(stack: Stack, change: StackChange) -> Stack:
    for attribute, given in (
        ("REDIRECT_URL", change.redirect_url),
        ("FEEDBACK_URL", change.feedback_url),
        ("USER_SETTINGS", change.permissions),
    ):
        if attribute in change.deleted and given is not None:
            raise InvalidCombination(f"{attribute} is both given and in AttributesToDelete. Say one of them.")
    if "REDIRECT_URL" in change.deleted:
        stack = replace(stack, redirect_url=None)
    if "FEEDBACK_URL" in change.deleted:
        stack = replace(stack, feedback_url=None)
    if "USER_SETTINGS" in change.deleted:
        stack = replace(stack, enabled_actions=enabled_actions(None))
    if change.permissions is not None:
        stack = replace(stack, enabled_actions=enabled_actions(change.permissions))
    return replace(
        stack,
        display_name=stack.display_name if change.display_name is None else change.display_name,
        description=stack.description if change.description is None else change.description,
        redirect_url=stack.redirect_url if change.redirect_url is None else change.redirect_url,
        feedback_url=stack.feedback_url if change.feedback_url is None else change.feedback_url,
    )


def _check_urls(asked: NewStack | StackChange) -> None:
    """Raise InvalidCombination for what a browser would not open as a web page: the session page sends users there."""
    for member, url in (("RedirectURL", asked.redirect_url), ("FeedbackURL", asked.feedback_url)):
        if not url:
            continue
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
            raise InvalidCombination(f"{member} is not a web address. Give one that begins with https:// or http://.")
