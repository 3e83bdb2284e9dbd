"""What of a launch nobody may read: what its plugin calls secret, and what variables and options are named so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from motorpool_agent.reconcile.handle import Handle
from motorpool_agent.runtime.proxies import users

MASK = "***"

_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
# Words of an option's name: most that have to do with tokens count them.
_WORDS = frozenset({"token", "key", "apikey", "secret", "password", "passwd", "passphrase", "credential"})
_LEAST_CHARACTERS = 8
_LEAST_CHARACTERS_OF_KEY = 4


@dataclass(frozen=True, slots=True)
class Secrets:
    """Texts that are shown as ``***``, the longer first: one may be a part of another."""

    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, handle: Handle | None) -> Self:
        """Return the secrets of what a handle launched."""
        if handle is None:
            return cls()
        launch = handle.launch
        # Named by nothing, and masked all the same: the plugin said so.
        told = [
            launch.environment.get(name, "")
            for name, shown in launch.rendered.env.items()
            if shown == MASK and not is_secret_name(name)
        ]
        return cls.among(launch.environment, launch.argv, (handle.assignment.api_key, *told))

    @classmethod
    def among(cls, environment: Mapping[str, str], argv: Sequence[str], keys: Iterable[str] = ()) -> Self:
        """Return the secrets among variables and arguments; ``keys`` are known to be some."""
        found = {key for key in keys if len(key) >= _LEAST_CHARACTERS_OF_KEY}
        found |= {value for name, value in environment.items() if is_secret_name(name) and _may_be(value)}
        found |= {user for value in environment.values() for user in users(value)}
        found |= {value for _, value in _options(argv) if _may_be(value)}
        # Lines of a log are looked at one by one, and a key in PEM has many.
        pieces = {piece.strip() for value in found for piece in value.splitlines() or (value,)}
        whole = {piece for piece in pieces if len(piece) >= _LEAST_CHARACTERS_OF_KEY}
        return cls(tuple(sorted(whole, key=lambda value: (-len(value), value))))

    def masked(self, texts: list[str]) -> list[str]:
        """Return texts without the secrets; the very same list where there are none in it."""
        joined = "\n".join(texts) if self.values else ""
        here = [value for value in self.values if value in joined]
        return [_replaced(text, here) for text in texts] if here else texts


def is_secret_name(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return _NAME.search(name) is not None


def _may_be(value: str) -> bool:
    """Whether a value that is named like a secret may be one: MAX_TOKENS=8 is none, and neither is 100000."""
    return len(value) >= _LEAST_CHARACTERS and not value.isdecimal()


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options that are named like secrets, with their values: ``--hf-token X`` and ``--hf-token=X``."""
    for at, argument in enumerate(argv):
        option, equals, value = argument.partition("=")
        if option.startswith("-") and _WORDS & set(re.split(r"[-_.]", option.lower())):
            if equals:
                yield option, value
            elif at + 1 < len(argv) and not argv[at + 1].startswith("-"):
                yield option, argv[at + 1]


def _replaced(text: str, values: Iterable[str]) -> str:
    for value in values:
        text = text.replace(value, MASK)
    return text
