"""Ways in which SGLang fails, as 0.5.23 logs them (``sglang/srt/model_executor``); the agent knows the common ones."""

from __future__ import annotations

from motorpool_sdk.failures import KnownFailure

FAILURES = (
    KnownFailure(
        reason="CACHE_TOO_SMALL",
        patterns=("Not enough memory. Please try to increase --mem-fraction-static",),
        message="the model's weights left too little of the devices' fraction for a cache",
        hint="raise --mem-fraction-static, use more devices, or shorten --context-length",
    ),
    KnownFailure(
        reason="GRAPH_CAPTURE_FAILED",
        patterns=("set --mem-fraction-static to a smaller value",),
        message="CUDA graphs could not be captured beside the weights and the cache",
        hint="lower --mem-fraction-static, or give --disable-cuda-graph",
    ),
)
