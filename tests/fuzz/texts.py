"""What people and files say: tokens and names, engines' arguments, YAML and TOML, archives."""

from __future__ import annotations

import atexit
import base64
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from motorpool_agent.config.sources import ConfigError as AgentConfigError
from motorpool_agent.config.sources import load as load_agent
from motorpool_agent.identity.errors import IdentityError
from motorpool_agent.identity.token import JoinToken
from motorpool_agent.policy.reading import PolicyError
from motorpool_agent.policy.reading import read as read_policy
from motorpool_cli import declarations, documents, logins, manifests, settings
from motorpool_cli.failures import CommandError
from motorpool_controller import config
from motorpool_controller.domain import names
from motorpool_controller.domain.errors import DomainError
from motorpool_controller.domain.fleet import Option, OptionKind
from motorpool_controller.domain.parameters import parse
from motorpool_controller.security.authority import Authority, agent_identity
from motorpool_controller.security.errors import SecurityError
from motorpool_controller.security.tokens import read_token
from motorpool_controller.services import backups, pages
from motorpool_controller.services.initialization import FILES
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.store import utc_now
from motorpool_sdk import manifest as plugin_manifest
from motorpool_sdk.errors import SdkError
from tests.controller.fleets import OPTIONS

CLUSTER = "c-1"
MOST_CHARACTERS = 100_000
_FOLDER = Path(tempfile.mkdtemp(prefix="motorpool-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER)
ARGUMENTS = (
    *OPTIONS,
    Option(name="draft", kind=OptionKind.STRING),
    Option(name="speculative-config", kind=OptionKind.JSON, meaning="speculative"),
    Option(name="gpu-memory-utilization", kind=OptionKind.NUMBER, meaning="memory_fraction"),
)


def tokens(content: bytes) -> None:
    """Read any bytes as tokens, names, requests for certificates and certificates."""
    text = content.decode("utf-8", "replace")
    bearer = read_token(text)
    assert bearer is None or not bearer.matches(hashlib.sha256(b"another").digest())
    refused(lambda: JoinToken.parse(text), IdentityError)
    refused(lambda: settings.checked_token(text), CommandError)
    refused(lambda: settings.checked_server(text), CommandError)
    refused(lambda: logins.checked_name(text), CommandError)
    readers: tuple[Callable[[str], object], ...] = (names.check_node_id, _node_id, names.device_of)
    for read in readers:
        refused(partial(read, text), DomainError)
    for token in (text, pages._sealed("", ("resume", CLUSTER)) + text, _sealed(content)):
        refused(partial(pages.resume_position, CLUSTER, token), DomainError)
        refused(partial(pages.page, ["a"], key=str, scope=("resume", CLUSTER), size=1, token=token), DomainError)
    agent_identity(content)
    refused(lambda: _authority().sign_agent(text, "uid", utc_now()), SecurityError)


def parameters(content: bytes) -> None:
    """Read any bytes as the arguments of an engine, one a line."""
    arguments = content.decode("utf-8", "replace").split("\n")
    refused(lambda: parse(arguments, ARGUMENTS), DomainError)


def yaml(content: bytes) -> None:
    """Read any bytes as declared backends, and as the documents of a whole cluster."""
    file = _written(content, "cluster.yaml")
    refused(lambda: declarations.read([file]), CommandError)
    refused(lambda: manifests.read([file]), CommandError)
    documents.read("a.yaml", content)


def toml(content: bytes) -> None:
    """Read any bytes as configurations, as a launch policy, as a plugin's manifest, and as the contexts of a login."""
    file = _written(content, "motorpool/contexts.toml")
    refused(lambda: config.load({"data_dir": _FOLDER}, environment={}, file=file), config.ConfigError)
    refused(lambda: load_agent({}, environment={}, file=file), AgentConfigError)
    refused(lambda: read_policy(file, required=True), PolicyError)
    refused(lambda: plugin_manifest.parse(content, "plugin.toml", "package"), SdkError)
    refused(lambda: logins.read({"XDG_CONFIG_HOME": str(_FOLDER)}), CommandError)
    refused(lambda: settings.load(config=file, environ={"XDG_CONFIG_HOME": str(_FOLDER)}), CommandError)


def backup(content: bytes) -> None:
    """Read any bytes as a backup: nothing of it gets out of the folder that it is unpacked into."""
    file = _written(content, "cluster.backup")
    with tempfile.TemporaryDirectory(dir=_FOLDER) as name:
        folder = Path(name) / "inner"
        folder.mkdir()
        refused(lambda: backups._unpack(file, folder), StoreError)
        assert [folder] == list(Path(name).iterdir()), "it wrote outside of its folder"
        assert {path.name for path in folder.iterdir()} <= set(FILES), "it wrote what is no part of a backup"


def refused(read: Callable[[], object], *errors: type[Exception]) -> None:
    """Let nothing pass but an answer, or an error in words that a terminal can show."""
    try:
        read()
    except errors as error:
        words = str(error)
        assert words, "an error says nothing"
        assert len(words) < MOST_CHARACTERS, "an error is too long to read"
        assert all(line.isprintable() for line in words.split("\n")), "an error has what a terminal would obey"


def _node_id(text: str) -> str:
    return names.resource_id(text, "nodes")


def _sealed(content: bytes) -> str:
    return base64.urlsafe_b64encode(pages._check(content, ("resume", CLUSTER)) + content).decode()


def _written(content: bytes, name: str) -> Path:
    file = _FOLDER / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o600)
    return file


_MADE: list[Authority] = []


def _authority() -> Authority:
    if not _MADE:
        folder = Path(tempfile.mkdtemp(dir=_FOLDER))
        _MADE.append(Authority.create(folder, CLUSTER, utc_now()))
    return _MADE[0]
