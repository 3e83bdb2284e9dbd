"""The server's own certificate and key, made again when they end soon or the addresses changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from motorpool_controller.security.authority import SERVER_RENEW_BEFORE, Authority, key_pem, write_over


@dataclass(frozen=True, slots=True)
class Serving:
    """What a TLS listener needs: PEM of its key and of its certificate, and when to make another."""

    key: bytes
    certificate: bytes
    renew_time: datetime


def serving_certificate(directory: Path, authority: Authority, hosts: Sequence[str], now: datetime) -> Serving:
    """Return the certificate for these hosts: the one in the folder if it still serves, else a new one."""
    path = directory / "server.pem"
    found = _load(path, authority, hosts, now)
    if found is not None:
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.sign_server(key.public_key(), hosts, now)
    serving = Serving(
        key=key_pem(key),
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        renew_time=certificate.not_valid_after_utc - SERVER_RENEW_BEFORE,
    )
    # One file: a crash leaves the old pair or the new one.
    write_over(path, serving.key + serving.certificate, 0o600)
    return serving


def _load(path: Path, authority: Authority, hosts: Sequence[str], now: datetime) -> Serving | None:
    try:
        content = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(content)
        key = serialization.load_pem_private_key(content, password=None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        # Whatever is there, a new one is as good.
        return None
    renew_time = certificate.not_valid_after_utc - SERVER_RENEW_BEFORE
    named = {
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    }
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey)
        or key.public_key() != certificate.public_key()
        or not authority.signed(certificate)
        or now >= renew_time
        or not named >= set(hosts)
    ):
        return None
    return Serving(
        key=key_pem(key),
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        renew_time=renew_time,
    )
