"""Composition root: the only place where adapters meet services. Imported for the api process and by e2e tests only."""

import asyncio
import logging
import os
import signal
import ssl
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from fanlight.api.audit import AuditLog, Connection, FilesLost, SettingsLost
from fanlight.api.catalogue import aws_services
from fanlight.api.listener import ApiSettings, make_api_app, make_api_runner
from fanlight.api.metrics_page import add_metrics_page
from fanlight.background import end
from fanlight.config import Settings
from fanlight.control.app import make_control_app, serve_control
from fanlight.control.changes import SessionChanges
from fanlight.controlwire import CONTROL_SOCKET_NAME
from fanlight.domain.errors import DomainError, DriverUnavailable, StorageUnavailable
from fanlight.domain.file_systems import SharedDirectory
from fanlight.domain.image_archives import ImageArchives
from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.networks import Networks
from fanlight.domain.nimble.eulas import Eula
from fanlight.domain.objects import ObjectStore
from fanlight.domain.ports import ImageStore, InstanceDriver, UserStorage
from fanlight.domain.quotas import Quotas, UnknownQuota, read_quotas
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.unsent_files import SettingsLoss
from fanlight.domain.user_storage import StorageKind
from fanlight.drivers.agents import AgentSockets
from fanlight.drivers.s3 import S3Objects
from fanlight.drivers.storage import StorageConnection
from fanlight.eulas_file import EulasFileInvalid, read_eulas
from fanlight.file_systems_file import FileSystemsFileInvalid, read_file_systems
from fanlight.installation import INSTALLATION_ID, METRICS_TOKEN, NotInstallable, identity_of
from fanlight.networks_file import read_networks
from fanlight.reconcilers import Reconcilers, ReconcilerSettings
from fanlight.reconcilers.activities import Activities
from fanlight.reconcilers.autoscaler import Autoscaler, AutoscalerSettings
from fanlight.reconcilers.image_imports import ArchiveTools
from fanlight.reconcilers.image_requests import answer_image_requests
from fanlight.reconcilers.losses import Loss
from fanlight.services.agent_versions import AgentVersions
from fanlight.services.bundle import AppStreamServices
from fanlight.services.door_tokens import DoorTokens
from fanlight.services.image_catalogues import read_catalogues
from fanlight.services.image_files import ImageFiles
from fanlight.services.image_workshop import ImageWorkshop
from fanlight.store import Store, open_store

log = logging.getLogger(__name__)

# A built image appears in DescribeImages this soon; a look costs a few stat calls.
CATALOGUE_SWEEP_IN_SECONDS = 2.0


class SystemClock:
    """The wall clock, in aware UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


async def upgrade_database(settings: Settings) -> None:
    """Bring the database to this version's schema. Raises StoreTooNew, StoreUnavailable."""
    async with open_store(settings.effective_database_url) as store:
        await store.upgrade()


@dataclass(frozen=True, slots=True)
class _Parts:
    store: Store
    services: AppStreamServices
    reconcilers: Reconcilers
    autoscaler: Autoscaler
    agents: AgentSockets
    audit: AuditLog
    changes: SessionChanges
    storage: UserStorage | None


