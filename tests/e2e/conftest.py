"""What the end-to-end tests share: one real installation with real images for all of them, and one browser per module."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network

import pytest
from playwright.sync_api import Browser

from drive_rig import CLIENT, SECRET, prepare_certificates
from e2e.administrators import SAMPLE_IMAGE, Administrator
from e2e.browsers import CHROMIUM, Visitor, chromium, visitor
from e2e.installation import Installation, free_port
from e2e.instances import Instances
from images_rig import RUN_NUMBER, TEST_DIR, image_rig
from incus_rig import IncusRig

# TEST_DIR is kept between runs, because images take minutes to build; state and instances are thrown away before each run.
_PROJECT = TEST_DIR.name
# Where users come from: networks that the interface endpoints of stacks stand for.
OFFICE, LAB = (ip_network(f"198.19.{2 * RUN_NUMBER + number}.0/24") for number in range(2))
# A directory of the host that sessions of studios mount: not in TEST_DIR, which no machine may see.
PROJECTS = TEST_DIR.with_name(f"{TEST_DIR.name}-projects")
# The stand-ins of Google and Microsoft, while a test has them, are behind this proxy, certified by an authority kept there.
PROVIDERS, PROVIDERS_PROXY_PORT = TEST_DIR / "providers", free_port()
SETTINGS_LIMIT_IN_MIB = 4  # of applications' settings, so that a test can pass it soon
INCUS_SETTINGS = {
    "application_settings_limit_in_mib": str(SETTINGS_LIMIT_IN_MIB),
    "compute": "incus",
    "incus_project": _PROJECT,
    "incus_network": f"fltests{RUN_NUMBER}",
    "incus_pool": _PROJECT,
    "incus_subnet": f"10.{213 + 2 * RUN_NUMBER}.0.1/16",
    "networks_file": str(TEST_DIR / "networks.toml"),
    "nimble_eulas_file": str(TEST_DIR / "eulas.toml"),
    "nimble_file_systems_file": str(TEST_DIR / "file-systems.toml"),
    "capacity_wait_in_seconds": "60",
    "google_drive_client_id": CLIENT,
    "google_drive_client_secret": SECRET,
    "one_drive_client_id": CLIENT,
    "one_drive_client_secret": SECRET,
    "drives_proxy_url": f"http://127.0.0.1:{PROVIDERS_PROXY_PORT}",
    "access_endpoints": json.dumps([f"vpce-e2e-office={OFFICE}", f"vpce-e2e-lab={LAB}"]),
}
SUBNET = ip_network(f"10.{214 + 2 * RUN_NUMBER}.0.0/24")
NETWORKS = f"""
[subnets.subnet-e2e]
cidr = "{SUBNET[1]}/24"
"""
FILE_SYSTEMS = f"""
[file_systems.projects]
path = "{PROJECTS}"
share_name = "projects"
"""
EULAS = f"""
[[eula]]
name = "Sample"
content = "https://example.com/eula"
images = ["{SAMPLE_IMAGE}"]
"""
SHARED_FLEET = "e2e-applications"
# What is left in "run" is the product's to clear.
TRANSIENT = ("state", "gateway", "audit", "storage", "providers", "credentials", "test.log")
BUILD_TIMEOUT_IN_SECONDS = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say why a test cannot run here, rather than fail in the middle of it."""
    reasons = {
        "browser": next(
            (f"{name} is not installed: run scripts/host-setup --for-tests" for name in _missing_for_browser()), None
        ),
        "incus": None if os.geteuid() == 0 and shutil.which("incus") else "needs root and Incus: run scripts/test",
    }
    for item in items:
        for mark, reason in reasons.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def _missing_for_browser() -> Iterator[str]:
    if CHROMIUM is None:
        yield "chromium"
    for name in ("tesseract", "Xvfb", "xdotool", "setxkbmap"):
        if shutil.which(name) is None:
            yield name


@contextmanager
def prepared_installation(settings: Mapping[str, str]) -> Iterator[Installation]:
    """Give a running Fanlight on Incus with the sample images, empty before and after."""
    TEST_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (TEST_DIR / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits for its turn
        made = Installation(TEST_DIR, settings)
        instances = Instances(made)
        instances.remove_all()
        for name in TRANSIENT:
            left = TEST_DIR / name
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        made.authorities = prepare_certificates(PROVIDERS)
        (TEST_DIR / "networks.toml").write_text(NETWORKS)
        (TEST_DIR / "file-systems.toml").write_text(FILE_SYSTEMS)
        (TEST_DIR / "eulas.toml").write_text(EULAS)
        shutil.rmtree(PROJECTS, ignore_errors=True)
        PROJECTS.mkdir()
        os.chown(PROJECTS, 1000, 1000)
        build_images(made)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            instances.remove_all()


@pytest.fixture(scope="session")
def real_installation() -> Iterator[Installation]:
    """One installation for all tests: its images are the slow part."""
    with prepared_installation(INCUS_SETTINGS) as made:
        yield made


def build_images(made: Installation) -> None:
    """Run the command that users run; it does nothing when the images are up to date."""
    done = subprocess.run(
        [sys.executable, "-m", "fanlight", "images", "build"],
        env=made.environment(),
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_IN_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.fixture
def installation(real_installation: Installation) -> Installation:
    """The shared installation, running: a test that killed it and failed must not fail the others."""
    if real_installation.process is None or real_installation.process.poll() is not None:
        real_installation.start()
    return real_installation


@pytest.fixture(scope="session")
def rig() -> Iterator[IncusRig]:
    """The sample image in a project of its own, for tests of instances that are alone with their host."""
    with image_rig() as made:
        yield made


@pytest.fixture
def instances(installation: Installation) -> Instances:
    return Instances(installation)


@pytest.fixture
def administrator(installation: Installation) -> Administrator:
    return Administrator(installation.client())


@pytest.fixture(scope="session")
def shared_fleet(real_installation: Installation) -> str:
    """A fleet that most tests take an instance of. It has a way out to the internet: the harder case to keep apart."""
    Administrator(real_installation.client()).make(SHARED_FLEET, capacity=3, EnableDefaultInternetAccess=True)
    return SHARED_FLEET


@pytest.fixture
def fleet(shared_fleet: str, administrator: Administrator) -> Iterator[str]:
    """The shared fleet with a free instance; sessions end with the test."""
    administrator.wait_for_capacity(shared_fleet)
    yield shared_fleet
    for session in administrator.sessions(shared_fleet):
        administrator.client.expire_session(SessionId=session["Id"])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Fanlight on the simulated engine: no root, no Incus, no browser."""
    made = Installation(tmp_path_factory.mktemp("sim"), {"compute": "simulated"})
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not longer than a module: its event loop would be in the way of the asynchronous tests of others.
    with chromium() as started:
        yield started


@pytest.fixture
def new_visitor(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Return a function that brings one more visitor; all leave with the test."""
    with ExitStack() as leaving:
        yield lambda **options: leaving.enter_context(visitor(browser, **options))
