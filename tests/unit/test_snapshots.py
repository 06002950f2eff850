"""What an image builder leaves in its image, and what not."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from fanlight.agent import builder, read_ahead, snapshots
from fanlight.agent.assistant.applications import Applications, ApplicationWishes
from fanlight.agent.image_requests import NO_ANSWER, ImageRequests
from fanlight.agent.preparation import Preparation, end_everything_and_clean
from fanlight.agentwire.messages import ImageAnswer

PASSWD = """root:x:0:0:root:/root:/bin/bash
user:x:1000:1000::/home/user:/bin/bash
display:x:1001:1001::/run/user/1001:/usr/sbin/nologin
postgres:x:110:115::/var/lib/postgresql:/bin/bash
ImageBuilderAdmin:x:50110:50110::/home/ImageBuilderAdmin:/bin/bash
TestUser:x:50111:50111::/home/TestUser:/bin/bash
display1:x:10003:10003::/run/user/10003:/bin/bash
"""


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "etc/passwd": PASSWD,
            "etc/passwd-": PASSWD,
            "etc/shadow": "root:!::\nImageBuilderAdmin:!::\nuser:!::\n",
            "etc/group": "root:x:0:\nvideo:x:44:user,ImageBuilderAdmin\nImageBuilderAdmin:x:50110:\n",
            "etc/subuid": "ImageBuilderAdmin:100000:65536\n",
            "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 i-7f\n",
            "etc/hostname": "i-7f\n",
            "etc/machine-id": "abc\n",
            "etc/resolv.conf": "nameserver 10.0.0.1\n",
            "etc/ssh/ssh_host_ed25519_key": "secret",
            "etc/ssh/sshd_config": "Port 22\n",
            "etc/profile.d/appstream_system_vars.sh": "export A=b\n",
            "etc/profile.d/studio.sh": "export STUDIO=1\n",
            "etc/fanlight/catalog.json": "{}",
            "home/ImageBuilderAdmin/secret": "x",
            "home/TestUser/x": "x",
            "home/user/.config/app/settings.ini": "set by Template User",
            "home/user/.cache/junk": "x",
            "home/user/.bash_history": "ls",
            "home/user/.ssh/id_ed25519": "x",
            "home/user/.local/share/Trash/files/x": "x",
            "root/.bash_history": "passwd",
            "root/.cache/x": "x",
            "var/log/nginx/access.log": "GET /",
            "var/log/syslog.1": "x",
            "var/log/dpkg.log.2.gz": "x",
            "var/log/fanlight/0/x-server.log": "x",
            "var/lib/apt/lists/mirror": "x",
            "var/cache/apt/pkgcache.bin": "x",
            "var/cache/debconf/templates.dat": "x",
            "var/tmp/left": "x",
            "tmp/left": "x",
            "opt/tool/tool": "by the administrator",
            "run/fanlight/host/agent.sock": "",
            "run/seats/0/openbox.xml": "x",
            "run/nginx.pid": "1",
            "usr/sbin/other": "x",
            "etc/sudoers.d/ours": "x",
            "usr/bin/true": "x",
        },
    )
    return tmp_path


def clean(root: Path) -> list[tuple[str, int, int]]:
    given: list[tuple[str, int, int]] = []
    snapshots.clean(root, give=lambda path, uid, gid: given.append((str(path.relative_to(root)), uid, gid)))
    return given


def test_nothing_of_the_builder_stays_and_all_of_the_software_does(root: Path) -> None:
    builder.furnish(root)
    assert (root / "usr/bin/AppStreamImageAssistant").is_symlink()
    assert (root / "etc/sudoers.d/fanlight-image-builder").stat().st_mode & 0o777 == 0o440
    assert (root / "usr/sbin/policy-rc.d").exists()
    assert "\nImageBuilderAdmin:!::\n" in (root / "etc/shadow").read_text()
    clean(root)
    left = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert left == {
        "etc/passwd", "etc/passwd-", "etc/shadow", "etc/group", "etc/subuid", "etc/hosts", "etc/machine-id",
        "etc/resolv.conf", "etc/ssh/sshd_config", "etc/profile.d/studio.sh", "etc/fanlight/catalog.json",
        "etc/skel/.config/app/settings.ini", "home/user/.config/app/settings.ini", "var/log/nginx/access.log",
        "opt/tool/tool", "run/fanlight/host/agent.sock", "usr/sbin/other", "etc/sudoers.d/ours", "usr/bin/true",
    }  # fmt: skip
    assert (root / "var/log/nginx/access.log").read_text() == ""
    assert (root / "etc/machine-id").read_text() == (root / "etc/resolv.conf").read_text() == ""
    assert (root / "etc/hosts").read_text() == "127.0.0.1 localhost\n"


def test_accounts_of_the_builder_go_and_those_of_image_and_packages_stay(root: Path) -> None:
    clean(root)
    names = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    assert names == ["root", "user", "display", "postgres"]
    assert (root / "etc/passwd-").read_text() == (root / "etc/passwd").read_text()
    assert (root / "etc/group").read_text() == "root:x:0:\nvideo:x:44:user\n"
    assert (root / "etc/subuid").read_text() == ""


def test_a_policy_that_is_not_ours_stays(root: Path) -> None:
    write(root, {"usr/sbin/policy-rc.d": "#!/bin/sh\nexit 0\n"})
    builder.furnish(root)
    clean(root)
    assert (root / "usr/sbin/policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"


def test_of_two_defaults_the_newer_counts_in_both_places(root: Path) -> None:
    """Either way is a way to set defaults: as Template User, or with sudo in /etc/skel."""
    write(root, {"etc/skel/.bashrc": "old", "etc/skel/.profile": "new", "home/user/.bashrc": "new"})
    write(root, {"home/user/.profile": "old"})
    for path in ("etc/skel/.bashrc", "home/user/.profile"):
        os.utime(root / path, (1, 1))
    clean(root)
    for path in ("etc/skel", "home/user"):
        assert (root / path / ".bashrc").read_text() == "new"
        assert (root / path / ".profile").read_text() == "new"


def test_defaults_belong_to_their_place(root: Path) -> None:
    write(root, {"etc/skel/.vimrc": "x"})
    given = clean(root)
    assert ("etc/skel/.config/app/settings.ini", 0, 0) in given
    assert ("home/user/.vimrc", 1000, 1000) in given


def test_a_link_among_the_defaults_is_copied_and_never_followed(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "kept").write_text("x")
    (root / "home/user/Data").symlink_to(outside)
    write(root, {"etc/skel/Data/file": "x"})
    os.utime(root / "etc/skel/Data/file", (1, 1))
    (root / "var/lib/apt/lists/out").symlink_to(outside)
    clean(root)
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_a_builder_forgets_what_ran_before_its_start(root: Path) -> None:
    builder.forget_last_run(root / "run")
    assert (root / "run/fanlight/host/agent.sock").exists()
    assert not (root / "run/nginx.pid").exists()
    assert not (root / "run/seats/0/openbox.xml").exists()


def test_only_process_1_ends_everything() -> None:
    with pytest.raises(OSError, match="process 1"):
        end_everything_and_clean()


class Bench:
    def __init__(self, clean: Callable[[], None], stop_fault: OSError | None = None) -> None:
        self.said: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._fault = stop_fault
        self.preparation = Preparation(
            self._stop,
            prepared=lambda: self.said.append("prepared"),
            failed=self.said.append,
            in_background=self._run,
            clean=clean,
        )

    async def _stop(self) -> None:
        if self._fault:
            raise self._fault
        self.said.append("stopped")

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def done(self) -> list[str]:
        await asyncio.gather(*self.tasks)
        return self.said


async def test_preparing_happens_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    bench = Bench((tmp_path / "cleaned").touch)
    bench.preparation.ask()
    bench.preparation.ask()
    assert await bench.done() == ["stopped", "prepared"]
    assert (tmp_path / "cleaned").exists()


async def test_a_clean_up_that_fails_is_told() -> None:
    def fail() -> None:
        raise OSError("a file cannot be removed")

    bench = Bench(fail)
    bench.preparation.ask()
    assert await bench.done() == ["stopped", "preparing for the snapshot: a file cannot be removed"]


async def test_programs_that_do_not_end_are_told() -> None:
    bench = Bench(lambda: None, OSError("it runs on"))
    bench.preparation.ask()
    assert await bench.done() == ["preparing for the snapshot: it runs on"]


async def test_a_request_waits_for_its_own_answer() -> None:
    requests = ImageRequests(pause=0)
    asking = asyncio.create_task(requests.ask("r-1", ["a", "b"]))
    await requests.is_waiting.wait()
    assert [(part.number, part.total, part.text) for part in requests.unanswered()] == [(0, 2, "a"), (1, 2, "b")]
    requests.handle(ImageAnswer(request_id="r-0", status=0, message="Success"))
    requests.handle(ImageAnswer(request_id="r-1", status=1, message="Name is not unique"))
    requests.handle(ImageAnswer(request_id="r-1", status=0, message="Success"))
    assert (await asking).message == "Name is not unique"
    assert not requests.unanswered()


async def test_a_host_that_does_not_answer_is_waited_for_so_long() -> None:
    requests = ImageRequests(limit_in_seconds=0.01, pause=0)
    assert await requests.ask("r-1", ["a"]) is NO_ANSWER
    assert not requests.is_waiting.is_set()


def test_manifests_are_read_ahead(root: Path) -> None:
    write(
        root,
        {"etc/fanlight/catalog.json": '{"format": 1, "applications": []}', "m.txt": "/opt/tool/tool\n/usr/bin/true\n"},
    )
    (root / "opt/tool/tool").chmod(0o755)
    for name in ("one", "two"):
        Applications(root).add(
            ApplicationWishes(name=name, absolute_app_path="/opt/tool/tool", absolute_manifest_path="/m.txt")
        )
    files = list(read_ahead._files(root))
    assert files == [root / "opt/tool/tool", root / "usr/bin/true"]
    assert read_ahead.read_ahead([*files, root / "gone", root / "etc"]) == sum(path.stat().st_size for path in files)


def test_sudo_knows_the_administrator_once(root: Path) -> None:
    write(root, {"etc/shadow": "root:!::\n"})
    for _ in range(2):
        builder.furnish(root)
        assert (root / "etc/shadow").read_text() == "root:!::\nImageBuilderAdmin:*:20000::::::\n"
    clean(root)
    assert (root / "etc/shadow").read_text() == "root:!::\n"
