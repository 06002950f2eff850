"""A self-signed certificate says who it is for, and only its owner and the service's group can read its key."""

import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fanlight.config import Settings
from fanlight.operations.certificates import default_names, make_self_signed
from fanlight.operations.errors import OperationFailed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", compute="simulated")


def test_it_names_hosts_and_addresses(settings: Settings) -> None:
    made = make_self_signed(
        settings, ["apps.example.org", "*.example.org", "192.0.2.7", "::1"], is_forced=False, now=NOW
    )
    certificate = x509.load_pem_x509_certificate(made.cert.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["apps.example.org", "*.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.7"),
        ipaddress.ip_address("::1"),
    ]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert made.expires_at == datetime(2027, 3, 1, 12, tzinfo=UTC)


def test_key_and_certificate_belong_together(settings: Settings) -> None:
    made = make_self_signed(settings, ["localhost"], is_forced=False, now=NOW)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(made.cert, made.key)  # raises if they do not


def test_the_key_is_private_and_the_certificate_is_not(settings: Settings) -> None:
    made = make_self_signed(settings, ["localhost"], is_forced=False, now=NOW)
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert made.cert.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in made.cert.parent.iterdir()) == ["cert.pem", "key.pem"]


def test_a_certificate_that_is_there_stays_unless_forced(settings: Settings) -> None:
    first = make_self_signed(settings, ["localhost"], is_forced=False, now=NOW)
    before = first.cert.read_bytes()
    with pytest.raises(OperationFailed, match="--force"):
        make_self_signed(settings, ["localhost"], is_forced=False, now=NOW)
    assert first.cert.read_bytes() == before
    second = make_self_signed(settings, ["localhost"], is_forced=True, now=NOW)
    assert second.cert.read_bytes() != before
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(second.cert, second.key)


@pytest.mark.parametrize(
    "name",
    ["", "https://apps.example.org", "a b", "apps.example.org:443", "-a.example", "ä.example", "a..b", "x" * 64, "*"],
)
def test_what_is_no_name_is_refused_before_anything_is_written(settings: Settings, name: str) -> None:
    with pytest.raises(OperationFailed, match="host name"):
        make_self_signed(settings, ["localhost", name], is_forced=False, now=NOW)
    assert not settings.data_dir.exists()


def test_the_default_reaches_this_machine() -> None:
    assert {"localhost", "127.0.0.1", "::1"} <= set(default_names())
