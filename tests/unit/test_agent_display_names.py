"""Which display names the agent holds, and whose numbers seats get."""

from dataclasses import dataclass, field

from fanlight.agent.display_names import AHEAD, DisplayNames


@dataclass
class Names:
    """The namespace of an instance: who sits where. `others` are taken by somebody else."""

    others: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)

    def hold(self, number: int) -> "Name | None":
        if number in self.others | self.held:
            return None
        self.held.add(number)
        return Name(self, number)


@dataclass
class Name:
    names: Names
    number: int

    def close(self) -> None:
        self.names.held.remove(self.number)


def test_names_are_held_long_before_their_seats_and_until_they_are_gone() -> None:
    names = Names()
    numbers = DisplayNames(names.hold, is_shared=True, limit=1_000)
    assert names.held == set(range(AHEAD))
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    assert names.held == set(range(AHEAD + 2))
    numbers.release(1)
    assert names.held == set(range(AHEAD + 2)) - {1}


def test_a_name_that_a_program_sits_on_is_passed_over() -> None:
    names = Names(others={AHEAD, AHEAD + 1})
    numbers = DisplayNames(names.hold, is_shared=True, limit=AHEAD + 3)
    assert list(numbers) == [*range(AHEAD), AHEAD + 2]


def test_an_instance_for_one_session_needs_one_name() -> None:
    names = Names()
    assert next(DisplayNames(names.hold, is_shared=False, limit=1_000)) == 0
    assert names.held == {0}
