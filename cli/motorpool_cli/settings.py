"""Where the controller is and who is asking: flags, then MOTORPOOL_* variables, then a context or the client file."""

from __future__ import annotations

import os
import re
import ssl
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from motorpool_cli import logins
from motorpool_cli.failures import CommandError, Exit

KEYS = ("server", "ca_file", "token")
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+):(\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to reach the controller: ``host:port``, several with commas; PEM of its authority, bearer token."""

    server: str
    ca_pem: bytes
    token: str

    @property
    def servers(self) -> tuple[str, ...]:
        """Every controller that is named, in their order."""
        return tuple(self.server.split(","))


def default_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the client file that is read when none is named and nobody is logged in."""
    return logins.folder(environ) / "client.toml"


def load(
    *,
    config: Path | None = None,
    context: str | None = None,
    server: str | None = None,
    ca_file: Path | None = None,
    token: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings of this call; ``config`` is a file as `motorpool-controller init` writes it.

    Raises CommandError (USAGE) naming the file, key or variable at fault.
    """
    if context:
        # Nearest to the command: what a shell exported for another cluster does not reach into this one.
        environ = {key: value for key, value in environ.items() if not key.startswith("MOTORPOOL_")}
    server = server or environ.get("MOTORPOOL_SERVER")
    token = token or environ.get("MOTORPOOL_TOKEN")
    ca_path = ca_file or (Path(environ["MOTORPOOL_CA_FILE"]) if environ.get("MOTORPOOL_CA_FILE") else None)
    ca_pem = read_ca(ca_path) if ca_path is not None else None
    kept = _kept(config, context, environ)
    server, token, ca_pem = server or kept.server, token or kept.token, ca_pem or kept.ca_pem()
    if not (server and token and ca_pem):
        missing = [key for key, value in (("server", server), ("ca_file", ca_pem), ("token", token)) if not value]
        raise _usage(
            f"It is not known where the controller is and who asks: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Run `motorpool login HOST:PORT --ca-file ca.pem`, copy "
            f"client.toml as `motorpool-controller init` wrote it, and its ca.pem, to {logins.folder(environ)}, name "
            f"that file with --config or MOTORPOOL_CONFIG, or set "
            f"{', '.join(f'MOTORPOOL_{key.upper()}' for key in missing)}."
        )
    return Settings(server=checked_server(server), ca_pem=ca_pem, token=checked_token(token))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What a context or a client file says; its certificate is read when it is needed."""

    server: str | None
    token: str | None
    ca_pem: Callable[[], bytes | None]


def _kept(config: Path | None, context: str | None, environ: Mapping[str, str]) -> _Kept:
    if config and context:
        raise _usage("--config and --context name a cluster each: leave one of them out.")
    if not config and environ.get("MOTORPOOL_CONFIG") and environ.get("MOTORPOOL_CONTEXT"):
        raise _usage("MOTORPOOL_CONFIG and MOTORPOOL_CONTEXT name a cluster each: unset one of them, or say --context.")
    named = config or (Path(environ["MOTORPOOL_CONFIG"]) if environ.get("MOTORPOOL_CONFIG") else None)
    if named is None:
        known = logins.read(environ)
        name = context or environ.get("MOTORPOOL_CONTEXT") or known.current
        if name:
            one = known.chosen(name)
            return _Kept(server=one.server, token=one.token, ca_pem=one.ca_pem.encode)
    path = _expanded(named or default_file(environ))
    file = _read(path, required=named is not None)
    # As in a kubeconfig: a folder with client.toml and ca.pem can be carried elsewhere.
    beside = path.parent / _expanded(Path(file["ca_file"])) if file.get("ca_file") else None
    return _Kept(server=file.get("server"), token=file.get("token"), ca_pem=lambda: read_ca(beside) if beside else None)


def _expanded(path: Path) -> Path:
    """Return the path with ~ replaced; where there is no home directory ~ stays, and no such file will be found."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _usage(message: str) -> CommandError:
    return CommandError(Exit.USAGE, "CLIENT_CONFIG_INVALID", message)


def _read(path: Path, *, required: bool) -> dict[str, str]:
    try:
        table = tomllib.loads(logins.private_text(path))
    except FileNotFoundError:
        if required:
            raise _usage(f"The client file {path} does not exist. Name another with --config.") from None
        return {}
    except OSError as error:
        raise _usage(f"The client file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise _usage(f"The client file {path} is not UTF-8 text. Its keys are {', '.join(KEYS)}.") from None
    except (ValueError, RecursionError) as error:  # tomllib raises both, and TOMLDecodeError is a ValueError
        raise _usage(f"The client file {path} is not TOML: {error}. Its keys are {', '.join(KEYS)}.") from None
    for key, value in table.items():
        if key not in KEYS:
            raise _usage(f"The client file {path} has an unknown key {key!r}; its keys are {', '.join(KEYS)}.")
        if not isinstance(value, str):  # not shown: it may be the token
            raise _usage(f'In the client file {path}, {key} is not a string: write {key} = "…".')
    return table


def checked_server(server: str) -> str:
    """Return host:port, or several with commas; raises CommandError (USAGE) where one is none."""
    parts = [part.strip() for part in server.split(",")]
    matches = [_SERVER.fullmatch(part) for part in parts]
    if any(match is None or not 0 < int(match[2]) < 65536 for match in matches):
        raise _usage(
            f"The controller's address {server!r} is not host:port. Write e.g. controller.example:7400, as "
            "`motorpool-controller run` prints it, in --server, MOTORPOOL_SERVER or the client file."
        )
    return ",".join(dict.fromkeys(parts))


def checked_token(token: str) -> str:
    """Return a token without the newline it may end with; raises CommandError (USAGE)."""
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise _usage(
            "The token holds a space or a character that no token has. Set MOTORPOOL_TOKEN, --token or the client "
            "file's token to what `motorpool tokens create` printed, and nothing else."
        )
    return token


def read_ca(path: Path) -> bytes:
    """Return a PEM file's content; raises CommandError (USAGE) where it holds no certificate."""
    path = _expanded(path)
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise _usage(
            f"The certificate {path} of the cluster's authority cannot be read: {error.strerror}. Copy the ca.pem of "
            "the controller's data directory there, or name it with --ca-file or MOTORPOOL_CA_FILE."
        ) from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise _usage(
            f"{path} holds no PEM certificate; --ca-file (or MOTORPOOL_CA_FILE, or ca_file in the client file) takes "
            "the ca.pem of the controller's data directory."
        ) from None
    return pem
