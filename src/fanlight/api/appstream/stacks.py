"""Stack operations: typed request → stack service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.members import refuse
from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    CreateStackRequest,
    CreateStackResult,
    DeleteStackRequest,
    DeleteStackResult,
    DescribeStacksRequest,
    DescribeStacksResult,
    UpdateStackRequest,
    UpdateStackResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import AlreadyExists, ChangedMeanwhile, InUse, InvalidCombination, NotFound
from fanlight.domain.stacks import Stack, UserAction
from fanlight.services import AppStreamServices
from fanlight.services.stacks import NewStack, StackChange


@operation("CreateStack", raises=(AlreadyExists, InvalidCombination))
async def create_stack(request: CreateStackRequest, caller: Caller, services: AppStreamServices) -> CreateStackResult:
    stack = await services.stacks.create(caller.scope, _new_stack(request))
    return CreateStackResult(stack=to_wire(stack))


@operation(
    "DescribeStacks",
    raises=(NotFound, InvalidCombination),
    note="UserSettings lists every action; StreamingExperienceSettings and ApplicationSettings are always there.",
    is_pure_read=True,
)
async def describe_stacks(
    request: DescribeStacksRequest, caller: Caller, services: AppStreamServices
) -> DescribeStacksResult:
    page, next_token = await services.stacks.describe(
        caller.scope, names=request.names or (), next_token=request.next_token
    )
    return DescribeStacksResult(stacks=tuple(to_wire(stack) for stack in page), next_token=next_token)


@operation(
    "UpdateStack",
    raises=(NotFound, InvalidCombination, ChangedMeanwhile),
    note="UserSettings replaces all settings: actions that are not given go back to their defaults.",
)
async def update_stack(request: UpdateStackRequest, caller: Caller, services: AppStreamServices) -> UpdateStackResult:
    stack = await services.stacks.update(caller.scope, request.name, _stack_change(request))
    return UpdateStackResult(stack=to_wire(stack))


@operation("DeleteStack", raises=(NotFound, InUse, InvalidCombination, ChangedMeanwhile))
async def delete_stack(request: DeleteStackRequest, caller: Caller, services: AppStreamServices) -> DeleteStackResult:
    await services.stacks.delete(caller.scope, request.name)
    return DeleteStackResult()


def _new_stack(request: CreateStackRequest) -> NewStack:
    _refuse_members(request)
    return NewStack(
        name=request.name,
        display_name=request.display_name,
        description=request.description,
        redirect_url=request.redirect_url,
        feedback_url=request.feedback_url,
        permissions=_permissions(request.user_settings),
        tags=request.tags,
    )


def _stack_change(request: UpdateStackRequest) -> StackChange:
    """What DeleteStorageConnectors and most of AttributesToDelete name, no stack here can have: fulfilled already."""
    _refuse_members(request)
    return StackChange(
        display_name=request.display_name,
        description=request.description,
        redirect_url=request.redirect_url,
        feedback_url=request.feedback_url,
        permissions=_permissions(request.user_settings),
        deleted=frozenset(request.attributes_to_delete or ()),
    )


def _permissions(settings: tuple[types.UserSetting, ...] | None) -> dict[UserAction, bool] | None:
    if settings is None:
        return None
    permissions: dict[UserAction, bool] = {}
    for setting in settings:
        refuse((f"UserSettings: MaximumLength of {setting.action}", setting.maximum_length, "it is not enforced yet."))
        action = UserAction(setting.action)
        if action in permissions:
            raise InvalidCombination(f"UserSettings: {action} is given twice. Give it once.")
        permissions[action] = setting.permission is types.Permission.ENABLED
    return permissions


def _refuse_members(request: CreateStackRequest | UpdateStackRequest) -> None:
    application_settings = request.application_settings or types.ApplicationSettings(enabled=False)
    streaming = request.streaming_experience_settings or types.StreamingExperienceSettings()
    wants_udp = streaming.preferred_protocol is types.PreferredProtocol.UDP
    refuse(
        ("StorageConnectors", request.storage_connectors, "Fanlight has no home folders and drives yet. Leave it out."),
        (
            "StorageConnectorAuthentication",
            request.storage_connector_authentication,
            "Fanlight has no storage connectors yet. Leave it out.",
        ),
        (
            "ApplicationSettings with Enabled true",
            application_settings.enabled,
            "Fanlight does not keep the settings of applications yet. Set Enabled to false.",
        ),
        ("AccessEndpoints", request.access_endpoints, "the portal is reached by its own address. Leave it out."),
        ("EmbedHostDomains", request.embed_host_domains, "sessions cannot be embedded in other pages yet."),
        ("PreferredProtocol UDP", wants_udp, "streams use TCP. Choose TCP."),
        ("ContentRedirection", request.content_redirection, "links open in the session. Leave it out."),
        ("AgentAccessConfig", request.agent_access_config, "Fanlight has no access for agents yet. Leave it out."),
    )
    if application_settings.settings_group:
        raise InvalidCombination("ApplicationSettings: SettingsGroup needs Enabled true. Leave it out.")


def to_wire(stack: Stack) -> types.Stack:
    return types.Stack(
        name=stack.name,
        arn=stack.arn,
        description=stack.description,
        display_name=stack.display_name,
        created_time=stack.created_at,
        storage_connectors=(),
        redirect_url=stack.redirect_url,
        feedback_url=stack.feedback_url,
        stack_errors=(),
        user_settings=tuple(
            types.UserSetting(
                action=types.Action(action),
                permission=types.Permission.ENABLED if action in stack.enabled_actions else types.Permission.DISABLED,
            )
            for action in UserAction
        ),
        application_settings=types.ApplicationSettingsResponse(enabled=False),
        access_endpoints=(),
        embed_host_domains=(),
        streaming_experience_settings=types.StreamingExperienceSettings(preferred_protocol=types.PreferredProtocol.TCP),
    )
