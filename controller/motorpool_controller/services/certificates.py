"""Gives certificates to nodes, and remembers which ones."""

from __future__ import annotations

from dataclasses import replace

from motorpool_controller.domain.fleet import Node
from motorpool_controller.security.authority import AgentCertificate, Authority
from motorpool_controller.security.errors import RequestError
from motorpool_controller.services.convert.fields import invalid
from motorpool_controller.store.transaction import Transaction

# An agent that dies between being given a certificate and writing it down goes on with an older one.
SERIALS_KEPT = 4


def give_certificate(
    tx: Transaction, authority: Authority, node: Node, csr_pem: str, *, revoke: bool = False
) -> AgentCertificate:
    """Return a certificate for a node, as part of a change that puts the node; ``revoke`` ends its earlier ones."""
    try:
        certificate = authority.sign_agent(csr_pem, node.uid, tx.now)
    except RequestError as error:
        raise invalid("csr_pem", f"it cannot be signed: {error}; make another from a new key") from error
    earlier = () if revoke else node.certificate_serials[-(SERIALS_KEPT - 1) :]
    tx.nodes.put(replace(node, certificate_serials=(*earlier, certificate.serial)))
    return certificate
