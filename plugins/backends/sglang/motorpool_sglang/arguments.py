"""The arguments of ``sglang serve``, from what was placed and what the user says.

Each is in SGLang 0.5.23's own parser (``python/sglang/srt/arg_groups/fields``), and stands in
https://docs.sglang.io/advanced_features/server_arguments.html unless another page is named.
"""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_sdk import ExtendedKvCache, LaunchRequest, Speculative
from motorpool_sglang.options import OPTIONS

NPU = "cann"
IMAGE = "image"
GIGABYTE = 10**9
RENDEZVOUS = "rendezvous"
"""The leader's port where the members of a gang meet."""

_POOLING = frozenset({"embedding", "reranker"})
_BY_NAME = {option.name: option for option in OPTIONS}

ALGORITHMS = {"eagle": "EAGLE", "eagle3": "EAGLE3", "mtp": "EAGLE", "nextn": "NEXTN", "ngram": "NGRAM"}
"""What deployments call ways to guess tokens, as SGLang names them; others are passed on in upper case.

https://docs.sglang.io/advanced_features/speculative_decoding.html
"""


def arguments(request: LaunchRequest) -> Iterator[str]:
    """Yield all of a launch's arguments after ``sglang serve``, the user's own last, as they were given."""
    yield from ("--model-path", str(request.model_path))
    yield from ("--host", request.listen_address)
    yield from ("--port", str(request.port))
    if makes_images(request):
        yield from _diffusion(request)
    else:
        yield from _language(request)
    for parameter in request.parameters:
        yield parameter.option if parameter.option.startswith("-") else f"--{parameter.option}"
        yield from parameter.values


def makes_images(request: LaunchRequest) -> bool:
    """Return whether the model makes pictures: it has a server of its own in SGLang, which takes other options."""
    return IMAGE in request.categories


def says(request: LaunchRequest, *names: str) -> bool:
    """Return whether the user's parameters set one of these options."""
    return any(parameter.known and parameter.option in names for parameter in request.parameters)


def value(request: LaunchRequest, meaning: str) -> str | None:
    """Return the value that the user's parameters give to what scheduling calls so."""
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if option is not None and option.meaning == meaning and parameter.values:
            return parameter.values[0]
    return None


def _diffusion(request: LaunchRequest) -> Iterator[str]:
    # Rule B14.9; https://docs.sglang.io/diffusion/api/cli.html
    count = len(request.device_ids)
    if count > 1 and not says(request, "tp-size"):
        yield from ("--num-gpus", str(count))
        yield from ("--tp-size", str(count))
    if request.framework == "cuda" and not says(request, "attention-backend"):
        # What it would choose by itself does not run on every card that Motorpool may place it on; this one does.
        yield from ("--attention-backend", "torch_sdpa")


def _language(request: LaunchRequest) -> Iterator[str]:
    yield from ("--served-model-name", request.served_model_name)
    if request.context_length is not None and not says(request, "context-length"):
        yield from ("--context-length", str(request.context_length))
    if request.memory_fraction and value(request, "memory_fraction") is None:
        yield from ("--mem-fraction-static", f"{request.memory_fraction:g}")
    yield from _parallel(request)
    # https://docs.sglang.io/references/production_metrics.html
    if not says(request, "enable-metrics"):
        yield "--enable-metrics"
    if not says(request, "enable-cache-report"):
        yield "--enable-cache-report"
    if _POOLING.issuperset(request.categories) and request.categories and not says(request, "is-embedding"):
        # https://docs.sglang.io/supported_models/embedding_models.html and rerank_models.html
        yield "--is-embedding"
    if request.trust_remote_code and not says(request, "trust-remote-code"):
        yield "--trust-remote-code"
    if request.framework == NPU and not says(request, "attention-backend"):
        # https://docs.sglang.io/platforms/ascend/ascend_npu.html
        yield from ("--attention-backend", "ascend")
    if request.extended_kv_cache is not None and not says(request, "enable-hierarchical-cache"):
        yield from _host_cache(request, request.extended_kv_cache)
    if request.speculative is not None:
        yield from _speculative(request, request.speculative)
    if request.adapters:
        # https://docs.sglang.io/advanced_features/lora.html
        yield from ("--enable-lora", "--lora-paths")
        yield from (f"{adapter.name}={adapter.path}" for adapter in request.adapters)
        if not says(request, "max-loras-per-batch"):
            yield from ("--max-loras-per-batch", str(len(request.adapters)))


def _parallel(request: LaunchRequest) -> Iterator[str]:
    gang, sizes = request.gang, request.parallelism
    # Groups of data parallel attention lie within the tensor parallel one.
    own = ("tp-size", "pp-size") if says(request, "enable-dp-attention") else ("tp-size", "pp-size", "dp-size")
    if not says(request, *own):
        # Nodes with different numbers of devices are one pipeline, without a tensor group.
        decided = sizes.tensor or (1 if gang is not None else len(request.device_ids))
        for option, size in (("--tp-size", decided), ("--pp-size", sizes.pipeline), ("--dp-size", sizes.data)):
            if size is not None and size > 1:
                yield from (option, str(size))
    if gang is not None:
        # https://docs.sglang.io/references/multi_node_deployment/multi_node.html
        yield from ("--nnodes", str(len(gang.members)), "--node-rank", str(gang.rank))
        yield from ("--dist-init-addr", f"{gang.leader.address}:{gang.leader.ports[RENDEZVOUS]}")


def _host_cache(request: LaunchRequest, cache: ExtendedKvCache) -> Iterator[str]:
    # https://docs.sglang.io/advanced_features/hicache.html : the size is of each rank, in gigabytes.
    yield "--enable-hierarchical-cache"
    if not says(request, "hicache-size", "hicache-ratio"):
        size = cache.memory_bytes // (max(len(request.device_ids), 1) * GIGABYTE)
        yield from ("--hicache-size", str(max(size, 1)))
    if cache.chunk_size is not None and not says(request, "page-size"):
        yield from ("--page-size", str(cache.chunk_size))
    if request.framework == NPU and not says(request, "hicache-io-backend"):
        yield from ("--hicache-io-backend", "kernel_ascend")


def _speculative(request: LaunchRequest, wish: Speculative) -> Iterator[str]:
    algorithm = ALGORITHMS.get(wish.algorithm.lower(), wish.algorithm.upper())
    if not says(request, "speculative-algorithm"):
        yield from ("--speculative-algorithm", algorithm)
    if wish.draft_path is not None and not says(request, "speculative-draft-model-path"):
        yield from ("--speculative-draft-model-path", str(wish.draft_path))
    if wish.draft_tokens is None or says(request, "speculative-num-draft-tokens"):
        return
    if algorithm != "NGRAM" and not says(request, "speculative-num-steps", "speculative-eagle-topk"):
        # A chain of so many tokens: it wants all three of them or none, and one token fewer is guessed than looked at.
        yield from ("--speculative-num-steps", str(max(wish.draft_tokens - 1, 1)))
        yield from ("--speculative-eagle-topk", "1")
    yield from ("--speculative-num-draft-tokens", str(max(wish.draft_tokens, 2)))
