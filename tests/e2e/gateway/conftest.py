"""A running gateway, a control plane and an instance that tests steer; short paths, for Unix sockets."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway_guests import PictureGuest, serving_guest
from gateway_rig import Rig, RunningGateway, SteerableControl, a_grant, serving_control, settings_for


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fl-gw-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def rig(directory: Path) -> AsyncIterator[Rig]:
    settings = settings_for(directory)
    guest, socket = PictureGuest(), directory / "stream.sock"
    control = SteerableControl(stream_socket=str(socket))
    control.grants = {"ada": a_grant("ada"), "bob": a_grant("bob"), "app": a_grant("app", application_id="editor")}
    async with serving_control(control, settings.effective_run_dir), serving_guest(guest.app(), socket):
        with RunningGateway(settings) as gateway:
            yield Rig(settings, control, guest, gateway, socket)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 is an address, and jars refuse those by default
    async with aiohttp.ClientSession(cookie_jar=jar) as client:
        yield client
