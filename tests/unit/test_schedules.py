"""When scheduled actions run: at, rate and cron, over changes of the clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanlight.domain.errors import InvalidCombination
from fanlight.services.schedules import next_run

CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def runs(schedule: str, after: str, count: int = 1, timezone: str | None = None, **more: Any) -> list[str]:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = []
    for _ in range(count):
        due = next_run(schedule, timezone, after=moment, created_at=CREATED, **more)
        if due is None:
            break
        found.append(due.strftime("%Y-%m-%d %H:%M"))
        moment = due
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cron(0 9 * * ? *)", ["2026-03-02 09:00", "2026-03-03 09:00"]),
        ("cron(30 18 ? * MON-FRI *)", ["2026-03-02 18:30", "2026-03-03 18:30"]),
        ("cron(30 18 ? * 2-6 *)", ["2026-03-02 18:30", "2026-03-03 18:30"]),
        ("cron(0 0 ? * 1 *)", ["2026-03-08 00:00", "2026-03-15 00:00"]),
        ("cron(0 0 ? * SUN *)", ["2026-03-08 00:00", "2026-03-15 00:00"]),
        ("cron(0 0 ? * 7 *)", ["2026-03-07 00:00", "2026-03-14 00:00"]),
        ("cron(0 0 ? * L *)", ["2026-03-07 00:00", "2026-03-14 00:00"]),
        ("cron(0 8 ? * 6L *)", ["2026-03-27 08:00", "2026-04-24 08:00"]),
        ("cron(0 8 ? * FRIL *)", ["2026-03-27 08:00", "2026-04-24 08:00"]),
        ("cron(0 8 ? * 2#1 *)", ["2026-03-02 08:00", "2026-04-06 08:00"]),
        ("cron(0 0 L * ? *)", ["2026-03-31 00:00", "2026-04-30 00:00"]),
        ("cron(0/15 8 * * ? *)", ["2026-03-02 08:00", "2026-03-02 08:15"]),
        ("cron(0 0 1 1 ? 2027-2028)", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("cron(0 0 1 JAN ? 2028/2)", ["2028-01-01 00:00", "2030-01-01 00:00"]),
        ("cron(0 0 1 1 ? 2030,2040)", ["2030-01-01 00:00", "2040-01-01 00:00"]),
        ("at(2026-03-01T12:30:00)", ["2026-03-01 12:30"]),
        ("rate(1 day)", ["2026-03-02 12:00", "2026-03-03 12:00"]),
        ("rate(90 minutes)", ["2026-03-01 13:30", "2026-03-01 15:00"]),
        ("rate(12 hours)", ["2026-03-02 00:00", "2026-03-02 12:00"]),
    ],
)
def test_the_next_two_runs(schedule: str, expected: list[str]) -> None:
    assert runs(schedule, "2026-03-01T12:00", 2) == expected


def test_years_that_are_over_never_come_again() -> None:
    assert runs("cron(0 0 1 1 ? 2020-2026)", "2026-03-01T12:00", 2) == []
    assert runs("at(2026-03-01T11:59:59)", "2026-03-01T12:00") == []


class TestTimeZones:
    def test_a_time_of_day_follows_the_clock_of_its_zone(self) -> None:
        # Berlin leaves winter time on 29 March 2026.
        assert runs("cron(0 9 * * ? *)", "2026-03-28T00:00", 3, "Europe/Berlin") == [
            "2026-03-28 08:00",
            "2026-03-29 07:00",
            "2026-03-30 07:00",
        ]

    def test_what_falls_into_the_skipped_hour_runs_once_right_after_it(self) -> None:
        assert runs("cron(30 2 * * ? *)", "2026-03-28T12:00", 2, "Europe/Berlin") == [
            "2026-03-29 01:00",
            "2026-03-30 00:30",
        ]

    def test_what_falls_into_the_doubled_hour_runs_once(self) -> None:
        assert runs("cron(30 2 * * ? *)", "2026-10-24T12:00", 2, "Europe/Berlin") == [
            "2026-10-25 00:30",
            "2026-10-26 01:30",
        ]

    def test_at_is_a_local_time(self) -> None:
        assert runs("at(2026-07-01T08:00:00)", "2026-03-01T12:00", timezone="America/New_York") == ["2026-07-01 12:00"]

    @pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "", "\0"])
    def test_unknown_zones_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidCombination, match="time zone"):
            runs("cron(0 9 * * ? *)", "2026-03-01T12:00", timezone=name)


class TestBounds:
    def test_runs_lie_between_start_and_end(self) -> None:
        start, end = datetime(2026, 3, 5, 9, 0, tzinfo=UTC), datetime(2026, 3, 6, 9, 0, tzinfo=UTC)
        found = runs("cron(0 9 * * ? *)", "2026-03-01T12:00", 5, starts_at=start, ends_at=end)
        assert found == ["2026-03-05 09:00", "2026-03-06 09:00"]

    def test_a_rate_counts_from_its_start(self) -> None:
        start = datetime(2026, 3, 5, 9, 0, tzinfo=UTC)
        assert runs("rate(2 hours)", "2026-03-01T12:00", 2, starts_at=start) == ["2026-03-05 11:00", "2026-03-05 13:00"]

    def test_an_end_before_the_start_is_refused(self) -> None:
        with pytest.raises(InvalidCombination, match="StartTime"):
            runs("rate(1 day)", "2026-03-01T12:00", starts_at=CREATED, ends_at=CREATED - timedelta(days=1))


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "0 9 * * *",
        "cron(0 9 * * ?)",
        "cron(0 9 * * * *)",
        "cron(0 9 ? * ? *)",
        "cron(61 9 * * ? *)",
        "cron(0 9 15W * ? *)",
        "cron(0 9 * * ? 1800)",
        "cron(0 9 * * ? soon)",
        "cron(0 9 ? * 8 *)",
        "cron(0 9 ? * 0 *)",
        "cron(0 0 31 2 ? *)",
        "rate(0 days)",
        "rate(-1 days)",
        "rate(1 week)",
        "at(2026-02-30T12:00:00)",
        "at(tomorrow)",
    ],
)
def test_what_is_no_schedule_is_refused_in_words(schedule: str) -> None:
    with pytest.raises(InvalidCombination) as caught:
        runs(schedule, "2026-03-01T12:00")
    assert len(str(caught.value)) > 30
