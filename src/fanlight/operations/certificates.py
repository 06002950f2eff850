"""A self-signed certificate, for trying TLS and for networks without a certificate authority."""

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fanlight.config import Settings
from fanlight.installation import identity_of, is_split
from fanlight.operations.errors import OperationFailed

# A year: browsers refuse leaf certificates of more than 398 days, and a certificate that people accept by hand should
# not outlive the reason for which they did.
VALIDITY = timedelta(days=365)
_CLOCKS_MAY_DIFFER_BY = timedelta(hours=1)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where the files are and what they say."""

    cert: Path
    key: Path
    names: tuple[str, ...]
    expires_at: datetime
    fingerprint: str  # SHA-256, as browsers show it


def default_names() -> tuple[str, ...]:
    """Return the names under which this machine reaches itself, and the one it calls itself."""
    own = socket.gethostname()
    return (*dict.fromkeys(("localhost", "127.0.0.1", "::1", *((own,) if _HOST_NAME.fullmatch(own) else ()))),)


def make_self_signed(settings: Settings, names: Sequence[str], *, is_forced: bool, now: datetime) -> Certificate:
    """Write DATA_DIR/tls/{cert,key}.pem for these host names and addresses.

    The key is 0640 and of the group that both unprivileged processes are in; 0600 where one user runs everything.
    Raises OperationFailed for a name that is none, and when the files are there already and `is_forced` is not.
    """
    sans = [_general_name(name) for name in names]
    if not sans:
        raise OperationFailed("A certificate needs at least one name: --name apps.example.org.")
    directory = settings.data_dir / "tls"
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    if not is_forced and (cert_path.exists() or key_path.exists()):
        raise OperationFailed(f"{directory} has a certificate already: --force replaces it.")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed(key, sans, now)
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    group = identity_of(settings, "api").gid if is_split(settings) else None
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key_path, private, mode=0o600 if group is None else 0o640, group=group)
    _write(cert_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644, group=None)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(cert_path, key_path, tuple(names), certificate.not_valid_after_utc, fingerprint)


def _signed(key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName], now: datetime) -> x509.Certificate:
    # The name is for people only (clients read the alternative names), and it is limited to 64 characters.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fanlight (self-signed)")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _CLOCKS_MAY_DIFFER_BY)
        .not_valid_after(now.astimezone(UTC) + VALIDITY)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(name) or len(name) > 253:  # noqa: PLR2004 - the longest name that DNS has
        raise OperationFailed(
            f"{name!r} is neither a host name nor an address: give names like apps.example.org or 192.0.2.7, without "
            "scheme, port or path."
        )
    return x509.DNSName(name)


def _write(path: Path, content: bytes, *, mode: int, group: int | None) -> None:
    """Put the file there whole; it never has wider rights than `mode`, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if group is not None:
                os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
