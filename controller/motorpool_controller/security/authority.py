"""The cluster's own certificate authority: it signs the server's and the agents' certificates.

An agent's certificate is good for a session for a day and for renewal for thirty more. TLS knows one end only and gRPC
refuses a certificate past it before we see the call, so the certificate itself ends after both; the day is counted from
its ``notBefore`` by those who ask ``session_end``.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from motorpool_controller.security.errors import AuthorityError, RequestError

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
SERVER_RENEW_BEFORE = timedelta(days=60)
SESSION_LIFE = timedelta(hours=24)
RENEW_GRACE = timedelta(days=30)
# Clocks of a fleet differ; a certificate is good a little before it is made.
SKEW = timedelta(minutes=5)
KEY_FILE = "ca-key.pem"
_CSR_BYTES = 64 * 1024
_RSA_BITS = 2048
_IDENTITY = re.compile(r"motorpool://(?P<cluster>[A-Za-z0-9-]+)/nodes/(?P<uid>[A-Za-z0-9-]+)")


@dataclass(frozen=True, slots=True)
class AgentCertificate:
    """A certificate made for an agent."""

    pem: str
    serial: str
    renew_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Whom an agent's certificate names. TLS has checked its signature."""

    cluster_id: str
    node_uid: str
    serial: str
    issue_time: datetime

    @property
    def session_end(self) -> datetime:
        """When sessions stop accepting it; renewal goes on."""
        return self.issue_time + SESSION_LIFE

    @property
    def renew_end(self) -> datetime:
        """When renewal stops accepting it."""
        return self.session_end + RENEW_GRACE


class Authority:
    """Signs certificates with the cluster's key."""

    def __init__(self, cluster_id: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.cluster_id = cluster_id
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, directory: Path, cluster_id: str, now: datetime) -> Self:
        """Make the authority of a new cluster in a folder that has none."""
        made = cls.make(cluster_id, now, f"Motorpool cluster {cluster_id}")
        write_new(directory / KEY_FILE, made.key_pem.encode(), 0o600)
        write_new(ca_file(directory), made.pem.encode(), 0o644)
        return made

    @classmethod
    def make(cls, cluster_id: str, now: datetime, common_name: str) -> Self:
        """Make an authority, which is nowhere yet but here."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Motorpool"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(cluster_id, certificate, key)

    @classmethod
    def load(cls, directory: Path, cluster_id: str) -> Self:
        """Return the authority of ``ca.pem``, whose first certificate counts, and ``ca-key.pem``."""
        try:
            content, mode = read_private(directory / KEY_FILE)
            made = cls.read(cluster_id, ca_file(directory).read_bytes(), content)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise AuthorityError(
                f"the cluster's authority in {directory} cannot be read: {error}; restore ca.pem and ca-key.pem "
                "from a backup (a new authority would lock every agent out)"
            ) from error
        refuse_loose(directory / KEY_FILE, mode)
        if made is None:
            raise AuthorityError(
                f"{directory}/ca-key.pem is not the key of {directory}/ca.pem; restore both from one backup"
            )
        return made

    @classmethod
    def read(cls, cluster_id: str, certificate_pem: bytes, key_pem: bytes) -> Self | None:
        """Return an authority as it was written, None where key and certificate are of two; ValueError if neither."""
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            return None
        return cls(cluster_id, certificate, key)

    @cached_property
    def pem(self) -> str:
        """The authority's certificate, which everyone may know."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """Its private key: whoever has it can be any node and the controller."""
        return key_pem(self._key).decode()

    @cached_property
    def fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the certificate's DER."""
        return hashlib.sha256(self._certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def sign_agent(self, csr_pem: str, node_uid: str, now: datetime) -> AgentCertificate:
        """Return a certificate for a node's agent. Of the request only the key counts; its signature is checked."""
        public_key = _requested_key(csr_pem)
        identity = f"motorpool://{self.cluster_id}/nodes/{node_uid}"
        certificate = (
            self._builder(public_key, f"node {node_uid}", now - SKEW, now + SESSION_LIFE + RENEW_GRACE)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return AgentCertificate(
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            serial=f"{certificate.serial_number:x}",
            renew_time=now + SESSION_LIFE / 2,
            expire_time=now + SESSION_LIFE,
        )

    def sign_server(
        self, public_key: ec.EllipticCurvePublicKey, hosts: Sequence[str], now: datetime
    ) -> x509.Certificate:
        """Return a certificate for the controller's listeners under those names and addresses."""
        return (
            self._builder(public_key, "motorpool-controller", now - SKEW, now + SERVER_LIFE)
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def signed(self, certificate: x509.Certificate) -> bool:
        """Return whether this authority signed a certificate."""
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _builder(
        self,
        public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey,
        common_name: str,
        start: datetime,
        end: datetime,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(min(end, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def ca_file(directory: Path) -> Path:
    """Return where the authority's certificate lies."""
    return directory / "ca.pem"


def read_private(path: Path) -> tuple[bytes, int]:
    """Return what a file with a key holds, and its mode."""
    with path.open("rb") as opened:
        return opened.read(), os.fstat(opened.fileno()).st_mode


def refuse_loose(path: Path, mode: int) -> None:
    """Raise where others could have read the authority's key, or could put another in its place."""
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise AuthorityError(
            f"{path} may be read or written by others: whoever has it can be any node and the controller. Say "
            f"`chmod 600 {path}`, and think of who could have read it"
        )


def agent_identity(pem: bytes) -> AgentIdentity | None:
    """Return whom a verified client certificate names; None if it is no agent's."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        found = _IDENTITY.fullmatch(uri)
        if found is not None:
            return AgentIdentity(
                cluster_id=found["cluster"],
                node_uid=found["uid"],
                serial=f"{certificate.serial_number:x}",
                issue_time=certificate.not_valid_before_utc + SKEW,
            )
    return None


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as it is written to disk."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet, durably, readable as ``mode`` says from its first byte."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise AuthorityError(f"{path} exists already and is not overwritten; move it away first") from error
    with os.fdopen(descriptor, "wb") as file:
        give_to_owner(descriptor, path.parent)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_over(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once and durably: a crash leaves the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    write_new(fresh, content, mode)
    fresh.replace(path)
    sync_folder(path.parent)


def give_to_owner(descriptor: int, directory: Path) -> None:
    """Have a file that root made belong to its folder's owner: a controller that is an ordinary user's reads it."""
    if os.name == "posix" and os.geteuid() == 0:
        folder, file = directory.stat(), os.fstat(descriptor)
        # Not asked for nothing: a root without its rights, as in a confined unit, may not give away even what it has.
        if (file.st_uid, file.st_gid) != (folder.st_uid, folder.st_gid):
            os.fchown(descriptor, folder.st_uid, folder.st_gid)


def sync_folder(directory: Path) -> None:
    """Have a folder's entries on disk."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _requested_key(
    csr_pem: str,
) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey:
    if len(csr_pem) > _CSR_BYTES:
        raise RequestError(f"it has {len(csr_pem)} characters; at most {_CSR_BYTES} are read")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        valid = request.is_signature_valid
        public_key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RequestError(f"it is no PEM certificate signing request: {error}") from error
    if not valid:
        raise RequestError("its signature is not that of its key")
    if isinstance(public_key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return public_key
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size >= _RSA_BITS:
        return public_key
    raise RequestError(f"its key is of a kind that is not accepted; make a P-256 key (or RSA from {_RSA_BITS} bits)")


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
