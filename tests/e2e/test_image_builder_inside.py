"""An image builder alone with its host: its administrator, the Image Assistant, the test users, the clean-up."""

import asyncio
import json

import pytest
from shared_instances import Person

from fanlight.agentwire import ADMINISTRATOR_UID, TEST_USER_UID
from fanlight.agentwire.image_requests import image_request_of
from fanlight.agentwire.messages import ImageAnswer, PrepareSnapshot
from fanlight.domain.ports import InstanceRole
from images_rig import Guest, guest
from incus_rig import IncusRig
from stream_client import differs, viewing

pytestmark = pytest.mark.incus

STREAM_SETTINGS = {
    "enable_sharing": "false|locked",
    "video_streaming_mode": "false|locked",
    "encoder": "h264enc",
    "framerate": "30,5-60",
    "file_transfers": "upload,download",
    "scaling_dpi": "96",
}
TRY = """import json, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect("/run/fanlight-assistant.sock")
application = {"name": "calculator", "launch_path": "/usr/bin/galculator"}
link.sendall(json.dumps({"operation": "try_application", "account": sys.argv[1], "application": application}).encode() + b"\\n")
print(link.makefile().readline())
"""


class Administrator(Person):
    """Somebody at the desktop of an image builder."""

    @property
    def home(self) -> str:
        return "/home/ImageBuilderAdmin"

    async def assistant(self, arguments: str) -> dict[str, object]:
        said = await self.does(f"sudo -n AppStreamImageAssistant {arguments}")
        answer: dict[str, object] = json.loads(said.split("\n=")[0])
        assert said.rstrip().endswith(f"={answer['status']}")
        return answer

    async def tries(self, account: str) -> str:
        return await self.does(f"sudo -n /opt/fanlight/runtime/bin/python3 -IS -c '{TRY}' {account}")


async def answer_the_next_request(made: Guest, status: int, message: str) -> dict[str, object]:
    """Be the host: read what the builder asks for, and answer."""
    async with asyncio.timeout(60):
        while not made.requested or made.requested[-1].number + 1 < made.requested[-1].total:
            await asyncio.sleep(0.05)
    request = image_request_of("".join(part.text for part in made.requested))
    made.requested.clear()
    made.say(ImageAnswer(request_id=request.request_id, status=status, message=message))
    return {"name": request.name, "applications": [each.name for each in request.applications]}


async def test_an_administrator_makes_an_image_in_two_sessions(rig: IncusRig) -> None:
    async with guest(rig, role=InstanceRole.IMAGE_BUILDER) as made:
        await made.until_phase("READY")
        ada = await Administrator(rig, made, "session-1").come(settings=STREAM_SETTINGS)
        assert (await ada.does("id -un; id -u; sudo -n id -u; hostname >/dev/null")).split() == [
            "ImageBuilderAdmin", str(ADMINISTRATOR_UID), "0", "=0",
        ]  # fmt: skip

        # The catalogue of the image is what a builder begins with.
        listed = await ada.assistant("list-applications")
        assert listed["message"] == "Success"
        assert isinstance(listed["applications"], list)
        assert [each["name"] for each in listed["applications"]] == [
            "text-editor", "calculator", "terminal", "firefox", "drawing",
        ]  # fmt: skip
        assert await ada.assistant("remove-application --name drawing") == {"status": 0, "message": "Success"}
        assert await ada.assistant("remove-application --name=drawing") == {"status": 1, "message": "App not found"}
        await ada.does("printf '#!/bin/sh\\nexec /usr/bin/galculator\\n' >t; sudo install -m 755 t /usr/local/bin/tool")
        added = await ada.assistant("add-application --name tool --absolute-app-path=/usr/local/bin/tool")
        assert added == {"status": 0, "message": "Success"}

        # The host hears of the image, icons and all, and what it says is what the assistant prints.
        asking = asyncio.create_task(ada.assistant("create-image --name drawing-1 --dry-run"))
        asked = await answer_the_next_request(made, 1, "An image with the given name already exists")
        assert asked == {
            "name": "drawing-1", "applications": ["text-editor", "calculator", "terminal", "firefox", "tool"],
        }  # fmt: skip
        assert await asking == {"status": 1, "message": "An image with the given name already exists"}

        # Applications as users have them: another account, no way to root, the defaults that were set.
        assert '"status": 0' in await ada.tries("template")
        await ada.does("sudo -n pkill -u user galculator")
        await ada.does("sudo -n install -D -o user -g user /dev/null /home/user/.config/default-of-ours")
        async with viewing(made.stream_socket) as viewer:
            before = await viewer.until_still()
            assert '"status": 0' in await ada.tries("test")
            await viewer.until(lambda picture: differs(before, picture, least_pixels=5_000), what="the calculator")
        assert f"\n{TEST_USER_UID}\n" in "\n" + (await ada.does("sudo -n ps -C galculator -o uid= | tr -d ' '"))
        assert await ada.fails_to("sudo -n -u TestUser sudo -n id")
        assert "default-of-ours" in await ada.does("sudo -n ls -A /home/TestUser/.config")

        # Another session, another seat, the same home; nothing of the first runs any more.
        await ada.does("echo mine >~/notes")
        await ada.leave()
        eve = await Administrator(rig, made, "session-2").come(settings=STREAM_SETTINGS)
        assert eve.seat == ada.seat + 1
        assert (await eve.does("cat ~/notes; pgrep -c galculator")).split() == ["mine", "0", "=1"]

        made.say(PrepareSnapshot())
        await made.until_phase("PREPARED", timeout=60)
        left = await eve.as_root(
            "grep -c -e ImageBuilderAdmin -e TestUser -e display1 /etc/passwd /etc/group /etc/shadow;"
            "ls /home /etc/sudoers.d /usr/local/appstream 2>&1; cat /etc/machine-id; find /var/log/fanlight/ /tmp/ -mindepth 1 -name '*fanlight*';"
            "find / -xdev -uid 50110 -o -xdev -uid 50111"
        )
        assert [word for word in left.output.split() if "Admin" in word or "Test" in word or "fanlight" in word] == []
        kept = await eve.as_root(
            "ls -A /etc/skel/.config /home/user/.config; stat -c %u /home/user/.config/default-of-ours"
        )
        assert kept.output.count("default-of-ours") == 2
        assert kept.output.split()[-1] == "1000"
        assert '"tool"' in (await eve.as_root("cat /etc/fanlight/catalog.json")).output
