"""Streaming URLs and sessions: typed request → session service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    CreateStreamingURLRequest,
    CreateStreamingURLResult,
    DescribeSessionsRequest,
    DescribeSessionsResult,
    DrainSessionInstanceRequest,
    DrainSessionInstanceResult,
    ExpireSessionRequest,
    ExpireSessionResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound, NotPermitted
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.services import AppStreamServices
from fanlight.services.session_instances import DrainStatus


@operation(
    "CreateStreamingURL",
    raises=(NotFound, NotAvailable, NotPermitted, InvalidCombination),
    note="A fleet that is not RUNNING answers ResourceNotAvailableException, one that is not associated with the stack "
    "OperationNotPermittedException (the split is undocumented). A SessionContext that would not fit into a browser's "
    "cookie, about 2,500 random bytes, is refused. A session that lives keeps the SessionContext it began with.",
)
async def create_streaming_url(
    request: CreateStreamingURLRequest, caller: Caller, services: AppStreamServices
) -> CreateStreamingURLResult:
    url, expires_at = await services.sessions.create_url(
        caller.scope,
        stack_name=request.stack_name,
        fleet_name=request.fleet_name,
        user_id=request.user_id,
        application_id=request.application_id,
        validity_in_seconds=request.validity,
        session_context=request.session_context,
    )
    return CreateStreamingURLResult(streaming_url=url, expires=expires_at)


@operation(
    "DescribeSessions",
    raises=(InvalidCombination,),
    note="EXPIRED sessions stay listed for a while (FANLIGHT_EXPIRED_SESSIONS_KEPT_IN_SECONDS). A Limit outside 1 to 50 "
    "answers InvalidParameterCombinationException. Pages go by Id. NetworkAccessConfiguration has the instance's own "
    "interface, if its fleet gives it one; there are no IPv6 addresses.",
    is_pure_read=True,
)
async def describe_sessions(
    request: DescribeSessionsRequest, caller: Caller, services: AppStreamServices
) -> DescribeSessionsResult:
    page, next_token = await services.sessions.describe(
        caller.scope,
        stack_name=request.stack_name,
        fleet_name=request.fleet_name,
        user_id=request.user_id,
        authentication_type=request.authentication_type,
        instance_id=request.instance_id,
        limit=request.limit,
        next_token=request.next_token,
    )
    drains = await services.session_instances.drain_statuses(page)
    sessions = tuple(to_wire(session, drains[session.session_id]) for session in page)
    return DescribeSessionsResult(sessions=sessions, next_token=next_token)


@operation(
    "DrainSessionInstance",
    raises=(NotFound, NotPermitted, ChangedMeanwhile),
    note="An instance for one session answers OperationNotPermittedException. A drained instance is replaced when it is gone.",
)
async def drain_session_instance(
    request: DrainSessionInstanceRequest, caller: Caller, services: AppStreamServices
) -> DrainSessionInstanceResult:
    await services.session_instances.drain(caller.scope, request.session_id)
    return DrainSessionInstanceResult()


@operation(
    "ExpireSession",
    raises=(ChangedMeanwhile,),
    note="An unknown or ended session succeeds: the model has no errors.",
)
async def expire_session(
    request: ExpireSessionRequest, caller: Caller, services: AppStreamServices
) -> ExpireSessionResult:
    await services.sessions.expire(caller.scope, request.session_id)
    return ExpireSessionResult()


def to_wire(session: StreamingSession, drain_status: DrainStatus) -> types.Session:
    return types.Session(
        id=session.session_id,
        user_id=session.user_id,
        stack_name=session.stack_name,
        fleet_name=session.fleet_name,
        state=types.SessionState(session.state),
        connection_state=types.SessionConnectionState(session.connection_state),
        start_time=session.started_at,
        max_expiration_time=session.max_expires_at,
        authentication_type=types.AuthenticationType(session.authentication_type),
        instance_id=session.instance_id,
        network_access_configuration=_network_access(session.network_interface),
        instance_drain_status=types.InstanceDrainStatus(drain_status),
    )


def _network_access(interface: NetworkInterface | None) -> types.NetworkAccessConfiguration | None:
    """Instances are IPv4 only, so there is no EniIpv6Addresses."""
    if interface is None:
        return None
    return types.NetworkAccessConfiguration(eni_private_ip_address=interface.address, eni_id=interface.interface_id)
