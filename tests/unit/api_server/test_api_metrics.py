"""The page that Prometheus scrapes: who may read it, and whether a Prometheus parser understands it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import parser

from fanlight.api.metrics_page import add_metrics_page, exposition
from fanlight.domain.fleet_metrics import FleetObservation, SessionSlots
from fanlight.domain.places import Scope
from fanlight.domain.unsent_files import UnsentFiles
from fanlight.domain.user_storage import StorageKind
from fanlight.services.metrics import UnsentObservation

SCOPE = Scope("000000000000", "us-east-1")
CAD = FleetObservation(
    scope=SCOPE,
    fleet_name="cad",
    at=datetime(2026, 3, 29, tzinfo=UTC),
    is_always_on=True,
    available=1,
    in_use=3,
    pending=2,
)


def samples(page: bytes) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["fleet"]): sample.value
        for family in parser.text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_the_page_has_every_metric_that_a_fleet_has() -> None:
    shared = replace(CAD, fleet_name="shared", slots=SessionSlots(available=2, active=6))
    found = samples(exposition([CAD, shared], (), {(SCOPE, "cad"): 7}, None))
    assert {name: value for (name, fleet), value in found.items() if fleet == "cad"} == {
        "fanlight_fleet_actual_capacity": 4,
        "fanlight_fleet_available_capacity": 1,
        "fanlight_fleet_capacity_utilization_percent": 75,
        "fanlight_fleet_desired_capacity": 6,
        "fanlight_fleet_in_use_capacity": 3,
        "fanlight_fleet_pending_capacity": 2,
        "fanlight_fleet_running_capacity": 4,
        "fanlight_fleet_insufficient_capacity_errors_total": 7,
    }
    assert found["fanlight_fleet_active_user_session_capacity", "shared"] == 6
    assert found["fanlight_fleet_capacity_utilization_percent", "shared"] == 75


def test_what_ended_sessions_have_not_sent_is_told_by_account_and_region() -> None:
    waiting = UnsentFiles(files=3, size_in_bytes=3_000)
    lost = UnsentFiles(files=2, size_in_bytes=9, are_lost=True)
    page = exposition([], [UnsentObservation(scope=SCOPE, sessions=1, waiting=waiting, lost=lost)], {}, None)
    families = parser.text_string_to_metric_families(page.decode())
    found = {sample.name: (sample.labels, sample.value) for family in families for sample in family.samples}
    labels = {"account_id": SCOPE.account_id, "region": SCOPE.region}
    assert found == {
        "fanlight_unsent_sessions": (labels, 1),
        "fanlight_unsent_files": (labels, 3),
        "fanlight_unsent_bytes": (labels, 3_000),
        "fanlight_lost_files": (labels, 2),
    }


def test_the_page_tells_how_many_doors_are_open_while_that_is_known() -> None:
    page = exposition([], (), {}, {StorageKind.HOMEFOLDERS: 2}).decode()
    assert 'fanlight_open_storage_doors{connector="HOMEFOLDERS"} 2.0' in page.splitlines()
    assert 'fanlight_open_storage_doors{connector="ONE_DRIVE"} 0.0' in page.splitlines()
    assert "open_storage_doors" not in exposition([], (), {}, None).decode()


def test_a_fleet_s_name_cannot_forge_a_line() -> None:
    evil = 'x"} 1\nfanlight_fleet_actual_capacity{fleet="forged"} 99'
    found = samples(exposition([replace(CAD, fleet_name=evil)], (), {}, None))
    assert {fleet for _, fleet in found} == {evil}


async def everything_else(request: web.Request) -> web.Response:
    return web.Response(text=f"not the page: {request.path}")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The page beside a route that takes everything, as the API's listener has one."""

    async def observe() -> list[FleetObservation]:
        return [CAD]

    async def nothing_unsent() -> list[UnsentObservation]:
        return []

    async def no_doors() -> None:
        return None

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", everything_else)
    add_metrics_page(app, "token-of-the-test", observe, nothing_unsent, dict, doors=no_doors)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_only_who_has_the_token_reads_it(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic dG9rZW4tb2YtdGhlLXRlc3Q="},
        ):
            async with http.get(f"{url}/metrics", headers=headers) as refused:
                assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert "fanlight_fleet" not in await refused.text()
        async with http.get(f"{url}/metrics", headers={"Authorization": "Bearer token-of-the-test"}) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert samples(await answer.read())["fanlight_fleet_in_use_capacity", "cad"] == 3
        async with http.get(f"{url}/metrics/more") as other:
            assert await other.text() == "not the page: /metrics/more"


async def test_a_token_of_broken_bytes_is_a_wrong_one(url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\nConnection: close\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.close()
