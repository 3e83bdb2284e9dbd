"""What an engine would take for an image, and what is wrong with the rest."""

import pytest

from motorpool_controller.domain.images import image_fault

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        *(
            "llama",
            "llama:1",
            "vllm/vllm-openai:v0.11.0",
            "ghcr.io/ggml-org/llama.cpp:server-cuda",
            "127.0.0.1:5000/a/b_c",
        ),
        *("localhost/x", "[::1]:5000/x:latest", f"quay.io/a__b/c--d:1.0_x-2@{DIGEST}", f"llama@{DIGEST}", DIGEST),
        *("0123456789ab", "Registry.Example:443/x"),
    ],
)
def test_references(text: str) -> None:
    """
    Names, registries with ports, tags, digests, and the engine's own ids.
    """
    assert image_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://example.com/x", "up to ://"),
        ("docker://x:1", "up to ://"),
        ("llama@sha256:abc", "64 hexadecimal digits"),
        (f"llama@{DIGEST.upper()}", "64 hexadecimal digits"),
        ("llama@", "64 hexadecimal digits"),
        ("llama:", "a tag"),
        ("llama:v 1", "a tag"),
        ("llama:" + "x" * 129, "a tag"),
        ("a b", "NAME[:TAG]"),
        ("Llama", "in lower case"),
        ("ghcr.io/Org/llama", "in lower case"),
        ("/llama", "NAME[:TAG]"),
        ("a//b", "NAME[:TAG]"),
        ("--privileged", "NAME[:TAG]"),
        ("x\n", "NAME[:TAG]"),
        ("é", "NAME[:TAG]"),
        ("x" * 513, "more than 512"),
    ],
)
def test_no_references(text: str, why: str) -> None:
    """
    Each is told what is wrong with it, before a node is asked.
    """
    assert why in image_fault(text)
