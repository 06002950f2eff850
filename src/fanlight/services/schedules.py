"""When scheduled actions run: at, rate and cron expressions as the service writes them, in a time zone.

A cron expression has six fields, counts the days of the week from 1 (Sunday) and has a year; the library that computes
it has neither, so an expression is translated first. Where the clocks change, the library follows Debian's cron: what
falls into the skipped hour runs right after it, what falls into the doubled hour runs once.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from fanlight.domain.errors import InvalidCombination

_FORMATS = "at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(minutes hours day-of-month month day-of-week year)"
_AT = re.compile(r"at\((\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?)\)")
_RATE = re.compile(r"rate\(\s*([1-9]\d{0,5})\s+(minute|hour|day)s?\s*\)")
_CRON = re.compile(r"cron\((.+)\)")
_CRON_FIELDS = 6
_WEEKDAYS = re.compile(r"(?<![#\d/])([1-7])(?![\d])")
_NO_DAY = re.compile(r"(?<![#\d/])0(?!\d)")
_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIRST_YEAR, _LAST_YEAR = 1970, 2199

NextAfter = Callable[[datetime], datetime | None]


def next_run(
    schedule: str,
    timezone: str | None,
    *,
    after: datetime,
    created_at: datetime,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> datetime | None:
    """Return the first run later than `after` and within the bounds, None when there is none any more.

    Rates count from `starts_at`, without one from `created_at`. Raises InvalidCombination for what is no schedule.
    """
    zone = _zone(timezone)
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise InvalidCombination("StartTime must be earlier than EndTime.")
    # The beginning belongs to the time in which the action runs, the end does too.
    earliest = after if starts_at is None else max(after, starts_at - timedelta(microseconds=1))
    due = _rule(schedule, zone, starts_at or created_at)(earliest)
    return None if due is None or (ends_at is not None and due > ends_at) else due


def _rule(schedule: str, zone: tzinfo, rate_begins_at: datetime) -> NextAfter:
    if found := _AT.fullmatch(schedule):
        return _at(found[1], zone)
    if found := _RATE.fullmatch(schedule):
        interval = timedelta(**{f"{found[2]}s": int(found[1])})
        return lambda after: rate_begins_at + max(((after - rate_begins_at) // interval) + 1, 1) * interval
    if found := _CRON.fullmatch(schedule):
        return _cron(schedule, found[1].split(), zone)
    raise InvalidCombination(f"The schedule {schedule} is not valid. Write {_FORMATS}.")


def _zone(name: str | None) -> tzinfo:
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise InvalidCombination(
            f"The time zone {name} is not known. Use an IANA name such as Europe/Berlin."
        ) from None


def _at(text: str, zone: tzinfo) -> NextAfter:
    try:
        due = datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidCombination(f"The time {text} does not exist. Write {_FORMATS}.") from None
    return lambda after: due if due > after else None


def _cron(schedule: str, fields: list[str], zone: tzinfo) -> NextAfter:
    if len(fields) != _CRON_FIELDS:
        raise InvalidCombination(f"The schedule {schedule} has {len(fields)} fields, not six. Write {_FORMATS}.")
    minutes, hours, day, month, weekday, year = (field.upper() for field in fields)
    if (day == "?") == (weekday == "?"):
        raise InvalidCombination(
            f"The schedule {schedule} is not valid: exactly one of day-of-month and day-of-week must be a question mark."
        )
    years = _years(schedule, year)
    expression = " ".join((minutes, hours, day.replace("?", "*"), month, _weekday(weekday)))
    try:
        CronSim(expression, datetime(_FIRST_YEAR, 1, 1, tzinfo=zone))
    except CronSimError as error:
        raise InvalidCombination(f"The schedule {schedule} is not valid: {error}.") from None

    def next_after(after: datetime) -> datetime | None:
        moment = after.astimezone(zone)
        # Each round ends in a later year of the expression, so there are at most as many as years.
        for wanted in sorted(y for y in years if y >= moment.year):
            start = max(moment, datetime(wanted, 1, 1, tzinfo=zone) - timedelta(seconds=1))
            due: datetime | None = next(CronSim(expression, start), None)
            if due is None:
                return None
            if due.year == wanted:
                return due.astimezone(UTC)
        return None

    return next_after


def _weekday(field: str) -> str:
    """Translate days 1 to 7, Sunday first, to the 0 to 6 of cron. What follows a # or a / is a number of its own."""
    if field == "?":
        return "*"
    if field == "L":
        return "6"
    for number, name in enumerate(_NAMES, start=1):
        field = field.replace(name, str(number))
    # What counts from 0 elsewhere counts from 1 here, so a 0 is a mistake, and an 8 makes the library say so.
    field = _NO_DAY.sub("8", field)
    return _WEEKDAYS.sub(lambda found: str(int(found[1]) - 1), field)


def _years(schedule: str, field: str) -> range | set[int]:
    """Return the years of a field such as *, 2027, 2027-2030, 2027/2 or several of them. Raises InvalidCombination."""
    if field == "*":
        return range(_FIRST_YEAR, _LAST_YEAR + 1)
    years: set[int] = set()
    for term in field.split(","):
        found = re.fullmatch(r"(?:(\d{4})(?:-(\d{4}))?|\*)(?:/([1-9]\d{0,3}))?", term)
        if found is None:
            raise InvalidCombination(f"The schedule {schedule} is not valid: its year must be like 2027 or *.")
        first = int(found[1] or _FIRST_YEAR)
        last = int(found[2]) if found[2] else (_LAST_YEAR if found[3] or not found[1] else first)
        years.update(takewhile(lambda y, last=last: y <= last, count(first, int(found[3] or 1))))  # type: ignore[misc]
    if not years or min(years) < _FIRST_YEAR or max(years) > _LAST_YEAR:
        raise InvalidCombination(
            f"The schedule {schedule} is not valid: its years must lie between {_FIRST_YEAR} and {_LAST_YEAR}."
        )
    return years
