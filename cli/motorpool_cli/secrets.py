"""What a deployment was given and people who look over one's shoulder need not see: told by names alone.

Of an agent's own no secret comes this far; this is of what operators wrote themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from motorpool import v1

MASKED = "***"
_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
# Words of an option's name: most that have to do with tokens count them.
_WORDS = frozenset({"token", "key", "apikey", "secret", "password", "passwd", "passphrase", "credential"})


def mask_spec(spec: v1.DeploymentSpec) -> None:
    """Replace the secrets of a spec that is shown, and not sent back."""
    for name, value in spec.env.items():
        spec.env[name] = MASKED if _NAME.search(name) else _USER.sub(MASKED, value)
    spec.parameters[:] = without_secrets(spec.parameters)


def without_secrets(parameters: Sequence[str]) -> list[str]:
    """Return parameters as written, with the values of options such as ``--hf-token`` masked."""
    shown: list[str] = []
    hide = False
    for word in parameters:
        option, equals, _ = word.partition("=")
        if hide and not word.startswith("-"):
            shown.append(MASKED)
            hide = False
            continue
        secret = bool(_WORDS & set(re.split(r"[-_.]", option.lower())))
        hide = secret and not equals
        shown.append(f"{option}={MASKED}" if secret and equals else word)
    return shown
