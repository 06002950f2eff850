"""What `fanlight storage usage` prints."""

from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from fanlight.cli import app
from fanlight.domain.user_storage import StorageUsage
from fanlight.storage_commands import table_of

ADA = StorageUsage(
    bucket="appstream2-36fb080bb8-eu-west-1-000000000000",
    prefix="user/custom/aaaa/",
    size_in_bytes=512 * 2**10,
    files=3,
)
LONG = StorageUsage(bucket=ADA.bucket, prefix=f"user/userpool/{'f' * 64}/", size_in_bytes=2**40, files=10**9)
BOB = StorageUsage(
    bucket="appstream2-36fb080bb8-us-east-1-123456789012", prefix="user/federated/bbbb/", size_in_bytes=2**21, files=1
)


def printed(quota_in_bytes: int) -> list[list[str]]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table_of([ADA, BOB], quota_in_bytes))
    return [line.split() for line in captured.get().splitlines()]


def test_who_keeps_most_comes_first() -> None:
    assert printed(0)[1:] == [
        ["123456789012", "us-east-1", "federated/bbbb", "2.0", "1", "–"],
        ["000000000000", "eu-west-1", "custom/aaaa", "0.5", "3", "–"],
    ]


def test_no_part_of_a_users_name_is_left_out_where_there_is_little_room() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table_of([LONG], 0))
    assert captured.get().count("f") >= 64


def test_the_quota_is_told_when_there_is_one() -> None:
    assert [line[-1] for line in printed(2**20)[1:]] == ["200%", "50%"]


def test_a_storage_process_that_is_away_is_told(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["storage", "usage", "--data-dir", str(tmp_path), "--run-dir", str(tmp_path)])
    assert (told.exit_code, "does not answer" in told.output) == (1, True)
