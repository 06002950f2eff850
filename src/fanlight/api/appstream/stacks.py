"""Stack operations: typed request → stack service → typed result."""

from typing import Any

from fanlight.api import types
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
from fanlight.domain.errors import AlreadyExists, ChangedMeanwhile, InUse, InvalidCombination, LimitExceeded, NotFound
from fanlight.domain.stacks import (
    CLIPBOARD_ACTIONS,
    LONGEST_COPY,
    PreferredProtocol,
    Stack,
    StackError,
    UrlRedirection,
    UserAction,
)
from fanlight.services import AppStreamServices
from fanlight.services.stack_members import AgentAccess, ApplicationSettings
from fanlight.services.stacks import NewStack, StackChange
from fanlight.services.storage_connectors import WantedConnector

# Refused after the rules between members: who is refused for one of these has asked correctly.
_LIMITS = {
    "StorageConnectors": "GOOGLE_DRIVE and ONE_DRIVE are refused unless the operator has configured an OAuth client of the provider, and beside multi-session fleets. A ResourceIdentifier other than the one that is returned is refused.",
    "StorageConnectors.DomainsRequireAdminConsent": "refused: who must consent is decided in the organisation's own directory.",
    "StorageConnectorAuthentication": "FORCE_REAUTHENTICATION is refused: a drive stays connected until its user disconnects it.",
    "ContentRedirection": "Enabled true is refused: links open in the session.",
    "AgentAccessConfig": "there is no access for agents yet.",
    "AccessEndpoints": "ids that the operator did not configure are refused: users could not be kept to them.",
    "UserSettings": "DOMAIN_SMART_CARD_SIGNIN and SMART_CARD_REDIRECTION cannot be ENABLED.",
}
_WITHOUT_EFFECT = {
    "AccessEndpoints.EndpointType": "STREAMING is the only kind there is.",
}


@operation(
    "CreateStack",
    raises=(AlreadyExists, InvalidCombination, LimitExceeded),
    note="DOMAIN_PASSWORD_SIGNIN has no effect, as on Linux fleets of the service. "
    "PreferredProtocol UDP is stored; browsers are streamed to over TCP, as in the service. ApplicationSettings, "
    "which the service has on Windows only: what begins with a dot in a user's home is kept from one session to the next, without caches. "
    "HOMEFOLDERS: the bucket is made when the first stack of an account has it; "
    "the simulated engine stores both, and its sessions have no folder and keep no settings. GOOGLE_DRIVE and ONE_DRIVE, which "
    "the service has on Windows only: users connect their drive in the session page, of the Domains alone.",
    limits=_LIMITS,
    without_effect=_WITHOUT_EFFECT,
)
async def create_stack(request: CreateStackRequest, caller: Caller, services: AppStreamServices) -> CreateStackResult:
    stack = await services.stacks.create(caller.scope, _new_stack(request))
    return CreateStackResult(stack=to_wire(stack, services.stacks.errors_of(stack)))


@operation(
    "DescribeStacks",
    raises=(NotFound, InvalidCombination),
    note="UserSettings lists every action, an ENABLED clipboard with its MaximumLength; StreamingExperienceSettings and ApplicationSettings are always there. StackErrors: "
    "INTERNAL_SERVICE_ERROR for an interface endpoint that is not configured any more; STORAGE_CONNECTOR_ERROR while the "
    "bucket of the home folders or of the settings of applications cannot be used. The ResourceIdentifier of HOMEFOLDERS is the ARN of that bucket (its form in "
    "the service is unverified).",
    is_pure_read=True,
)
async def describe_stacks(
    request: DescribeStacksRequest, caller: Caller, services: AppStreamServices
) -> DescribeStacksResult:
    page, next_token = await services.stacks.describe(
        caller.scope, names=request.names or (), next_token=request.next_token
    )
    stacks = tuple(to_wire(stack, services.stacks.errors_of(stack)) for stack in page)
    return DescribeStacksResult(stacks=stacks, next_token=next_token)


