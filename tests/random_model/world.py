"""The API under test: one store and one simulated engine for all sequences; each sequence has an account of its own."""

import asyncio
import itertools
import json
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import cache
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from closed_errors import allowed_codes
from e2e.simulated_system import System, stopped_system
from fanlight.api.aws_services import AwsService
from fanlight.api.catalogue import aws_services
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import JSON
from fanlight.domain.access_keys import Caller
from fanlight.domain.networks import Networks, SecurityGroup, Subnet
from fanlight.domain.places import Scope
from fanlight.domain.policies import Policy, parse_policy
from fanlight.domain.quotas import read_quotas
from fanlight.services import AppStreamServices

REGION = "us-east-1"
SUBNET, GROUP = "subnet-a", "sg-a"
NETWORKS = Networks(
    subnets={SUBNET: Subnet(subnet_id=SUBNET, host=IPv4Interface("10.9.0.1/24"))},
    groups={GROUP: SecurityGroup(group_id=GROUP)},
)
# Settings of `--quotas` that sequences are played under, and what the model counts by.
SMALL_INSTANCES = "Standard small streaming instances for fleets"
QUOTAS: tuple[dict[str, int], ...] = (
    {},
    {"Stacks": 1, "Fleets": 2, "Active fleets": 1},
    {SMALL_INSTANCES: 3, "Fleet instances with default internet access": 1},
)
SERVICES = {service.name: service for service in aws_services()}
APPSTREAM = "appstream"


class Refusal(Exception):
    """The service said no; `code` is what the client sees."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class World:
    """Opened once; `ask` speaks to the dispatcher of a service in bytes."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.accounts = itertools.count(1)

    def open(self, directory: Path) -> None:
        self.system: System = self.run(
            self.stack.enter_async_context(
                stopped_system(directory, capacity_wait=timedelta(days=1), networks=NETWORKS)
            )
        )
        self.dispatchers = {name: self._dispatcher(service, self.system.services) for name, service in SERVICES.items()}
        self.limited = [self.dispatchers[APPSTREAM], *map(self._limited, QUOTAS[1:])]

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def _limited(self, quotas: dict[str, int]) -> Dispatcher[AppStreamServices]:
        """Return AppStream over the same store, with these quotas."""
        services = self.system.services_with(read_quotas(",".join(f"{name}={limit}" for name, limit in quotas.items())))
        return self._dispatcher(SERVICES[APPSTREAM], services)

    def _dispatcher(
        self, service: AwsService[AppStreamServices], services: AppStreamServices
    ) -> Dispatcher[AppStreamServices]:
        return Dispatcher(service, services, revision=self.system.store.transactions.revision, is_strict=True)


class Account:
    """One account with its key and quotas: what a sequence speaks through."""

    def __init__(self, world: World, quotas: int) -> None:
        self.world, self._quotas = world, quotas
        self.limits = QUOTAS[quotas]
        self.scope = Scope(f"{next(world.accounts):012}", REGION)
        self.policy: Policy | None = None

    def ask(self, operation: str, service: str = APPSTREAM, *, unlimited: bool = False, **body: Any) -> dict[str, Any]:
        """Return the answer. Raises Refusal with a code that the operation may answer; anything else fails the test."""
        raw = self.ask_raw(operation, json.dumps(body).encode(), service=service, unlimited=unlimited)
        return dict(json.loads(raw))

    def ask_raw(
        self, operation: str, body: bytes, *, wire: Any = None, service: str = APPSTREAM, unlimited: bool = False
    ) -> bytes:
        aws = SERVICES[service]
        policy = None if unlimited else self.policy
        caller = Caller("AKIATEST", self.scope.account_id, REGION, "request", policy=policy)
        dispatcher = self.world.limited[self._quotas] if service == APPSTREAM else self.world.dispatchers[service]
        wire = wire or aws.json_wire or JSON
        try:
            return bytes(self.world.run(dispatcher.dispatch(wire, operation, body, caller, Outcome())))
        except WireError as error:
            refused = error
        what = f"{service}:{operation}"
        assert refused.status < 500, f"{what}: {refused.status} {refused.code} {refused}"
        code = aws.respelled.get(refused.code, refused.code)  # as the listener does before it answers
        assert code in allowed_codes(aws, operation), f"{what} answers {code}"
        assert str(refused), f"{what} refuses without a word"
        raise Refusal(code)

    def arn(self, kind: str, name: str) -> str:
        return self.scope.arn(f"{kind}/{name}")


@cache
def policy(*statements: str) -> Policy:
    """Return a policy of statements that are spelled `Allow appstream:* fleet/cad`."""
    parts = [statement.split() for statement in statements]
    return parse_policy(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": effect, "Action": action, "Resource": resource} for effect, action, resource in parts
                ],
            }
        )
    )
