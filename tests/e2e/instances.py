"""The instances of an installation as its host sees them: the engine's own list, and a shell in each."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from e2e.installation import Installation

USER_ID, USER_HOME = 1000, "/home/user"


@dataclass(frozen=True, slots=True)
class Instances:
    installation: Installation

    @property
    def project(self) -> str:
        return self.installation.settings["incus_project"]

    def names(self) -> set[str]:
        """Return what the engine has, in whatever state."""
        return {each["name"] for each in self._list()}

    def running(self) -> set[str]:
        return {each["name"] for each in self._list() if each["status"] == "Running"}

    def labelled(self, label: str, value: str) -> str:
        """Return the one instance that has this label."""
        (found,) = (each for each in self._list() if each["config"].get(f"user.fanlight.label.{label}") == value)
        return str(found["name"])

    def labels(self) -> list[dict[str, str]]:
        """Return the labels of those that run, as the engine keeps them."""
        mark = "user.fanlight.label."
        return [
            {key.removeprefix(mark): value for key, value in each["config"].items() if key.startswith(mark)}
            for each in self._list()
            if each["status"] == "Running"
        ]

    def run(
        self, instance_id: str, *command: str, as_user: bool = False, given: bytes = b"", timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in an instance, as its root or as the session's user."""
        identity = ["--user", str(USER_ID), "--group", str(USER_ID), "--env", f"HOME={USER_HOME}"] if as_user else []
        return subprocess.run(
            ["incus", "exec", "--project", self.project, *identity, "-T", instance_id, "--", *command],
            input=given,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def read(self, instance_id: str, path: str) -> bytes | None:
        """Return a file of the instance, None when it is not there."""
        done = self.run(instance_id, "cat", path)
        return done.stdout if done.returncode == 0 else None

    def write(self, instance_id: str, path: str, content: bytes) -> None:
        done = self.run(instance_id, "sh", "-c", 'cat >"$1"', "sh", path, as_user=True, given=content)
        assert done.returncode == 0, done.stderr

    def remove_all(self) -> None:
        """Leave the project without instances; a project that does not exist has none."""
        names = self.names()
        if names:
            subprocess.run(
                ["incus", "delete", "--force", "--project", self.project, *names], check=True, capture_output=True
            )

    def _list(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            ["incus", "list", "--project", self.project, "--format", "json"],
            capture_output=True,
            check=False,
            timeout=60,
        )
        return list(json.loads(done.stdout)) if done.returncode == 0 else []
