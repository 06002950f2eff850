"""The units say what was configured, survive odd paths, and tell each process no more than it needs."""

import configparser
import subprocess
from pathlib import Path

import pytest

from fanlight.config import Settings
from fanlight.operations import systemd
from fanlight.operations.errors import OperationFailed
from fanlight.operations.removals import Removal, Spared

FANLIGHT = ["/usr/bin/fanlight"]
PACKAGED = Path(__file__).parents[3] / "packaging" / "systemd"
# Each of these gives a unit a mount namespace of its own, which hides its mounts from Incus.
OWN_NAMESPACE = {
    "privatetmp", "privatedevices", "privatemounts", "protectsystem", "protecthome", "protectkerneltunables",
    "protectkernelmodules", "protectkernellogs", "protectcontrolgroups", "protectproc", "procsubset", "readwritepaths",
    "readonlypaths", "inaccessiblepaths", "bindpaths", "bindreadonlypaths", "temporaryfilesystem", "rootdirectory",
    "dynamicuser", "mountflags", "privatenetwork", "protecthostname", "privateusers",
}  # fmt: skip


def as_a_shell_reads(text: str) -> set[str]:
    command = ["env", "-i", "/bin/sh", "-c", 'set -a; eval "$0"; exec /usr/bin/env -0', text]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return {line for line in lines if line.startswith("FANLIGHT_")}


def parsed(text: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(text)
    return unit


def test_packaging_holds_the_units_as_they_are_made() -> None:
    """Made by: fanlight systemd install --directory packaging/systemd, with /usr/bin/fanlight and the defaults."""
    rendered = systemd.render_units(Settings(), FANLIGHT)
    assert {path.name: path.read_text() for path in PACKAGED.iterdir()} == rendered


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    for name, text in systemd.render_units(Settings(data_dir=tmp_path), FANLIGHT).items():
        assert "@" not in text.replace("@system-service", ""), name


def test_compute_has_no_mount_namespace_of_its_own() -> None:
    unit = parsed(systemd.render_units(Settings(), FANLIGHT)["fanlight-compute.service"])
    assert OWN_NAMESPACE.isdisjoint(unit["Service"])


@pytest.mark.parametrize("name", ["fanlight-api.service", "fanlight-gateway.service", "fanlight-storage.service"])
def test_what_faces_the_network_can_gain_nothing(name: str) -> None:
    service = parsed(systemd.render_units(Settings(), FANLIGHT)[name])["Service"]
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert "CAP_SYS_ADMIN" not in service["CapabilityBoundingSet"]
    assert "CAP_NET_ADMIN" not in service["CapabilityBoundingSet"]


def test_the_gateway_gets_no_secrets_and_no_database() -> None:
    text = systemd.render_units(Settings(), FANLIGHT)["fanlight-gateway.service"]
    assert "secrets.env" not in text
    assert "-/var/lib/fanlight/state" in parsed(text)["Service"]["InaccessiblePaths"]


def test_paths_with_blanks_and_specifiers_are_quoted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "a b%n", run_dir=Path("/run/fan"))
    service = parsed(systemd.render_units(settings, ["/opt/x y/fanlight$1"])["fanlight-api.service"])["Service"]
    assert service["ExecStart"] == '"/opt/x y/fanlight$$1" process api'
    assert service["ReadWritePaths"] == f'"{tmp_path}/a b%%n" /run/fan'


def test_a_path_with_a_line_break_cannot_add_a_line(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="line break"):
        systemd.render_units(Settings(data_dir=tmp_path / "a\nExecStartPre=/bin/sh"), FANLIGHT)


@pytest.mark.parametrize("home", ["/root/venv/bin/fanlight", "/home/ann/fanlight/.venv/bin/fanlight"])
def test_a_program_in_a_home_directory_stays_readable(home: str) -> None:
    assert "ProtectHome=read-only" in systemd.render_units(Settings(), [home])["fanlight-api.service"]
    assert "ProtectHome=yes" in systemd.render_units(Settings(), FANLIGHT)["fanlight-api.service"]


def test_settings_go_into_the_files_with_secrets_apart(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, regions=("eu-west-1",), database_url='postgresql://u:p$`"\\w@h/d', log_format="json"
    )
    files = systemd.environment_files(settings, None)
    assert as_a_shell_reads(files["fanlight.env"]) == {
        f"FANLIGHT_DATA_DIR={tmp_path}",
        'FANLIGHT_REGIONS=["eu-west-1"]',
        "FANLIGHT_LOG_FORMAT=json",
    }
    assert as_a_shell_reads(files["secrets.env"]) == {'FANLIGHT_DATABASE_URL=postgresql://u:p$`"\\w@h/d'}


def test_what_stands_in_the_toml_file_is_not_repeated(tmp_path: Path) -> None:
    config = tmp_path / "fanlight.toml"
    config.write_text('log_format = "json"\napi_port = 9000\n')
    settings = Settings(data_dir=tmp_path, log_format="json", api_port=9001)
    assert as_a_shell_reads(systemd.environment_files(settings, config)["fanlight.env"]) == {
        f"FANLIGHT_DATA_DIR={tmp_path}",
        "FANLIGHT_API_PORT=9001",
        f"FANLIGHT_CONFIG={config}",
    }


def test_an_operators_settings_survive_a_second_installation(tmp_path: Path) -> None:
    places = {"units": tmp_path / "units", "etc": tmp_path / "etc", "config": None}
    first = systemd.install(Settings(database_url="postgresql:///fanlight"), **places)
    assert {path.name for path in first.written} == {*systemd.UNITS, "fanlight.env", "secrets.env"}
    assert (tmp_path / "etc" / "secrets.env").stat().st_mode & 0o777 == 0o600
    (tmp_path / "etc" / "fanlight.env").write_text("FANLIGHT_API_PORT=443\n")
    second = systemd.install(Settings(log_format="json"), **places)
    assert second.kept == (tmp_path / "etc" / "fanlight.env",)
    assert (tmp_path / "etc" / "fanlight.env").read_text() == "FANLIGHT_API_PORT=443\n"


def test_removing_leaves_what_is_not_ours_and_may_be_repeated(tmp_path: Path) -> None:
    systemd.install(Settings(), units=tmp_path, etc=tmp_path / "etc", config=None)
    wants = tmp_path / "fanlight.target.wants"
    wants.mkdir()
    (wants / "fanlight-api.service").symlink_to(tmp_path / "fanlight-api.service")
    (tmp_path / "nginx.service").write_text("[Unit]\n")
    assert {path.name for path in systemd.remove(tmp_path)} == set(systemd.UNITS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "nginx.service"]
    assert systemd.remove(tmp_path) == ()


def test_the_units_of_another_installation_are_not_removed(tmp_path: Path) -> None:
    ours, other = Settings(data_dir=tmp_path / "ours"), Settings(data_dir=tmp_path / "other")
    systemd.install(ours, units=tmp_path, etc=tmp_path / "etc", config=None)
    (found,) = systemd.survey(other, tmp_path, tmp_path / "etc")
    assert isinstance(found, Spared)
    for removal in systemd.survey(ours, tmp_path, tmp_path / "etc"):
        assert isinstance(removal, Removal)
        removal.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_simulated_engine_needs_no_units(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="serve"):
        systemd.install(Settings(compute="simulated"), units=tmp_path, etc=tmp_path, config=None)
