"""The certificates of the authorities that a node trusts: one, and two while its cluster's authority is rotated."""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl

from motorpool_agent.identity.errors import IdentityError

MOST_BYTES = 64 * 1024
MOST_CERTIFICATES = 8
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def fingerprints(pem: str) -> tuple[str, ...]:
    """Return the SHA-256 of each certificate in lower-case hex, of those that can be read."""
    found = []
    for each in _CERTIFICATE.findall(pem):
        with contextlib.suppress(ValueError):
            found.append(hashlib.sha256(ssl.PEM_cert_to_DER_cert(each)).hexdigest())
    return tuple(found)


def checked_bundle(pem: str, trusted: str) -> str:
    """Return what the controller says to trust from now on; raise where it is nothing that can be trusted.

    It is taken over a connection that was made with the trust of before, one of whose authorities it has to name: what
    names none of them is the answer of a controller that has lost its own, and would lock this node out.
    """
    if len(pem) > MOST_BYTES:
        raise _unusable(f"it has {len(pem)} characters, and at most {MOST_BYTES} are read")
    try:
        found = fingerprints(pem)
        loaded = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        loaded.load_verify_locations(cadata=pem)
    except (ValueError, ssl.SSLError) as error:
        raise _unusable(f"it is no PEM of certificates: {error}") from error
    if not 0 < len(found) <= MOST_CERTIFICATES or loaded.cert_store_stats()["x509_ca"] != len(set(found)):
        raise _unusable(f"it has {len(found)} certificates, which must be 1 to {MOST_CERTIFICATES}, all authorities'")
    if not set(found) & set(fingerprints(trusted)):
        raise _unusable("it names none of the authorities that this node trusts")
    return pem


def _unusable(why: str) -> IdentityError:
    return IdentityError(
        f"the controller's answer says to trust what cannot be trusted: {why}; nothing was changed. Look at `ca.pem` "
        "in its data directory, and at `motorpool-controller ca status`"
    )
