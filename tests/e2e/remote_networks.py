"""Networks that users come from: each a network namespace on a wire of its own, whose packets really reach the portal.

The portal listens on the loopback, so a rule of the packet filter leads there what arrives on the wire; who sent it stays
visible. A test's client speaks to a Unix socket, and a program in the namespace makes the connections for it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import aiohttp

from e2e.isolation import ip

FORWARDER = """
import asyncio, contextlib, sys
path, host, port = sys.argv[1:]
async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
async def serve(reader, writer):
    out_reader, out_writer = await asyncio.open_connection(host, int(port))
    await asyncio.gather(copy(reader, out_writer), copy(out_reader, writer))
async def main():
    server = await asyncio.start_unix_server(serve, path)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class RemoteNetwork:
    """`door` is the Unix socket behind which one arrives at the portal from there."""

    door: Path

    def connector(self) -> aiohttp.BaseConnector:
        return aiohttp.UnixConnector(str(self.door))


@contextmanager
def remote_network(name: str, network: IPv4Network, portal_port: int) -> Iterator[RemoteNetwork]:
    host, peer = str(network[1]), str(network[2])
    wire, table = f"{name}h", f"{name}dnat"
    with ExitStack() as undone:
        ip("netns", "add", name)
        undone.callback(ip, "netns", "delete", name)
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("address", "add", f"{host}/{network.prefixlen}", "dev", wire)
        ip("link", "set", wire, "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "address", "add", f"{peer}/{network.prefixlen}", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        Path(f"/proc/sys/net/ipv4/conf/{wire}/route_localnet").write_text("1")
        rule = f"iifname {wire} tcp dport {portal_port} dnat ip to 127.0.0.1"
        chain = f"chain in {{ type nat hook prerouting priority dstnat; {rule}; }}"
        subprocess.run(["nft", "-f", "-"], input=f"table inet {table} {{\n{chain}\n}}\n", check=True, text=True)
        undone.callback(subprocess.run, ["nft", "delete", "table", "inet", table], check=True)
        directory = undone.enter_context(tempfile.TemporaryDirectory(prefix="fl-net-"))
        door = Path(directory) / "door.sock"
        command = ["ip", "netns", "exec", name, sys.executable, "-c", FORWARDER, str(door), host, str(portal_port)]
        forwarder = undone.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        undone.callback(forwarder.kill)
        assert forwarder.stdout is not None
        assert forwarder.stdout.readline() == b"ready\n"
        yield RemoteNetwork(door)
