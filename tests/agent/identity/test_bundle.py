"""What a node is told to trust."""

from __future__ import annotations

import pytest

from motorpool_agent.identity.bundle import MOST_CERTIFICATES, checked_bundle, fingerprints
from motorpool_agent.identity.errors import IdentityError
from tests.agent.authority import TestAuthority

OLD, NEW = TestAuthority("old"), TestAuthority("new")


def test_fingerprints_are_those_of_tokens() -> None:
    """
    Each certificate has the SHA-256 by which join tokens name it; what is none has none.
    """
    assert fingerprints(OLD.pem + NEW.pem) == (OLD.fingerprint, NEW.fingerprint)
    assert fingerprints("") == fingerprints("-----BEGIN CERTIFICATE-----\nabcde\n-----END CERTIFICATE-----") == ()


@pytest.mark.parametrize(("told", "trusted"), [(OLD.pem + NEW.pem, OLD.pem), (NEW.pem, OLD.pem + NEW.pem)])
def test_a_rotation_is_followed(told: str, trusted: str) -> None:
    """
    A second authority is taken beside the first, and the first is dropped.
    """
    assert checked_bundle(told, trusted) == told


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("told", "why"),
    [
        (NEW.pem, "none of the authorities that this node trusts"),
        ("", "no PEM"),
        ("trust me", "no PEM"),
        (OLD.pem + OLD.pem.replace("MII", "AAA"), "no PEM|2 certificates|1 certificates"),
        (OLD.pem * (MOST_CERTIFICATES + 1), "9 certificates"),
        (OLD.pem + " " * 70_000, "70"),
        (OLD.pem + OLD.server()[1].decode(), "all authorities'"),
    ],
)
def test_what_cannot_be_trusted_changes_nothing(told: str, why: str) -> None:
    """
    An answer without a known authority, with too many, or with what is no authority's certificate is refused in words.
    """
    with pytest.raises(IdentityError, match=why) as caught:
        checked_bundle(told, OLD.pem)
    assert "nothing was changed" in str(caught.value)
