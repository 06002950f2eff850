"""Read the file in which the operator names subnets and security groups.

Strict: an unknown key, a wrong type or a rule that cannot hold refuses the whole file, and says where. A firewall that
is half understood is none.
"""

import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fanlight.domain.networks import EVERYWHERE, IpProtocol, Networks, Rule, SecurityGroup, Subnet, mistakes_in

_SUBNET_ID = r"^subnet-[A-Za-z0-9-]{1,40}$"
_GROUP_ID = r"^(sg-[A-Za-z0-9-]{1,40}|default)$"
_HIGHEST_PORT = 65_535


class NetworksFileInvalid(ValueError):
    """The file cannot be read or says what cannot be. The text names the file, the place in it and what is wrong."""


def read_networks(path: Path | None, default_network: str) -> Networks:
    """Return what the file offers; nothing when there is no file. `default_network` is the setting `incus_subnet`.

    Raises NetworksFileInvalid.
    """
    if path is None:
        return Networks()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NetworksFileInvalid(f"The networks file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # TOML or UTF-8
        raise NetworksFileInvalid(f"The networks file {path} is not TOML: {error}.") from error
    return networks_of(content, default_network, str(path))


def networks_of(content: Mapping[str, Any], default_network: str, path: str = "") -> Networks:
    """Return what the parsed content offers. Raises NetworksFileInvalid."""
    try:
        file = _File.model_validate(content)
        default = IPv4Interface(default_network)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        raise NetworksFileInvalid(f"The networks file {path} is wrong at {place}: {problem['msg']}.") from None
    except ValueError as error:
        raise NetworksFileInvalid(
            f"The default network {default_network} is no address with a prefix: {error}."
        ) from None
    networks = Networks(
        subnets={name: entry.subnet(name) for name, entry in file.subnets.items()},
        groups={name: entry.group(name) for name, entry in file.security_groups.items()},
    )
    if mistakes := mistakes_in(networks, default):
        raise NetworksFileInvalid(f"The networks file {path} is wrong. {' '.join(mistakes)}")
    return networks


def _ports(value: object) -> object:
    """Read `443`, `"27000-27009"` or a list of these as pairs of first and last. Raises ValueError."""
    entries = value if isinstance(value, list) else [value]
    return tuple(map(_port_range, entries))


def _port_range(entry: object) -> tuple[int, int]:
    first, _, last = str(entry).partition("-")
    if isinstance(entry, bool) or not (first.isdecimal() and (last or first).isdecimal()):
        raise ValueError(f'{entry!r} is neither a port nor a range such as "27000-27009"')
    pair = (int(first), int(last or first))
    if not 1 <= pair[0] <= pair[1] <= _HIGHEST_PORT:
        raise ValueError(f"{entry} is not within 1-{_HIGHEST_PORT}, or its end is before its beginning")
    return pair


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rule(_Entry):
    protocol: IpProtocol = IpProtocol.ALL
    ports: Annotated[tuple[tuple[int, int], ...], BeforeValidator(_ports)] = ()
    cidrs: tuple[IPv4Network, ...] = Field((EVERYWHERE,), min_length=1)

    def rule(self, place: str) -> Rule:
        if self.ports and self.protocol not in (IpProtocol.TCP, IpProtocol.UDP):
            raise NetworksFileInvalid(f'A rule of {place} names ports: its protocol must be "tcp" or "udp".')
        return Rule(protocol=self.protocol, ports=self.ports, cidrs=self.cidrs)


class _Group(_Entry):
    description: str = ""  # for whoever reads the file
    egress: tuple[_Rule, ...] = ()
    ingress: tuple[_Rule, ...] = ()

    def group(self, group_id: str) -> SecurityGroup:
        place = f"the security group {group_id}"
        return SecurityGroup(
            group_id=group_id,
            egress=tuple(rule.rule(place) for rule in self.egress),
            ingress=tuple(rule.rule(place) for rule in self.ingress),
        )


class _Subnet(_Entry):
    cidr: IPv4Interface
    description: str = ""
    availability_zone: str = Field("", pattern=r"^[a-z0-9-]{0,40}$")
    routes: tuple[IPv4Network, ...] = ()
    uplinks: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")], ...] = ()
    accounts: tuple[Annotated[str, Field(pattern=r"^\d{12}$")], ...] = ()
    nat: bool = True
    answers_names: bool = False

    def subnet(self, subnet_id: str) -> Subnet:
        return Subnet(
            subnet_id=subnet_id,
            host=self.cidr,
            availability_zone=self.availability_zone,
            routes=self.routes,
            uplinks=self.uplinks,
            accounts=frozenset(self.accounts),
            has_nat=self.nat,
            answers_names=self.answers_names,
        )


class _File(_Entry):
    subnets: dict[Annotated[str, Field(pattern=_SUBNET_ID)], _Subnet] = Field(default_factory=dict)
    security_groups: dict[Annotated[str, Field(pattern=_GROUP_ID)], _Group] = Field(default_factory=dict)
