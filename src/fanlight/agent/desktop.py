"""Display, sound, window manager and stream server of a seat: which programs, started how, ready when."""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from fanlight.agent import launchers, seats, wm
from fanlight.agent.accounts import Account, Seat
from fanlight.agent.processes import Processes, Program
from fanlight.agent.program_sockets import ProgramSocket
from fanlight.agent.screen import Screen
from fanlight.agent.services import Service
from fanlight.agent.stream import WARM
from fanlight.agentwire import RUNTIME_DIRECTORY

log = logging.getLogger(__name__)

# Bounds every later resize; memory is taken only for pixels that were ever drawn.
LARGEST_SCREEN = "4096x4096x24"
BACKGROUND = 0x3A4A5E
POLL_IN_SECONDS = 0.005
BOOT_LIMIT_IN_SECONDS = 30.0
STREAM_LIMIT_IN_SECONDS = 20.0
MANAGED_LIMIT_IN_SECONDS = 5.0
# The stream server alone may load modules, at boot; what it asks for later (a sink, a microphone) is made here already,
# because a program of the user could ask the same.
# Whoever gets into the socket's directory may come: that are the two accounts of the seat.
PULSE_SCRIPT = """load-module module-native-protocol-unix auth-anonymous=1 socket={directory}/native
load-module module-null-sink sink_name=output sink_properties=device.description=Speakers
load-module module-null-sink sink_name=input sink_properties=device.description=Input
load-module module-virtual-source source_name=SelkiesVirtualMic master=input.monitor
set-default-sink output
set-default-source SelkiesVirtualMic
"""


class NotReady(Exception):
    """Something did not come up in time. The text says what."""


