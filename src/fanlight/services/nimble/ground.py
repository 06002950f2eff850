"""What all of Nimble Studio's services stand on."""

from dataclasses import dataclass

from fanlight.domain.ports import Clock, Transactions, Wake
from fanlight.services.nimble.client_tokens import ClientTokens
from fanlight.services.page_tokens import PageTokens

WAKE = "nimble_resource"
"""The kind of key that wakes who settles resources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    transactions: Transactions
    clock: Clock
    wake: Wake
    tokens: PageTokens
    client_tokens: ClientTokens
