"""A user's own drives in a real session: connected in the page, mounted in the instance, kept at the provider."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from urllib.parse import urlsplit

import pytest

from drive_rig import StandIn
from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.conftest import PROVIDERS
from e2e.drive_providers import providers
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

USER = "drives"
FILES = "/home/user/MyFiles"
GOOGLE, ONE = f"{FILES}/GoogleDrive", f"{FILES}/OneDrive"


@pytest.fixture
def provider(installation: Installation) -> Iterator[StandIn]:
    proxy = urlsplit(installation.settings["drives_proxy_url"])
    with providers(PROVIDERS, proxy.port or 0) as there:
        yield there


@pytest.fixture
def stack(fleet: str, administrator: Administrator) -> Iterator[str]:
    connectors = [{"ConnectorType": kind, "Domains": ["example.org"]} for kind in ("GOOGLE_DRIVE", "ONE_DRIVE")]
    administrator.client.update_stack(Name=fleet, StorageConnectors=connectors)
    yield fleet
    administrator.client.update_stack(Name=fleet, DeleteStorageConnectors=True)


def test_a_user_connects_both_drives_works_on_them_and_takes_one_away(  # noqa: PLR0917 - fixtures
    stack: str,
    provider: StandIn,
    administrator: Administrator,
    installation: Installation,
    instances: Instances,
    new_visitor: Callable[..., Visitor],
) -> None:
    """Behind both APIs of the stand-in is one drive, so that what goes in through one is seen through the other."""
    provider.cloud.put("from elsewhere.txt", b"put there by another device")
    visitor = new_visitor(proxy={"server": provider.proxy_url, "bypass": "localhost"}, ignore_https_errors=True)
    visitor.open(administrator.url(stack, USER, "text-editor"))
    visitor.wait_for_picture()
    page, instance_id = visitor.page, administrator.instance_of(stack, USER)
    page.get_by_role("toolbar").get_by_role("button", name="My Files").click()
    panel = page.locator('[data-panel="files"]')
    panel.get_by_role("tab", name="Drives").click()
    for name in ("Google Drive", "OneDrive"):
        with page.expect_popup() as opening:
            panel.get_by_role("button", name=f"Connect your {name}").click()
        opening.value.get_by_role("heading", name=f"{name} is connected").wait_for(timeout=60_000)
        opening.value.close()
        panel.get_by_role("region", name=name).get_by_text("Connected as ada@Example.org").wait_for(timeout=60_000)

    def holds(folder: str, name: str, content: bytes) -> bool:
        return instances.read(instance_id, f"{folder}/{name}") == content

    for folder in (GOOGLE, ONE):
        wait_for(
            lambda folder=folder: holds(folder, "from elsewhere.txt", b"put there by another device"),
            timeout=60,
            what=f"a file of the drive in {folder}",
            interval=0.3,
        )

    # Saved in the session: whole at the provider, by pieces too, and seen through the other API.
    for folder, name in ((GOOGLE, "g\u00fcnter's.bin"), (ONE, "one.bin")):
        script = 'head -c 12000000 /dev/urandom >~/source && cp ~/source "$1" && sha256sum <~/source'
        saved = instances.run(instance_id, "sh", "-euc", script, "sh", f"{folder}/{name}", as_user=True, timeout=60)
        assert saved.returncode == 0, saved.stderr
        digest = saved.stdout.decode().split()[0]
        wait_for(
            lambda name=name, digest=digest: sha256(provider.cloud.read(name) or b"").hexdigest() == digest,
            timeout=60,
            what=f"{name} at the provider",
            interval=0.3,
        )
    whole = provider.cloud.read("g\u00fcnter's.bin")
    assert whole is not None
    wait_for(
        lambda: holds(ONE, "g\u00fcnter's.bin", whole), timeout=60, what="the file through the other API", interval=1
    )
    room = instances.run(instance_id, "df", "--output=size", "-B1", GOOGLE, as_user=True)
    assert 0 <= provider.cloud.total - int(room.stdout.split()[-1]) < 4096, "but for the last block"

    # Nothing of it is in the instance, nor where anybody could read it.
    secrets = {form["refresh_token"] for form in provider.asked if "refresh_token" in form} | provider.bearers - {""}
    everything = instances.run(instance_id, "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline", timeout=60)
    assert b"RCLONE" in everything.stdout, "the mounts' own"
    assert not [secret for secret in secrets if secret.encode() in everything.stdout]
    assert not [secret for secret in secrets if secret in installation.log()]

    panel.get_by_role("button", name="Disconnect Google Drive").click()
    panel.get_by_role("region", name="Google Drive").get_by_text("Not connected.").wait_for(timeout=60_000)
    assert len(provider.revoked) == 1
    wait_for(
        lambda: instances.run(instance_id, "mountpoint", "-q", GOOGLE).returncode != 0,
        timeout=60,
        what="the folder is taken away",
        interval=0.3,
    )
    administrator.expire(stack, USER)
