"""Alarms on the metrics of fleets. Their actions are scaling policies, and nothing else: Fanlight notifies nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from fanlight.domain.alarms import AlarmState, Comparison, MetricAlarm, MissingData
from fanlight.domain.errors import InvalidCombination, LimitExceeded, NotFound
from fanlight.domain.metric_statistics import check_statistic
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.domain.tags import check_tags
from fanlight.services.metrics import fleet_of
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.resource_tags import ResourceTags
from fanlight.services.scaling_policies import alarm_arn
from fanlight.services.scaling_records import MANY

MOST_ALARMS = 5000
PAGE_SIZE = 50
LONGEST_WINDOW = timedelta(days=7)
LONGEST_WINDOW_OF_SHORT_PERIODS = timedelta(days=1)
SHORT_PERIOD = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmWish:
    """What PutMetricAlarm says of an alarm on one metric; None takes the default."""

    name: str
    description: str | None = None
    metric_name: str
    namespace: str
    dimensions: Mapping[str, str]
    statistic: str
    is_percentile: bool = False
    period_in_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int | None = None
    threshold: float
    comparison: Comparison
    missing_data: MissingData | None = None
    unit: str | None = None
    actions_enabled: bool = True
    actions: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFilter:
    """What DescribeAlarms asks for; empty is everything."""

    names: Sequence[str] = ()
    prefix: str = ""
    state: AlarmState | None = None
    action_prefix: str = ""

    def fits(self, alarm: MetricAlarm) -> bool:
        return (
            (not self.names or alarm.name in self.names)
            and alarm.name.startswith(self.prefix)
            and self.state in (None, alarm.state)
            and (not self.action_prefix or any(arn.startswith(self.action_prefix) for arn in alarm.actions))
        )

    def asked(self) -> list[str]:
        return ["alarms", self.prefix, str(self.state), self.action_prefix, *self.names]


class AlarmService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens) -> None:
        self._transactions, self._clock, self._tokens = transactions, clock, tokens
        self.tags = ResourceTags(transactions, _check_arn, "alarm")

    async def put(self, scope: Scope, wish: AlarmWish) -> None:
        """Make an alarm or replace the one of that name, whose state stays. Raises InvalidCombination, LimitExceeded."""
        _check(wish)
        check_tags(wish.tags or {})
        now = self._clock.now()
        alarm = MetricAlarm(
            arn=alarm_arn(scope, wish.name),
            scope=scope,
            name=wish.name,
            description=wish.description,
            metric_name=wish.metric_name,
            namespace=wish.namespace,
            fleet_name=fleet_of(wish.namespace, wish.dimensions),
            dimensions=wish.dimensions,
            statistic=wish.statistic,
            is_percentile=wish.is_percentile,
            period=timedelta(seconds=wish.period_in_seconds),
            evaluation_periods=wish.evaluation_periods,
            datapoints_to_alarm=wish.datapoints_to_alarm or wish.evaluation_periods,
            says_datapoints_to_alarm=wish.datapoints_to_alarm is not None,
            threshold=wish.threshold,
            comparison=wish.comparison,
            missing_data=wish.missing_data or MissingData.MISSING,
            says_missing_data=wish.missing_data is not None,
            unit=wish.unit,
            actions_enabled=wish.actions_enabled,
            actions=wish.actions,
            state_updated_at=now,
            state_changed_at=now,
            configured_at=now,
        )
        async with self._transactions.begin(write=True) as work:
            await _check_actions(work, scope, wish.actions)
            present = await work.alarms.named(scope, [wish.name])
            if present:
                before = present[0]
                await work.alarms.save(
                    replace(
                        alarm,
                        version=before.version,
                        tracked_policy=before.tracked_policy,
                        state=before.state,
                        state_reason=before.state_reason,
                        state_reason_data=before.state_reason_data,
                        state_updated_at=before.state_updated_at,
                        state_changed_at=before.state_changed_at,
                    )
                )
            else:
                if len(await work.alarms.page(scope, limit=MOST_ALARMS)) >= MOST_ALARMS:
                    raise LimitExceeded(f"An account may have at most {MOST_ALARMS} alarms in a region.")
                await work.alarms.add(alarm)
                # As the service does: the tags of an alarm that is there already are changed by TagResource alone.
                await self.tags.put(work, alarm.arn, wish.tags or {})
            await work.commit()

    async def describe(
        self, scope: Scope, wanted: AlarmFilter, *, limit: int = PAGE_SIZE, next_token: str | None = None
    ) -> tuple[Sequence[MetricAlarm], str | None]:
        """Return one page of alarms by name, and the token of the next. Raises InvalidPageToken."""
        asked = wanted.asked()
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            alarms = await work.alarms.page(scope, after=after, limit=MANY)
        page, has_more = cut([alarm for alarm in alarms if wanted.fits(alarm)], limit)
        return page, self._tokens.issue(scope, asked, page[-1].name) if has_more else None

    async def of_metric(self, scope: Scope) -> Sequence[MetricAlarm]:
        """Return all alarms of an account and region."""
        async with self._transactions.begin() as work:
            return await work.alarms.page(scope, limit=MANY)

    async def delete(self, scope: Scope, names: Sequence[str]) -> None:
        """Remove alarms; all of them or, when one is missing, none. Raises NotFound."""
        async with self._transactions.begin(write=True) as work:
            alarms = {alarm.name: alarm for alarm in await work.alarms.named(scope, list(dict.fromkeys(names)))}
            for name in names:
                if name not in alarms:
                    raise NotFound("alarm", name)
            for alarm in alarms.values():
                await work.alarms.remove(alarm)
                await work.tags.drop(alarm.arn)
            await work.commit()

    async def enable_actions(self, scope: Scope, names: Sequence[str], *, are_enabled: bool) -> None:
        """Let alarms act, or keep them from it. Names without an alarm are success."""
        async with self._transactions.begin(write=True) as work:
            for alarm in await work.alarms.named(scope, list(dict.fromkeys(names))):
                await work.alarms.save(replace(alarm, actions_enabled=are_enabled, configured_at=self._clock.now()))
            await work.commit()

    async def set_state(self, scope: Scope, name: str, state: AlarmState, reason: str, reason_data: str | None) -> None:
        """Put an alarm into a state until its next evaluation says otherwise. Raises NotFound."""
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            alarms = await work.alarms.named(scope, [name])
            if not alarms:
                raise NotFound("alarm", name)
            alarm = alarms[0]
            await work.alarms.save(
                replace(
                    alarm,
                    state=state,
                    state_reason=reason,
                    state_reason_data=reason_data or "",
                    state_updated_at=now,
                    state_changed_at=now if state is not alarm.state else alarm.state_changed_at,
                )
            )
            await work.commit()


def _check(wish: AlarmWish) -> None:
    check_statistic(wish.statistic)
    period = timedelta(seconds=wish.period_in_seconds)
    if wish.period_in_seconds % 60:
        raise InvalidCombination(
            f"Period is {wish.period_in_seconds}; it must be a multiple of 60: fleets have one datum a minute."
        )
    longest = LONGEST_WINDOW if period >= SHORT_PERIOD else LONGEST_WINDOW_OF_SHORT_PERIODS
    if period * wish.evaluation_periods > longest:
        raise InvalidCombination(
            "Metrics cannot be checked across more than a day, or a week with periods of an hour and longer: "
            "EvaluationPeriods multiplied by Period must not be above that."
        )
    if (wish.datapoints_to_alarm or 0) > wish.evaluation_periods:
        raise InvalidCombination("DatapointsToAlarm must not be greater than EvaluationPeriods.")


async def _check_actions(work: UnitOfWork, scope: Scope, actions: Sequence[str]) -> None:
    if not actions:
        return
    known = {policy.arn for policy in await work.scaling_policies.page(scope, limit=MANY)}
    for arn in actions:
        if arn not in known:
            raise InvalidCombination(
                f"The action {arn} is not available: an alarm can act on a scaling policy of this account and region, "
                "by its ARN, and on nothing else."
            )


async def _check_arn(work: UnitOfWork, scope: Scope, arn: str) -> None:
    prefix = alarm_arn(scope, "")
    if not arn.startswith(prefix) or not await work.alarms.named(scope, [arn.removeprefix(prefix)]):
        raise NotFound("alarm", arn)
