"""The metrics of fleets as CloudWatch gives them: typed request → metric service → typed result."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from fanlight.api.registry import operation
from fanlight.api.types import cloudwatch as types
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import DomainError, InvalidCombination, InvalidPageToken, NotSupported
from fanlight.domain.fleet_metrics import DIMENSION, METRICS, NAMESPACE
from fanlight.domain.metric_statistics import STATISTICS, Datapoint, check_statistic, statistic
from fanlight.domain.places import Scope
from fanlight.services import AppStreamServices
from fanlight.services.metrics import MetricFilter, fleet_of

MOST_DATAPOINTS_OF_STATISTICS = 1440
MOST_DATAPOINTS = 100_800
MOST_QUERIES = 500
LONGEST_READ_IN_DAYS = 15  # older data exist only where the operator keeps them for longer
# What one request may read: a day of 150 fleets, or the whole retention of ten. It is a second of work.
MOST_MINUTES_READ = 220_000


class InvalidValue(DomainError):
    """One parameter has a value that it must not have."""


@operation(
    "ListMetrics",
    raises=(InvalidPageToken,),
    note="Metrics of fleets that exist and have data. There are no linked accounts.",
)
async def list_metrics(
    request: types.ListMetricsInput, caller: Caller, services: AppStreamServices
) -> types.ListMetricsResult:
    if request.owning_account not in (None, caller.account_id):
        return types.ListMetricsResult(metrics=())
    wanted = MetricFilter(
        namespace=request.namespace,
        metric_name=request.metric_name,
        dimensions=[(condition.name, condition.value) for condition in request.dimensions or ()],
        is_recently_active=request.recently_active is not None,
    )
    page, token = await services.metrics.list(caller.scope, wanted, next_token=request.next_token)
    return types.ListMetricsResult(
        metrics=tuple(
            types.Metric(
                namespace=NAMESPACE,
                metric_name=metric.name,
                dimensions=(types.Dimension(name=DIMENSION, value=metric.fleet_name),),
            )
            for metric in page
        ),
        next_token=token,
        owning_accounts=tuple(caller.account_id for _ in page) if request.include_linked_accounts else None,
    )


@operation(
    "GetMetricStatistics",
    raises=(InvalidValue, InvalidCombination),
    note="Extended statistics are percentiles (p0 to p100). Data points have the period that is asked for, however old.",
)
async def get_metric_statistics(
    request: types.GetMetricStatisticsInput, caller: Caller, services: AppStreamServices
) -> types.GetMetricStatisticsResult:
    _check_times(request.start_time, request.end_time)
    period = _period(request.period)
    asked = -(-(request.end_time - request.start_time) // period)
    if asked > MOST_DATAPOINTS_OF_STATISTICS:
        raise InvalidCombination(
            f"You have requested up to {asked:,} datapoints, which exceeds the limit of "
            f"{MOST_DATAPOINTS_OF_STATISTICS:,}. You may reduce the datapoints requested by increasing Period, or "
            "decreasing the time range."
        )
    plain = {one.value for one in request.statistics or ()}
    extended = tuple(request.extended_statistics or ())
    if bool(plain) == bool(extended):
        raise InvalidCombination("Give either Statistics or ExtendedStatistics.")
    for name in extended:
        _check_statistic(name)
    points = await _points(
        services,
        caller.scope,
        types.Metric(namespace=request.namespace, metric_name=request.metric_name, dimensions=request.dimensions),
        (request.start_time, request.end_time, period),
        request.unit,
    )
    return types.GetMetricStatisticsResult(
        label=request.metric_name,
        datapoints=tuple(_shown_point(point, plain, extended, request.metric_name) for point in points),
    )


@operation(
    "GetMetricData",
    raises=(InvalidPageToken, InvalidCombination),
    refuses={"LabelOptions": "labels have no dynamic parts here, so there are no times in them to have a zone"},
    limits={
        "MetricDataQueries.Expression": "there is no metric math.",
        "MetricDataQueries.Label": "one with dynamic parts (${MAX}) is refused.",
        "MetricDataQueries.Period": "it belongs to expressions; MetricStat has its own.",
        "MetricDataQueries.AccountId": "there are no linked accounts.",
    },
)
async def get_metric_data(
    request: types.GetMetricDataInput, caller: Caller, services: AppStreamServices
) -> types.GetMetricDataResult:
    if request.start_time >= request.end_time:
        raise InvalidCombination("The parameter StartTime must be less than the parameter EndTime.")
    _check_queries(request.metric_data_queries, caller)
    _check_work(request)
    most = MOST_DATAPOINTS if request.max_datapoints is None else request.max_datapoints
    if not 1 <= most <= MOST_DATAPOINTS:
        raise InvalidCombination(f"MaxDatapoints is {most}; it must be between 1 and {MOST_DATAPOINTS}.")
    results = [
        await _result(services, caller.scope, query, request)
        for query in request.metric_data_queries
        if query.return_data is not False
    ]
    return _page(results, most, request, caller.scope, services)


def _page(
    results: Sequence[types.MetricDataResult],
    most: int,
    request: types.GetMetricDataInput,
    scope: Scope,
    services: AppStreamServices,
) -> types.GetMetricDataResult:
    """Return `most` data points from where the token says; results that are cut are partial."""
    asked = ["metric data", *(query.id for query in request.metric_data_queries)]
    skipped = int(services.metrics.tokens.read(scope, asked, request.next_token) or 0)
    first, end, shown, at = skipped, skipped + most, [], 0
    for result in results:
        values, timestamps = result.values or (), result.timestamps or ()
        start, stop = max(first - at, 0), max(end - at, 0)
        is_here = at + len(values) > first or (not values and at >= first)
        if is_here and at < end:
            status = types.StatusCode.PartialData if stop < len(values) else types.StatusCode.Complete
            shown.append(
                replace(result, values=values[start:stop], timestamps=timestamps[start:stop], status_code=status)
            )
        at += len(values)
    token = services.metrics.tokens.issue(scope, asked, str(end)) if at > end else None
    return types.GetMetricDataResult(metric_data_results=tuple(shown), next_token=token)


async def _result(
    services: AppStreamServices, scope: Scope, query: types.MetricDataQuery, request: types.GetMetricDataInput
) -> types.MetricDataResult:
    stat = query.metric_stat
    assert stat is not None  # noqa: S101 - checked by `_check_queries`
    points = await _points(
        services,
        scope,
        stat.metric,
        (request.start_time, request.end_time, timedelta(seconds=stat.period)),
        stat.unit,
    )
    if request.scan_by is not types.ScanBy.TimestampAscending:
        points = points[::-1]
    return types.MetricDataResult(
        id=query.id,
        label=query.label or stat.metric.metric_name,
        timestamps=tuple(point.at for point in points),
        values=tuple(statistic(stat.stat, point.values) for point in points),
    )


async def _points(
    services: AppStreamServices,
    scope: Scope,
    metric: types.Metric,
    span: tuple[datetime, datetime, timedelta],
    unit: types.StandardUnit | None,
) -> Sequence[Datapoint]:
    start, end, period = span
    known = METRICS.get(metric.metric_name or "")
    fleet_name = fleet_of(metric.namespace or "", {d.name: d.value for d in metric.dimensions or ()})
    if known is None or fleet_name is None or unit not in (None, types.StandardUnit(known.unit)):
        return ()
    return await services.metrics.series(scope, fleet_name, known.name, start=start, end=end, period=period)


def _check_queries(queries: Sequence[types.MetricDataQuery], caller: Caller) -> None:
    if not 1 <= len(queries) <= MOST_QUERIES:
        raise InvalidCombination(f"A request has 1 to {MOST_QUERIES} MetricDataQueries, not {len(queries)}.")
    ids = [query.id for query in queries]
    if len(set(ids)) < len(ids):
        raise InvalidCombination("The Id of each of the MetricDataQueries must be unique.")
    for query in queries:
        _check_query(query, caller)


def _check_query(query: types.MetricDataQuery, caller: Caller) -> None:
    if query.expression is not None:
        raise NotSupported(f"The expression of {query.id} is not available: ask for MetricStat, and compute yourself.")
    if query.metric_stat is None:
        raise InvalidCombination(f"The query {query.id} has neither MetricStat nor Expression.")
    if query.period is not None:
        raise InvalidCombination(f"The Period of {query.id} belongs to expressions. Give MetricStat.Period alone.")
    if "${" in (query.label or ""):
        raise NotSupported(f"The Label of {query.id} has dynamic parts, which are not available. Give a plain text.")
    if query.account_id not in (None, caller.account_id):
        raise NotSupported(f"The query {query.id} names another account, and there are no linked accounts.")
    if not query.id[0].islower() or not query.id.replace("_", "a").isalnum():
        raise InvalidCombination(
            f"The Id {query.id} is not valid: letters, digits and underscores, the first one a lower case letter."
        )
    if query.metric_stat.period % 60:
        raise InvalidCombination(f"The Period of {query.id} must be a multiple of 60.")
    check_statistic(query.metric_stat.stat)


def _check_work(request: types.GetMetricDataInput) -> None:
    """Raise InvalidCombination for what would keep everybody else waiting."""
    span = request.end_time - request.start_time
    stats = [query.metric_stat for query in request.metric_data_queries if query.metric_stat is not None]
    points = sum(-(-span // timedelta(seconds=stat.period)) for stat in stats)
    minutes = len(stats) * min(span, timedelta(days=LONGEST_READ_IN_DAYS)) // timedelta(minutes=1)
    if points > MOST_DATAPOINTS or minutes > MOST_MINUTES_READ:
        raise InvalidCombination(
            f"The request asks for up to {points:,} data points out of {minutes:,} minutes of data; {MOST_DATAPOINTS:,} and "
            f"{MOST_MINUTES_READ:,} are the limits. Ask for fewer metrics or a shorter time at once."
        )


def _check_times(start: datetime, end: datetime) -> None:
    if start >= end:
        raise InvalidValue("The parameter StartTime must be less than the parameter EndTime.")


def _period(seconds: int) -> timedelta:
    if seconds % 60:
        raise InvalidValue("The parameter Period must be a multiple of 60: fleets have one datum a minute.")
    return timedelta(seconds=seconds)


def _check_statistic(name: str) -> None:
    if name in STATISTICS:
        raise InvalidValue(f"The value {name} for parameter ExtendedStatistics belongs to Statistics.")
    try:
        check_statistic(name)
    except InvalidCombination as error:
        raise InvalidValue(str(error)) from error


def _shown_point(point: Datapoint, plain: set[str], extended: Sequence[str], metric_name: str) -> types.Datapoint:
    def value(name: str) -> float | None:
        return statistic(name, point.values) if name in plain else None

    return types.Datapoint(
        timestamp=point.at,
        sample_count=value("SampleCount"),
        average=value("Average"),
        sum=value("Sum"),
        minimum=value("Minimum"),
        maximum=value("Maximum"),
        unit=types.StandardUnit(METRICS[metric_name].unit),
        extended_statistics={name: statistic(name, point.values) for name in extended} or None,
    )
