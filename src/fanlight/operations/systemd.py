"""Units for systemd: one for each process, each with the least it can work with.

The units are in `units/`, with the paths of an installation left open. Settings go into environment files, which
systemd reads as root: `fanlight.env`, and `secrets.env` and `storage.env` for the processes that need those. They are the operator's from
then on, so they are written once and never overwritten.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from fanlight.config import DEFAULT_DATA_DIR, Settings
from fanlight.installation import bootstrap_credentials, prepare_directories
from fanlight.operations.errors import OperationFailed
from fanlight.operations.presence import serving
from fanlight.operations.removals import Finding, Removal, Spared

UNIT_DIR = Path("/etc/systemd/system")
ETC_DIR = Path("/etc/fanlight")
TARGET = "fanlight.target"
_PREPARE = "fanlight-prepare.service"
_ENABLED = (
    TARGET,
    "fanlight-compute.service",
    "fanlight-storage.service",
    "fanlight-api.service",
    "fanlight-gateway.service",
)
UNITS = (*_ENABLED, _PREPARE)
ENVIRONMENT_FILE = "fanlight.env"
SECRETS_FILE = "secrets.env"
BOOTSTRAP_FILE = (
    "bootstrap.env"  # in RUN_DIR: the first key, for the api process, which must not read DATA_DIR/credentials
)

STORAGE_FILE = "storage.env"
# File → the settings in it that not every process may know.
_SECRETS = {
    SECRETS_FILE: frozenset({"database_url", "bootstrap_access_key_id", "bootstrap_secret_access_key"}),
    STORAGE_FILE: frozenset({"s3_access_key_id", "s3_secret_access_key"}),
}
_HOMES = ("/home", "/root", "/run/user")
_ENVIRONMENT_HEADER = "# Settings of Fanlight's systemd units; the names are in docs/operate.md. Restart fanlight.target after a change.\n"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Installed:
    """What was written, and what was there already and is kept."""

    written: tuple[Path, ...]
    kept: tuple[Path, ...]


def is_running() -> bool:
    """Return whether systemd is this machine's init, in the way that systemd itself documents for asking."""
    return Path("/run/systemd/system").is_dir()


def render_units(settings: Settings, fanlight: Sequence[str], etc: Path = ETC_DIR) -> dict[str, str]:
    """Return the unit files by name. `fanlight` is the command that starts the program, absolute."""
    run = settings.effective_run_dir.absolute()
    data = settings.data_dir.absolute()
    paths = (*fanlight, str(data), str(run))
    is_at_home = any(path == home or path.startswith(f"{home}/") for path in paths for home in _HOMES)
    values = {
        "FANLIGHT": " ".join(_quoted(word.replace("$", "$$")) for word in fanlight),
        "DATA_DIR": _path(data),
        "RUN_DIR": _path(run),
        "RUN_PARENT": _path(run.parent),
        # EnvironmentFile= takes the rest of its line as it is, quotes too.
        "ETC_DIR": _unquoted(etc),
        "RUN_FILES": _unquoted(run),
        "PROTECT_HOME": "read-only" if is_at_home else "yes",
    }
    sources = resources.files("fanlight.operations").joinpath("units")
    return {
        name: re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], sources.joinpath(name).read_text())
        for name in UNITS
    }


def own_command() -> list[str]:
    """Return how this very program is started again, whatever the PATH of systemd is."""
    script = Path(sys.executable).with_name("fanlight")
    return [str(script)] if script.exists() else [sys.executable, "-P", "-m", "fanlight"]


def environment_files(settings: Settings, config: Path | None) -> dict[str, str]:
    """Return the environment files by name: every setting that is not the default and not in the TOML file."""
    in_toml = tomllib.loads(config.read_text()) if config else {}
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    values = settings.model_dump(mode="json", exclude_none=True)
    chosen = {
        name: value
        for name, value in values.items()
        if getattr(settings, name) != defaults[name] and in_toml.get(name) != value
    }
    public = {name: value for name, value in chosen.items() if not any(name in names for names in _SECRETS.values())}
    if config:
        public["config"] = str(config.absolute())
    files = {ENVIRONMENT_FILE: _environment(public)}
    for file, names in _SECRETS.items():
        if secret := {name: value for name, value in chosen.items() if name in names}:
            files[file] = _environment(secret)
    return files


def prepare(settings: Settings) -> None:
    """Make directories, owners and the first key, and hand that key to the api unit.

    Raises NotInstallable, and OperationFailed during a restore.
    """
    prepare_directories(settings)
    with serving(settings, "prepare"):  # leaves the lock file, which confined processes can open and not make
        pass
    credentials = bootstrap_credentials(settings)
    values = {
        "bootstrap_access_key_id": credentials.access_key_id,
        "bootstrap_secret_access_key": credentials.secret_access_key,
    }
    _write(settings.effective_run_dir / BOOTSTRAP_FILE, _environment(values), 0o600)


