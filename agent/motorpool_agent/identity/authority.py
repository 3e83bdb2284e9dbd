"""The authority of the cluster that a join token is for, taken from the server's chain before anything is trusted.

Run as ``python -m motorpool_agent.identity.authority HOST PORT FINGERPRINT``, in a process of its own like
``identity.keys``; prints JSON with ``ca_pem``, or with ``unreachable`` or ``mismatch`` and a sentence.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

CONNECT_TIMEOUT_SECONDS = 10.0


def fetch_authority(host: str, port: int, fingerprint: str) -> dict[str, str]:
    """Return ``ca_pem``: the certificate of the server's chain that has this SHA-256 and is an authority's."""
    from cryptography import x509  # noqa: PLC0415  # only the short-lived process pays for them
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415
    from OpenSSL import SSL  # noqa: PLC0415

    try:
        chain = _chain(host, port)
    except OSError as error:
        return {"unreachable": error.strerror or str(error) or type(error).__name__}
    except SSL.Error as error:
        return {"unreachable": f"something answers there, but not with TLS ({error})"}
    for certificate in chain:
        if hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest() != fingerprint:
            continue
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            constraints = None
        if constraints is None or not constraints.ca:
            return {"mismatch": "the certificate with the token's fingerprint is not an authority's"}
        return {"ca_pem": certificate.public_bytes(Encoding.PEM).decode("ascii")}
    return {"mismatch": f"none of the {len(chain)} certificates shown there has the token's fingerprint"}


def _chain(host: str, port: int) -> list[x509.Certificate]:
    """Return what the server shows. Nothing is verified here: the fingerprint is what decides."""
    from OpenSSL import SSL  # noqa: PLC0415

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([b"h2"])  # gRPC servers close connections without it
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_SECONDS) as plain:
        # pyOpenSSL takes a socket with a timeout for a non-blocking one.
        deadline = time.monotonic() + CONNECT_TIMEOUT_SECONDS
        connection = SSL.Connection(context, plain)
        connection.set_tlsext_host_name(host.encode("idna"))
        connection.set_connect_state()
        while True:
            try:
                connection.do_handshake()
                break
            except SSL.WantReadError:
                _wait(plain, deadline, writing=False)
            except SSL.WantWriteError:
                _wait(plain, deadline, writing=True)
        return connection.get_peer_cert_chain(as_cryptography=True) or []


def _wait(plain: socket.socket, deadline: float, *, writing: bool) -> None:
    ready = select.select(
        [] if writing else [plain], [plain] if writing else [], [], max(0.0, deadline - time.monotonic())
    )
    if not any(ready):
        raise TimeoutError(f"no TLS handshake within {CONNECT_TIMEOUT_SECONDS:.0f} s")


if __name__ == "__main__":
    json.dump(fetch_authority(sys.argv[1], int(sys.argv[2]), sys.argv[3]), sys.stdout)
