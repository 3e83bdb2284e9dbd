"""Whether an engine computes: a request that only one that does answers. Its health says nothing of other members."""

from __future__ import annotations

from motorpool_agent.reconcile.handle import Inference
from motorpool_agent.runtime.exchange import NoAnswerError, Request, answer
from motorpool_agent.runtime.probe import Readiness

_BODY_CHARACTERS = 300
_SERVER_ERROR = 500


async def asked(address: str, port: int, inference: Inference, api_key: str) -> Readiness:
    """Return whether the engine answered, and what it did instead if it did not.

    What it refuses as a bad request was answered by an engine that is there: the fault is then not in its members.
    """
    question = Request("POST", inference.path, api_key, inference.body.encode())
    try:
        status, body = await answer(address, port, question, inference.timeout_seconds)
    except NoAnswerError as error:
        return Readiness(False, f"POST {inference.path} was not answered: {error}")
    if status >= _SERVER_ERROR:
        said = body.decode("utf-8", "replace").strip()[:_BODY_CHARACTERS]
        return Readiness(False, f"POST {inference.path} was answered with status {status}: {said}")
    return Readiness(True)
