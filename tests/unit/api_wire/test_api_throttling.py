"""Buckets of tokens: bursts, refills, and whose they are."""

from fanlight.api.protocol.errors import WireError
from fanlight.api.throttling import MOST_BUCKETS, Throttle


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def admitted(throttle: Throttle, operation: str, times: int, key: str = "AK") -> int:
    count = 0
    for _ in range(times):
        try:
            throttle.admit(key, operation)
        except WireError as error:
            assert (error.code, error.status) == ("ThrottlingException", 400)  # noqa: PT017 - it counts the others
        else:
            count += 1
    return count


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = Clock()
    throttle = Throttle(reads_per_second=5, now=clock)
    assert admitted(throttle, "DescribeFleets", 30) == 10
    clock.time += 1
    assert admitted(throttle, "ListTagsForResource", 30) == 5
    clock.time += 0.1
    assert admitted(throttle, "GetResources", 30) == 0
    clock.time += 3600
    assert admitted(throttle, "DescribeFleets", 30) == 10


def test_reads_writes_and_keys_have_buckets_of_their_own() -> None:
    throttle = Throttle(reads_per_second=1, writes_per_second=0.1, now=Clock())
    assert admitted(throttle, "DescribeFleets", 9) == 2
    assert admitted(throttle, "CreateStreamingURL", 9) == 1
    assert admitted(throttle, "DescribeFleets", 9, key="AK2") == 2


def test_without_a_rate_nothing_is_throttled_nor_kept() -> None:
    throttle = Throttle(now=Clock())
    assert admitted(throttle, "DescribeFleets", 1000) == 1000
    assert throttle._buckets == {}


def test_buckets_of_keys_that_are_gone_are_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(reads_per_second=1, now=clock)
    for number in range(MOST_BUCKETS):
        throttle.admit(f"AK{number}", "DescribeFleets")
    clock.time += 10
    throttle.admit("AK", "DescribeFleets")
    assert len(throttle._buckets) == 1
