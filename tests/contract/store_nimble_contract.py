"""What every store promises of Nimble Studio's resources, client tokens, members and acceptances."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from store_samples import HERE, NOW, OTHER_ACCOUNT

from fanlight.domain.errors import AlreadyExists, ChangedMeanwhile, NotFound
from fanlight.domain.nimble.calls import RememberedCall
from fanlight.domain.nimble.eulas import EulaAcceptance
from fanlight.domain.nimble.launch_profiles import (
    NOT_VALIDATED,
    LaunchProfile,
    SessionBackups,
    StreamConfiguration,
    Switch,
    UploadStorage,
    VolumeWish,
)
from fanlight.domain.nimble.memberships import Membership, Persona
from fanlight.domain.nimble.resources import Resource, ResourceState, Status
from fanlight.domain.nimble.streaming_images import StreamingImage
from fanlight.domain.nimble.studio_components import (
    ActiveDirectory,
    ComponentConfiguration,
    ComponentScript,
    ComponentSubtype,
    ComponentType,
    ComputerAttribute,
    RunContext,
    ScriptParameter,
    ScriptPlatform,
    StudioComponent,
)
from fanlight.domain.nimble.studios import Studio, StudioKeyType
from fanlight.store import Store

ALL = frozenset(ResourceState)
COMMON: dict[str, Any] = {
    "scope": HERE,
    "studio_id": "us-east-1:stid-1",
    "version": 3,
    "state": ResourceState.READY,
    "status": Status(code="DONE", message="It is “done”."),
    "created_at": NOW,
    "created_by": "AKIA1",
    "updated_at": NOW + timedelta(seconds=1),
    "updated_by": "AKIA2",
    "state_since": NOW + timedelta(seconds=2),
}
STREAM = StreamConfiguration(
    has_clipboard=True,
    instance_types=("g4dn.xlarge",),
    streaming_image_ids=("image",),
    persistence=Switch.ACTIVATED,
    termination=Switch.DEACTIVATED,
    backups=SessionBackups(is_automatic=True, most_retained=3),
    upload=UploadStorage(linux_root="$HOME/x"),
    volume=VolumeWish(size_in_gib=100),
)
WHOLE: tuple[Resource, ...] = (
    Studio(
        **{**COMMON, "resource_id": "us-east-1:stid-1"},
        name="n",
        display_name="",
        admin_role_arn="a",
        user_role_arn="u",
        key_type=StudioKeyType.CUSTOMER_MANAGED_KEY,
        key_arn="arn:k",
        portal_url="p",
        sso_client_id="s",
    ),
    StudioComponent(
        **COMMON,
        resource_id="component",
        name="n",
        description="",
        type=ComponentType.ACTIVE_DIRECTORY,
        subtype=ComponentSubtype.AWS_MANAGED_MICROSOFT_AD,
        configuration=ComponentConfiguration(
            active_directory=ActiveDirectory(
                directory_id="d", computer_attributes=(ComputerAttribute(name="n", value="v"),)
            )
        ),
        scripts=(
            ComponentScript(platform=ScriptPlatform.LINUX, run_context=RunContext.USER_INITIALIZATION, text="é\n"),
        ),
        parameters=(ScriptParameter(key="K1", value="v"),),
        security_group_ids=("sg-1", "sg-2"),
        runtime_role_arn="r",
    ),
    LaunchProfile(
        **COMMON,
        resource_id="profile",
        name="n",
        component_ids=("component",),
        stream=STREAM,
        validations=NOT_VALIDATED,
    ).remembering(),
    StreamingImage(
        **COMMON, resource_id="image", name="n", ec2_image_id="ami-1", owner="us-east-1:stid-1", eula_ids=("e1", "e2")
    ),
)


class StoreNimbleContract:
    async def test_resources_of_every_kind_come_back_as_they_were_put(self, store: Store) -> None:
        async with store.transactions.begin(write=True) as work:
            for resource in WHOLE:
                await work.nimble.resources.add(resource)
            await work.commit()
        async with store.transactions.begin() as work:
            for resource in WHOLE:
                assert await work.nimble.resources.find(resource.resource_id) == resource
                kind = type(resource)
                assert await work.nimble.resources.get(kind, HERE, resource.resource_id) == resource
                assert await work.nimble.resources.page(kind, HERE, states=ALL, limit=9) == [resource]
            for kind, scope, studio_id in (
                (Studio, HERE, None),
                (StudioComponent, OTHER_ACCOUNT, None),
                (StudioComponent, HERE, "us-east-1:stid-2"),
            ):
                with pytest.raises(NotFound):
                    await work.nimble.resources.get(kind, scope, "component", studio_id)
            assert await work.nimble.resources.count(HERE, "us-east-1:stid-1") == dict.fromkeys(
                (resource.KIND for resource in WHOLE), 1
            )
            assert await work.nimble.resources.unsettled() == []

    async def test_a_resource_is_saved_by_whoever_read_it_last_and_along_its_states_only(self, store: Store) -> None:
        async with store.transactions.begin(write=True) as work:
            component = await work.nimble.resources.add(WHOLE[1])
            with pytest.raises(AlreadyExists):
                await work.nimble.resources.add(WHOLE[1])
            saved = await work.nimble.resources.save(replace(component, state=ResourceState.DELETE_IN_PROGRESS))
            with pytest.raises(ChangedMeanwhile):
                await work.nimble.resources.save(component)
            with pytest.raises(ChangedMeanwhile):
                await work.nimble.resources.save(replace(saved, state=ResourceState.READY))
            assert await work.nimble.resources.unsettled() == ["component"]
            gone = await work.nimble.resources.save(replace(saved, state=ResourceState.DELETED))
            assert await work.nimble.resources.count(HERE, "us-east-1:stid-1") == {}
            page = work.nimble.resources.page
            assert await page(StudioComponent, HERE, "us-east-1:stid-1", states={ResourceState.READY}, limit=9) == []
            assert await page(StudioComponent, HERE, "us-east-1:stid-1", states=ALL, after="component", limit=9) == []
            await work.nimble.resources.remove(gone)
            assert await work.nimble.resources.find("component") is None

    async def test_pages_of_resources_go_by_id_and_lose_none(self, store: Store) -> None:
        names = ["-a", "A", "_b", "a", "z"]
        async with store.transactions.begin(write=True) as work:
            for name in names:
                await work.nimble.resources.add(replace(WHOLE[3], resource_id=name))
            await work.commit()
        seen, after = [], ""
        async with store.transactions.begin() as work:
            while page := await work.nimble.resources.page(StreamingImage, HERE, states=ALL, after=after, limit=2):
                seen += [image.resource_id for image in page]
                after = seen[-1]
        assert seen == sorted(names)

    async def test_calls_are_remembered_by_token_and_forgotten_by_age(self, store: Store) -> None:
        call = RememberedCall(
            scope=HERE, operation="CreateStudio", token="t", fingerprint="f", resource_id="r", called_at=NOW
        )
        newer = replace(call, resource_id="s", called_at=NOW + timedelta(hours=1))
        async with store.transactions.begin(write=True) as work:
            await work.nimble.calls.put(call)
            assert await work.nimble.calls.find(HERE, "CreateStudio", "t") == call
            for scope, operation, token in (
                (OTHER_ACCOUNT, "CreateStudio", "t"),
                (HERE, "DeleteStudio", "t"),
                (HERE, "CreateStudio", "u"),
            ):
                assert await work.nimble.calls.find(scope, operation, token) is None
            await work.nimble.calls.put(newer)
            assert await work.nimble.calls.find(HERE, "CreateStudio", "t") == newer
            assert await work.nimble.calls.prune(NOW + timedelta(minutes=1)) == 0
            assert await work.nimble.calls.prune(NOW + timedelta(hours=2)) == 1

    async def test_members_are_kept_by_owner_and_found_by_principal(self, store: Store) -> None:
        def member(owner_id: str, principal_id: str, scope: Any = HERE) -> Membership:
            return Membership(
                scope=scope,
                owner_id=owner_id,
                principal_id=principal_id,
                identity_store_id="d-1",
                persona=Persona.USER,
                joined_at=NOW,
            )

        async with store.transactions.begin(write=True) as work:
            members = work.nimble.memberships
            for one in (member("p1", "b"), member("p1", "a"), member("p2", "a"), member("p9", "a", OTHER_ACCOUNT)):
                await members.put(one)
            await members.put(replace(member("p1", "a"), identity_store_id="d-2", sid="S-1"))
            found = await members.page(HERE, "p1", limit=9)
            assert found == [replace(member("p1", "a"), identity_store_id="d-2", sid="S-1"), member("p1", "b")]
            assert await members.page(HERE, "p1", after="a", limit=9) == [member("p1", "b")]
            assert await members.owners_of(HERE, "a") == {"p1", "p2"}
            assert await members.find(OTHER_ACCOUNT, "p1", "a") is None
            await members.remove(member("p1", "b"))
            await members.drop("p2")
            assert await members.owners_of(HERE, "a") == {"p1"}
            assert await members.find(HERE, "p1", "b") is None

    async def test_an_agreement_is_accepted_once(self, store: Store) -> None:
        first = EulaAcceptance(
            acceptance_id="1", scope=HERE, studio_id="s", eula_id="e", accepted_at=NOW, accepted_by="a"
        )
        async with store.transactions.begin(write=True) as work:
            acceptances = work.nimble.acceptances
            assert await acceptances.add(first) == first
            assert await acceptances.add(replace(first, acceptance_id="2", accepted_by="b")) == first
            assert await acceptances.of_studio(HERE, "s") == [first]
            assert await acceptances.of_studio(OTHER_ACCOUNT, "s") == []
            await acceptances.drop("s")
            assert await acceptances.of_studio(HERE, "s") == []