async def run_api(settings: Settings) -> None:
    """Serve the API and the control socket and run the reconcilers, until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        parts = await _assemble(settings, stack)
        await _keep_images(settings, parts.services)
        await _serve_api(settings, parts, stack)
        await _serve_control(settings, parts, stack)
        await _in_background(stack, _follow_images(settings, parts.services))
        await _in_background(stack, parts.reconcilers.run())
        await _in_background(stack, parts.autoscaler.run())
        await _in_background(stack, answer_image_requests(parts.agents, parts.services.image_requests))
        log.info("api serves", extra={"api": settings.api_url, "compute": settings.compute})
        await stop.wait()
        log.info("api stops")


async def _assemble(settings: Settings, stack: AsyncExitStack) -> _Parts:
    clock = SystemClock()
    store = await stack.enter_async_context(open_store(settings.effective_database_url))
    await store.upgrade()
    networks = read_networks(settings.networks_file, settings.incus_subnet)
    engine = await _engine(settings, networks, stack)
    driver, image_store, image_archives = engine.driver, engine.image_store, engine.image_archives
    objects = _objects(settings)
    agents = AgentSockets(settings.effective_run_dir, clock)
    stack.push_async_callback(agents.close_all)
    changes = SessionChanges()
    audit = AuditLog(settings.data_dir / "audit" / "audit.jsonl")
    stack.callback(audit.close)
    image_files = ImageFiles(settings.data_dir)
    installation = (settings.data_dir / INSTALLATION_ID).read_text().strip()
    signing_key = (settings.data_dir / "state" / "signing.key").read_bytes()
    workshop = ImageWorkshop(
        driver=driver,
        agents=agents,
        clock=clock,
        installation=installation,
        subnet_id=settings.image_update_subnet or "",
    )
    storage = _user_storage(settings, stack)
    reconcilers = Reconcilers(
        transactions=store.transactions,
        driver=driver,
        image_store=image_store,
        image_files=image_files,
        agents=agents,
        clock=clock,
        networks=networks,
        file_systems=_file_systems(settings),
        workshop=workshop,
        snapshots=engine.snapshots,
        archives=ArchiveTools(archives=image_archives, objects=objects, icons=image_files),
        storage=storage,
        door_tokens=DoorTokens(signing_key),
        settings=ReconcilerSettings(
            installation=installation,
            capacity_wait=timedelta(seconds=settings.capacity_wait_in_seconds),
            expired_sessions_kept=timedelta(seconds=settings.expired_sessions_kept_in_seconds),
            nimble_deleted_kept=timedelta(seconds=settings.nimble_deleted_kept_in_seconds),
            application_settings_limit_in_bytes=settings.application_settings_limit_in_mib * 2**20,
            home_folder_quota_in_bytes=quota * 2**20 if (quota := settings.home_folder_quota_in_mib) else None,
            unsent_files_kept=timedelta(hours=settings.unsent_files_kept_in_hours),
        ),
        session_changed=changes.notify,
        session_idled=changes.disconnect,
        files_lost=partial(_record_loss, audit),
    )
    services = AppStreamServices.build(
        transactions=store.transactions,
        clock=clock,
        wake=reconcilers.wake,
        image_files=image_files,
        signing_key=signing_key,
        known_endpoints=settings.endpoint_networks,
        drives=_drives(settings),
        portal_url=settings.portal_url,
        regions=settings.regions,
        quotas=_quotas(settings),
        objects=objects,
        image_archives=settings.image_archives,
        eulas=_eulas(settings),
        sizes_root_volumes=lambda: _enforces_disk_quota(driver),
        agent_versions=AgentVersions.below(settings.data_dir / "runtime") if settings.compute == "incus" else None,
        workshop=workshop,
    )
    if settings.bootstrap_access_key_id and settings.bootstrap_secret_access_key:
        await services.access_keys.ensure(
            settings.bootstrap_access_key_id, settings.bootstrap_secret_access_key, settings.account_id
        )
    autoscaler = Autoscaler(
        transactions=store.transactions,
        clock=clock,
        activities=Activities(store.transactions, clock, services.fleets.update),
        settings=AutoscalerSettings(metrics_kept=timedelta(seconds=settings.metrics_kept_in_seconds)),
    )
    return _Parts(store, services, reconcilers, autoscaler, agents, audit, changes, storage)


def _record_loss(audit: AuditLog, session: StreamingSession, lost: Loss) -> None:
    if isinstance(lost, SettingsLoss):
        audit.record_settings_loss(
            SettingsLost(
                session_id=session.session_id,
                account_id=session.scope.account_id,
                region=session.scope.region,
                stack_name=session.stack_name,
                user_id=session.user_id,
                why=lost,
            )
        )
        return
    audit.record_loss(
        FilesLost(
            session_id=session.session_id,
            account_id=session.scope.account_id,
            region=session.scope.region,
            stack_name=session.stack_name,
            user_id=session.user_id,
            count=lost.files,
            size_in_bytes=lost.size_in_bytes,
        )
    )


def _drives(settings: Settings) -> Collection[StorageKind]:
    """Return the kinds for whose providers there is a client. Its secret is the storage process's alone."""
    clients = {
        StorageKind.GOOGLE_DRIVE: settings.google_drive_client_id,
        StorageKind.ONE_DRIVE: settings.one_drive_client_id,
    }
    return frozenset(kind for kind, client_id in clients.items() if client_id)


