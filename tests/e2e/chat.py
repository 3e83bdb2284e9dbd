"""A client that asks a served model again and again, streaming, and counts the answers."""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import Self

import httpx

from motorpool import v1
from tests.e2e.fleet import wait_for


def ask(credentials: v1.DeploymentCredentials, *, tokens: int = 16) -> str:
    """Return one streamed answer; raises httpx.HTTPError when it fails or breaks off."""
    answer, finished = "", False
    with httpx.stream(
        "POST",
        f"{credentials.endpoints[0]}/v1/chat/completions",
        headers={"Authorization": f"Bearer {credentials.api_key}"},
        json={
            "model": credentials.served_model_name,
            "messages": [{"role": "user", "content": "say something"}],
            "stream": True,
            "temperature": 0,
            "max_tokens": tokens,
        },
        timeout=60,
        trust_env=False,
    ) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            finished |= data == "[DONE]"
            if data.startswith("{"):
                answer += json.loads(data)["choices"][0]["delta"].get("content") or ""
    if not finished:
        raise httpx.RemoteProtocolError("the stream broke off before [DONE]")
    return answer


class Questioner:
    """Asks without pause in a thread of its own for the time of the block, for answers of so many ``tokens``."""

    def __init__(self, credentials: v1.DeploymentCredentials, *, tokens: int = 16) -> None:
        self._credentials = credentials
        self._tokens = tokens
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_more(self, count: int, when: str, timeout_seconds: float = 60.0) -> None:
        """Return when ``count`` more answers came."""
        goal = self.answers + count
        what = f"{count} more answers {when}; failed: {self.failures}"
        wait_for(what, lambda: self.answers >= goal, timeout_seconds)

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                if ask(self._credentials, tokens=self._tokens):
                    self.answers += 1
                else:
                    self.failures.append("an empty answer")
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
