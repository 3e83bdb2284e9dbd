"""What can be wrong with certificates and keys.

SecurityError
├── AuthorityError     the cluster's authority is missing, unreadable or already there
├── RotationError      a step of a rotation that is not the next one, or that would lock somebody out
└── RequestError       a certificate signing request that cannot be signed
"""

from __future__ import annotations


class SecurityError(Exception):
    """Something is wrong with certificates or keys."""


class AuthorityError(SecurityError):
    """The cluster's authority is missing, unreadable or already there."""


class RotationError(SecurityError):
    """A step of a rotation that is not the next one, or that would lock somebody out."""


class RequestError(SecurityError):
    """A certificate signing request that cannot be signed."""
