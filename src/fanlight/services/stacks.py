"""Stacks: what users are offered in front of a fleet."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from fanlight.domain.errors import InUse, InvalidCombination
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.stacks import PreferredProtocol, Stack, StackError
from fanlight.domain.tags import check_tags
from fanlight.domain.user_storage import StorageKind, storage_key
from fanlight.services.names import all_named
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.stack_members import StackMembers, applied, enabled_actions
from fanlight.services.storage_connectors import check_drives

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStack(StackMembers):
    """What CreateStack says; None takes the default."""

    name: str
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackChange(StackMembers):
    """What UpdateStack says; None leaves as it is. `deleted` are names of attributes that go back to their defaults."""

    deleted: Collection[str] = ()
    deletes_storage_connectors: bool = False


# Attribute → what is left of the stack without it. Those that no stack can have yet are fulfilled already.
_WITHOUT: Mapping[str, Mapping[str, Any]] = {
    "REDIRECT_URL": {"redirect_url": None},
    "FEEDBACK_URL": {"feedback_url": None},
    "USER_SETTINGS": {"enabled_actions": enabled_actions(None), "maximum_lengths": {}},
    "EMBED_HOST_DOMAINS": {"embed_host_domains": ()},
    "ACCESS_ENDPOINTS": {"access_endpoints": ()},
    "STREAMING_EXPERIENCE_SETTINGS": {"preferred_protocol": PreferredProtocol.TCP},
    "CONTENT_REDIRECTION": {"content_redirection": None},
    "STORAGE_CONNECTOR_AUTHENTICATION": {"storage_connector_authentication": None},
}


_ALL_KINDS = frozenset(StorageKind)


class StackService:
    """`known_endpoints` are the ids of interface endpoints in this installation's configuration."""

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        tokens: PageTokens,
        known_endpoints: Collection[str] = (),
        quotas: QuotaKeeper | None = None,
        *,
        wake: Wake | None = None,
        drives: Collection[StorageKind] = (),
    ) -> None:
        self._transactions, self._clock, self._tokens = transactions, clock, tokens
        self._known_endpoints = frozenset(known_endpoints)
        self._quotas, self._wake, self._drives = quotas or QuotaKeeper(), wake, drives

    async def create(self, scope: Scope, wanted: NewStack) -> Stack:
        """Raises AlreadyExists, LimitExceeded, InvalidCombination, NotSupported (see `stack_members`)."""
        blank = Stack(stack_id=uuid4().hex, scope=scope, name=wanted.name, created_at=self._clock.now())
        stack = applied(blank, wanted, self._known_endpoints, self._drives)
        check_tags(wanted.tags or {})
        async with self._transactions.begin(write=True) as work:
            stack = await work.stacks.add(stack)
            await self._quotas.admit_stack(work, scope)
            await work.tags.put(stack.arn, wanted.tags or {})
            await work.commit()
        self._look_at_storage(stack)
        return stack

    def errors_of(self, stack: Stack) -> tuple[StackError, ...]:
        """Return what keeps users of this stack out now."""
        return stack.errors(self._known_endpoints)

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
        async with self._transactions.begin(write=True) as work:
            before = await work.stacks.get(scope, name)
            stack = _changed(before, change, self._known_endpoints, self._drives)
            for fleet_name in await work.associations.fleets_of(scope, name):
                check_drives(stack, await work.fleets.get(scope, fleet_name))
            stack = await work.stacks.save(stack)
            await work.commit()
        self._look_at_storage(before, stack)
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
        self._look_at_storage(stack)

    def _look_at_storage(self, *stacks: Stack) -> None:
        """Have buckets made, and doors closed, as the stack now wants it."""
        if self._wake is not None and any(stack.storage_buckets or stack.storage_connectors for stack in stacks):
            self._wake("storage", storage_key(stacks[0].scope))


async def _page(work: UnitOfWork, scope: Scope, names: Sequence[str], after: str) -> tuple[Sequence[Stack], bool]:
    if names:
        return await all_named("stack", names, lambda some: work.stacks.page(scope, names=some, limit=len(some))), False
    return cut(await work.stacks.page(scope, after=after, limit=PAGE_SIZE + 1), PAGE_SIZE)


def _changed(
    stack: Stack, change: StackChange, known_endpoints: Collection[str], drives: Collection[StorageKind]
) -> Stack:
    _check_deletions(change)
    for attribute in change.deleted:
        stack = replace(stack, **_WITHOUT.get(attribute, {}))
    gone = _ALL_KINDS if change.deletes_storage_connectors else _kinds_in(change.deleted)
    kept = tuple(connector for connector in stack.storage_connectors if connector.kind not in gone)
    stack = applied(replace(stack, storage_connectors=kept), change, known_endpoints, drives)
    return stack if stack.storage_buckets else replace(stack, storage_problem=None)


def _kinds_in(attributes: Collection[str]) -> Collection[StorageKind]:
    """Return the kinds of storage connectors that AttributesToDelete names."""
    if "STORAGE_CONNECTORS" in attributes:
        return _ALL_KINDS
    return {kind for kind in _ALL_KINDS if f"STORAGE_CONNECTOR_{kind}" in attributes}


def _check_deletions(change: StackChange) -> None:
    """Raise InvalidCombination for what is given and taken away in one request."""
    kinds = {connector.connector_type for connector in change.storage_connectors or ()}
    given = {
        "REDIRECT_URL": change.redirect_url is not None,
        "FEEDBACK_URL": change.feedback_url is not None,
        "USER_SETTINGS": change.permissions is not None,
        "EMBED_HOST_DOMAINS": change.embed_host_domains is not None,
        "ACCESS_ENDPOINTS": change.access_endpoints is not None,
        "STREAMING_EXPERIENCE_SETTINGS": change.preferred_protocol is not None,
        "CONTENT_REDIRECTION": change.content_redirection is not None,
        "AGENT_ACCESS_CONFIG": change.agent_access is not None,
        "AGENT_ACCESS_CONFIG_KMS_KEY_ARN": change.agent_access is not None and bool(change.agent_access.kms_key_arn),
        "STORAGE_CONNECTOR_AUTHENTICATION": change.storage_connector_authentication is not None,
        "STORAGE_CONNECTORS": bool(kinds),
        "STORAGE_CONNECTOR_HOMEFOLDERS": "HOMEFOLDERS" in kinds,
        "STORAGE_CONNECTOR_GOOGLE_DRIVE": "GOOGLE_DRIVE" in kinds,
        "STORAGE_CONNECTOR_ONE_DRIVE": "ONE_DRIVE" in kinds,
    }
    for attribute in change.deleted:
        if given.get(attribute):
            raise InvalidCombination(f"{attribute} is both given and in AttributesToDelete. Say one of them.")
    if change.deletes_storage_connectors and kinds:
        raise InvalidCombination("StorageConnectors are given, and DeleteStorageConnectors is true. Say one of them.")
