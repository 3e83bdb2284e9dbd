"""What can be wrong with certificates and keys.

SecurityError
├── AuthorityError     the cluster's authority is missing, unreadable or already there
└── RequestError       a certificate signing request that cannot be signed
"""

from __future__ import annotations


class SecurityError(Exception):
    """Something is wrong with certificates or keys."""


class AuthorityError(SecurityError):
    """The cluster's authority is missing, unreadable or already there."""


class RequestError(SecurityError):
    """A certificate signing request that cannot be signed."""
