"""What Fanlight made in Incus: its project with everything in it, its bridge with ACL and guard, its pool.

Names alone prove nothing: each of them must carry the description that the driver gives it.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.drivers.incus.bridges import MARK, description_of_subnets
from fanlight.drivers.incus.client import IncusClient, IncusRefused
from fanlight.drivers.incus.guard import guard_table_of
from fanlight.drivers.incus.instances import is_ours
from fanlight.drivers.incus.power import destroy
from fanlight.operations.errors import OperationFailed
from fanlight.operations.removals import Finding, Removal, Spared

_WARMING_INSTANCE = re.compile(r"warm-[0-9a-f]{16}")
_DEFAULT = "default"  # Incus's project in which bridges and ACLs live

_Step = Callable[[IncusClient, Settings], Awaitable[None]]


def survey(settings: Settings) -> Sequence[Finding]:
    """Return what of ours Incus has, in the order in which it can be removed; empty without Incus.

    Raises OperationFailed when Incus is installed and does not answer.
    """
    engines = [engine.settings for engine in settings.engines if engine.settings.incus_socket.exists()]
    with _explained():
        return asyncio.run(_survey(engines))


async def _survey(engines: Sequence[Settings]) -> Sequence[Finding]:
    """What engines of one Incus share is found once, and goes after the projects of all of them."""
    found: dict[tuple[str, str], Finding] = {}
    for survey_part in (_survey_project, _survey_surroundings):
        for settings in engines:
            async with IncusClient(settings.incus_socket, settings.incus_project) as client:
                for finding in await survey_part(client, settings):
                    found.setdefault((str(settings.incus_socket), finding.what), finding)
    return list(found.values())


async def _survey_surroundings(client: IncusClient, settings: Settings) -> Sequence[Finding]:
    return [
        *[
            finding
            for name in (settings.incus_network, *await _subnets(client, settings))
            for finding in await _survey_network(client, settings, name)
        ],
        *_survey_guard(settings),
        *await _survey_marked(client, settings, f"storage-pools/{settings.incus_pool}", "storage pool", _remove_pool),
    ]


async def _survey_project(client: IncusClient, settings: Settings) -> Sequence[Finding]:
    what = f"Incus project {settings.incus_project}"
    found = await _find(client, f"projects/{settings.incus_project}")
    if found is None:
        return ()
    if not found["description"].startswith(MARK):
        return [Spared(what, f"Fanlight did not make it: its description does not begin with {MARK!r}")]
    instances = await client.get("instances", recursion=1)
    foreign = [one["name"] for one in instances if not _is_ours(one)]
    if foreign:
        return [Spared(what, f"it holds instances that Fanlight did not launch: {', '.join(sorted(foreign)[:5])}")]
    images = await client.get("images")
    detail = f"{len(instances)} instances, {len(images)} images"
    return [Removal(what, detail, lambda: _run(settings, _remove_project))]


async def _subnets(client: IncusClient, settings: Settings) -> Sequence[str]:
    """Return the bridges of subnets, also of those that the networks file names no more."""
    beginning = description_of_subnets(settings)
    networks = await client.get("networks", project=_DEFAULT, recursion=1)
    return sorted(one["name"] for one in networks if one["description"].startswith(beginning))


async def _survey_network(client: IncusClient, settings: Settings, name: str) -> Sequence[Finding]:
    return [
        finding
        for path, kind in ((f"networks/{name}", "network"), (f"network-acls/{name}", "network ACL"))
        for finding in await _survey_marked(client, settings, path, kind, _removal_of(path))
    ]


async def _survey_marked(
    client: IncusClient, settings: Settings, path: str, kind: str, remove: _Step
) -> Sequence[Finding]:
    name = path.partition("/")[2]
    found = await _find(client, path)
    if found is None:
        return ()
    what = f"Incus {kind} {name}"
    if not found["description"].startswith(MARK):
        return [Spared(what, f"Fanlight did not make it: its description does not begin with {MARK!r}")]
    return [Removal(what, found["description"], lambda: _run(settings, remove))]


def _survey_guard(settings: Settings) -> Sequence[Finding]:
    table = guard_table_of(settings.incus_network)
    if not shutil.which("nft") or _nft("list", "table", "inet", table).returncode:
        return ()
    return [Removal(f"nftables table inet {table}", "guards the host from instances", lambda: _remove_guard(table))]


async def _remove_project(client: IncusClient, settings: Settings) -> None:
    if await _find(client, f"projects/{settings.incus_project}") is None:
        return
    for one in await client.get("instances", recursion=1):
        if not _is_ours(one):
            raise OperationFailed(f"Instance {one['name']} in project {settings.incus_project} is not Fanlight's.")
        await destroy(client, one["name"])
    for image in await client.get("images", recursion=1):
        await _unless_gone(client.run("DELETE", f"images/{image['fingerprint']}"))
    for profile in await client.get("profiles", recursion=1):
        if profile["name"] != "default":  # that one goes with its project
            await _unless_gone(client.run("DELETE", f"profiles/{profile['name']}"))
    await _unless_gone(client.run("DELETE", f"projects/{settings.incus_project}"))


def _removal_of(path: str) -> _Step:
    async def remove(client: IncusClient, settings: Settings) -> None:  # noqa: ARG001 - the path names it
        await _unless_gone(client.send("DELETE", path, project=_DEFAULT))

    return remove


async def _remove_pool(client: IncusClient, settings: Settings) -> None:
    await _unless_gone(client.run("DELETE", f"storage-pools/{settings.incus_pool}"))


def _remove_guard(table: str) -> None:
    done = _nft("delete", "table", "inet", table)
    if done.returncode and "No such file" not in done.stderr:
        raise OperationFailed(f"nft refuses to delete the table {table}: {done.stderr.strip()}")


def _nft(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed words and a name checked by the settings
        [shutil.which("nft") or "nft", *words], capture_output=True, text=True, check=False
    )


def _is_ours(found: dict[str, Any]) -> bool:
    return is_ours(found) or _WARMING_INSTANCE.fullmatch(found["name"]) is not None


async def _find(client: IncusClient, path: str) -> dict[str, Any] | None:
    project = None if path.startswith("projects/") else _DEFAULT
    try:
        found: dict[str, Any] = await client.get(path, project=project)
    except IncusRefused as refused:
        if refused.is_missing:
            return None
        raise
    return found


async def _unless_gone(change: Awaitable[object]) -> None:
    try:
        await change
    except IncusRefused as refused:
        if not refused.is_missing:
            raise


def _run(settings: Settings, step: _Step) -> None:
    async def run() -> None:
        async with IncusClient(settings.incus_socket, settings.incus_project) as client:
            await step(client, settings)

    with _explained():
        asyncio.run(run())


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DriverUnavailable as error:
        raise OperationFailed(str(error)) from error
    except IncusRefused as refused:
        raise OperationFailed(f"Incus refuses: {refused.text}.") from refused