def install(settings: Settings, *, units: Path, etc: Path, config: Path | None) -> Installed:
    """Write unit and environment files. Says nothing to systemd; `enable` does."""
    if settings.compute != "incus":
        raise OperationFailed(
            "The units are for `--compute incus`. The simulated engine needs no root and is one command: `fanlight serve "
            "--compute simulated`."
        )
    environment = environment_files(settings, config)
    written, kept = [], []
    etc.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, text in environment.items():
        if (etc / name).exists():
            kept.append(etc / name)
        else:
            _write(etc / name, text, 0o600 if name in _SECRETS else 0o644)
            written.append(etc / name)
    units.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, text in render_units(settings, own_command(), etc).items():
        _write(units / name, text, 0o644)
        written.append(units / name)
    return Installed(tuple(written), tuple(kept))


def enable(settings: Settings) -> None:
    """Make systemd read the units and start Fanlight at every boot; starts nothing now."""
    # systemd cannot open up a directory for a unit, before the unit runs, that is not there.
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    _systemctl("daemon-reload")
    _systemctl("enable", *_ENABLED)


def remove(units: Path) -> Sequence[Path]:
    """Stop, disable and remove the units; return what was removed. Without units it does nothing."""
    there = _installed(units)
    if not there:
        return ()
    if is_running():
        _systemctl("disable", "--now", *(path.name for path in there if path.name != _PREPARE))
        _systemctl("stop", _PREPARE)
    for path in there:
        path.unlink()
        for wanting in (TARGET, "multi-user.target"):  # left by `enable` on a system that is not running now
            (units / f"{wanting}.wants" / path.name).unlink(missing_ok=True)
    wants = units / f"{TARGET}.wants"
    if wants.is_dir() and not any(wants.iterdir()):
        wants.rmdir()
    if is_running():
        _systemctl("daemon-reload")
    return there


def survey(settings: Settings, units: Path, etc: Path = ETC_DIR) -> Sequence[Finding]:
    """Return units and environment files for an uninstallation; those of another installation on this host stay."""
    there = _installed(units)
    owner = _data_dir_of(units / _PREPARE)
    if there and owner != _path(settings.data_dir.absolute()):
        return [Spared("systemd units", f"they are for the installation in {owner or 'another directory'}")]
    findings: list[Finding] = []
    if there:
        findings.append(Removal("systemd units", ", ".join(path.name for path in there), partial(_remove_units, units)))
    files = [etc / name for name in (ENVIRONMENT_FILE, *_SECRETS) if (etc / name).exists()]
    if files and (there or settings.data_dir == DEFAULT_DATA_DIR):
        detail = ", ".join(path.name for path in files)
        findings.append(Removal(str(etc), detail, partial(_remove_settings, etc, files)))
    return findings


def _data_dir_of(unit: Path) -> str:
    found = re.search(r"^RequiresMountsFor=(.*)$", unit.read_text(), re.MULTILINE) if unit.is_file() else None
    return found[1] if found else ""


def _remove_units(units: Path) -> None:
    remove(units)


def _remove_settings(etc: Path, files: Sequence[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    if etc.is_dir() and not any(etc.iterdir()):
        etc.rmdir()


def _installed(units: Path) -> tuple[Path, ...]:
    return tuple(units / name for name in UNITS if (units / name).is_file())


def _systemctl(*words: str) -> None:
    program = shutil.which("systemctl") or "/usr/bin/systemctl"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise OperationFailed(f"systemctl {words[0]} failed: {done.stderr.strip()}")


def _environment(values: Mapping[str, Any]) -> str:
    lines = [_ENVIRONMENT_HEADER]
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if _UNSAFE.search(text):
            raise OperationFailed(
                f"The setting {name} holds a line break or control character, which no unit can take."
            )
        # Read by systemd and, for the command line, by a shell: this quoting means the same to both.
        escaped = re.sub(r'([\\"$`])', r"\\\1", text)
        lines.append(f'FANLIGHT_{name.upper()}="{escaped}"\n')
    return "".join(lines)


def _path(path: Path) -> str:
    return _quoted(str(path))


def _unquoted(path: Path) -> str:
    return _quoted(str(path)).removeprefix('"').removesuffix('"')


def _quoted(word: str) -> str:
    """Return a word as systemd reads it back: `%` begins a specifier, blanks separate words."""
    if _UNSAFE.search(word):
        raise OperationFailed(f"{word!r} holds a line break or control character, which no unit can take.")
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{word}"' if re.search(r"[\s\"';]", word) else word


def _write(path: Path, text: str, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
