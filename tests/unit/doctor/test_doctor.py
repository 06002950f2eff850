"""The doctor names each missing piece and what mends it, and is content with a host that has them all."""

import socket
from pathlib import Path

import pytest

from fanlight.config import Settings
from fanlight.doctor import engines, examine, hosts, places
from fanlight.doctor.findings import Finding

ABOUT = {
    "environment": {
        "server_version": "6.0.4",
        "firewall": "nftables",
        "storage_supported_drivers": [{"Name": "btrfs"}, {"Name": "dir"}],
    }
}


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def test_every_finding_that_is_not_ok_says_what_to_do() -> None:
    settings = Settings(compute="incus", data_dir=Path("/proc/nowhere"), incus_socket=Path("/nowhere"))
    findings = examine(settings)
    assert [f for f in findings if f.level != "ok" and not f.mend] == []
    assert "fatal" in levels(findings)


@pytest.mark.parametrize("program", [*hosts.PACKAGE_OF, "incusd"])
def test_a_program_that_is_not_there_is_fatal_and_its_package_is_named(program: str) -> None:
    (finding,) = hosts.tools(lambda wanted: None if wanted == program else f"/usr/bin/{wanted}")
    assert finding.level == "fatal"
    assert hosts.PACKAGE_OF.get(program, "host-setup") in finding.mend


def test_without_btrfs_it_works_with_a_loss_that_is_named() -> None:
    (finding,) = hosts.tools(lambda wanted: None if wanted == "mkfs.btrfs" else wanted)
    assert (finding.level, "disk limits" in finding.what) == ("warning", True)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("", "fatal"),
        ("somebody:100000:65536\n", "fatal"),
        ("root:100000:1000\n", "fatal"),
        ("root:nonsense\n", "fatal"),
        ("root:100000:65536\n", "warning"),
        ("somebody:100000:65536\nroot:1000000:1000000000\n", "ok"),
        ("0:1000000:1000000000\n", "ok"),
    ],
)
def test_root_needs_ids_for_many_instances(text: str, level: str) -> None:
    assert levels(hosts.id_range("/etc/subuid", text)) == [level]


UNIFIED = "cpuset cpu io memory hugetlb pids rdma misc"
MOUNTED_ONE_BY_ONE = """tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0
"""


def test_limits_need_their_controllers_wherever_they_are_mounted() -> None:
    assert levels(hosts.controllers(UNIFIED, "")) == ["ok"]
    assert levels(hosts.controllers("", MOUNTED_ONE_BY_ONE)) == ["ok"]
    assert levels(hosts.controllers("cpuset cpu pids", "")) == ["fatal"]
    without_memory = MOUNTED_ONE_BY_ONE.replace("memory", "devices")
    (finding,) = hosts.controllers("", without_memory)
    assert (finding.level, "missing: memory;" in finding.what) == ("fatal", True)


@pytest.mark.parametrize(
    ("release", "level"),
    [("6.1.0-18-cloud-amd64", "ok"), ("5.12.0", "ok"), ("6.18.44-fc", "ok"), ("5.10.0-28-amd64", "fatal")],
)
def test_an_old_kernel_is_refused(release: str, level: str) -> None:
    assert levels(hosts.kernel(release)) == [level]


def test_what_only_costs_comfort_is_a_warning() -> None:
    assert levels(hosts.lxcfs("proc /proc proc rw 0 0\n")) == ["warning"]
    assert levels(hosts.lxcfs("lxcfs /var/lib/lxcfs fuse.lxcfs rw 0 0\n")) == ["ok"]
    assert levels(hosts.fuse(Path("/dev/null"))) == ["ok"]
    assert levels(hosts.fuse(Path("/nowhere/fuse"))) == ["warning"]
    assert levels(hosts.protocols("")) == ["warning"]
    assert levels(hosts.process_ids("32768\n")) == ["warning"]
    assert levels(hosts.process_ids("4194304\n")) == ["ok"]
    assert levels(hosts.memory("MemTotal:  2000000 kB\n")) == ["warning"]
    assert levels(hosts.memory("MemTotal: 16000000 kB\n")) == ["ok"]


def test_users_that_do_not_exist_are_named() -> None:
    (finding,) = hosts.users(("root", "nobody-of-this-name"), "no-group-of-this-name")
    assert finding.level == "fatal"
    assert "user nobody-of-this-name, group no-group-of-this-name" in finding.what


def test_a_port_that_somebody_has_is_fatal_and_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (finding,) = places.ports("127.0.0.1", {"API": ("--api-port", port)})
    assert finding.level == "fatal"
    assert str(port) in finding.what
    assert "--api-port" in finding.mend
    assert levels(places.ports("127.0.0.1", {"API": ("--api-port", port)})) == ["ok"]


def test_an_address_that_is_not_of_this_host_is_fatal() -> None:
    assert levels(places.ports("192.0.2.77", {"API": ("--api-port", 0)})) == ["fatal"]


def test_a_run_directory_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    assert levels(places.run_dir_length(tmp_path / ("x" * 60))) == ["fatal"]
    assert levels(places.run_dir_length(Path("/run/fanlight"))) == []


def test_a_firewall_that_does_not_keep_instances_apart_is_fatal() -> None:
    assert levels(engines.firewall(ABOUT)) == ["ok"]
    assert levels(engines.firewall({"environment": {"firewall": "xtables"}})) == ["fatal"]


def test_an_old_engine_is_fatal() -> None:
    assert levels(engines.version(ABOUT)) == ["ok"]
    assert levels(engines.version({"environment": {"server_version": "0.7"}})) == ["fatal"]


def test_pools_without_quota_or_room_are_warned_about(tmp_path: Path) -> None:
    gib = 2**30
    full = {"space": {"total": 30 * gib, "used": 29 * gib}}
    assert levels(engines.present_pool("p", {"driver": "btrfs", "config": {"size": "30GiB"}}, full)) == ["warning"]
    assert levels(engines.present_pool("p", {"driver": "btrfs"}, {"space": {"total": 30 * gib, "used": gib}})) == ["ok"]
    assert levels(engines.present_pool("p", {"driver": "dir"}, {})) == ["warning"]
    without_btrfs = {"environment": {"storage_supported_drivers": [{"Name": "dir"}]}}
    assert levels(engines.future_pool(without_btrfs, tmp_path)) == ["warning"]


def test_an_engine_that_does_not_answer_is_fatal(tmp_path: Path) -> None:
    settings = Settings(compute="incus", data_dir=tmp_path, incus_socket=tmp_path / "unix.socket")
    (finding,) = engines.examine_engine(settings)
    assert (finding.level, "host-setup" in finding.mend) == ("fatal", True)


def test_the_simulated_engine_needs_neither_root_nor_incus(tmp_path: Path) -> None:
    settings = Settings(compute="simulated", data_dir=tmp_path, api_port=0, portal_port=0)
    assert levels(examine(settings)) == ["ok", "ok"]


@pytest.mark.incus
def test_a_host_that_was_set_up_has_nothing_fatal(tmp_path: Path) -> None:
    settings = Settings(compute="incus", data_dir=tmp_path, run_dir=Path("/run/fanlight"), api_port=0, portal_port=0)
    assert [finding for finding in examine(settings) if finding.level == "fatal"] == []


def test_half_an_oauth_client_is_fatal() -> None:
    settings = Settings(data_dir=Path("/proc/nowhere"), google_drive_client_id="1", one_drive_client_secret="s")
    said = [finding.what for finding in places.examine_places(settings) if "client" in finding.what]
    assert said == ["google_drive_client_secret is missing", "one_drive_client_id is missing"]
