"""Which of a deployment's parameters are secrets, by their options' names: no list of all engines' options is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Words of an option's name: most that have to do with tokens count them.
_WORDS = frozenset({"token", "key", "apikey", "secret", "password", "passwd", "passphrase", "credential"})


def without_secrets(parameters: Sequence[str], mask: str) -> list[str]:
    """Return parameters as written, with the values of options such as ``--hf-token`` masked."""
    shown: list[str] = []
    hide = False
    for word in parameters:
        option, equals, _ = word.partition("=")
        if hide and not word.startswith("-"):
            shown.append(mask)
            hide = False
            continue
        secret = bool(_WORDS & set(re.split(r"[-_.]", option.lower())))
        hide = secret and not equals
        shown.append(f"{option}={mask}" if secret and equals else word)
    return shown
