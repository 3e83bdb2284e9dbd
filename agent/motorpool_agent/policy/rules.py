"""The policy as it is enforced. Patterns are those of a shell: ``*``, ``?``, ``[…]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRules:
    """What holds for one backend in place of what holds for all; None: the same."""

    executables: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    denied_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may run here. ``source`` is the file it stands in, empty for what holds without one.

    - ``roots`` are the folders below which models lie, and what goes with them.
    - ``executables`` are patterns of programs that declared backends may run as processes.
    - ``images`` are patterns of images that containers may be made of.
    - ``host_network`` lets containers of an instance over several nodes use the machine's own network.
    - ``remote_code`` lets deployments have a model's own code run.
    - ``denied_options`` and ``denied_environment`` are patterns of parameters and variables, beside the floor's.
    - ``closed`` are the agent's own folders, whatever root they lie below: only what it fetched or made is read.
    - ``devices`` are patterns of the device nodes that an engine may be given.
    """

    source: str = ""
    roots: tuple[str, ...] = ("/",)
    executables: tuple[str, ...] = ("*",)
    images: tuple[str, ...] = ("*",)
    host_network: bool = True
    remote_code: bool = True
    denied_options: tuple[str, ...] = ()
    denied_environment: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("*",)
    backends: Mapping[str, BackendRules] = field(default_factory=dict)

    def executables_of(self, backend: str) -> tuple[str, ...]:
        """Return the patterns of a backend's programs."""
        own = self.backends.get(backend, BackendRules()).executables
        return self.executables if own is None else own

    def images_of(self, backend: str) -> tuple[str, ...]:
        """Return the patterns of a backend's images."""
        own = self.backends.get(backend, BackendRules()).images
        return self.images if own is None else own

    def denied_options_of(self, backend: str) -> Iterator[str]:
        """Yield the patterns of parameters that a backend is not given."""
        yield from self.denied_options
        yield from self.backends.get(backend, BackendRules()).denied_options

    def line(self, key: str, value: str) -> str:
        """Return what an operator does to allow something: which line, in which file."""
        return f"allow it in {self.source or 'the policy'}: {key} = [{value!r}, …]"
