"""What is wrong with the subnets and security groups that a fleet names, in words for its administrator."""

from fanlight.domain.fleet_errors import FleetErrorCause, Problem
from fanlight.domain.fleets import Fleet
from fanlight.domain.networks import Networks


def network_problems(fleet: Fleet, networks: Networks) -> list[Problem]:
    """Return what keeps every instance of the fleet from being launched."""
    if fleet.vpc_config is None:
        return []
    problems: list[Problem] = []
    if missing := networks.missing_subnets(fleet.vpc_config.subnet_ids, fleet.scope.account_id):
        problems.append(_problem(FleetErrorCause.SUBNET_MISSING, "subnet", missing))
    if missing := networks.missing_groups(fleet.vpc_config.security_group_ids):
        problems.append(_problem(FleetErrorCause.SECURITY_GROUP_MISSING, "security group", missing))
    return problems


def _problem(cause: FleetErrorCause, noun: str, missing: tuple[str, ...]) -> Problem:
    names, verb = ", ".join(missing), "does" if len(missing) == 1 else "do"
    plural = "" if len(missing) == 1 else "s"
    return Problem(
        cause,
        f"The {noun}{plural} {names} {verb} not exist. Stop the fleet and correct its VpcConfig, or let the operator add "
        f"the {noun}{plural} to the networks file and restart Fanlight.",
    )
