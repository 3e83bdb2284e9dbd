"""Where files are fetched from, as this node's settings say: addresses, mirrors, tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from motorpool_agent.files.http import Hub
from motorpool_agent.reconcile.assignment import Download, HubFile
from motorpool_agent.state.errors import ModelFilesError

HUGGING_FACE = "https://huggingface.co"
MODEL_SCOPE = "https://www.modelscope.cn"
_YES = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hubs:
    """The agent's settings of hubs; what they leave open, the environment says, as the hubs' own clients read it."""

    hf_endpoint: str | None = None
    hf_token_file: Path | None = None
    modelscope_endpoint: str | None = None
    modelscope_token_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def hub(self, download: Download) -> Hub:
        """Return who is asked for a download, with the token of now; raise ModelFilesError if nobody may be."""
        if download.source.kind == "model_scope":
            token = self._token(self.modelscope_token_file, "MODELSCOPE_API_TOKEN", ())
            # As its own client does: older routes look at the cookie, newer ones at the header.
            headers = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else {}
            return Hub(
                name="ModelScope",
                headers=headers,
                has_token=bool(token),
                token_setting="modelscope_token_file (or MODELSCOPE_API_TOKEN)",  # noqa: S106  # their names
                endpoint_setting="modelscope_endpoint or MODELSCOPE_ENDPOINT",
            )
        if self.environment.get("HF_HUB_OFFLINE", "").upper() in _YES:
            raise ModelFilesError(
                f"HF_HUB_OFFLINE forbids this agent to ask the hub, and {download.source.repository} is not here; "
                "unset it, or bring the files by `motorpool-agent bundle`",
                reason="HUB_OFFLINE",
            )
        token = self._token(self.hf_token_file, "HF_TOKEN", self._hf_token_files())
        return Hub(
            name="the Hugging Face hub",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            has_token=bool(token),
            token_setting="hf_token_file (or HF_TOKEN)",  # noqa: S106  # their names
            endpoint_setting="hf_endpoint or HF_ENDPOINT",
        )

    def url(self, download: Download, file: HubFile) -> str:
        """Return a file's address."""
        source = download.source
        if source.kind == "model_scope":
            asked = urlencode({"Revision": source.revision or "master", "FilePath": file.path})
            return f"{self._model_scope}/api/v1/models/{quote(source.repository)}/repo?{asked}"
        return f"{self._hugging_face}/{quote(source.repository)}/resolve/{quote(download.commit)}/{quote(file.path)}"

    @property
    def _hugging_face(self) -> str:
        return _address(self.hf_endpoint or self.environment.get("HF_ENDPOINT") or HUGGING_FACE)

    @property
    def _model_scope(self) -> str:
        return _address(self.modelscope_endpoint or self.environment.get("MODELSCOPE_ENDPOINT") or MODEL_SCOPE)

    def _hf_token_files(self) -> tuple[Path, ...]:
        named = self.environment.get("HF_TOKEN_PATH")
        home = self.environment.get("HF_HOME")
        users = self.environment.get("HOME")
        candidates = (
            Path(named) if named else None,
            Path(home, "token") if home else None,
            Path(users, ".cache/huggingface/token") if users else None,
        )
        return tuple(path for path in candidates if path is not None)

    def _token(self, file: Path | None, variable: str, others: tuple[Path, ...]) -> str:
        if file is not None:
            try:
                return file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ModelFilesError(
                    f"the token file {file} cannot be read: {error}; see to the agent's settings",
                    reason="HUB_TOKEN_INVALID",
                ) from error
        if told := self.environment.get(variable, "").strip():
            return told
        for path in others:
            try:
                return path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
        return ""


def _address(told: str) -> str:
    told = told.strip().rstrip("/")
    return told if "://" in told else f"https://{told}"
