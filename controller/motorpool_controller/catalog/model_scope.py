"""ModelScope, by its public HTTP routes.

Two of them, as ModelScope's own client (modelscope_hub 0.5.1) uses them: a repository's files with sizes and hashes,
and one file, by ranges. ``MODELSCOPE_ENDPOINT`` and ``MODELSCOPE_API_TOKEN`` are that client's variables. Held against
a server of ours that speaks these routes; ModelScope itself could not be reached where this was written.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import partial
from typing import NoReturn

import httpx2
import msgspec

from motorpool_controller.catalog import faults
from motorpool_controller.catalog.budget import Budget
from motorpool_controller.catalog.faults import Asked, explained
from motorpool_controller.catalog.hub import Revision, persistently, whole
from motorpool_controller.catalog.transport import PLAIN, bounded_client, ranged, strange
from motorpool_controller.domain.hub_files import HubFile
from motorpool_controller.domain.names import shown

DEFAULT_ENDPOINT = "https://www.modelscope.cn"
DEFAULT_REVISION = "master"
ENDPOINT_VARIABLE = "MODELSCOPE_ENDPOINT"
TOKEN_VARIABLE = "MODELSCOPE_API_TOKEN"  # noqa: S105  # its name
_SHA256 = re.compile(r"[0-9a-f]{64}")
LISTED_AT_MOST = 3_000
"""Longer listings are cut there without a word."""


class _File(msgspec.Struct, rename="pascal"):
    path: str
    type: str = "blob"
    size: int = 0
    sha256: str = ""


class _Files(msgspec.Struct, rename="pascal"):
    files: list[_File] | None = None


class _Listing(msgspec.Struct, rename="pascal"):
    code: int = 200
    message: str = ""
    data: _Files | None = None


class ModelScope:
    """The hub that the environment names, or the one at ``endpoint``."""

    def __init__(self, endpoint: str = "", token: str = "", environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        named = endpoint or variables.get(ENDPOINT_VARIABLE, "").strip() or DEFAULT_ENDPOINT
        self._endpoint = (named if "://" in named else f"https://{named}").rstrip("/")
        self._token = token or variables.get(TOKEN_VARIABLE, "").strip()
        self._client = bounded_client()

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return self._endpoint

    @property
    def offline(self) -> bool:
        """Never: ModelScope's client knows no such variable."""
        return False

    def pinned(self, revision: str) -> bool:
        """Never: what its branches and tags hold is known by the hashes that a listing gives."""
        return False

    def find(self, repository: str, revision: str, budget: Budget) -> Revision:
        """Return what lies in a repository. Its commit is made of the names, sizes and hashes of all files."""
        asked = Asked(
            hub="ModelScope",
            endpoint=self._endpoint,
            endpoint_variable=ENDPOINT_VARIABLE,
            token_variable=TOKEN_VARIABLE,
            has_token=bool(self._token),
            repository=repository,
            revision=revision,
        )
        files = persistently(partial(self._list, asked, budget), budget)
        identity = "".join(f"{file.path}\0{file.size}\0{file.sha256}\n" for file in files)
        sizes = {file.path: file.size for file in files}
        return Revision(
            name=f"revision {revision or DEFAULT_REVISION}",
            commit=f"sha256:{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()}",
            files=tuple(
                HubFile(
                    path=file.path,
                    size_bytes=file.size,
                    sha256=file.sha256 if _SHA256.fullmatch(file.sha256) else "",
                )
                for file in files
            ),
            fetch=partial(self._fetch, asked, sizes, budget),
        )

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _list(self, asked: Asked, budget: Budget) -> list[_File]:
        url = f"{self._endpoint}/api/v1/models/{asked.repository}/repo/files"
        parameters = {"Revision": asked.revision or DEFAULT_REVISION, "Recursive": "True"}
        with explained(asked):
            answer = self._client.get(url, params=parameters, headers=self._headers(), timeout=budget.request_seconds())
            answer.raise_for_status()
        try:
            listing = msgspec.json.decode(answer.content, type=_Listing)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise strange(url, f"what it lists of {asked.what} cannot be read ({shown(str(error))})") from error
        if listing.code != httpx2.codes.OK or listing.data is None:
            _refuse(listing, asked, url)
        files = [file for file in listing.data.files or () if file.type != "tree"]
        if len(files) >= LISTED_AT_MOST:
            raise strange(url, f"{asked.what} has so many files that ModelScope lists only {len(files)} of them")
        if any(file.size < 0 for file in files):
            raise strange(url, f"it lists a file of {asked.what} without a size")
        return sorted(files, key=lambda file: file.path)

    def _fetch(
        self, asked: Asked, sizes: Mapping[str, int], budget: Budget, file: str, offset: int, count: int
    ) -> bytes:
        budget.reading(file)
        parameters = {"Revision": asked.revision or DEFAULT_REVISION, "FilePath": file}
        url = f"{self._endpoint}/api/v1/models/{asked.repository}/repo?{httpx2.QueryParams(parameters)}"

        def ask(at: int, still: int) -> bytes:
            with explained(asked.of(file)):
                return ranged(self._client, url, self._headers(), at, still, sizes[file])

        return whole(ask, budget, offset, count)

    def _headers(self) -> dict[str, str]:
        if not self._token:
            return dict(PLAIN)
        # As its own client does: older routes look at the cookie, newer ones at the header.
        return {**PLAIN, "Authorization": f"Bearer {self._token}", "Cookie": f"m_session_id={self._token}"}


def _refuse(listing: _Listing, asked: Asked, url: str) -> NoReturn:
    """Raise for an answer that says in its body that it is an error."""
    if "not found" in listing.message.lower() or "not exist" in listing.message.lower():
        raise faults.not_found(asked, "RevisionNotFound" if "revision" in listing.message.lower() else "RepoNotFound")
    raise strange(url, f"it refuses {asked.what} with code {listing.code}, {shown(listing.message)}")