@operation(
    "UpdateStack",
    raises=(NotFound, InvalidCombination, ChangedMeanwhile),
    note="UserSettings replaces all settings: actions that are not given go back to their defaults. It holds for sessions that begin later. A member that is both "
    "given and in AttributesToDelete is InvalidParameterCombinationException. StorageConnectors replaces the whole list.",
    limits=_LIMITS,
    without_effect=_WITHOUT_EFFECT,
)
async def update_stack(request: UpdateStackRequest, caller: Caller, services: AppStreamServices) -> UpdateStackResult:
    stack = await services.stacks.update(caller.scope, request.name, _stack_change(request))
    return UpdateStackResult(stack=to_wire(stack, services.stacks.errors_of(stack)))


@operation("DeleteStack", raises=(NotFound, InUse, InvalidCombination, ChangedMeanwhile))
async def delete_stack(request: DeleteStackRequest, caller: Caller, services: AppStreamServices) -> DeleteStackResult:
    await services.stacks.delete(caller.scope, request.name)
    return DeleteStackResult()


def _new_stack(request: CreateStackRequest) -> NewStack:
    return NewStack(name=request.name, tags=request.tags, **_members(request))


def _stack_change(request: UpdateStackRequest) -> StackChange:
    return StackChange(
        deleted=frozenset(request.attributes_to_delete or ()),
        deletes_storage_connectors=bool(request.delete_storage_connectors),
        **_members(request),
    )


def _members(request: CreateStackRequest | UpdateStackRequest) -> dict[str, Any]:
    """Return the arguments of `StackMembers`, every one of them."""
    streaming, endpoints = request.streaming_experience_settings, request.access_endpoints
    connectors = request.storage_connectors
    protocol = streaming.preferred_protocol if streaming else None
    authentication = request.storage_connector_authentication
    return {
        "display_name": request.display_name,
        "description": request.description,
        "redirect_url": request.redirect_url,
        "feedback_url": request.feedback_url,
        "permissions": _permissions(request.user_settings),
        "maximum_lengths": _maximum_lengths(request.user_settings),
        "application_settings": _application_settings(request.application_settings),
        "storage_connectors": None if connectors is None else tuple(map(_wanted_connector, connectors)),
        "storage_connector_authentication": authentication.value if authentication else None,
        "access_endpoints": None if endpoints is None else tuple(endpoint.vpce_id for endpoint in endpoints),
        "embed_host_domains": request.embed_host_domains,
        "preferred_protocol": PreferredProtocol(protocol) if protocol else None,
        "content_redirection": _redirection(request.content_redirection),
        "agent_access": _agent_access(request.agent_access_config),
    }


def _permissions(settings: tuple[types.UserSetting, ...] | None) -> dict[UserAction, bool] | None:
    if settings is None:
        return None
    permissions: dict[UserAction, bool] = {}
    for setting in settings:
        action = UserAction(setting.action)
        if action in permissions:
            raise InvalidCombination(f"UserSettings: {action} is given twice. Give it once.")
        permissions[action] = setting.permission is types.Permission.ENABLED
    return permissions


def _maximum_lengths(settings: tuple[types.UserSetting, ...] | None) -> dict[UserAction, int]:
    return {UserAction(one.action): one.maximum_length for one in settings or () if one.maximum_length is not None}


def _application_settings(settings: types.ApplicationSettings | None) -> ApplicationSettings | None:
    if settings is None:
        return None
    return ApplicationSettings(is_enabled=settings.enabled, settings_group=settings.settings_group)


def _wanted_connector(connector: types.StorageConnector) -> WantedConnector:
    return WantedConnector(
        connector_type=connector.connector_type,
        resource_identifier=connector.resource_identifier,
        domains=connector.domains or (),
        domains_require_admin_consent=connector.domains_require_admin_consent or (),
    )


