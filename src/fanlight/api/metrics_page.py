"""`GET /metrics` on the API listener: the metrics of all fleets of all accounts, as Prometheus scrapes them.

They tell the names of fleets and how many users they have, so the page wants the installation's metrics token. Access
keys cannot serve here: Prometheus signs no requests, and a key sees one account.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from fanlight.domain.fleet_metrics import METRICS, FleetObservation
from fanlight.domain.places import Scope

PATH = "/metrics"
LABELS = ("account_id", "region", "fleet")
_COUNTED = "InsufficientCapacityError"

Observe = Callable[[], Awaitable[Sequence[FleetObservation]]]
Refused = Callable[[], Mapping[tuple[Scope, str], int]]


def add_metrics_page(app: web.Application, token: str, observe: Observe, refused: Refused) -> None:
    """Serve the page to whoever has the token.

    `observe` says what every fleet shows now, `refused` how many sessions each refused since the process began.
    """

    async def page(request: web.Request) -> web.Response:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(errors="surrogateescape"), token.encode()
        ):
            return web.Response(
                status=401,
                text="Give the installation's metrics token: Authorization: Bearer <content of DATA_DIR/metrics.token>\n",
                headers={"WWW-Authenticate": "Bearer", "Server": "Fanlight"},
            )
        body = exposition(await observe(), refused())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Server": "Fanlight"})

    app.router.add_get(PATH, page)


def exposition(seen: Sequence[FleetObservation], refused: Mapping[tuple[Scope, str], int]) -> bytes:
    """Return the page: one gauge for each metric of CloudWatch's, and a counter of refused sessions."""

    class Fleets(Collector):
        def collect(self) -> Iterator[Any]:
            for metric in METRICS.values():
                if metric.name == _COUNTED:
                    continue
                unit = "_percent" if metric.unit == "Percent" else ""
                gauge = GaugeMetricFamily(f"fanlight_fleet_{_snake(metric.name)}{unit}", metric.meaning, labels=LABELS)
                for one in seen:
                    if (value := metric.value_of(one)) is not None:
                        gauge.add_metric(_labels(one.scope, one.fleet_name), value)
                yield gauge
            counter = CounterMetricFamily(
                f"fanlight_fleet_{_snake(_COUNTED)}s",
                f"{METRICS[_COUNTED].meaning}, since the process began; counted each full minute",
                labels=LABELS,
            )
            for one in seen:
                count = refused.get((one.scope, one.fleet_name), 0)
                counter.add_metric(_labels(one.scope, one.fleet_name), count)
            yield counter

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fleets())
    return generate_latest(registry)


def _labels(scope: Scope, fleet_name: str) -> list[str]:
    return [scope.account_id, scope.region, fleet_name]


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")
