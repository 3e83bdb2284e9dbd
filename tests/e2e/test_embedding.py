"""Models that embed or rank are served as what they are, with nothing said."""

from __future__ import annotations

from pathlib import Path

import gguf
import httpx
import pytest

from tests.e2e.fleet import Fleet
from tests.models.tiny_gguf import make_tiny_gguf

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("said", [(), ("--pooling", "mean")], ids=["by its header", "by the deployment"])
def test_a_model_that_embeds_does(fleet: Fleet, tmp_path: Path, said: tuple[str, ...]) -> None:
    """
    A GGUF model whose header names a pooling, or one that is deployed as an embedder, answers for embeddings.
    """
    model = make_tiny_gguf(tmp_path / "m.gguf", pooling=None if said else gguf.PoolingType.MEAN)
    fleet.start_agent("a")
    meant = ("--category", "embedding") if said else ()
    fleet.command(
        *("motorpool", "deploy", "near", "--model", str(model), *meant, "--wait", "--", "--ctx-size", "512", *said)
    )
    credentials = fleet.credentials("near")

    answer = httpx.post(
        f"{credentials.endpoints[0]}/v1/embeddings",
        headers={"Authorization": f"Bearer {credentials.api_key}"},
        json={"model": credentials.served_model_name, "input": ["a red book", "the open door"]},
        timeout=60,
        trust_env=False,
    ).raise_for_status()

    assert [len(each["embedding"]) for each in answer.json()["data"]] == [64, 64]
    assert "--embeddings" in fleet.command("motorpool", "describe", "deployments/near").stdout
