"""A vendor's C library, loaded when it is first needed, with a table of its functions."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from motorpool_sdk.hardware.sources import CallError, Unavailable

# What ctypes takes for an argument: a plain type, or a pointer to a structure.
Signature = tuple[Any, ...]


class CLibrary:
    """Functions by name. All return an int, 0 for success, unless ``returns`` says otherwise.

    Looks for ``names`` where the loader looks (the manifest's ``library_paths`` come first there), then in ``folders``,
    which may have wildcards. A function that the library lacks is a ``CallError``, as is every code but 0.
    """

    def __init__(
        self,
        names: Sequence[str],
        signatures: Mapping[str, Signature],
        *,
        remedy: str,
        folders: Iterable[str] = (),
        returns: Mapping[str, Any] | None = None,
        meanings: Mapping[int, str] | None = None,
    ) -> None:
        self.name = names[0]
        self.path = ""
        self._names = tuple(names)
        self._signatures = signatures
        self._returns = returns or {}
        self._meanings = meanings or {}
        self._folders = tuple(folders)
        self._remedy = remedy
        self._loaded: ctypes.CDLL | None = None
        self._functions: dict[str, Callable[..., Any]] = {}

    def load(self) -> None:
        """Load it; raises Unavailable with what the loader says of each place."""
        if self._loaded is not None:
            return
        complaints: list[str] = []
        for place in self._places():
            try:
                # Not RTLD_GLOBAL: two vendors' libraries may have the same symbols.
                self._loaded = ctypes.CDLL(place, mode=os.RTLD_NOW | os.RTLD_LOCAL)
            except OSError as error:
                complaints.append(str(error))
            else:
                self.path = mapped(Path(place).name) or place
                return
        told = dict.fromkeys(complaints)
        looked = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
        where = ", ".join(["the loader's folders", *looked, *self._folders])
        raise Unavailable(f"{self.name} cannot be loaded: {'; '.join(told)}; looked in {where}. {self._remedy}")

    def has(self, symbol: str) -> bool:
        """Return whether the library, once loaded, has this function."""
        return self._loaded is not None and hasattr(self._loaded, symbol)

    def call(self, symbol: str, *arguments: Any) -> None:
        """Call a function that returns a code; raises CallError where it is not 0."""
        code = self.value(symbol, *arguments)
        if code != 0:
            raise CallError(symbol, code, self._meanings.get(code, ""))

    def succeeds(self, symbol: str, *arguments: Any) -> bool:
        """Call a function that returns a code; return whether that is 0, for what may stay unknown."""
        try:
            return bool(self.value(symbol, *arguments) == 0)
        except CallError:
            return False

    def value(self, symbol: str, *arguments: Any) -> Any:
        """Return what a function returns, whatever that is."""
        function = self._functions.get(symbol)
        if function is None:
            function = self._functions[symbol] = self._bound(symbol)
        return function(*arguments)

    def _bound(self, symbol: str) -> Callable[..., Any]:
        self.load()
        try:
            function = getattr(self._loaded, symbol)
        except AttributeError:
            raise CallError(symbol, None, f"{self.name} of this driver has no such function") from None
        function.argtypes = self._signatures[symbol]
        function.restype = self._returns.get(symbol, ctypes.c_int)
        bound: Callable[..., Any] = function
        return bound

    def _places(self) -> list[str]:
        found = [
            str(path)
            for folder in self._folders
            for name in self._names
            for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"))
        ]
        return [*self._names, *found]


def text(buffer: Any) -> str:
    """Return the text in a C array of characters, up to its NUL; what is no UTF-8 is no text, and empty."""
    raw = bytes(buffer).split(b"\0", 1)[0]
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        return ""


def mapped(name: str) -> str:
    """Return the file that the loader took for ``name``."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and Path(parts[5]).name.startswith(name):
            return parts[5]
    return ""
