"""The options of llama-server that Motorpool knows, with what scheduling takes from them."""

from __future__ import annotations

from motorpool_sdk import Option, OptionKind


def _flag(name: str, *aliases: str, meaning: str = "") -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.FLAG, meaning=meaning)


def _integer(name: str, *aliases: str, meaning: str = "") -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.INTEGER, meaning=meaning)


def _number(name: str, *aliases: str) -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.NUMBER)


def _string(name: str, *aliases: str, meaning: str = "") -> Option:
    return Option(name=name, aliases=aliases, meaning=meaning)


def _json(name: str, *aliases: str) -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.JSON)


def _owned(name: str, *aliases: str, kind: OptionKind = OptionKind.STRING) -> Option:
    return Option(name=name, aliases=aliases, kind=kind, system_owned=True)


OPTIONS = (
    # What Motorpool decides: the model, the port and who may ask there, the devices.
    _owned("model", "m"),
    _owned("model-url", "mu"),
    _owned("hf-repo", "hf", "hfr"),
    _owned("hf-file", "hff"),
    _owned("hf-token", "hft"),
    _owned("docker-repo", "dr"),
    _owned("models-dir"),
    _owned("models-preset"),
    _owned("models-max", kind=OptionKind.INTEGER),
    _owned("alias", "a"),
    _owned("host"),
    _owned("port", kind=OptionKind.INTEGER),
    _owned("reuse-port", kind=OptionKind.FLAG),
    _owned("api-key"),
    _owned("api-key-file"),
    _owned("api-prefix"),
    _owned("ssl-key-file"),
    _owned("ssl-cert-file"),
    _owned("metrics", kind=OptionKind.FLAG),
    _owned("device", "dev"),
    _owned("rpc"),
    _owned("log-file"),
    _owned("log-disable", kind=OptionKind.FLAG),
    # What would let whoever asks the model run programs or read files on the node.
    _owned("tools"),
    _owned("tools-runtime"),
    _owned("agent", "ag", kind=OptionKind.FLAG),
    _owned("mcp-servers-config"),
    _owned("mcp-servers-json"),
    _owned("ui-mcp-proxy", "webui-mcp-proxy", kind=OptionKind.FLAG),
    _owned("media-path"),
    _owned("path"),
    # What memory is planned with.
    _integer("ctx-size", "c", meaning="context_length"),
    _integer("parallel", "np", meaning="parallel"),
    _integer("n-gpu-layers", "gpu-layers", "ngl", meaning="gpu_layers"),
    _string("tensor-split", "ts", meaning="tensor_split"),
    _string("split-mode", "sm"),
    _integer("main-gpu", "mg"),
    _integer("batch-size", "b", meaning="batch_size"),
    _integer("ubatch-size", "ub", meaning="micro_batch_size"),
    _string("cache-type-k", "ctk", meaning="cache_type_k"),
    _string("cache-type-v", "ctv", meaning="cache_type_v"),
    _string("flash-attn", "fa", meaning="flash_attention"),
    _string("load-mode", "lm"),
    _string("lazy-mode"),
    _string("mmproj", "mm", meaning="projector"),
    _flag("no-mmproj", "no-mmproj-auto", meaning="no_projector"),
    _flag("no-mmproj-offload"),
    _flag("swa-full"),
    _flag("kv-unified", "kvu"),
    _flag("no-kv-unified", "no-kvu"),
    _flag("kv-offload", "kvo"),
    _flag("no-kv-offload", "nkvo"),
    _flag("no-op-offload"),
    _flag("no-repack", "nr"),
    _flag("cpu-moe", "cmoe"),
    _integer("n-cpu-moe", "ncmoe"),
    _string("override-tensor", "ot"),
    _string("fit", "fit-params"),
    _integer("cache-ram", "cram"),
    _integer("ctx-checkpoints", "ctxcp", "swa-checkpoints"),
    # Processors.
    _integer("threads", "t", meaning="threads"),
    _integer("threads-batch", "tb"),
    _integer("threads-http"),
    _string("cpu-mask", "C"),
    _string("cpu-range", "Cr"),
    _string("numa"),
    _integer("prio"),
    _integer("poll"),
    # How it serves.
    _integer("timeout", "to"),
    _flag("cont-batching", "cb"),
    _flag("no-cont-batching", "nocb"),
    _flag("cache-prompt"),
    _flag("no-cache-prompt"),
    _integer("cache-reuse"),
    _flag("context-shift"),
    _flag("no-context-shift"),
    _flag("slots"),
    _flag("no-slots"),
    _flag("props"),
    _string("slot-save-path"),
    _number("slot-prompt-similarity", "sps"),
    _integer("sleep-idle-seconds"),
    _flag("warmup"),
    _flag("no-warmup"),
    _flag("check-tensors"),
    _flag("no-ui", "no-webui"),
    _integer("verbosity", "lv", "log-verbosity"),
    _flag("log-prefix"),
    _flag("log-timestamps"),
    # What it serves.
    _flag("embeddings", "embedding"),
    _flag("reranking", "rerank"),
    _string("pooling"),
    _integer("embd-normalize"),
    _flag("jinja"),
    _flag("no-jinja"),
    _string("chat-template"),
    _string("chat-template-file"),
    _json("chat-template-kwargs"),
    _string("reasoning", "rea"),
    _string("reasoning-format"),
    _integer("reasoning-budget"),
    _string("grammar"),
    _string("grammar-file"),
    _json("json-schema", "j"),
    _string("lora"),
    _string("lora-scaled"),
    _string("override-kv"),
    _string("rope-scaling"),
    _number("rope-scale"),
    _number("rope-freq-base"),
    _number("rope-freq-scale"),
    _integer("yarn-orig-ctx"),
    _integer("grp-attn-n", "gan"),
    _integer("grp-attn-w", "gaw"),
    # Speculation with a draft model.
    _string("spec-draft-model", "model-draft", "md", meaning="draft_model"),
    _integer("spec-draft-ngl", "n-gpu-layers-draft", "gpu-layers-draft", "ngld"),
    _integer("spec-draft-n-max", "draft-max", "draft"),
    _integer("spec-draft-n-min", "draft-min"),
    _number("spec-draft-p-min", "draft-p-min"),
    _string("spec-type"),
    # Defaults of sampling; a request may say otherwise.
    _integer("n-predict", "predict", "n"),
    _integer("keep"),
    _integer("seed", "s"),
    _string("samplers"),
    _number("temperature", "temp"),
    _integer("top-k"),
    _number("top-p"),
    _number("min-p"),
    _number("typical-p", "typical"),
    _integer("repeat-last-n"),
    _number("repeat-penalty"),
    _number("presence-penalty"),
    _number("frequency-penalty"),
    _integer("mirostat"),
    _flag("ignore-eos"),
)
