"""Users of one instance, each acting through programs that the agent starts for them, as the browser would have it."""

import asyncio
import itertools
from dataclasses import dataclass, field

from fanlight.agentwire import display_uid_of, user_uid_of
from fanlight.agentwire.messages import ApplicationToLaunch, BeginSession, EndSession, LaunchApplication, StorageMount
from images_rig import Guest
from incus_rig import IncusRig, Said

_launches = itertools.count()


@dataclass(slots=True)
class Person:
    """Somebody with a session on a shared instance."""

    rig: IncusRig
    guest: Guest
    name: str
    seat: int = field(default=-1)

    @property
    def home(self) -> str:
        return f"/home/user{self.seat or ''}"

    @property
    def uids(self) -> tuple[int, int]:
        return user_uid_of(self.seat), display_uid_of(self.seat)

    async def come(
        self,
        *,
        settings: dict[str, str],
        application: ApplicationToLaunch | None = None,
        storage: tuple[StorageMount, ...] = (),
    ) -> "Person":
        message = BeginSession(
            session_id=self.name,
            user_id=self.name,
            stream_view="APP",
            environment={"AppStream_UserName": self.name},
            machine_environment={"AppStream_Resource_Type": "fleet"},
            stream_settings=settings,
            application=application,
            storage=storage,
        )
        self.guest.say(message)
        self.seat = (await self.guest.until_session("IN_SESSION", self.name)).seat
        return self

    async def leave(self) -> None:
        self.guest.say(EndSession(session_id=self.name))
        await self.guest.until_session("ENDED", self.name, timeout=15)

    async def starts(self, script: str) -> None:
        """Start a shell script as an application of this session, and do not wait for it."""
        application = ApplicationToLaunch(
            name="script", launch_path="/bin/bash", launch_parameters=f"-lc {_quoted(script)}"
        )
        self.guest.say(LaunchApplication(session_id=self.name, launch_id=f"{next(_launches)}", application=application))

    async def does(self, script: str) -> str:
        """Return what a script of this user prints, both ways, in the user's own surroundings."""
        name = f"said-{next(_launches)}"
        await self.starts(f'({script}) >~/{name}.part 2>&1; echo "=$?" >>~/{name}.part; mv ~/{name}.part ~/{name}')
        async with asyncio.timeout(60):
            while not (said := await self.as_root(f"cat {self.home}/{name}")).is_success:
                await asyncio.sleep(0.1)
        return said.output

    async def fails_to(self, script: str) -> bool:
        return not (await self.does(script)).rstrip().endswith("=0")

    async def as_root(self, script: str) -> Said:
        command = {"command": ["/bin/sh", "-c", script], "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}}
        how = {"record-output": True, "interactive": False, "wait-for-websocket": False}
        async with self.rig.client() as client:
            done = (await client.run("POST", f"instances/{self.guest.instance_id}/exec", command | how))["metadata"]
            texts = []
            for number in ("1", "2"):
                path = done["output"][number].removeprefix("/1.0/")
                async with client._answer("GET", client._url(path), params={"project": client.project}) as answer:
                    texts.append(await answer.text())
        return Said(int(done["return"]), "".join(texts))


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
