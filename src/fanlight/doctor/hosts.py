"""The operating system: tools, users, id ranges and kernel interfaces that Incus and the driver rely on.

Several of them fail late or silently when missing (a limit that is not enforced, an instance that cannot be made), which
is why each is looked for here.
"""

import grp
import os
import platform
import pwd
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fanlight.config import Settings
from fanlight.doctor.findings import Finding, fatal, ok, warning

# Which package brings the program that Incus or the driver runs.
PACKAGE_OF = {
    "ip": "iproute2",
    "tar": "tar",
    "rsync": "rsync",
    "setfattr": "attr",
    "xz": "xz-utils",
    "unsquashfs": "squashfs-tools",
    "dnsmasq": "dnsmasq-base",
    "nft": "nftables",
}
INCUSD = "incusd"
CONTROLLERS = ("memory", "cpu", "cpuset", "pids")
SETUP = "sudo scripts/host-setup"
IDS_PER_INSTANCE = 65_536
ENOUGH_INSTANCES = 256
OLDEST_KERNEL = (5, 12)  # nosymfollow came with 5.10, id-mapped mounts with 5.12
ENOUGH_PIDS = 1 << 20
ENOUGH_MEMORY_IN_MIB = 3 * 1024


def examine_host(settings: Settings) -> list[Finding]:
    findings = root() + kernel(platform.release()) + tools(_which)
    findings += users((settings.api_user, settings.gateway_user, settings.storage_user), "fanlight")
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        findings += id_range(str(path), _text(path))
    findings += controllers(_text(Path("/sys/fs/cgroup/cgroup.controllers")), _text(Path("/proc/mounts")))
    findings += (
        _devices()
        + fuse(Path("/dev/fuse"))
        + lxcfs(_text(Path("/proc/mounts")))
        + protocols(_text(Path("/etc/protocols")))
    )
    return findings + process_ids(_text(Path("/proc/sys/kernel/pid_max"))) + memory(_text(Path("/proc/meminfo")))


def root() -> list[Finding]:
    if os.geteuid() == 0:
        return [ok("running as root")]
    return [fatal("not running as root, which the Incus engine needs", "sudo fanlight doctor; sudo fanlight serve")]


def kernel(release: str) -> list[Finding]:
    numbers = tuple(int(part) for part in release.partition("-")[0].split(".")[:2] if part.isdigit())
    if numbers >= OLDEST_KERNEL:
        return [ok(f"kernel {release}")]
    oldest = ".".join(str(number) for number in OLDEST_KERNEL)
    return [fatal(f"kernel {release} is older than {oldest}", "install the kernel of Debian 12 or later, and reboot")]


def tools(find: Callable[[str], str | None]) -> list[Finding]:
    """`find` returns the path of a program or None."""
    findings = [
        fatal(f"{program} is missing", f"sudo apt-get install {package}")
        for program, package in PACKAGE_OF.items()
        if not find(program)
    ]
    if not find(INCUSD):
        findings.append(fatal("Incus is not installed", SETUP))
    if not find("mkfs.btrfs"):
        findings.append(
            warning(
                "mkfs.btrfs is missing: images are copied for every instance, and disk limits are not enforced",
                "sudo apt-get install btrfs-progs, before the first start",
            )
        )
    return findings or [ok("programs that Incus runs")]


def users(names: Sequence[str], group: str) -> list[Finding]:
    missing = [f"user {name}" for name in names if not _is_known(pwd.getpwnam, name)]
    if not _is_known(grp.getgrnam, group):
        missing.append(f"group {group}")
    if missing:
        return [fatal(f"{', '.join(missing)} not there", SETUP)]
    return [ok(f"users {', '.join(names)}")]


def id_range(name: str, text: str) -> list[Finding]:
    """Read a subuid or subgid file: instances get their own ids out of root's ranges."""
    sizes = [int(size) for user, size in _ranges(text) if user in ("root", "0")]
    largest = max(sizes, default=0)
    if largest < IDS_PER_INSTANCE:
        return [fatal(f"{name} gives root no ids for instances", f"{SETUP}, then restart Incus")]
    if largest < IDS_PER_INSTANCE * ENOUGH_INSTANCES:
        what = f"{name} gives root ids for only {largest // IDS_PER_INSTANCE} instances"
        return [warning(what, f"give root 1000000000 ids in {name}, then restart Incus")]
    return [ok(f"{name}: ids for {largest // IDS_PER_INSTANCE} instances")]


def _ranges(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        words = line.split(":")
        if len(words) == 3 and words[2].isdigit():  # noqa: PLR2004 - user:first:count
            yield words[0], words[2]


def controllers(unified: str, mounts: str) -> list[Finding]:
    """Look for the cgroup controllers behind the limits, in the unified hierarchy or mounted one by one."""
    legacy = {
        option
        for line in mounts.splitlines()
        if len(words := line.split()) > 3 and words[2] == "cgroup"  # noqa: PLR2004 - device, place, type, options
        for option in words[3].split(",")
    }
    missing = [name for name in CONTROLLERS if name not in unified.split() and name not in legacy]
    if not missing:
        return [ok("cgroup controllers")]
    what = f"cgroup controllers missing: {', '.join(missing)}; the limits of instances would not hold"
    return [
        fatal(
            what,
            "boot with systemd.unified_cgroup_hierarchy=1 cgroup_enable=memory, or mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    ]


def _devices() -> list[Finding]:
    if Path("/dev/loop-control").exists():
        return [ok("loop devices")]
    what = "no loop devices: the storage pool cannot be a btrfs file"
    return [warning(what, f"sudo modprobe loop; {SETUP}; or make the Incus pool on a disk of its own")]


def fuse(device: Path) -> list[Finding]:
    if device.is_char_device():
        return [ok("FUSE")]
    return [warning(f"{device} is missing: sessions have no home folders", "sudo modprobe fuse")]


def lxcfs(mounts: str) -> list[Finding]:
    if any(line.split()[1:2] == ["/var/lib/lxcfs"] for line in mounts.splitlines()):
        return [ok("lxcfs")]
    return [warning("lxcfs is not running: programs in instances see the host's memory instead of their own", SETUP)]


def protocols(text: str) -> list[Finding]:
    if "ipv6-icmp" in text:
        return [ok("names of network protocols")]
    return [warning("/etc/protocols is missing: network rules may be refused", "sudo apt-get install netbase")]


def process_ids(text: str) -> list[Finding]:
    largest = int(text) if text.strip().isdigit() else ENOUGH_PIDS
    if largest >= ENOUGH_PIDS:
        return [ok(f"{largest} process ids")]
    return [
        warning(
            f"kernel.pid_max is {largest}: a dozen busy instances can use up all process ids of the host",
            "echo kernel.pid_max=4194304 | sudo tee /etc/sysctl.d/60-fanlight.conf; sudo sysctl --system",
        )
    ]


def memory(text: str) -> list[Finding]:
    total = next((int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith("MemTotal:")), 0)
    if total >= ENOUGH_MEMORY_IN_MIB:
        return [ok(f"{total / 1024:.0f} GiB of memory")]
    return [warning(f"{total} MiB of memory is enough for one or two instances", "give this machine 4 GiB or more")]


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/libexec/incus")


def _is_known(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
