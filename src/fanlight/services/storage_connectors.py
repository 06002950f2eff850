"""The rules of StorageConnectors: what stacks may say of where their users' files are."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fanlight.domain.errors import InvalidCombination, NotSupported
from fanlight.domain.fleets import Fleet
from fanlight.domain.places import Scope
from fanlight.domain.stacks import Stack
from fanlight.domain.user_storage import StorageConnector, StorageKind

MOST_DOMAINS = 10  # as the service's console has it; its API does not say
# What stands behind the @ of a mail address.
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedConnector:
    """`connector_type` is HOMEFOLDERS, GOOGLE_DRIVE or ONE_DRIVE; `resource_identifier` what the client wrote there."""

    connector_type: str
    resource_identifier: str | None = None
    domains: tuple[str, ...] = ()
    domains_require_admin_consent: tuple[str, ...] = ()


def checked_connectors(
    wanted: Sequence[WantedConnector], scope: Scope, drives: Collection[StorageKind] = ()
) -> tuple[StorageConnector, ...]:
    """`drives` are those for whose providers the operator has configured a client. Raises InvalidCombination, NotSupported."""
    connectors = tuple(_checked(one, wanted, scope) for one in wanted)
    if any(one.domains_require_admin_consent for one in wanted):
        # Whether an administrator or the user consented is nothing that the directory would tell a client.
        raise NotSupported(
            "StorageConnectors: DomainsRequireAdminConsent of ONE_DRIVE is not supported: the organisation's own directory "
            "decides who must consent. Switch consent by users off there, and leave it out."
        )
    for connector in connectors:
        if connector.kind is not StorageKind.HOMEFOLDERS and connector.kind not in drives:
            raise NotSupported(
                f"StorageConnectors: {connector.kind} is not supported: this installation has no OAuth client for it. Its "
                f"operator configures one (--{connector.kind.lower().replace('_', '-')}-client-id)."
            )
    return connectors


def check_drives(stack: Stack, fleet: Fleet) -> None:
    """Raise NotSupported for a stack with drives before a multi-session fleet: as in the service, those do not go together."""
    kinds = [one.kind for one in stack.storage_connectors if one.kind is not StorageKind.HOMEFOLDERS]
    if kinds and fleet.is_multi_session:
        raise NotSupported(
            f"StorageConnectors: {kinds[0]} of the stack {stack.name} is not supported with the multi-session fleet "
            f"{fleet.name}. Take the connector from the stack, or MaxSessionsPerInstance from the fleet."
        )


def _checked(one: WantedConnector, wanted: Sequence[WantedConnector], scope: Scope) -> StorageConnector:
    kind = one.connector_type
    if [other.connector_type for other in wanted].count(kind) > 1:
        raise InvalidCombination(f"StorageConnectors: {kind} is given twice. Give it once.")
    if kind == "HOMEFOLDERS" and one.domains:
        raise InvalidCombination("StorageConnectors: HOMEFOLDERS has no Domains. Leave them out.")
    if kind != "ONE_DRIVE" and one.domains_require_admin_consent:
        raise InvalidCombination(
            f"StorageConnectors: {kind} has no DomainsRequireAdminConsent; only ONE_DRIVE has them."
        )
    if kind != "HOMEFOLDERS" and not one.domains:
        raise InvalidCombination(f"StorageConnectors: {kind} needs at least one of Domains.")
    _check_domains(kind, "Domains", one.domains)
    _check_domains(kind, "DomainsRequireAdminConsent", one.domains_require_admin_consent)
    connector = StorageConnector(kind=StorageKind(kind), domains=one.domains)
    # Clients hand back what they were told; another place than that is nothing they can choose.
    if one.resource_identifier not in (None, connector.resource_identifier(scope)):
        raise InvalidCombination(
            f"StorageConnectors: the ResourceIdentifier of {kind} follows from account and region"
            f"{_as_is(connector.resource_identifier(scope))}. Leave it out."
        )
    return connector


def _check_domains(kind: str, member: str, domains: Sequence[str]) -> None:
    if len(domains) > MOST_DOMAINS:
        raise InvalidCombination(
            f"StorageConnectors: {member} of {kind} has {len(domains)} domains; it has at most {MOST_DOMAINS}."
        )
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            raise InvalidCombination(
                f"StorageConnectors: {member} of {kind}: {domain!r} is no domain of mail addresses, such as example.org."
            )


def _as_is(identifier: str | None) -> str:
    return f" and is {identifier}" if identifier else " and is none"
