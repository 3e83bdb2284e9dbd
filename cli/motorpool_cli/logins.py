"""The clusters that `motorpool login` knows: contexts in one file of the user's, mode 0600."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import ssl
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from motorpool_cli.failures import CommandError, Exit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KEYS = ("server", "cluster_id", "token", "ca_pem")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HEAD = "# Written by `motorpool login`. It holds tokens: keep it to yourself.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One cluster: where it is, which one it was, who is asking, and the PEM of its authority."""

    server: str
    """`host:port`, of several controllers with commas."""
    cluster_id: str
    token: str = field(repr=False)
    ca_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The contexts by name, and the one that commands use when none is named."""

    current: str = ""
    by_name: Mapping[str, Login] = field(default_factory=dict)

    def chosen(self, name: str) -> Login:
        """Return a context; raises CommandError (USAGE) that lists those there are."""
        if name not in self.by_name:
            known = f"they are {', '.join(sorted(self.by_name))}" if self.by_name else "there are none"
            raise CommandError(
                Exit.USAGE, "CONTEXT_UNKNOWN", f"No context is called {name!r}; {known}. `motorpool login` makes one."
            )
        return self.by_name[name]

    def with_login(self, name: str, login: Login) -> Self:
        """Return these with one more, or anew, and that one current."""
        return type(self)(current=name, by_name={**self.by_name, name: login})

    def trusting(self, server: str, token: str, ca_pem: str) -> Self:
        """Return these with the authorities that a server tells to trust, in the contexts of it and this token."""
        told = {
            name: replace(login, ca_pem=ca_pem) if (login.server, login.token) == (server, token) else login
            for name, login in self.by_name.items()
        }
        return type(self)(current=self.current, by_name=told)

    def reaching(self, server: str, token: str, servers: str) -> Self:
        """Return these with all controllers of a cluster, in the contexts of one of them and this token."""
        told = {
            name: replace(login, server=servers) if (login.server, login.token) == (server, token) else login
            for name, login in self.by_name.items()
        }
        return type(self)(current=self.current, by_name=told)

    def without(self, name: str) -> Self:
        """Return these without one; where it was current, none is."""
        left = {other: login for other, login in self.by_name.items() if other != name}
        return type(self)(current="" if self.current == name else self.current, by_name=left)


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the user's configuration."""
    base = Path(environ.get("XDG_CONFIG_HOME") or "~/.config")
    with contextlib.suppress(RuntimeError):  # no home directory: ~ stays, and no such file will be found
        base = base.expanduser()
    return base / "motorpool"


def file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that the contexts are in."""
    return folder(environ) / "contexts.toml"


def checked_name(name: str) -> str:
    """Return a context's name; raises CommandError (USAGE) where it cannot be one."""
    if not _NAME.fullmatch(name):
        raise CommandError(
            Exit.USAGE,
            "CONTEXT_NAME_INVALID",
            f"{name!r} cannot be a context's name: use letters, digits, dots, dashes and _, at most 63. Say --name.",
        )
    return name


def read(environ: Mapping[str, str] = os.environ) -> Logins:
    """Return what was logged in to; nothing where the file does not exist. Raises CommandError (USAGE)."""
    path = file(environ)
    try:
        table = tomllib.loads(private_text(path))
    except FileNotFoundError:
        return Logins()
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise _broken(path, f"is not TOML in UTF-8: {error}") from None
    contexts = table.get("contexts", {})
    current = table.get("current", "")
    if not isinstance(contexts, dict) or not isinstance(current, str):
        raise _broken(path, "has no table [contexts.NAME], or a `current` that is no name")
    return Logins(current=current, by_name={name: _login(path, name, entry) for name, entry in contexts.items()})


def write(logins: Logins, environ: Mapping[str, str] = os.environ) -> Path:
    """Replace the file, and return where it is: readable by its owner alone, and never half written."""
    path = file(environ)
    # JSON's strings are TOML's: what goes in is printable ASCII.
    lines = [_HEAD, f"current = {json.dumps(logins.current)}\n"] if logins.current else [_HEAD]
    for name, login in sorted(logins.by_name.items()):
        lines.append(f"\n[contexts.{json.dumps(name)}]\n")
        lines += [f"{key} = {json.dumps(getattr(login, key))}\n" for key in _KEYS if key != "ca_pem"]
        lines.append(f'ca_pem = """\n{login.ca_pem}"""\n')
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it 0600 from the start.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as made:
                made.writelines(lines)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        raise CommandError(
            Exit.USAGE, "CLIENT_CONFIG_INVALID", f"{path} cannot be written: {error.strerror}. Set XDG_CONFIG_HOME."
        ) from None
    return path


def private_text(path: Path) -> str:
    """Return the text of a file that may hold a token; raises CommandError (USAGE) where others may read one.

    As ssh does with keys: a token that others could have read is to be replaced, not used on.
    """
    with path.open(encoding="utf-8") as opened:
        text = opened.read()
        loose = stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077 if os.name == "posix" else 0
    if loose and "token" in text:
        raise CommandError(
            Exit.USAGE,
            "CLIENT_CONFIG_INVALID",
            f"{path} holds a token, and others than its owner may read or write it. Say `chmod 600 "
            f"{shlex.quote(str(path))}`, and if somebody could have read it, revoke the token and make another.",
        )
    return text


def certificates(pem: bytes) -> str:
    """Return the certificates of a PEM file, and nothing else that stands in it."""
    found = _CERTIFICATE.findall(pem.decode("ascii", "replace"))
    return "".join(ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(each)) for each in found)


def _login(path: Path, name: str, entry: object) -> Login:
    if not isinstance(entry, dict):
        raise _broken(path, f"has a context {name!r} that is no table")
    values = {key: entry.get(key) for key in _KEYS}
    wrong = [key for key, value in values.items() if not isinstance(value, str)]
    if wrong:  # the values are not shown: one of them is the token
        raise _broken(path, f"has a context {name!r} without the text {', '.join(wrong)}")
    return Login(**{key: str(value) for key, value in values.items()})


def _broken(path: Path, what: str) -> CommandError:
    return CommandError(
        Exit.USAGE,
        "CLIENT_CONFIG_INVALID",
        f"The contexts' file {path} {what}. Correct it, or remove it and run `motorpool login` again.",
    )
