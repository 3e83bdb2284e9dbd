"""A new key and its certificate request, made in a process of their own.

Run as ``python -m motorpool_agent.identity.keys NODE``; prints both as JSON. The cryptography package costs the agent
some 12 MiB of memory for as long as it runs, and is wanted for a moment, twice a day: so it is loaded there, not here.
"""

from __future__ import annotations

import json
import sys


def make_key_and_request(node_id: str) -> tuple[str, str]:
    """Return a new P-256 key and a certificate signing request for it, both in PEM."""
    from cryptography import x509  # noqa: PLC0415  # see above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, node_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem.decode("ascii"), request.public_bytes(serialization.Encoding.PEM).decode("ascii")


if __name__ == "__main__":
    key_text, request_text = make_key_and_request(sys.argv[1])
    json.dump({"key_pem": key_text, "csr_pem": request_text}, sys.stdout)
