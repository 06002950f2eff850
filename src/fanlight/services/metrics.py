"""The metrics of fleets: which there are, and their data over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fanlight.domain.fleet_metrics import DIMENSION, METRICS, NAMESPACE, FleetObservation, Metric, minute_of
from fanlight.domain.fleets import Fleet, FleetType
from fanlight.domain.metric_statistics import Datapoint, Datum, in_periods
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions
from fanlight.domain.unsent_files import UnsentFiles, in_all
from fanlight.services.fleet_sights import observe_fleets
from fanlight.services.page_tokens import PageTokens, cut

PAGE_SIZE = 500
FLEETS_AT_A_TIME = 100
RECENTLY = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class ListedMetric:
    name: str
    fleet_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFilter:
    """What ListMetrics asks for; None is everything. `dimensions` are names with the value wanted, or None for any."""

    namespace: str | None = None
    metric_name: str | None = None
    dimensions: Sequence[tuple[str, str | None]] = ()
    is_recently_active: bool = False

    def fits_namespace(self) -> bool:
        return self.namespace in (None, NAMESPACE) and all(name == DIMENSION for name, _ in self.dimensions)

    def fits(self, metric: ListedMetric) -> bool:
        return self.metric_name in (None, metric.name) and all(
            value in (None, metric.fleet_name) for _, value in self.dimensions
        )

    def asked(self) -> list[str]:
        pairs = [f"{name}={value}" for name, value in self.dimensions]
        return ["metrics", str(self.namespace), str(self.metric_name), str(self.is_recently_active), *pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentObservation:
    """What ended sessions of one place have still to send, `lost` what was given up and no user was told of yet."""

    scope: Scope
    sessions: int
    waiting: UnsentFiles
    lost: UnsentFiles


class MetricService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens) -> None:
        self._transactions, self._clock, self.tokens = transactions, clock, tokens

    async def list(
        self, scope: Scope, wanted: MetricFilter, *, next_token: str | None = None
    ) -> tuple[Sequence[ListedMetric], str | None]:
        """Return one page of the metrics that have data, by fleet and name. Raises InvalidPageToken."""
        asked = wanted.asked()
        after_fleet, _, after_name = self.tokens.read(scope, asked, next_token).partition("/")
        if not wanted.fits_namespace():
            return (), None
        since = self._clock.now() - RECENTLY if wanted.is_recently_active else datetime.min.replace(tzinfo=UTC)
        found: list[ListedMetric] = []
        async with self._transactions.begin() as work:
            if after_fleet:
                found += _listed(await work.fleets.page(scope, names=[after_fleet], limit=1), wanted, after_name)
            while len(found) <= PAGE_SIZE:
                names = await work.observations.fleets_with_data(
                    scope, since=since, after=after_fleet, limit=FLEETS_AT_A_TIME
                )
                if not names:
                    break
                fleets = await work.fleets.page(scope, names=names, limit=len(names))
                found += _listed(sorted(fleets, key=lambda fleet: fleet.name), wanted)
                after_fleet = names[-1]
        page, has_more = cut(found, PAGE_SIZE)
        last = f"{page[-1].fleet_name}/{page[-1].name}" if has_more else ""
        return page, self.tokens.issue(scope, asked, last) if has_more else None

    async def unsent(self) -> Sequence[UnsentObservation]:
        """Return what has not arrived, of every account and region that has something."""
        async with self._transactions.begin() as work:
            ended = await work.sessions.unsent()
        of_scope: dict[Scope, list[UnsentFiles]] = {}
        for session in ended:
            if session.unsent is not None:
                of_scope.setdefault(session.scope, []).append(session.unsent)
        return [_unsent_of(scope, found) for scope, found in sorted(of_scope.items(), key=lambda each: str(each[0]))]

    async def current(self) -> Sequence[FleetObservation]:
        """Return what every fleet of every account shows now, STOPPED ones too; without refusals."""
        now = self._clock.now()
        async with self._transactions.begin() as work:
            return await observe_fleets(work, await work.fleets.everywhere(), now, since=now, until=now)

    async def series(
        self, scope: Scope, fleet_name: str, metric_name: str, *, start: datetime, end: datetime, period: timedelta
    ) -> Sequence[Datapoint]:
        """Return the periods that have data, the oldest first; what does not exist has none.

        Periods are counted from the whole minute of `start`.
        """
        metric = METRICS.get(metric_name)
        if metric is None:
            return ()
        start = minute_of(start)
        async with self._transactions.begin() as work:
            seen = await work.observations.of_fleet(scope, fleet_name, start, end)
        return in_periods(data_of(metric, seen), start, end, period)


def data_of(metric: Metric, seen: Sequence[FleetObservation]) -> list[Datum]:
    """Return the data of one metric; observations in which it is undefined give none."""
    return [Datum(one.at, value) for one in seen if (value := metric.value_of(one)) is not None]


def fleet_of(namespace: str, dimensions: Mapping[str, str]) -> str | None:
    """Return the fleet whose metric this is, None when no fleet's metric is called so."""
    return dimensions[DIMENSION] if namespace == NAMESPACE and set(dimensions) == {DIMENSION} else None


def _listed(fleets: Sequence[Fleet], wanted: MetricFilter, after_name: str = "") -> list[ListedMetric]:
    return [
        listed
        for fleet in fleets
        for name in sorted(METRICS)
        if name > after_name and _has(fleet, name) and wanted.fits(listed := ListedMetric(name, fleet.name))
    ]


def _has(fleet: Fleet, metric_name: str) -> bool:
    if "Session" in metric_name or metric_name.startswith("Drain"):
        is_for_it = fleet.max_sessions_per_instance is not None
    else:
        is_for_it = True
    return is_for_it and (fleet.fleet_type is FleetType.ALWAYS_ON or not metric_name.startswith("Running"))


def _unsent_of(scope: Scope, found: Sequence[UnsentFiles]) -> UnsentObservation:
    waiting = [each for each in found if not each.are_lost]
    return UnsentObservation(
        scope=scope,
        sessions=len(waiting),
        waiting=in_all(waiting) or UnsentFiles(),
        lost=in_all(each for each in found if each.are_lost) or UnsentFiles(),
    )
