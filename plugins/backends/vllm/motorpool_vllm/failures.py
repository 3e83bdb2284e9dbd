"""Ways in which vLLM fails, by what it logs, with its own options.

Its engine runs in processes of its own: what went wrong stands above, and "Engine core initialization failed" below.
"""

from __future__ import annotations

from motorpool_sdk import KnownFailure

FAILURES = (
    KnownFailure(
        reason="PARAMETER_REFUSED",
        patterns=(
            "vllm serve: error: unrecognized arguments: {why}",
            "error: unrecognized arguments: {why}",
            "vllm serve: error: {why}",
            "vllm: error: {why}",
        ),
        message="vLLM does not take its arguments ({why})",
        hint="correct or leave them out; `vllm serve --help=all` lists those of this node's version",
    ),
    KnownFailure(
        reason="CONTEXT_TOO_LONG",
        patterns=(
            "max seq len ({wished}), ({} larger than the available {} the estimated maximum model length is {most}.",
            "max seq len ({wished}) is larger than {} that can be stored in KV cache ({most}).",
        ),
        message="a context of {wished} tokens does not fit into the device memory that is left for the key/value "
        "cache, {most} would",
        hint="set --max-model-len {most} or less, raise --gpu-memory-utilization, or deploy on more devices",
    ),
    KnownFailure(
        reason="CONTEXT_TOO_LONG",
        patterns=(
            "User-specified max_model_len ({wished}) is greater than the derived max_model_len ({most}",
            "User-specified max_model_len ({wished}) is greater than the derived max_model_len {most}",
        ),
        message="a context of {wished} tokens is more than the model was made for",
        hint="leave --max-model-len out, or lower it",
    ),
    KnownFailure(
        reason="CONTEXT_TOO_LONG",
        patterns=("No available memory for the cache blocks", "larger than the available KV cache memory"),
        message="the model leaves no device memory for the key/value cache",
        hint="shorten the context with --max-model-len, raise --gpu-memory-utilization, or deploy on more devices",
    ),
    KnownFailure(
        reason="DEVICE_MEMORY_TAKEN",
        patterns=(
            "Free memory on device {} ({free} GiB) on startup is less than desired GPU memory utilization ({fraction},",
            "Free memory on device ({free} GiB) on startup is less than {} utilization ({fraction},",
        ),
        message="only {free} GiB of the device were free when vLLM began, less than the fraction {fraction} that "
        "it is to take",
        hint="lower --gpu-memory-utilization, or end what else uses the device",
    ),
    KnownFailure(
        reason="DEVICE_OUT_OF_MEMORY",
        patterns=("CUDA out of memory", "HIP out of memory", "NPU out of memory", "torch.OutOfMemoryError"),
        message="vLLM needed more memory than its device has",
        hint="lower --gpu-memory-utilization, shorten the context with --max-model-len, serve fewer requests at "
        "once with "
        "--max-num-seqs, or do without graphs by --enforce-eager",
    ),
    KnownFailure(
        reason="ARCHITECTURE_UNSUPPORTED",
        patterns=(
            "Model architectures {architectures} are not supported for now",
            "Model architectures {architectures} failed to be inspected",
            "has model type `{architectures}` but Transformers does not recognize",
            "{} has no vLLM implementation",
        ),
        message="this version of vLLM does not run the model's architecture",
        hint="deploy a newer version or image of vLLM, another backend, or another model",
    ),
    KnownFailure(
        reason="MODEL_NOT_FOUND",
        patterns=("Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{path}'",),
        message="the model's folder {path} is not there, or has no config.json",
        hint="copy the whole repository to the node, or correct the deployment's path",
    ),
    KnownFailure(
        reason="PARALLEL_INDIVISIBLE",
        patterns=("Total number of attention heads ({heads}) must be divisible by tensor parallel size ({size})",),
        message="the model's {heads} attention heads cannot be divided over {size} devices",
        hint="set --tensor-parallel-size to a number that divides them, or leave it out",
    ),
    KnownFailure(
        reason="DEVICE_UNSUPPORTED",
        patterns=("Bfloat16 is only supported on GPUs with compute capability of at least {least}.",),
        message="the device does not compute with bfloat16, the model's type of number",
        hint="deploy with --dtype half, or pin newer devices with --device",
    ),
    KnownFailure(
        reason="RAY_UNSUPPORTED",
        patterns=("current platform {platform} does not support ray.",),
        message="this vLLM was built for {platform}, which it does not run by Ray",
        hint="leave --distributed-executor-backend out: vLLM's own launcher spans nodes, too",
    ),
    KnownFailure(
        reason="RAY_DIFFERS",
        patterns=("RuntimeError: Version mismatch: The cluster was started with:",),
        message="the node has another Ray or Python than the one that leads",
        hint="install the same on all nodes; images by a tag that moves may differ, name them by digest",
    ),
    KnownFailure(
        reason="REMOTE_CODE",
        patterns=("Please pass the argument `trust_remote_code=True`", "set the option `trust_remote_code=True`"),
        message="the model brings code of its own, which vLLM runs only if it is told to",
        hint="read that code, and then deploy with --trust-remote-code if you trust it",
    ),
    KnownFailure(
        reason="TOKENIZER_MISSING",
        patterns=("Can't load tokenizer for '{path}'", "Couldn't instantiate the backend tokenizer"),
        message="the model's folder has no tokenizer that vLLM can load",
        hint="copy the whole repository to the node, tokenizer and configuration too",
    ),
)
"""The more certain first; what drivers and kernels say, the agent knows."""
