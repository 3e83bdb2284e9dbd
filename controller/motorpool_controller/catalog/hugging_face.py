"""The Hugging Face hub, through ``huggingface_hub`` as its users configure it.

``HF_ENDPOINT``, ``HF_TOKEN`` (or the file that ``hf auth login`` writes), ``HF_HUB_OFFLINE`` and the proxy variables
are read by that library, in the controller's process.
"""

from __future__ import annotations

import re
from functools import partial

import httpx2
from huggingface_hub import (
    HfApi,
    close_session,
    constants,
    get_session,
    get_token,
    hf_hub_url,
    is_offline_mode,
    set_client_factory,
)
from huggingface_hub.errors import HFValidationError
from huggingface_hub.hf_api import RepoSibling

from motorpool_controller.catalog import faults
from motorpool_controller.catalog.budget import Budget
from motorpool_controller.catalog.faults import Asked, explained
from motorpool_controller.catalog.hub import Revision, persistently, whole
from motorpool_controller.catalog.transport import PLAIN, bounded_client, ranged, strange
from motorpool_controller.domain.errors import DomainError, InvalidError
from motorpool_controller.domain.hub_files import HubFile
from motorpool_controller.domain.names import shown

LIBRARY = "motorpool"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HuggingFace:
    """The hub that the environment names, or the one at ``endpoint``."""

    def __init__(self, endpoint: str = "", token: str = "") -> None:
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._token = token
        # The library's requests, too, are to be bounded and counted; it has one client for the whole process.
        set_client_factory(bounded_client)
        # With its telemetry on, it asks the hub for a list of coding agents, and tells whether one runs it.
        constants.HF_HUB_DISABLE_TELEMETRY = True

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return self._endpoint

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE forbids to ask."""
        return bool(is_offline_mode())

    def pinned(self, revision: str) -> bool:
        """Whether the revision is a whole commit."""
        return _COMMIT.fullmatch(revision) is not None

    def find(self, repository: str, revision: str, budget: Budget) -> Revision:
        """Return what lies in a repository."""
        token = self._token or get_token()
        asked = Asked(
            hub="the Hugging Face hub",
            endpoint=self._endpoint,
            endpoint_variable="HF_ENDPOINT",
            token_variable="HF_TOKEN",  # noqa: S106  # its name
            has_token=bool(token),
            repository=repository,
            revision=revision,
        )
        if self.offline:
            raise faults.offline(asked, OFFLINE_VARIABLE)
        # False: without one, the library is not to look for another.
        api = HfApi(endpoint=self._endpoint, token=token or False, library_name=LIBRARY, headers=dict(PLAIN))
        commit, files = persistently(partial(_list, api, asked, budget), budget)
        sizes = {file.path: file.size_bytes for file in files}
        headers = {"User-Agent": LIBRARY, **({"Authorization": f"Bearer {token}"} if token else {})}
        return Revision(
            name=f"revision {revision}" if revision else "the default branch",
            commit=commit,
            files=files,
            fetch=partial(self._fetch, asked, commit, sizes, headers, budget),
        )

    def close(self) -> None:
        """Let the connections go."""
        close_session()

    def _fetch(
        self,
        asked: Asked,
        commit: str,
        sizes: dict[str, int],
        headers: dict[str, str],
        budget: Budget,
        file: str,
        offset: int,
        count: int,
    ) -> bytes:
        budget.reading(file)
        url = hf_hub_url(asked.repository, file, revision=commit, endpoint=self._endpoint)

        def ask(at: int, still: int) -> bytes:
            with explained(asked.of(file)):
                return ranged(get_session(), url, headers, at, still, sizes[file])

        return whole(ask, budget, offset, count)


def _list(api: HfApi, asked: Asked, budget: Budget) -> tuple[str, tuple[HubFile, ...]]:
    """Return the commit of a revision, and its files."""
    url = str(api.endpoint)
    try:
        with explained(asked):
            info = api.model_info(
                asked.repository,
                revision=asked.revision or None,
                files_metadata=True,
                timeout=budget.request_seconds(),
            )
    except DomainError:
        raise
    except HFValidationError as error:
        raise InvalidError("FIELD_INVALID", f"{asked.what} is no repository of {asked.where}: {error}") from error
    except httpx2.HTTPError as error:  # the library's own errors, each with the answer it was made of
        answer = getattr(error, "response", None)
        if not isinstance(answer, httpx2.Response):
            raise
        raise faults.of_answer(answer, asked) from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:  # no JSON, or JSON of something else
        raise strange(url, f"what it lists of {asked.what} cannot be read ({shown(str(error))})") from error
    commit, siblings = info.sha, info.siblings
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise strange(url, f"it names no commit of {asked.what}")
    files: list[HubFile] = []
    for sibling in siblings or ():
        if not isinstance(sibling.rfilename, str) or not isinstance(sibling.size, int) or sibling.size < 0:
            raise strange(url, f"it lists a file of {asked.what} without a name or a size")
        files.append(_file(sibling))
    return commit, tuple(files)


def _file(sibling: RepoSibling) -> HubFile:
    """Return a file with what names its content: SHA-256 of what lies in LFS, git's own digest of the rest."""
    told = sibling.lfs.sha256 if sibling.lfs is not None else ""
    sha256 = told if isinstance(told, str) and _SHA256.fullmatch(told) else ""
    blob = sibling.blob_id
    # Of what lies in LFS git knows a pointer only.
    own = sibling.lfs is None and isinstance(blob, str) and _COMMIT.fullmatch(blob)
    return HubFile(
        path=sibling.rfilename, size_bytes=sibling.size or 0, sha256=sha256, git_sha1=blob if own and blob else ""
    )
