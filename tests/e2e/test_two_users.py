"""Two users in two sessions of one fleet: neither reaches what is the other's, or the host's."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from e2e.administrators import Administrator
from e2e.browsers import Visitor, visitor
from e2e.conftest import INCUS_SETTINGS
from e2e.http_clients import ask, upgrade_status
from e2e.installation import Installation
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

BRIDGE_ADDRESS = INCUS_SETTINGS["incus_subnet"].partition("/")[0]
# Prints what a connection came to: a line that begins with "open" is a way in.
KNOCK = r"""
use Socket; my ($host, $port) = @ARGV;
socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!"; my $a = inet_aton($host) or die "no address";
$SIG{ALRM} = sub { print "closed: no answer\n"; exit 0 }; alarm 3;
print connect($s, sockaddr_in($port, $a)) ? "open\n" : "closed: $!\n";
"""
LISTEN = r"""
use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in(7070, INADDR_ANY)) or die "bind: $!"; listen($s, 5); $| = 1; print "listening\n";
if (fork) { exit 0 } close STDOUT; close STDERR; alarm 60; while (accept(my $c, $s)) { close $c }
"""


@dataclass(frozen=True, slots=True)
class Person:
    visitor: Visitor
    instance_id: str

    @property
    def ref(self) -> str:
        return self.visitor.page.url.rstrip("/").rsplit("/", 1)[1]

    @property
    def cookies(self) -> dict[str, str]:
        return {c["name"]: c["value"] for c in self.visitor.context.cookies(self.visitor.page.url)}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


@pytest.fixture(scope="module")
def people(real_installation: Installation, shared_fleet: str, browser: Browser) -> Iterator[tuple[Person, Person]]:
    """Two people at work; all tests here only knock at doors, so they share them."""
    administrator = Administrator(real_installation.client())
    users = ("two-ada", "two-bob")
    with ExitStack() as leaving:
        made = []
        for user in users:
            administrator.wait_for_capacity(shared_fleet)
            page = leaving.enter_context(visitor(browser))
            page.open(administrator.url(shared_fleet, user, "text-editor"))
            page.wait_for_picture()
            made.append(Person(page, administrator.instance_of(shared_fleet, user)))
        yield made[0], made[1]
    for user in users:
        administrator.expire(shared_fleet, user)


def addresses(instances: Instances, instance_id: str) -> list[str]:
    words = instances.run(instance_id, "hostname", "-I").stdout.decode().split()
    return [word for word in words if ":" not in word]


@pytest.fixture(scope="module")
def his_address(people: tuple[Person, Person], real_installation: Installation) -> str:
    """The address at which somebody listens on port 7070, in the instance of the second one."""
    _, bob = people
    instances = Instances(real_installation)
    [address] = addresses(instances, bob.instance_id)
    assert instances.run(bob.instance_id, "perl", "-e", LISTEN).stdout == b"listening\n"
    return address


@pytest.mark.parametrize("as_user", [True, False], ids=["user", "root"])
def test_an_instance_reaches_neither_the_other_instance_nor_the_host(
    *, as_user: bool, people: tuple[Person, Person], his_address: str, instances: Instances
) -> None:
    ada, bob = people
    assert ada.instance_id != bob.instance_id
    installation = instances.installation

    def knock(way: tuple[str, int]) -> str:
        host, port = way
        return instances.run(ada.instance_id, "perl", "-e", KNOCK, host, str(port), as_user=as_user).stdout.decode()

    with socket.create_server((BRIDGE_ADDRESS, 0)) as on_the_bridge, socket.create_server(("0.0.0.0", 0)) as anywhere:
        ways = {
            "the other instance": (his_address, 7070),
            "the host on the bridge": (BRIDGE_ADDRESS, on_the_bridge.getsockname()[1]),
            "the host on all its addresses": (BRIDGE_ADDRESS, anywhere.getsockname()[1]),
            "the host's own network address": (_own_address(), anywhere.getsockname()[1]),
            "the API": (BRIDGE_ADDRESS, installation.api_port),
            "the portal": (BRIDGE_ADDRESS, installation.portal_port),
            "the API on loopback": ("127.0.0.1", installation.api_port),
        }
        with ThreadPoolExecutor(len(ways)) as at_once:
            found = dict(zip(ways, at_once.map(knock, ways.values()), strict=True))
    assert all(answer.startswith("closed") for answer in found.values()), found
    # The knocking itself works: on the other side of the wall the same knock is heard.
    assert instances.run(bob.instance_id, "perl", "-e", KNOCK, "127.0.0.1", "7070").stdout == b"open\n"


def test_no_socket_of_the_host_is_in_an_instance_but_the_sessions_own(
    people: tuple[Person, Person], instances: Instances
) -> None:
    ada, _ = people
    found = instances.run(ada.instance_id, "find", "/", "-xdev", "-type", "s").stdout.decode().split()
    found += instances.run(ada.instance_id, "find", "/run/fanlight", "/dev", "-type", "s").stdout.decode().split()
    assert not [path for path in found if "incus" in path or "lxd" in path or "docker" in path], found
    host_side = {path for path in found if path.startswith("/run/fanlight/host/")}
    assert host_side == {"/run/fanlight/host/agent.sock"}

    listing = instances.run(ada.instance_id, "ls", "/run/fanlight/host", "/run/fanlight/guest", as_user=True)
    assert listing.returncode != 0, "the user of the session must not even see the sockets"
    written = instances.run(ada.instance_id, "sh", "-c", "echo x >/run/fanlight/host/mine")
    assert written.returncode != 0, "the host's directory is read-only, also for the instance's root"


def test_the_cookie_of_one_opens_nothing_of_the_other(
    people: tuple[Person, Person], installation: Installation
) -> None:
    ada, bob = people
    portal = installation.portal_url
    [(_, her_value)] = ada.cookies.items()
    [(his_name, _)] = bob.cookies.items()
    disguised = f"{his_name}={her_value}"
    page_header = {"X-Fanlight-Page": "1"}
    for cookie in (ada.cookie, disguised, f"{ada.cookie}; {disguised}"):
        for path in ("", "stream/", "api/state", "api/files", "stream/api/files/x"):
            answer = ask("GET", f"{portal}/s/{bob.ref}/{path}", {"Cookie": cookie} | page_header)
            assert answer.status in (403, 404), (path, answer)
        stream = f"{portal}/s/{bob.ref}/stream/api/websockets"
        assert upgrade_status(stream, origin=portal, cookie=cookie) == 403
    # What is hers stays open to her.
    assert ask("GET", f"{portal}/s/{ada.ref}/", {"Cookie": ada.cookie}).status == 200


def test_a_session_handle_of_one_is_unknown_to_the_other(
    people: tuple[Person, Person], installation: Installation
) -> None:
    ada, bob = people
    his_state = ask(
        "GET", f"{installation.portal_url}/s/{bob.ref}/api/state", {"Cookie": bob.cookie, "X-Fanlight-Page": "1"}
    )
    assert his_state.status == 200
    his_handle = bob.visitor.page.evaluate(
        "fetch('api/state', {headers: {'X-Fanlight-Page': '1'}}).then(r => r.json()).then(s => s.session.handle)"
    )
    for path, method in ((his_handle, "GET"), (f"{his_handle}/end", "POST"), (f"{his_handle}/launch", "POST")):
        answer = ask(
            method,
            f"{installation.portal_url}/s/{ada.ref}/api/sessions/{path}?viewer=12345678",
            {
                "Cookie": ada.cookie,
                "X-Fanlight-Page": "1",
                "Origin": installation.portal_url,
                "Content-Type": "application/json",
            },
            b'{"applicationId": "terminal", "launchId": "12345678"}' if method == "POST" else None,
        )
        assert answer.status == 404, (path, answer)
    assert bob.visitor.state == "stream"


def test_a_websocket_with_a_foreign_or_missing_origin_is_refused(
    people: tuple[Person, Person], installation: Installation
) -> None:
    ada, _ = people
    stream = f"{installation.portal_url}/s/{ada.ref}/stream/api/websockets"
    api_origin = f"http://localhost:{installation.api_port}"
    foreign = ("https://evil.example", "null", "", api_origin, installation.portal_url + ".evil.example")
    refused = {origin: upgrade_status(stream, origin=origin, cookie=ada.cookie) for origin in (*foreign, None)}
    assert set(refused.values()) == {403}, refused
    assert upgrade_status(stream, origin=installation.portal_url, cookie=None) == 403
    assert upgrade_status(stream, origin=installation.portal_url, cookie=ada.cookie) == 101


def _own_address() -> str:
    """Return the address that this host has in its own network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return BRIDGE_ADDRESS
        return str(probe.getsockname()[0])
