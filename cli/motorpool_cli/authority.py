"""The certificate of a cluster's authority, found by its fingerprint in what a server shows."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl

from motorpool_cli.failures import CommandError, Exit

CONNECT_TIMEOUT_SECONDS = 10.0


def checked_fingerprint(text: str) -> str:
    """Return a SHA-256 in lower case without colons; raises CommandError (USAGE) where it is none."""
    fingerprint = text.strip().replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        raise CommandError(
            Exit.USAGE,
            "OPTION_INVALID",
            "--ca-fingerprint takes the SHA-256 of the cluster's ca.pem, 64 hexadecimal digits with or without colons, "
            "as `openssl x509 -in ca.pem -noout -fingerprint -sha256` shows it.",
        )
    return fingerprint


def fetch_authority(server: str, fingerprint: str) -> bytes:
    """Return the PEM of the authority that has this fingerprint, from the chain that ``server`` shows.

    Nothing is sent but a TLS greeting. Raises CommandError (UNREACHABLE).
    """
    host, _, port = server.rpartition(":")
    try:
        chain = _chain(host.strip("[]"), int(port))
    except ssl.SSLError as error:
        raise _unreachable(
            f"What answers at {server} does not speak TLS as a controller does ({error.reason})."
        ) from None
    except OSError as error:
        raise _unreachable(
            f"The controller at {server} cannot be reached: {error.strerror or error}. Check that "
            "`motorpool-controller run` is up there."
        ) from None
    for certificate in chain:
        if hashlib.sha256(certificate).hexdigest() == fingerprint:
            pem = ssl.DER_cert_to_PEM_cert(certificate)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=pem)
            if context.cert_store_stats()["x509_ca"]:
                return pem.encode("ascii")
            raise _untrusted(f"The certificate with this fingerprint at {server} is not an authority's.")
    raise _untrusted(
        f"None of the {len(chain)} certificates that {server} shows has this fingerprint: it is another cluster, or "
        "somebody stands between."
    )


def _chain(host: str, port: int) -> list[bytes]:
    """Return what the server shows. Nothing is verified here: the fingerprint is what decides."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])  # gRPC servers close connections without it
    with (
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        if hasattr(secure, "get_unverified_chain"):  # Python 3.13
            return list(secure.get_unverified_chain())
        # The same before it had a public name. The alternative is a dependency on OpenSSL's bindings for this line.
        chain = secure._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain or ()]


def _unreachable(message: str) -> CommandError:
    return CommandError(Exit.UNREACHABLE, "CONTROLLER_UNREACHABLE", message)


def _untrusted(message: str) -> CommandError:
    return CommandError(
        Exit.UNREACHABLE,
        "CONTROLLER_UNTRUSTED",
        f"{message} Compare with the fingerprint of the controller's own ca.pem, or name that file with --ca-file.",
    )
