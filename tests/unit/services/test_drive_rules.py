"""Stacks with users' own drives: with a client of the provider only, and never before a multi-session fleet."""

from dataclasses import replace

import pytest
from service_rig import HERE, Rig, new_fleet

from fanlight.config import Settings
from fanlight.domain.errors import NotSupported
from fanlight.domain.user_storage import StorageConnector, StorageKind
from fanlight.installation import Credentials
from fanlight.services.fleet_changes import FleetChange
from fanlight.services.page_tokens import PageTokens
from fanlight.services.stacks import NewStack, StackChange, StackService
from fanlight.services.storage_connectors import WantedConnector
from fanlight.supervisor import environment_for, roles

ONE_DRIVE = WantedConnector(connector_type="ONE_DRIVE", domains=("example.org",))
GOOGLE_DRIVE = WantedConnector(connector_type="GOOGLE_DRIVE", domains=("example.org",))
WOKEN: list[tuple[str, str]] = []


@pytest.fixture
def stacks(rig: Rig) -> StackService:
    """Of an installation with a client at Microsoft alone."""
    WOKEN.clear()
    return StackService(
        rig.transactions,
        rig.clock,
        PageTokens(b"k" * 32),
        wake=lambda kind, key: WOKEN.append((kind, key)),
        drives={StorageKind.ONE_DRIVE},
    )


async def test_a_drive_is_taken_when_there_is_a_client_and_refused_by_the_name_of_the_setting(
    stacks: StackService,
) -> None:
    made = await stacks.create(HERE, NewStack(name="design", storage_connectors=(ONE_DRIVE,)))
    kept = StorageConnector(kind=StorageKind.ONE_DRIVE, domains=("example.org",))
    assert made.storage_connectors == (kept,)
    ((described,), _) = await stacks.describe(HERE)
    assert described.storage_connectors == (kept,)
    with pytest.raises(NotSupported, match="--google-drive-client-id"):
        await stacks.update(HERE, "design", StackChange(storage_connectors=(GOOGLE_DRIVE,)))

    with pytest.raises(NotSupported, match=r"DomainsRequireAdminConsent .* directory"):
        await stacks.update(
            HERE,
            "design",
            StackChange(storage_connectors=(replace(ONE_DRIVE, domains_require_admin_consent=("example.org",)),)),
        )

    WOKEN.clear()
    await stacks.update(HERE, "design", StackChange(deletes_storage_connectors=True))
    assert WOKEN == [("storage", "000000000000/us-east-1")]  # so that doors of running sessions are closed


async def test_drives_and_multi_session_fleets_do_not_come_together(rig: Rig, stacks: StackService) -> None:
    many = {"desired_instances": None, "desired_sessions": 4, "max_sessions_per_instance": 2}
    await rig.services.fleets.create(HERE, new_fleet("many", **many))
    await rig.services.fleets.create(HERE, new_fleet("one"))
    await stacks.create(HERE, NewStack(name="design", storage_connectors=(ONE_DRIVE,)))
    await stacks.create(HERE, NewStack(name="plain"))

    with pytest.raises(NotSupported, match=r"ONE_DRIVE of the stack design .* multi-session fleet many"):
        await rig.services.associations.associate(HERE, "design", "many")
    await rig.services.associations.associate(HERE, "plain", "many")
    with pytest.raises(NotSupported, match="ONE_DRIVE of the stack plain"):
        await stacks.update(HERE, "plain", StackChange(storage_connectors=(ONE_DRIVE,)))
    await rig.services.associations.associate(HERE, "design", "one")
    with pytest.raises(NotSupported, match="ONE_DRIVE of the stack design"):
        await rig.services.fleets.update(HERE, "one", FleetChange(max_sessions_per_instance=2, desired_sessions=4))
    assert not (await rig.fleet("one")).is_multi_session


def test_the_secret_of_a_client_goes_to_the_storage_process_alone() -> None:
    settings = Settings(
        google_drive_client_id="google-1",
        google_drive_client_secret="hidden-1",
        one_drive_client_id="microsoft-1",
        one_drive_client_secret="hidden-2",
        drives_proxy_url="http://me:hidden-3@proxy.example:3128",
    )
    for role in roles(settings):
        told = environment_for(settings, role, Credentials("AKIA", "secret"))
        assert told["FANLIGHT_GOOGLE_DRIVE_CLIENT_ID"] == "google-1"
        hidden = {name for name, value in told.items() if "hidden" in value}
        expected = {
            "FANLIGHT_GOOGLE_DRIVE_CLIENT_SECRET",
            "FANLIGHT_ONE_DRIVE_CLIENT_SECRET",
            "FANLIGHT_DRIVES_PROXY_URL",
        }
        assert hidden == (expected if role == "storage" else set())
    assert "hidden" not in repr(settings)
