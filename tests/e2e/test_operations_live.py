"""A running service is backed up, changes, and goes back to what the backup says."""

from pathlib import Path

from e2e.installation import Installation
from e2e.test_operations import fanlight


def stack_names(installation: Installation) -> list[str]:
    return sorted(stack["Name"] for stack in installation.client().describe_stacks()["Stacks"])


def test_a_running_service_is_backed_up_and_goes_back_to_it(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data", {"compute": "simulated"})
    installation.data_dir.mkdir()
    target = tmp_path / "backup.tar.gz"
    try:
        installation.start()
        installation.client().create_stack(Name="before")
        done = fanlight("backup", target, "--data-dir", installation.data_dir)
        assert done.returncode == 0, done.stderr
        installation.client().create_stack(Name="after")
        done = fanlight("restore", target, "--yes", "--data-dir", installation.data_dir)
        assert done.returncode == 1, "the service runs"
        assert stack_names(installation) == ["after", "before"]
        assert installation.stop() == 0
        done = fanlight("restore", target, "--yes", "--data-dir", installation.data_dir)
        assert done.returncode == 0, done.stderr
        installation.start()
        assert stack_names(installation) == ["before"]
        installation.client().create_stack(Name="again")
    finally:
        installation.stop()
    done = fanlight("uninstall", "--yes", "--data-dir", installation.data_dir)
    assert "test.log" in done.stderr, "only the test's own file is left"
    left = sorted(path.name for path in installation.data_dir.iterdir() if not path.name.startswith(".lock"))
    assert left == ["test.log"]
