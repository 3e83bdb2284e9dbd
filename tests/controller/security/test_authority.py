import hashlib
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from motorpool_controller.security.authority import Authority, agent_identity, ca_file
from motorpool_controller.security.errors import AuthorityError, RequestError
from tests.controller.requests import csr

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "cluster-1", NOW)


def test_agent_certificate_names_its_node(authority: Authority) -> None:
    """
    What an agent's certificate says comes back: cluster, node, serial, and when it was made.
    """
    made = authority.sign_agent(csr(), "uid-1", NOW)
    identity = agent_identity(made.pem.encode())

    assert identity is not None
    assert ("cluster-1", "uid-1", made.serial) == (identity.cluster_id, identity.node_uid, identity.serial)
    assert identity.issue_time == NOW


def test_agent_certificate_serves_a_day_and_renews_for_thirty_more(authority: Authority) -> None:
    """
    Sessions end after 24 hours, renewal after 30 days more, and TLS itself not before that.
    """
    made = authority.sign_agent(csr(), "uid-1", NOW)
    identity = agent_identity(made.pem.encode())
    certificate = x509.load_pem_x509_certificate(made.pem.encode())

    assert identity is not None
    assert (NOW + DAY / 2, NOW + DAY) == (made.renew_time, made.expire_time)
    assert (NOW + DAY, NOW + 31 * DAY) == (identity.session_end, identity.renew_end)
    assert certificate.not_valid_after_utc == NOW + 31 * DAY
    assert certificate.not_valid_before_utc < NOW


def test_agent_certificate_is_for_clients_only(authority: Authority) -> None:
    """
    An agent's certificate cannot serve, sign others, or be taken for another subject than its request's key.
    """
    pem = authority.sign_agent(csr(subject="admin"), "uid-1", NOW).pem.encode()
    certificate = x509.load_pem_x509_certificate(pem)

    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert [ExtendedKeyUsageOID.CLIENT_AUTH] == list(usage)
    assert not basic.ca
    assert certificate.subject.rfc4514_string() == "CN=node uid-1"
    assert authority.signed(certificate)


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("request_pem", "message"),
    [
        ("", "no PEM certificate signing request"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no PEM"),
        ("\x00\u2603", "no PEM"),
        ("x" * 100_000, "at most 65536"),
    ],
)
def test_bad_request_is_refused(authority: Authority, request_pem: str, message: str) -> None:
    """
    Whatever is no signing request is refused with what is wrong.
    """
    with pytest.raises(RequestError, match=message):
        authority.sign_agent(request_pem, "uid-1", NOW)


def test_request_with_anothers_signature_is_refused(authority: Authority) -> None:
    """
    A request whose key did not sign it is refused: nobody gets a certificate for a key that is not theirs.
    """
    request = x509.load_pem_x509_csr(csr().encode())
    other = x509.load_pem_x509_csr(csr().encode())
    from cryptography.hazmat.primitives import serialization

    der = request.public_bytes(serialization.Encoding.DER)
    mixed = der.replace(
        request.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        other.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    with pytest.raises(RequestError, match="signature is not that of its key"):
        authority.sign_agent(ssl.DER_cert_to_PEM_cert(mixed).replace("CERTIFICATE", "CERTIFICATE REQUEST"), "u", NOW)


def test_weak_key_is_refused_and_strong_ones_are_not(authority: Authority) -> None:
    """
    P-256, Ed25519 and RSA of 2048 bits are signed; RSA of 1024 bits is not.
    """
    for key in (
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65_537, 2_048),
    ):
        assert authority.sign_agent(csr(key), "uid-1", NOW).pem
    with pytest.raises(RequestError, match="RSA from 2048 bits"):
        authority.sign_agent(csr(rsa.generate_private_key(65_537, 1_024)), "uid-1", NOW)


def test_authority_comes_back(authority: Authority, tmp_path: Path) -> None:
    """
    The authority loaded is the authority made; its fingerprint is the SHA-256 of the certificate's DER.
    """
    loaded = Authority.load(tmp_path, "cluster-1")
    der = ssl.PEM_cert_to_DER_cert(ca_file(tmp_path).read_text())

    assert (authority.pem, authority.fingerprint) == (loaded.pem, loaded.fingerprint)
    assert hashlib.sha256(der).hexdigest() == loaded.fingerprint


def test_key_is_private(authority: Authority, tmp_path: Path) -> None:
    """
    The authority's key can be read by its owner only.
    """
    assert stat.S_IMODE((tmp_path / "ca-key.pem").stat().st_mode) == 0o600


def test_authority_is_not_overwritten(authority: Authority, tmp_path: Path) -> None:
    """
    Where there is an authority no other one is made.
    """
    with pytest.raises(AuthorityError, match="is not overwritten"):
        Authority.create(tmp_path, "cluster-2", NOW)
    assert Authority.load(tmp_path, "cluster-1").fingerprint == authority.fingerprint


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_damaged_authority_is_said_to_be(authority: Authority, tmp_path: Path, name: str) -> None:
    """
    A damaged or missing file of the authority is named with its folder, and what to do.
    """
    (tmp_path / name).write_text("nothing")
    with pytest.raises(AuthorityError, match="restore"):
        Authority.load(tmp_path, "cluster-1")
    (tmp_path / name).unlink()
    with pytest.raises(AuthorityError, match="restore"):
        Authority.load(tmp_path, "cluster-1")


def test_key_of_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    """
    A certificate and a key that do not belong together are not used.
    """
    other = tmp_path / "other"
    other.mkdir()
    Authority.create(other, "cluster-2", NOW)
    (tmp_path / "ca-key.pem").write_bytes((other / "ca-key.pem").read_bytes())

    with pytest.raises(AuthorityError, match="is not the key of"):
        Authority.load(tmp_path, "cluster-1")


@pytest.mark.parametrize("pem", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_names_nobody(pem: bytes) -> None:
    """
    Bytes that are no certificate give no identity instead of an error.
    """
    assert agent_identity(pem) is None


def test_authoritys_own_certificate_names_nobody(authority: Authority) -> None:
    """
    A certificate without a node's name in it is no agent's.
    """
    assert agent_identity(authority.pem.encode()) is None


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620])
def test_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """
    An authority whose key lies open signs nothing until somebody looked at it.
    """
    Authority.create(tmp_path, "c", datetime.now(UTC))
    (tmp_path / "ca-key.pem").chmod(mode)

    with pytest.raises(AuthorityError, match=r"ca-key.pem may be read or written by others.*chmod 600"):
        Authority.load(tmp_path, "c")