class Desktop:
    def __init__(
        self,
        processes: Processes,
        screen: Screen,
        seat: Seat,
        *,
        on_failure: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes, self._screen, self._seat = processes, screen, seat
        self._stream_channel: socket.socket | None = None
        self._stream_settings: dict[str, str] | None = None
        self._session_environment = seat.environment_of(seat.user)

        def service(prepare: Callable[[], Program], *, may_restart: bool = True) -> Service:
            return Service(prepare, processes=processes, clock=clock, on_failure=on_failure, may_restart=may_restart)

        # Applications do not survive their X server: starting it again would only hide that the session is lost.
        self._x_server = service(self._x_server_program, may_restart=False)
        self._sound = service(self._sound_program)
        self._message_bus = service(self._message_bus_program)
        self._window_manager = service(self._window_manager_program)
        self._panel = service(self._panel_program)
        self._stream = service(self._stream_program)
        self._printer = ProgramSocket(processes, self._printer_program)
        self._files = ProgramSocket(processes, self._files_program)

    async def boot(self) -> None:
        """Bring up everything that needs no session. Raises NotReady, OSError."""
        self._screen.cookie = seats.prepare(self._seat, self._processes)
        self._write_config("sound.pa", PULSE_SCRIPT.format(directory=self._seat.pulse_directory))
        for each in (self._x_server, self._stream, self._sound, self._message_bus):
            each.start()
        await _until(lambda: _accepts(self._seat.x_socket), "the X server", BOOT_LIMIT_IN_SECONDS)
        await self._screen.paint_background(BACKGROUND)
        await _until(
            lambda: _accepts(f"{self._seat.pulse_directory}/native"), "the sound server", BOOT_LIMIT_IN_SECONDS
        )
        await _until(
            lambda: _accepts(f"{self._seat.user.runtime_directory}/bus"), "the message bus", BOOT_LIMIT_IN_SECONDS
        )
        await _until(self._is_warm, "the stream server", BOOT_LIMIT_IN_SECONDS)

    def begin(
        self, stream_view: str, stream_settings: Mapping[str, str], environment: Mapping[str, str]
    ) -> Awaitable[None]:
        """Become this session's desktop. The result waits until the stream accepts connections; raises NotReady, OSError.

        `environment` is the whole environment of the user's programs, for what is started from panel and menu.
        """
        self._session_environment = dict(environment)
        self._stream_settings = {**stream_settings, **self._own_stream_settings()}
        self._tell_stream_settings()
        if stream_settings.get("printing_enabled", "").startswith("true"):
            self._printer.open(self._seat.printer_socket, self._seat.user)
        try:
            self._files.open_to_gateway(self._seat.files_socket, self._seat.display)
        except OSError as error:  # a session without it is better than none
            log.warning("temporary files can be listed, sent and fetched only", extra={"why": str(error)})
        has_panel = stream_view == "DESKTOP" or self._seat.is_administrators
        menu = self._write_launchers() if has_panel else None
        self._write_config("openbox.xml", wm.openbox_config("DESKTOP" if has_panel else stream_view, menu))
        self._window_manager.start()
        if has_panel:
            self._panel.start()
        return _until(lambda: _accepts(self._seat.stream_socket), "the stream", STREAM_LIMIT_IN_SECONDS)

    def _write_launchers(self) -> str:
        """Write what panel and menu offer; return where the menu is."""
        if self._seat.is_administrators:
            offered, menu = launchers.administrators_launchers(), launchers.administrators_menu()
        else:
            offered = launchers.catalogue_launchers() or []
            menu = launchers.menu(offered)
        if not offered:  # an image from before images carried their catalogue
            self._write_config("panel.conf", wm.panel_config(wm.LAUNCHERS))
            return wm.MENU
        directory = f"{self._seat.directory}/launchers"
        launchers.write(Path(directory), offered)
        self._write_config("panel.conf", wm.panel_config(directory))
        self._write_config("menu.xml", menu)
        return f"{self._seat.directory}/menu.xml"

    async def until_managed(self) -> None:
        """Wait until the window manager knows of windows: one that comes while it starts, it may never show.

        Not for long: a session without a window manager is better than none.
        """
        deadline = time.monotonic() + MANAGED_LIMIT_IN_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # a display that is busy
                if await self._screen.client_windows() is not None:
                    return
            await asyncio.sleep(POLL_IN_SECONDS)
        log.warning("the window manager is not there; what is launched now may stay out of sight")

    async def idle_seconds(self) -> float:
        """Return seconds since the last key or pointer event, negative when unknown."""
        return await self._screen.idle_seconds()

    def release(self) -> None:
        """Stop what belongs to the user's side of the desktop, for good."""
        self._printer.close()
        self._files.close()
        for each in (self._panel, self._window_manager, self._message_bus):
            each.stop(signal.SIGTERM)

    def end(self) -> None:
        """Stop what streams, for good."""
        for each in (self._stream, self._sound, self._x_server):
            each.stop(signal.SIGTERM)

    # ── Programs ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _x_server_program(self) -> Program:
        arguments = [
            "/usr/bin/Xvfb", self._seat.x_display, "-screen", "0", LARGEST_SCREEN, "-dpi", "96",
            "-nolisten", "tcp", "-nolisten", "local",  # at its path alone: see `agent.display_names`
            "-auth", self._seat.x_authority_of(self._seat.display), "-noreset", "-nocursor", "-s", "0", "-dpms",
        ]  # fmt: skip
        return self._program("x-server", arguments, self._seat.display)

    def _sound_program(self) -> Program:
        arguments = [
            "/usr/bin/pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit",
            "--disallow-module-loading", "--use-pid-file=no", "--realtime=no",
            "--high-priority=no", "--log-target=stderr",
            f"--file={self._seat.directory}/sound.pa",
        ]  # fmt: skip
        environment = self._seat.environment_of(self._seat.display)
        del environment["DBUS_SESSION_BUS_ADDRESS"], environment["PULSE_SERVER"]
        return self._program("sound", arguments, self._seat.display, environment)

    def _message_bus_program(self) -> Program:
        address = f"unix:path={self._seat.user.runtime_directory}/bus"
        arguments = ["/usr/bin/dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}"]
        return self._program("message-bus", arguments, self._seat.user)

    def _window_manager_program(self) -> Program:
        """As the user, like the panel: what is started from a menu must not become the display user."""
        arguments = ["/usr/bin/openbox", "--sm-disable", "--config-file", f"{self._seat.directory}/openbox.xml"]
        return self._program("window-manager", arguments, self._seat.user, self._session_environment, is_at_home=True)

    def _panel_program(self) -> Program:
        arguments = ["/usr/bin/tint2", "-c", f"{self._seat.directory}/panel.conf"]
        return self._program("panel", arguments, self._seat.user, self._session_environment, is_at_home=True)

    def _printer_program(self, listener: int) -> Program:
        """As the user: it has no right that the user's own programs lack."""
        arguments = [f"{RUNTIME_DIRECTORY}/bin/fanlight-printer", str(listener), self._seat.print_spool]
        environment = {**self._seat.environment_of(self._seat.user), "GCONV_PATH": f"{RUNTIME_DIRECTORY}/lib"}
        return self._program("printer", arguments, self._seat.user, environment, hand_over=(listener,))

    def _files_program(self, listener: int) -> Program:
        """As the user, whose files they are: it has no right that the user's own programs lack."""
        arguments = [f"{RUNTIME_DIRECTORY}/bin/fanlight-files", str(listener), self._seat.files_directory]
        environment = {**self._seat.environment_of(self._seat.user), "GCONV_PATH": f"{RUNTIME_DIRECTORY}/lib"}
        return self._program("files", arguments, self._seat.user, environment, hand_over=(listener,))

    def _stream_program(self) -> Program:
        """Start it with one end of a socket pair; after a crash in a session it gets the same settings again."""
        ours, theirs = socket.socketpair()
        if self._stream_channel is not None:
            self._stream_channel.close()
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._stream_channel = ours
        environment = self._seat.environment_of(self._seat.display)
        del environment["USER"]  # Selkies would take it for the name to log in with
        environment["GCONV_PATH"] = f"{RUNTIME_DIRECTORY}/lib"  # or the C library would load the image's converters
        arguments = [f"{RUNTIME_DIRECTORY}/bin/fanlight-stream", str(theirs.fileno())]
        if self._stream_settings is not None:
            self._tell_stream_settings()
        return self._program("stream", arguments, self._seat.display, environment, hand_over=(theirs.detach(),))

    def _program(
        self,
        name: str,
        arguments: Sequence[str],
        account: Account,
        environment: Mapping[str, str] | None = None,
        hand_over: Sequence[int] = (),
        *,
        is_at_home: bool = False,
    ) -> Program:
        """`is_at_home`: what it starts begins in the account's home."""
        return Program(
            name=name,
            seat=self._seat,
            arguments=arguments,
            account=account,
            environment=environment or self._seat.environment_of(account),
            working_directory=account.home if is_at_home else "/",
            hand_over=hand_over,
        )

    def _own_stream_settings(self) -> dict[str, str]:
        """Return what only the instance can know. It wins over what the host says."""
        return {
            "unix_socket": self._seat.stream_socket,
            "enable_basic_auth": "false",  # the socket is private; the gateway authorises
            "mode": "websockets",
            "file_manager_path": self._seat.files_directory,
            "print_spool_path": self._seat.print_spool,
            "audio_device_name": "output.monitor",
        }

    def _write_config(self, name: str, text: str) -> None:
        (Path(self._seat.directory) / name).write_text(text, encoding="utf-8")

    def _tell_stream_settings(self) -> None:
        if self._stream_channel is not None:
            self._stream_channel.send(json.dumps(self._stream_settings).encode() + b"\n")

    def _is_warm(self) -> bool:
        if self._stream_channel is None:
            return False
        try:
            return self._stream_channel.recv(len(WARM)) == WARM
        except BlockingIOError:
            return False


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return probe.connect_ex(path) == 0


async def _until(is_so: Callable[[], bool], what: str, limit_in_seconds: float) -> None:
    deadline = time.monotonic() + limit_in_seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise NotReady(f"{what} was not ready within {limit_in_seconds:.0f} seconds")
        await asyncio.sleep(POLL_IN_SECONDS)
