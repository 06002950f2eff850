"""AccessEndpoints: ids that the operator configured, and what becomes of a stack when one is configured no more."""

import pytest
from pydantic import ValidationError
from service_rig import HERE, NOW, Rig

from fanlight.config import Settings
from fanlight.domain.errors import NotSupported
from fanlight.domain.stacks import Stack, StackError, StackErrorCode
from fanlight.services.page_tokens import PageTokens
from fanlight.services.stacks import NewStack, StackChange, StackService


def service(rig: Rig, *known: str) -> StackService:
    return StackService(rig.transactions, rig.clock, PageTokens(b"k" * 32), known)


async def test_a_stack_takes_the_endpoints_that_are_configured(rig: Rig) -> None:
    stacks = service(rig, "vpce-1", "vpce-2")
    made = await stacks.create(HERE, NewStack(name="design", access_endpoints=("vpce-2", "vpce-1")))
    assert (made.access_endpoints, stacks.errors_of(made)) == (("vpce-2", "vpce-1"), ())
    with pytest.raises(NotSupported, match=r"^AccessEndpoints is not supported: vpce-3 is no interface endpoint"):
        await stacks.update(HERE, "design", StackChange(access_endpoints=("vpce-1", "vpce-3")))
    changed = await stacks.update(HERE, "design", StackChange(access_endpoints=("vpce-1",)))
    assert changed.access_endpoints == ("vpce-1",)
    assert (await stacks.update(HERE, "design", StackChange(deleted={"ACCESS_ENDPOINTS"}))).access_endpoints == ()


async def test_an_endpoint_that_is_configured_no_more_is_an_error_until_it_is_again(rig: Rig) -> None:
    made = await service(rig, "vpce-1").create(HERE, NewStack(name="design", access_endpoints=("vpce-1",)))
    later = service(rig)
    (found,), _ = await later.describe(HERE)
    assert later.errors_of(found) == (
        StackError(
            StackErrorCode.INTERNAL_SERVICE_ERROR,
            "The interface endpoint vpce-1 is not in this installation's configuration any more: nobody can connect "
            "through it. Configure it again, or update the stack's AccessEndpoints.",
        ),
    )
    assert (await later.update(HERE, "design", StackChange(description="still to be changed"))).description is not None
    assert service(rig, "vpce-1").errors_of(made) == ()


def test_the_settings_bucket_is_named_after_its_place() -> None:
    stack = Stack(stack_id="s", scope=HERE, name="design", created_at=NOW, settings_group="design")
    assert stack.settings_bucket == "appstream-app-settings-us-east-1-000000000000-09fb161df2"


def test_endpoints_are_configured_with_their_networks() -> None:
    settings = Settings(access_endpoints=("vpce-a=10.0.0.0/8", "vpce-b=::1/128", "vpce-a=192.0.2.7"))
    assert settings.endpoint_networks == {"vpce-a": ("10.0.0.0/8", "192.0.2.7"), "vpce-b": ("::1/128",)}


@pytest.mark.parametrize("wrong", ["vpce-a", "vpce-a=", "vpce-a=office", "office=10.0.0.0/8", "vpce-a=10.0.0.1/8", ""])
def test_an_endpoint_without_a_network_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Settings(access_endpoints=(wrong,))
