"""Nimble Studio's part of a unit of work."""

from fanlight.store.door import Door
from fanlight.store.nimble_calls import SqlRememberedCalls
from fanlight.store.nimble_eulas import SqlEulaAcceptances
from fanlight.store.nimble_memberships import SqlMemberships
from fanlight.store.nimble_resources import SqlNimbleResources


class SqlNimbleStore:
    """See `domain.nimble.ports.NimbleStore`."""

    def __init__(self, door: Door) -> None:
        self.resources = SqlNimbleResources(door)
        self.calls = SqlRememberedCalls(door)
        self.memberships = SqlMemberships(door)
        self.acceptances = SqlEulaAcceptances(door)
