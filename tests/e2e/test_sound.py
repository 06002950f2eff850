"""A tone played in the instance comes out of the browser's loudspeaker."""

from collections.abc import Callable

import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import wait_for
from e2e.instances import USER_HOME, Instances
from e2e.sounds import LISTEN_SCRIPT, tone

pytestmark = [pytest.mark.incus, pytest.mark.browser]

PULSE_SERVER = "unix:/run/pulse/0/native"
QUIETEST_LEVEL_IN_DB = -40.0


@pytest.mark.parametrize("frequency_in_hz", [440.0])
def test_a_tone_played_in_the_instance_is_heard_in_the_browser(
    frequency_in_hz: float,
    fleet: str,
    administrator: Administrator,
    instances: Instances,
    new_visitor: Callable[..., Visitor],
) -> None:
    ada = new_visitor()
    ada.open(administrator.url(fleet, "sound-ada", "text-editor"))
    ada.wait_for_picture()
    ada.click_stream()  # browsers play nothing before a person does something
    instance = administrator.instance_of(fleet, "sound-ada")
    instances.write(instance, f"{USER_HOME}/tone.wav", tone(frequency_in_hz, seconds=6))
    heard: list[float] = []

    def hears_it() -> bool:
        found = ada.stream.evaluate(LISTEN_SCRIPT) if ada.stream else None
        if found and found[1] > QUIETEST_LEVEL_IN_DB:
            heard.append(found[0])
        return bool(heard) and abs(heard[-1] - frequency_in_hz) < 5

    assert not hears_it(), "silence before the tone"
    played = instances.run(
        instance,
        *("sh", "-c", f"PULSE_SERVER={PULSE_SERVER} paplay {USER_HOME}/tone.wav >/tmp/paplay.log 2>&1 & echo started"),
        as_user=True,
    )
    assert played.returncode == 0, played.stderr
    wait_for(hears_it, timeout=10, what=f"a tone of {frequency_in_hz} Hz; heard {heard}", interval=0.2)