def _redirection(redirection: types.ContentRedirection | None) -> UrlRedirection | None:
    config = redirection.host_to_client if redirection else None
    return UrlRedirection(config.enabled, config.allowed_urls, config.denied_urls) if config else None


def _agent_access(config: types.AgentAccessConfig | types.AgentAccessConfigForUpdate | None) -> AgentAccess | None:
    is_update = isinstance(config, types.AgentAccessConfigForUpdate)
    if config is None or (is_update and config == types.AgentAccessConfigForUpdate()):
        return None
    actions = config.settings
    return AgentAccess(
        actions=None
        if actions is None
        else tuple((one.agent_action, one.permission is types.Permission.ENABLED) for one in actions),
        s3_bucket_arn=config.s3_bucket_arn,
        uploads_screenshots=bool(config.screenshots_upload_enabled),
        replays_sessions=bool(config.replay_session_enabled),
        kms_key_arn=config.kms_key_arn,
        is_update=is_update,
    )


# A page of a hundred stacks is made by every DescribeStacks, so what is always the same is made once.
_DEFAULT_LENGTHS = dict.fromkeys(CLIPBOARD_ACTIONS, LONGEST_COPY)
_ACTIONS = {action: types.Action(action) for action in UserAction}
_PROTOCOLS = {
    protocol: types.StreamingExperienceSettings(preferred_protocol=types.PreferredProtocol(protocol))
    for protocol in PreferredProtocol
}


def to_wire(stack: Stack, errors: tuple[StackError, ...]) -> types.Stack:
    authentication = stack.storage_connector_authentication
    return types.Stack(
        name=stack.name,
        arn=stack.arn,
        description=stack.description,
        display_name=stack.display_name,
        created_time=stack.created_at,
        storage_connectors=tuple(
            types.StorageConnector(
                connector_type=types.StorageConnectorType(connector.kind),
                resource_identifier=connector.resource_identifier(stack.scope),
                domains=connector.domains or None,
            )
            for connector in stack.storage_connectors
        ),
        redirect_url=stack.redirect_url,
        feedback_url=stack.feedback_url,
        stack_errors=tuple(
            types.StackError(error_code=types.StackErrorCode(error.code), error_message=error.message)
            for error in errors
        ),
        user_settings=_user_settings(stack),
        application_settings=types.ApplicationSettingsResponse(
            enabled=stack.settings_group is not None,
            settings_group=stack.settings_group,
            s3_bucket_name=stack.settings_bucket,
        ),
        access_endpoints=tuple(
            types.AccessEndpoint(endpoint_type=types.AccessEndpointType.STREAMING, vpce_id=endpoint)
            for endpoint in stack.access_endpoints
        ),
        embed_host_domains=stack.embed_host_domains,
        streaming_experience_settings=_PROTOCOLS[stack.preferred_protocol],
        content_redirection=_content_redirection(stack.content_redirection),
        storage_connector_authentication=types.StorageConnectorAuthentication(authentication)
        if authentication
        else None,
    )


def _user_settings(stack: Stack) -> tuple[types.UserSetting, ...]:
    return tuple(
        types.UserSetting(
            action=wire,
            permission=types.Permission.ENABLED if action in stack.enabled_actions else types.Permission.DISABLED,
            maximum_length=stack.maximum_lengths.get(action, _DEFAULT_LENGTHS.get(action))
            if action in stack.enabled_actions
            else None,
        )
        for action, wire in _ACTIONS.items()
    )


def _content_redirection(redirection: UrlRedirection | None) -> types.ContentRedirection | None:
    if redirection is None:
        return None
    return types.ContentRedirection(
        host_to_client=types.UrlRedirectionConfig(
            enabled=redirection.is_enabled,
            allowed_urls=redirection.allowed_urls,
            denied_urls=redirection.denied_urls,
        )
    )
