"""The doctor reads the networks file as the service does, and looks at the host it is for."""

from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from fanlight.config import Settings
from fanlight.doctor.networks import examine_networks, readability, subnet_on_host
from fanlight.domain.networks import Subnet

SUBNET = Subnet(subnet_id="subnet-a", host=IPv4Interface("10.140.0.1/24"), uplinks=("eth0.40",))
INTERFACES = {"eth0": [IPv4Network("192.168.1.0/24")], "eth0.40": [IPv4Network("192.168.40.0/24")]}


def test_no_file_is_no_finding_and_a_good_one_is_summed_up(tmp_path: Path) -> None:
    assert examine_networks(Settings()) == []
    file = tmp_path / "networks.toml"
    file.write_text("[security_groups.sg-a]\n")
    (finding,) = examine_networks(Settings(compute="simulated", networks_file=file))
    assert (finding.level, "0 subnets, 1 security groups" in finding.what) == ("ok", True)


@pytest.mark.parametrize("content", ["[subnets", "[subnets.render]\n", '[subnets.subnet-a]\ncidr = "10.124.0.1/24"\n'])
def test_a_file_that_the_service_would_refuse_is_fatal(tmp_path: Path, content: str) -> None:
    file = tmp_path / "networks.toml"
    file.write_text(content)
    (finding,) = examine_networks(Settings(networks_file=file))
    assert finding.level == "fatal"
    assert str(file) in finding.what


def test_a_file_that_the_api_process_cannot_read_is_fatal(tmp_path: Path) -> None:
    file = tmp_path / "networks.toml"
    file.write_text("")
    file.chmod(0o600)
    (finding,) = readability(file)
    assert finding.level == "fatal"
    file.chmod(0o644)
    tmp_path.chmod(0o700)
    (finding,) = readability(file)
    assert "is closed" in finding.mend


def test_a_subnet_that_the_host_has_already_is_fatal_unless_it_is_its_own_bridge() -> None:
    taken = INTERFACES | {"docker0": [IPv4Network("10.140.0.0/16")]}
    (finding,) = subnet_on_host(SUBNET, "fanlig-1", taken)
    assert (finding.level, "docker0" in finding.what) == ("fatal", True)
    (finding,) = subnet_on_host(SUBNET, "docker0", taken)
    assert finding.level == "ok"


def test_an_uplink_that_does_not_exist_is_named() -> None:
    (finding,) = subnet_on_host(SUBNET, "fanlig-1", {"eth0": []})
    assert (finding.level, "eth0.40" in finding.what) == ("warning", True)