async def _enforces_disk_quota(driver: InstanceDriver) -> bool:
    """Raises DriverUnavailable."""
    try:
        return driver.capabilities.enforces_disk_quota
    except DriverUnavailable:
        await driver.prepare()  # nobody has asked yet in this process
        return driver.capabilities.enforces_disk_quota


def _eulas(settings: Settings) -> tuple[Eula, ...]:
    """Raises NotInstallable when the file cannot be read, or says what cannot be."""
    try:
        return read_eulas(settings.nimble_eulas_file)
    except EulasFileInvalid as error:
        raise NotInstallable(str(error)) from None


def _file_systems(settings: Settings) -> tuple[SharedDirectory, ...]:
    """Raises NotInstallable when the file cannot be read, or says what cannot be."""
    try:
        return read_file_systems(settings)
    except FileSystemsFileInvalid as error:
        raise NotInstallable(str(error)) from None


def _quotas(settings: Settings) -> Quotas:
    """Raises NotInstallable when the setting names what does not exist."""
    try:
        return read_quotas(settings.quotas)
    except UnknownQuota as error:
        raise NotInstallable(f"--quotas: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    driver: InstanceDriver
    image_store: ImageStore
    image_archives: ImageArchives
    snapshots: InstanceSnapshots


async def _engine(settings: Settings, networks: Networks, stack: AsyncExitStack) -> _Engine:
    if settings.compute == "incus":
        from fanlight.drivers.incus.remote import ComputeConnection, RemoteDriver
        from fanlight.drivers.incus.remote_archives import RemoteImageArchives
        from fanlight.drivers.incus.remote_images import RemoteImageStore
        from fanlight.drivers.incus.remote_snapshots import RemoteSnapshots

        connection = ComputeConnection(settings.effective_run_dir)
        stack.push_async_callback(connection.close)
        return _Engine(
            driver=RemoteDriver(connection),
            image_store=RemoteImageStore(connection),
            image_archives=RemoteImageArchives(connection),
            snapshots=RemoteSnapshots(connection),
        )
    from fanlight.drivers.simulated import SimulatedDriver, SimulatedImageStore, SimulatedSnapshots, write_catalogues
    from fanlight.drivers.simulated.archives import SimulatedImageArchives

    write_catalogues(settings.data_dir / "images")
    images = SimulatedImageStore(settings.data_dir / "images")
    driver = SimulatedDriver(
        data_dir=settings.data_dir,
        run_dir=settings.effective_run_dir,
        images=images,
        boot_seconds=settings.boot_seconds,
        networks=networks,
        default_network=settings.incus_subnet,
    )
    await driver.prepare()
    stack.push_async_callback(driver.close)
    return _Engine(
        driver=driver,
        image_store=images,
        image_archives=SimulatedImageArchives(settings.data_dir / "simulated" / "archives", images),
        snapshots=SimulatedSnapshots(driver),
    )


def _user_storage(settings: Settings, stack: AsyncExitStack) -> UserStorage | None:
    """Return the storage process; None for the simulated engine, which has no instances that could mount anything."""
    if settings.compute == "simulated":
        return None
    connection = StorageConnection(settings.effective_run_dir)
    stack.push_async_callback(connection.close_connections)
    return connection


def _objects(settings: Settings) -> ObjectStore | None:
    """Return the S3 endpoint: the configured one, or our own, which the first key opens; None when there is none."""
    key_id, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    is_own = settings.s3_endpoint_url is None
    if is_own:
        key_id, secret = settings.bootstrap_access_key_id, settings.bootstrap_secret_access_key
    if not (key_id and secret) or (is_own and settings.compute == "simulated"):
        return None
    return S3Objects(
        endpoint_url=settings.effective_s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=key_id,
        secret_access_key=secret,
        # Our own has the portal's certificate, which is for another name than this host's loopback address.
        verify=False if is_own else os.environ.get("SSL_CERT_FILE") or True,
    )


async def _open_doors(storage: UserStorage | None) -> Mapping[StorageKind, int] | None:
    if storage is None:
        return None
    try:
        return Counter(kind for _, kind in await storage.doors())
    except StorageUnavailable:
        return None


async def _serve_api(settings: Settings, parts: _Parts, stack: AsyncExitStack) -> None:
    app = make_api_app(
        aws_services(),
        parts.services,
        parts.services.access_keys.find,
        ApiSettings(
            regions=settings.regions,
            max_clock_skew=timedelta(seconds=settings.max_clock_skew_in_seconds),
            trusted_proxies=settings.trusted_proxies,
            reads_per_second=settings.throttle_reads_per_second,
            writes_per_second=settings.throttle_writes_per_second,
        ),
        parts.audit,
        revision=parts.store.transactions.revision,
    )
    token = (settings.data_dir / METRICS_TOKEN).read_text().strip()
    metrics = parts.services.metrics
    doors = partial(_open_doors, parts.storage)
    add_metrics_page(app, token, metrics.current, metrics.unsent, lambda: parts.autoscaler.refused, doors=doors)
    runner = make_api_runner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(
        runner, settings.host, settings.api_port, ssl_context=_tls(settings), reuse_address=True, backlog=512
    ).start()


async def _serve_control(settings: Settings, parts: _Parts, stack: AsyncExitStack) -> None:
    def audit(session: StreamingSession, source_address: str) -> None:
        parts.audit.record_connection(
            Connection(
                event="connected" if session.connected_since else "disconnected",
                session_id=session.session_id,
                account_id=session.scope.account_id,
                region=session.scope.region,
                stack_name=session.stack_name,
                fleet_name=session.fleet_name,
                user_id=session.user_id,
                source_address=source_address,
            )
        )

    app = make_control_app(
        sessions=parts.services.sessions,
        transactions=parts.store.transactions,
        agents=parts.agents,
        changes=parts.changes,
        run_dir=settings.effective_run_dir,
        stream_uid_of=parts.reconcilers.stream_uid_of,
        heard=parts.reconcilers.heard,
        clock=SystemClock(),
        icons=parts.services.icons,
        connection_changed=audit,
        allowed_uids={0, identity_of(settings, "api").uid, identity_of(settings, "gateway").uid},
    )
    runner = await serve_control(app, settings.effective_run_dir / CONTROL_SOCKET_NAME)
    stack.push_async_callback(runner.cleanup)


async def _in_background(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run it until the stack closes. Should it ever end by an error, the process ends and is started again."""
    task = asyncio.create_task(work)
    task.add_done_callback(_end_process_on_error)

    stack.push_async_callback(end, task)


def _end_process_on_error(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        log.critical("a background task died; the process ends and is started again", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def _follow_images(settings: Settings, services: AppStreamServices) -> None:
    """Offer images soon after `fanlight images build` wrote their catalogues."""
    seen = await asyncio.to_thread(_catalogue_times, settings.data_dir / "images")
    while True:
        await asyncio.sleep(CATALOGUE_SWEEP_IN_SECONDS)
        now = await asyncio.to_thread(_catalogue_times, settings.data_dir / "images")
        if now != seen:
            try:
                await _keep_images(settings, services)
                seen = now
            except DomainError as error:
                log.warning("images cannot be listed now", extra={"why": str(error)})


async def _keep_images(settings: Settings, services: AppStreamServices) -> None:
    manifests, complaints = await asyncio.to_thread(read_catalogues, settings.data_dir / "images")
    for complaint in complaints:
        log.warning("an image catalogue is refused", extra={"why": complaint})
    await services.images.sync_public_images(manifests)


def _catalogue_times(directory: Path) -> dict[str, int]:
    times = {}
    for path in directory.glob("*/catalogue.json"):
        with suppress(OSError):
            times[str(path)] = path.stat().st_mtime_ns
    return times


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
