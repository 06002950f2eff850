"""Access keys: made, listed and removed by the operator; read by the signature check."""

import secrets
import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.policies import Policy
from fanlight.domain.ports import Clock, Transactions

_ID_ALPHABET = string.ascii_uppercase + "234567"


class AccessKeyService:
    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions, self._clock = transactions, clock

    async def create(
        self,
        account_id: str,
        *,
        policy: Policy | None = None,
        expires_at: datetime | None = None,
        person: str | None = None,
    ) -> AccessKey:
        """Make a key with a random id and secret of the usual shapes. Raises InvalidCombination (expires in the past)."""
        if expires_at is not None and expires_at <= self._clock.now():
            raise InvalidCombination(f"The key would have expired already, at {expires_at:%Y-%m-%d %H:%M} UTC.")
        key = AccessKey(
            access_key_id="AKIA" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(16)),
            secret_access_key=secrets.token_urlsafe(30),
            account_id=account_id,
            created_at=self._clock.now(),
            policy=policy,
            expires_at=expires_at,
            person=person,
        )
        async with self._transactions.begin(write=True) as work:
            await work.access_keys.add(key)
            await work.commit()
        return key

    async def ensure(self, access_key_id: str, secret_access_key: str, account_id: str) -> AccessKey:
        """Make the stored key of this id be exactly this one: the operator's bootstrap key may change between starts.

        It may do everything and never expires, whatever a key of this id could do before.
        """
        key = AccessKey(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            account_id=account_id,
            created_at=self._clock.now(),
        )
        async with self._transactions.begin(write=True) as work:
            present = await work.access_keys.find(access_key_id)
            if present is not None:
                if replace(present, created_at=key.created_at) == key:
                    return present
                await work.access_keys.remove(access_key_id)
            await work.access_keys.add(key)
            await work.commit()
        return key

    async def find(self, access_key_id: str) -> AccessKey | None:
        async with self._transactions.begin() as work:
            return await work.access_keys.find(access_key_id)

    async def all(self) -> Sequence[AccessKey]:
        async with self._transactions.begin() as work:
            return await work.access_keys.all()

    async def remove(self, access_key_id: str) -> None:
        """Raises NotFound."""
        async with self._transactions.begin(write=True) as work:
            if not await work.access_keys.remove(access_key_id):
                raise NotFound("access key", access_key_id)
            await work.commit()
