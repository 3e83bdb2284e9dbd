"""The options of ``vllm serve`` that Motorpool knows, with what scheduling takes from them.

Names, aliases and kinds are those of the parser of vLLM 0.32.0; a test with the engine holds the table to it. Options
that it lacks are passed on as they were written.
"""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_sdk import Option, OptionKind


def _integer(name: str, *aliases: str, meaning: str = "") -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.INTEGER, meaning=meaning)


def _number(name: str, *aliases: str, meaning: str = "") -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.NUMBER, meaning=meaning)


def _json(name: str, *aliases: str, meaning: str = "") -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.JSON, meaning=meaning)


def _strings(*names: str) -> Iterator[Option]:
    return (Option(name=name) for name in names)


def _flags(*names: str) -> Iterator[Option]:
    return (Option(name=name, kind=OptionKind.FLAG) for name in names)


def _switches(*names: str) -> Iterator[Option]:
    """Yield flags that can be switched off, too: ``--name`` and ``--no-name``."""
    return _flags(*(each for name in names for each in (name, f"no-{name}")))


def _owned(name: str, *aliases: str, kind: OptionKind = OptionKind.STRING) -> Option:
    return Option(name=name, aliases=aliases, kind=kind, system_owned=True)


_FLAG, _INTEGER = OptionKind.FLAG, OptionKind.INTEGER

OPTIONS = (
    # What Motorpool decides: the model, the port and who may ask there, the devices.
    _owned("model"),
    _owned("served-model-name"),
    _owned("host"),
    _owned("port", kind=_INTEGER),
    _owned("uds"),
    _owned("grpc", kind=_FLAG),
    _owned("api-key"),
    _owned("root-path"),
    _owned("ssl-keyfile"),
    _owned("ssl-certfile"),
    _owned("ssl-ca-certs"),
    _owned("config"),
    _owned("hf-token"),
    _owned("download-dir"),
    _owned("device-ids"),
    # Several nodes: who is which, and where they meet.
    _owned("headless", kind=_FLAG),
    _owned("node-rank", "r", kind=_INTEGER),
    _owned("master-addr"),
    _owned("master-port", kind=_INTEGER),
    _owned("data-parallel-address", "dpa"),
    _owned("data-parallel-rpc-port", "dpp", kind=_INTEGER),
    _owned("data-parallel-rank", "dpn", kind=_INTEGER),
    _owned("data-parallel-start-rank", "dpr", kind=_INTEGER),
    _owned("data-parallel-external-lb", "dpe", kind=_FLAG),
    # What would let whoever deploys or asks run code of their own, or read files on the node.
    _owned("middleware"),
    _owned("tool-server"),
    _owned("tool-parser-plugin"),
    _owned("reasoning-parser-plugin"),
    _owned("io-processor-plugin"),
    _owned("worker-cls"),
    _owned("worker-extension-cls"),
    _owned("scheduler-cls"),
    _owned("logits-processors"),
    _owned("allowed-local-media-path"),
    # What memory is planned with.
    _integer("max-model-len", meaning="context_length"),
    Option(
        name="gpu-memory-utilization",
        aliases=("device-memory-utilization",),
        kind=OptionKind.NUMBER,
        meaning="memory_fraction",
        above=0,
        most=1,
    ),
    _integer("tensor-parallel-size", "tp", meaning="tensor_parallel"),
    _integer("pipeline-parallel-size", "pp", meaning="pipeline_parallel"),
    _integer("prefill-context-parallel-size", "pcp"),
    _integer("decode-context-parallel-size", "dcp"),
    _integer("data-parallel-size", "dp", meaning="data_parallel"),
    _integer("data-parallel-size-local", "dpl"),
    # How many nodes it is to span; the launch says how many it does.
    _integer("nnodes", "n", meaning="nodes"),
    *_strings("distributed-executor-backend", "data-parallel-backend"),
    Option(name="enable-expert-parallel", aliases=("ep",), kind=_FLAG),
    Option(name="data-parallel-hybrid-lb", aliases=("dph",), kind=_FLAG),
    _json("hf-overrides", meaning="config_overrides"),
    _integer("max-num-seqs"),
    _integer("max-num-batched-tokens"),
    *_strings("kv-cache-dtype", "kv-cache-memory-bytes", "num-gpu-blocks-override", "kv-offloading-size"),
    _integer("block-size"),
    _number("cpu-offload-gb"),
    *_strings("dtype"),
    Option(name="quantization", aliases=("q",)),
    _json("speculative-config", "sc"),
    *_switches("enforce-eager", "enable-prefix-caching", "enable-chunked-prefill", "async-scheduling"),
    *_switches("disable-sliding-window", "disable-custom-all-reduce", "disable-hybrid-kv-cache-manager"),
    # What is loaded, and how it runs.
    *_strings("runner", "convert", "tokenizer", "tokenizer-mode", "config-format", "load-format", "model-impl"),
    *_strings("hf-config-path", "revision", "tokenizer-revision", "attention-backend", "all2all-backend"),
    *_switches("trust-remote-code", "skip-tokenizer-init", "use-tqdm-on-load", "enable-eplb", "enable-dbo"),
    _integer("seed"),
    _integer("max-cudagraph-capture-size"),
    _json("compilation-config", "cc"),
    _json("attention-config", "ac"),
    _json("additional-config"),
    _json("kernel-config"),
    _json("kv-transfer-config"),
    _json("kv-events-config"),
    _json("model-loader-extra-config"),
    _json("override-generation-config"),
    _json("pooler-config"),
    *_strings("generation-config", "scheduling-policy", "performance-mode", "optimization-level"),
    # Adapters.
    *_switches("enable-lora", "fully-sharded-loras"),
    *_strings("lora-modules", "lora-dtype", "max-cpu-loras"),
    _integer("max-loras"),
    _integer("max-lora-rank"),
    # Pictures and sound.
    *_switches("language-model-only", "mm-encoder-only", "skip-mm-profiling", "enable-mm-embeds"),
    _json("limit-mm-per-prompt"),
    _json("media-io-kwargs"),
    *_strings("mm-processor-kwargs", "mm-processor-cache-type", "mm-encoder-tp-mode", "allowed-media-domains"),
    _number("mm-processor-cache-gb"),
    # What the API does.
    *_strings("chat-template", "chat-template-content-format", "response-role", "tool-call-parser"),
    *_strings("reasoning-parser", "uvicorn-log-level", "disable-access-log-for-endpoints", "logprobs-mode"),
    *_strings("max-log-len", "otlp-traces-endpoint"),
    _json("default-chat-template-kwargs"),
    _json("structured-outputs-config"),
    _json("allowed-origins"),
    _json("allowed-methods"),
    _json("allowed-headers"),
    _integer("api-server-count", "asc"),
    _integer("max-logprobs"),
    _integer("stream-interval"),
    *_flags("disable-log-stats"),
    *_switches("enable-auto-tool-choice", "enable-prompt-tokens-details", "enable-force-include-usage"),
    *_switches("enable-request-id-headers", "enable-log-requests", "enable-log-outputs", "allow-credentials"),
    *_switches("disable-uvicorn-access-log", "return-tokens-as-token-ids", "enable-prompt-embeds"),
    *_switches("trust-request-chat-template", "enable-sleep-mode", "enable-tokenizer-info-endpoint"),
)
