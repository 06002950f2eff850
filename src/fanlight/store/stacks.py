"""Stacks in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, or_, select

from fanlight.domain.errors import NotFound
from fanlight.domain.places import Scope
from fanlight.domain.stacks import PreferredProtocol, Stack, UrlRedirection, UserAction
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.storage_connectors import connectors_of_json, connectors_to_json
from fanlight.store.tables import stacks as table


def _to_row(stack: Stack) -> dict[str, Any]:
    return {
        "stack_id": stack.stack_id,
        "account_id": stack.scope.account_id,
        "region": stack.scope.region,
        "name": stack.name,
        "version": stack.version,
        "display_name": stack.display_name,
        "description": stack.description,
        "redirect_url": stack.redirect_url,
        "feedback_url": stack.feedback_url,
        "enabled_actions": sorted(stack.enabled_actions),
        "maximum_lengths": dict(stack.maximum_lengths),
        "settings_group": stack.settings_group,
        "embed_host_domains": list(stack.embed_host_domains),
        "access_endpoints": list(stack.access_endpoints),
        "preferred_protocol": stack.preferred_protocol,
        "content_redirection": asdict(stack.content_redirection) if stack.content_redirection else None,
        "storage_connector_authentication": stack.storage_connector_authentication,
        "storage_connectors": connectors_to_json(stack.storage_connectors),
        "storage_problem": stack.storage_problem,
        "created_at": stack.created_at,
    }


def _from_row(row: AnyRow) -> Stack:
    return Stack(
        stack_id=row.stack_id,
        scope=Scope(row.account_id, row.region),
        name=row.name,
        version=row.version,
        display_name=row.display_name,
        description=row.description,
        redirect_url=row.redirect_url,
        feedback_url=row.feedback_url,
        enabled_actions=frozenset(UserAction(action) for action in row.enabled_actions),
        # Rows from before these columns have NULL in them.
        maximum_lengths={UserAction(action): most for action, most in (row.maximum_lengths or {}).items()},
        settings_group=row.settings_group,
        embed_host_domains=tuple(row.embed_host_domains or ()),
        access_endpoints=tuple(row.access_endpoints or ()),
        preferred_protocol=PreferredProtocol(row.preferred_protocol or PreferredProtocol.TCP),
        content_redirection=_redirection(row.content_redirection),
        storage_connector_authentication=row.storage_connector_authentication,
        storage_connectors=connectors_of_json(row.storage_connectors),
        storage_problem=row.storage_problem,
        created_at=row.created_at,
    )


def _redirection(kept: dict[str, Any] | None) -> UrlRedirection | None:
    if not kept:
        return None
    lists = {name: None if kept[name] is None else tuple(kept[name]) for name in ("allowed_urls", "denied_urls")}
    return UrlRedirection(kept["is_enabled"], **lists)


KIND = Kind(
    noun="stack",
    table=table,
    key="stack_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda stack: stack.name,
)
STATEMENTS = Statements.of(KIND)

_IN_SCOPE = select(table).where(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_BY_NAME = _IN_SCOPE.where(table.c.name == bindparam("name"))
_NAMED = _IN_SCOPE.where(table.c.name.in_(bindparam("names", expanding=True))).order_by(table.c.name)
_WITH_STORAGE = (
    select(table)
    .where(or_(table.c.storage_connectors.is_not(None), table.c.settings_group.is_not(None)))
    .order_by(table.c.stack_id)
)
_WITH_STORAGE_IN_SCOPE = _WITH_STORAGE.where(
    table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region")
)
_PAGE = _IN_SCOPE.where(table.c.name > bindparam("after")).order_by(table.c.name).limit(bindparam("page_size"))


class SqlStacks(Rows[Stack]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def get(self, scope: Scope, name: str) -> Stack:
        found = await self._one(_BY_NAME, {"account_id": scope.account_id, "region": scope.region, "name": name})
        if found is None:
            raise NotFound("stack", name)
        return found

    async def page(self, scope: Scope, *, names: Sequence[str] = (), after: str = "", limit: int) -> Sequence[Stack]:
        place = {"account_id": scope.account_id, "region": scope.region}
        if names:
            return await self._many(_NAMED, {**place, "names": list(names)})
        return await self._many(_PAGE, {**place, "after": after, "page_size": limit})

    async def with_storage(self, scope: Scope | None = None) -> Sequence[Stack]:
        if scope is None:
            return await self._all(_WITH_STORAGE)
        return await self._many(_WITH_STORAGE_IN_SCOPE, {"account_id": scope.account_id, "region": scope.region})
