"""A cluster's authority for tests: real certificates, made here."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class TestAuthority:
    __test__ = False

    def __init__(self, name: str = "test cluster") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _build(name, self.key, name, self.key, ca=True)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def token(self) -> str:
        return f"mpj_abcdefghij_{'5' * 64}_{self.fingerprint}"

    def server(self) -> tuple[bytes, bytes]:
        """Key and chain of a server on loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = _build("server", key, self._name, self.key, names=names)
        return key_pem(key), (certificate.public_bytes(serialization.Encoding.PEM) + self.pem.encode())

    def agent(self, csr_pem: str) -> str:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        assert request.is_signature_valid
        public_key = request.public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        names = [x509.UniformResourceIdentifier("motorpool://test/nodes/uid-1")]
        certificate = _build("node uid-1", public_key, self._name, self.key, names=names)
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def _name(self) -> str:
        value = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        assert isinstance(value, str)
        return value


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _build(
    subject: str,
    key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    names: Sequence[x509.GeneralName] | None = None,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(subject))
        .issuer_name(_common_name(issuer))
        .public_key(key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=31))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
