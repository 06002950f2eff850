"""The networks file is understood whole or refused whole, in words that say where."""

from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from fanlight.domain.networks import DEFAULT_GROUP, IpProtocol, Networks, Rule
from fanlight.networks_file import NetworksFileInvalid, networks_of, read_networks

DEFAULT_NETWORK = "10.124.0.1/16"
EXAMPLE = """
[subnets.subnet-render]
description = "render farm"
cidr = "10.140.0.1/20"
availability_zone = "us-east-1a"
routes = ["192.168.40.0/24"]
uplinks = ["eth0.40"]
accounts = ["000000000000"]
nat = false
answers_names = true

[subnets.subnet-office]
cidr = "10.141.0.1/24"

[security_groups.sg-licences]
[[security_groups.sg-licences.egress]]
protocol = "tcp"
ports = ["27000-27009", 443]
cidrs = ["192.168.40.10/32"]
[[security_groups.sg-licences.egress]]
protocol = "icmp"
[[security_groups.sg-licences.ingress]]
protocol = "udp"
ports = 53
"""


def test_without_a_file_nothing_is_offered() -> None:
    assert read_networks(None, DEFAULT_NETWORK) == Networks()


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "networks.toml"
    file.write_text(EXAMPLE)
    networks = read_networks(file, DEFAULT_NETWORK)
    render, office = networks.subnets["subnet-render"], networks.subnets["subnet-office"]
    assert (render.host, render.availability_zone) == (IPv4Interface("10.140.0.1/20"), "us-east-1a")
    assert (render.routes, render.uplinks) == ((IPv4Network("192.168.40.0/24"),), ("eth0.40",))
    assert (render.has_nat, render.answers_names, office.has_nat, office.answers_names) == (False, True, True, False)
    group = networks.groups["sg-licences"]
    assert group.egress == (
        Rule(
            protocol=IpProtocol.TCP,
            ports=((27000, 27009), (443, 443)),
            cidrs=(IPv4Network("192.168.40.10/32"),),
        ),
        Rule(protocol=IpProtocol.ICMP),
    )
    assert group.ingress == (Rule(protocol=IpProtocol.UDP, ports=((53, 53),)),)


def test_what_is_missing_is_told_and_a_foreign_account_does_not_learn_of_a_subnet() -> None:
    subnets = {
        "subnet-a": {"cidr": "10.140.0.1/24", "accounts": ["111111111111"]},
        "subnet-b": {"cidr": "10.141.0.1/24"},
    }
    networks = networks_of({"subnets": subnets}, DEFAULT_NETWORK)
    wished = ("subnet-a", "subnet-b", "subnet-c")
    assert networks.missing_subnets(wished, "111111111111") == ("subnet-c",)
    assert networks.missing_subnets(wished, "000000000000") == ("subnet-a", "subnet-c")
    assert networks.missing_groups(("sg-a",)) == ("sg-a",)


def test_the_default_group_lets_everything_out_unless_the_file_says_otherwise() -> None:
    assert Networks().groups_of(()) == (DEFAULT_GROUP,)
    stricter = networks_of({"security_groups": {"default": {}}}, DEFAULT_NETWORK)
    assert stricter.groups_of(())[0].egress == ()
    assert stricter.groups_of(("sg-gone",)) == ()  # named and gone: nothing passes


def subnet(**members: Any) -> dict[str, Any]:
    return {"subnets": {"subnet-a": {"cidr": "10.140.0.1/24"} | members}}


def rule(**members: Any) -> dict[str, Any]:
    return {"security_groups": {"sg-a": {"egress": [members]}}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"subnet": {}}, "wrong at subnet"),
        ({"subnets": {"render": {"cidr": "10.140.0.1/24"}}}, "wrong at subnets.render"),
        ({"subnets": {"subnet-a": {}}}, "subnets.subnet-a.cidr"),
        (subnet(cidr="10.140.0.1/33"), "subnets.subnet-a.cidr"),
        (subnet(cidr="fd00::1/64"), "subnets.subnet-a.cidr"),
        (subnet(cidr="10.140.0.0/24"), "needs an address for the host, such as 10.140.0.1/24"),
        (subnet(cidr="10.140.0.1/30"), "too small"),
        (subnet(cidr="10.124.9.1/24"), "overlaps the default network"),
        (subnet(gateway="10.140.0.1"), "subnets.subnet-a.gateway"),
        (subnet(routes=["0.0.0.0/0"]), "too wide"),
        (subnet(routes=["169.254.169.254/32"]), "cannot be opened"),
        (subnet(routes=["127.0.0.0/8"]), "cannot be opened"),
        (subnet(routes=["10.124.0.0/24"]), "leads to instances"),
        (subnet(routes=["10.140.0.0/16"]), "leads to instances"),
        (subnet(routes=["192.168.1.1/24"]), "routes"),
        (subnet(uplinks=['eth0" accept #']), "uplinks"),
        (subnet(accounts=["studio"]), "accounts"),
        (
            {"subnets": {"subnet-a": {"cidr": "10.140.0.1/24"}, "subnet-b": {"cidr": "10.140.0.1/20"}}},
            "overlaps the subnet subnet-a",
        ),
        ({"security_groups": {"licences": {}}}, "security_groups.licences"),
        (rule(protocol="sctp"), "egress.0.protocol"),
        (rule(ports=80), 'must be "tcp" or "udp"'),
        (rule(protocol="icmp", ports=80), 'must be "tcp" or "udp"'),
        (rule(protocol="tcp", ports=0), "egress.0.ports"),
        (rule(protocol="tcp", ports="90-80"), "egress.0.ports"),
        (rule(protocol="tcp", ports="80 accept"), "egress.0.ports"),
        (rule(protocol="tcp", ports=True), "egress.0.ports"),
        (rule(protocol="tcp", ports=[65536]), "egress.0.ports"),
        (rule(cidrs=[]), "egress.0.cidrs"),
        (rule(cidrs=["::/0"]), "egress.0.cidrs"),
        (rule(groups=["sg-b"]), "egress.0.groups"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(content: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworksFileInvalid) as refusal:
        networks_of(content, DEFAULT_NETWORK)
    assert words in str(refusal.value)


def test_a_file_that_is_not_there_or_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "networks.toml"
    with pytest.raises(NetworksFileInvalid, match=r"networks\.toml cannot be read"):
        read_networks(file, DEFAULT_NETWORK)
    file.write_text("[subnets")
    with pytest.raises(NetworksFileInvalid, match="is not TOML"):
        read_networks(file, DEFAULT_NETWORK)
