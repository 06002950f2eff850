"""The audit log: what a line holds, what can never be in one, and what happens when the disk is full."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fanlight.api import audit as audit_module
from fanlight.api import types
from fanlight.api.audit import ApiCall, AuditLog, Connection, recorded_members

CALL = ApiCall(
    request_id="0f0e0d0c-0000-4000-8000-000000000000",
    service="appstream",
    operation="CreateFleet",
    protocol="json-1.1",
    account_id="000000000000",
    access_key_id="AKIDFANLIGHT",
    region="us-east-1",
    source_address="127.0.0.1",
    status=200,
    error_code="",
    duration_in_ms=1.5,
    resources={"Name": "cad"},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


@pytest.fixture
def audit(file: Path) -> Iterator[AuditLog]:
    log = AuditLog(file)
    yield log
    log.close()


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_connection_is_one_line_with_a_time(audit: AuditLog, file: Path) -> None:
    audit.record_connection(
        Connection(
            event="connected",
            session_id="s-1",
            account_id="000000000000",
            region="us-east-1",
            stack_name="studio",
            fleet_name="cad",
            user_id="eve",
            source_address="203.0.113.7",
        )
    )
    [line] = lines(file)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "kind": "connection",
        "event": "connected",
        "session_id": "s-1",
        "account_id": "000000000000",
        "region": "us-east-1",
        "stack_name": "studio",
        "fleet_name": "cad",
        "user_id": "eve",
        "source_address": "203.0.113.7",
    }


def test_no_value_can_begin_a_line_of_its_own(audit: AuditLog, file: Path) -> None:
    audit.record_call(replace(CALL, resources={"Name": 'x\n{"kind":"api","operation":"forged"}\u2028'}))
    assert len(lines(file)) == 1


def test_only_names_and_ids_of_the_allow_list_are_recorded_and_cut_short() -> None:
    request = types.CreateStreamingURLRequest(
        stack_name="studio", fleet_name="cad", user_id="e" * 1000, session_context="token", validity=60
    )
    assert recorded_members(request) == {"StackName": "studio", "FleetName": "cad", "UserId": "e" * 300}
    assert recorded_members(types.DescribeFleetsRequest(names=("a", "b"))) == {"Names": ["a", "b"]}
    assert recorded_members(None) == {}


def test_what_the_model_calls_sensitive_is_never_recorded_whatever_its_name() -> None:
    request = types.DescribeUserStackAssociationsRequest(stack_name="s", user_name="eve@example.org")
    assert recorded_members(request) == {"StackName": "s"}


def test_the_file_rotates_by_size_and_only_the_newest_files_stay(
    audit: AuditLog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit._handler, "maxBytes", 2000)
    for _ in range(100):
        audit.record_call(CALL)
    files = sorted(path.name for path in file.parent.iterdir())
    assert len(files) == audit_module.FILES_KEPT + 1
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in file.parent.iterdir())


def test_a_full_disk_costs_lines_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditLog(Path("/dev/full"))
    for _ in range(5):
        audit.record_call(CALL)
    audit.close()
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "the audit log cannot be written; calls go on unrecorded"
    ]


def test_writing_goes_on_when_there_is_room_again(
    audit: AuditLog, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    audit.record_call(CALL)
    audit._handler.baseFilename, kept = "/dev/full", audit._handler.baseFilename
    audit._handler.close()
    audit._handler.stream = None  # type: ignore[assignment]
    audit.record_call(CALL)
    audit._handler.baseFilename = kept
    audit.record_call(CALL)
    assert len(lines(file)) == 2
    assert caplog.records[-1].message == "the audit log is written again"


def test_who_has_no_key_cannot_wash_out_what_others_did(
    audit: AuditLog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(audit_module.time, "monotonic", lambda: now[0])
    stranger = replace(CALL, account_id="", access_key_id="", status=403, error_code="MissingAuthenticationToken")
    for number in range(3000):
        audit.record_call(replace(stranger, source_address=f"203.0.113.{number % 2}"))
        if number % 1000 == 0:
            audit.record_call(CALL)
    assert [line["account_id"] for line in lines(file)].count("000000000000") == 3
    assert len(lines(file)) == 3 + audit_module.STRANGERS_LINES
    now[0] += audit_module.STRANGERS_WINDOW_IN_SECONDS
    audit.record_call(CALL)
    summary = lines(file)[-2]
    rest = 3000 - audit_module.STRANGERS_LINES
    assert summary.pop("time")
    assert summary == {
        "kind": "api-without-caller",
        "count": rest,
        "error_codes": {"MissingAuthenticationToken": rest},
        "source_addresses": {"203.0.113.0": rest // 2, "203.0.113.1": rest // 2},
    }
    audit.record_call(stranger)
    assert lines(file)[-1]["kind"] == "api"


def test_what_was_not_summed_up_is_when_the_log_closes(audit: AuditLog, file: Path) -> None:
    for number in range(audit_module.STRANGERS_LINES + 5000):
        audit.record_call(replace(CALL, account_id="", source_address=f"2001:db8::{number:x}"))
    audit.close()
    summary = lines(file)[-1]
    assert summary["count"] == 5000
    assert len(summary["source_addresses"]) == audit_module.ADDRESSES_NAMED  # type: ignore[arg-type]
