import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from motorpool_controller.config import Address
from motorpool_controller.security.addresses import advertised, certified
from motorpool_controller.security.authority import SERVER_LIFE, SERVER_RENEW_BEFORE, Authority
from motorpool_controller.security.serving import serving_certificate

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTS = ("controller.example", "127.0.0.1", "::1")


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "cluster-1", NOW)


def test_certificate_names_every_host(authority: Authority, tmp_path: Path) -> None:
    """
    Host names and addresses stand in the server's certificate as what they are, and its key is private.
    """
    serving = serving_certificate(tmp_path, authority, HOSTS, NOW)
    certificate = x509.load_pem_x509_certificate(serving.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert ["controller.example"] == names.get_values_for_type(x509.DNSName)
    assert ["127.0.0.1", "::1"] == [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert authority.signed(certificate)
    assert stat.S_IMODE((tmp_path / "server.pem").stat().st_mode) == 0o600


def test_certificate_is_kept_while_it_serves(authority: Authority, tmp_path: Path) -> None:
    """
    A restart with the same or fewer hosts uses the certificate that is there.
    """
    first = serving_certificate(tmp_path, authority, HOSTS, NOW)

    assert first == serving_certificate(tmp_path, authority, HOSTS, NOW + timedelta(days=1))
    assert first == serving_certificate(tmp_path, authority, HOSTS[:1], NOW)


def test_certificate_is_made_again_for_new_hosts_or_near_its_end(authority: Authority, tmp_path: Path) -> None:
    """
    Another host, an end that is near, a damaged file or another authority makes another certificate.
    """
    first = serving_certificate(tmp_path, authority, HOSTS, NOW)
    with_host = serving_certificate(tmp_path, authority, (*HOSTS, "other.example"), NOW)
    late = NOW + SERVER_LIFE - SERVER_RENEW_BEFORE
    renewed = serving_certificate(tmp_path, authority, HOSTS, late)
    (tmp_path / "server.pem").write_text("nothing")
    repaired = serving_certificate(tmp_path, authority, HOSTS, NOW)
    (tmp_path / "other").mkdir()
    foreign = serving_certificate(tmp_path, Authority.create(tmp_path / "other", "cluster-2", NOW), HOSTS, NOW)

    assert len({each.certificate for each in (first, with_host, renewed, repaired, foreign)}) == 5
    assert late < renewed.renew_time


def test_given_hosts_are_advertised() -> None:
    """
    What the operator names is advertised; else the address listened on; else this machine's own.
    """
    assert ("a.example",) == advertised(Address("0.0.0.0", 1), ("a.example",))
    assert ("10.0.0.1",) == advertised(Address("10.0.0.1", 1), ())
    found = advertised(Address("0.0.0.0", 1), ())
    assert found
    assert "0.0.0.0" not in found


def test_loopback_is_always_certified() -> None:
    """
    The server's certificate names loopback too: the command on the same machine uses it.
    """
    hosts = certified((Address("0.0.0.0", 1), Address("10.0.0.1", 2)), ("a.example",))

    assert ("a.example", "10.0.0.1", "localhost", "127.0.0.1", "::1") == hosts
