"""A small world for instances: neighbours with a public and with private addresses, a host that listens everywhere.

Two network namespaces make it, so that answers do not depend on where a test runs: one with a public address, which an
instance with internet access must reach, one with addresses it must not.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fanlight.domain.ports import InstanceSpec, ObservedInstance
from fanlight.drivers.incus.driver import IncusDriver
from incus_rig import IncusRig, incus_rig, running

PORT, SECOND_PORT = 18_473, 18_474
# Belongs to the former 6to4 relays: public by its number, and nobody's any more.
PUBLIC_HOST, PUBLIC_PEER = "192.88.99.1", "192.88.99.2"
LAN_HOST, LAN_PEER = "172.31.251.1", "172.31.251.2"
METADATA = "169.254.169.254"

ANSWER = f"""
import select, socket
servers = [socket.create_server(("", port)) for port in ({PORT}, {SECOND_PORT})]
print("ready", flush=True)
while True:
    for server in select.select(servers, [], [])[0]:
        connection, _ = server.accept()
        connection.sendall(b"reached")
        connection.close()
"""

LISTENS = f"import socket; socket.create_connection(('127.0.0.1', {SECOND_PORT}), timeout=10)"

TRY = """
import json, socket, sys
def reach(host, port):
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as link:
            link.settimeout(1.5)
            link.connect(socket.getaddrinfo(host, port, family)[0][4])
            return link.recv(100).decode()
    except OSError as error:
        return type(error).__name__
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(lambda target: reach(*target), json.loads(sys.argv[1])))))
"""


@dataclass(frozen=True)
class World:
    rig: IncusRig

    def address_of(self, spec: InstanceSpec) -> str:
        return self._run(self._address_of(spec))

    async def _address_of(self, spec: InstanceSpec) -> str:
        async with self.rig.client() as client:
            found = await client.get(f"instances/{spec.instance_id}")
        return str(found["devices"]["eth0"]["ipv4.address"])

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run(coroutine)

    def in_instance(self, spec: InstanceSpec, *command: str) -> str:
        """Return the output of a program that must succeed."""
        said = self._run(self.rig.run_in(spec.instance_id, *command))
        assert said.is_success, said
        return said.output

    def fails_in(self, spec: InstanceSpec, *command: str) -> str:
        """Return the output of a program that must fail."""
        said = self._run(self.rig.run_in(spec.instance_id, *command))
        assert not said.is_success, said
        return said.output

    def reach(self, spec: InstanceSpec, *targets: tuple[str, int]) -> list[str]:
        """Return for each target what its listener said, or the error of trying."""
        return json.loads(self.in_instance(spec, "/bin/python3", "-c", TRY, json.dumps(targets)))


@dataclass(frozen=True)
class Scene(World):
    first: InstanceSpec
    second: InstanceSpec
    offline: InstanceSpec
    full: InstanceSpec
    observed: dict[str, ObservedInstance]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def neighbour(name: str, host: str, peer: str, *extra: str) -> Iterator[None]:
    """Make a machine of that address, with a listener, on a wire of its own to this host."""
    wire = f"{name}h"
    ip("netns", "add", name)
    listener = None
    try:
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("address", "add", f"{host}/24", "dev", wire)
        ip("link", "set", wire, "up")
        ip("-n", name, "link", "set", "lo", "up")
        for address in (peer, *extra):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "route", "add", "default", "via", host)
        for address in extra:
            ip("route", "add", f"{address}/32", "via", peer)
        command = ["ip", "netns", "exec", name, "/usr/bin/python3", "-c", ANSWER]
        listener = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"ready\n"
        yield
    finally:
        if listener:
            listener.kill()
            listener.communicate()
        ip("netns", "delete", name)
        subprocess.run(["ip", "link", "delete", wire], check=False, capture_output=True)


@contextlib.contextmanager
def listening_host() -> Iterator[None]:
    """Listen on every address of this host, in both families."""
    with socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(0.2)
        is_over = threading.Event()

        def answer() -> None:
            while not is_over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    connection.sendall(b"reached")
                    connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def reach_from(neighbour: str, address: str, port: int = PORT) -> str:
    """Return what somebody beyond the host gets from that address."""
    program = TRY.replace("sys.argv[1]", repr(json.dumps([(address, port)])))
    command = ["ip", "netns", "exec", neighbour, sys.executable, "-c", program]
    (answer,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return str(answer)


async def launch(rig: IncusRig, specs: Sequence[InstanceSpec]) -> dict[str, ObservedInstance]:
    driver = IncusDriver(rig.settings)
    try:
        await driver.prepare()
        await running(driver, *specs)
        for spec in specs:
            if spec.has_internet_access or spec.subnet_ids:
                command = ["/bin/python3", "-c", ANSWER]
                async with rig.client() as client:  # it listens until the instance goes
                    body = {"command": command, "interactive": False, "wait-for-websocket": False}
                    await client.send("POST", f"instances/{spec.instance_id}/exec", body)
                async with asyncio.timeout(60):
                    while not (await rig.python_in(spec.instance_id, LISTENS)).is_success:
                        await asyncio.sleep(0.1)
        return {one.instance_id: one for one in await driver.observe()}
    finally:
        await driver.close()


@contextlib.contextmanager
def isolation_scene() -> Iterator[Scene]:
    """Make the world with four instances in it, and leave nothing behind."""
    with (
        incus_rig() as rig,
        neighbour("flpublic", PUBLIC_HOST, PUBLIC_PEER),
        neighbour("fllan", LAN_HOST, LAN_PEER, METADATA),
        listening_host(),
    ):
        first, second = rig.new_spec(has_internet_access=True), rig.new_spec(has_internet_access=True)
        offline, full = rig.new_spec(), rig.new_spec()
        observed = asyncio.run(launch(rig, [first, second, offline, full]))
        yield Scene(rig, first, second, offline, full, observed)
