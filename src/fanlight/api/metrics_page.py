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
from fanlight.domain.user_storage import StorageKind
from fanlight.services.metrics import UnsentObservation

PATH = "/metrics"
LABELS = ("account_id", "region", "fleet")
_COUNTED = "InsufficientCapacityError"

_UNSENT: Sequence[tuple[str, str, Callable[[UnsentObservation], int]]] = (
    ("unsent_sessions", "Ended sessions whose instances still send what users saved", lambda one: one.sessions),
    ("unsent_files", "Files that those sessions have still to send", lambda one: one.waiting.files),
    ("unsent_bytes", "The size of those files", lambda one: one.waiting.size_in_bytes),
    ("lost_files", "Files that were given up and whose users have not been told yet", lambda one: one.lost.files),
)

Observe = Callable[[], Awaitable[Sequence[FleetObservation]]]
ObserveUnsent = Callable[[], Awaitable[Sequence[UnsentObservation]]]
Refused = Callable[[], Mapping[tuple[Scope, str], int]]
ObserveDoors = Callable[[], Awaitable[Mapping[StorageKind, int] | None]]


def add_metrics_page(
    app: web.Application, token: str, observe: Observe, unsent: ObserveUnsent, refused: Refused, *, doors: ObserveDoors
) -> None:
    """Serve the page to whoever has the token.

    `observe` says what every fleet shows now, `unsent` what ended sessions have not sent, `refused` how many sessions each refused since the process began.
    `doors` counts the ways to users' files that are open, None: nobody knows at the moment.
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
        body = exposition(await observe(), await unsent(), refused(), await doors())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Server": "Fanlight"})

    app.router.add_get(PATH, page)


def exposition(
    seen: Sequence[FleetObservation],
    unsent: Sequence[UnsentObservation],
    refused: Mapping[tuple[Scope, str], int],
    doors: Mapping[StorageKind, int] | None,
) -> bytes:
    """Return the page: one gauge for each metric of CloudWatch's, a counter of refused sessions, and what was not sent."""

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
            for name, meaning, value_of in _UNSENT:
                files = GaugeMetricFamily(f"fanlight_{name}", meaning, labels=LABELS[:2])
                for place in unsent:
                    files.add_metric([place.scope.account_id, place.scope.region], value_of(place))
                yield files
            yield from _open_doors(doors)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fleets())
    return generate_latest(registry)


def _open_doors(doors: Mapping[StorageKind, int] | None) -> Iterator[GaugeMetricFamily]:
    if doors is None:
        return
    meaning = "Ways of instances to the files of their sessions' users that are open"
    gauge = GaugeMetricFamily("fanlight_open_storage_doors", meaning, labels=("connector",))
    for kind in StorageKind:
        gauge.add_metric([kind], doors.get(kind, 0))
    yield gauge


def _labels(scope: Scope, fleet_name: str) -> list[str]:
    return [scope.account_id, scope.region, fleet_name]


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")
