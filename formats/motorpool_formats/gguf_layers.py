"""What each layer of a GGUF model keeps of the tokens before, and how much a recurrent one keeps.

The engine decides this by architecture, not by what the header says alone: so the tables below are what llama.cpp
b11434 does with the header's keys, in src/models/*.cpp (load_arch_hparams) and src/llama-model.cpp (create_memory).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_formats.facts import LatentAttention, LayerKind, RecurrentState
from motorpool_formats.gguf_keys import Keys, PerLayer

MAX_STATE_ELEMENTS = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowed:
    """How an architecture alternates: without a pattern in the header, all but one of ``period`` layers slide.

    ``period`` None: the header must tell. ``default`` is the window where the header has none, ``forced`` the one taken
    whatever the header says, ``layers`` the only depth that slides.
    """

    period: int | None = None
    full_first: bool = False
    default: int | None = None
    forced: int | None = None
    layers: int | None = None


WINDOWED = {
    "afmoe": Windowed(period=4),
    "cohere2": Windowed(period=4),
    "cohere2moe": Windowed(period=4, full_first=True),
    "exaone-moe": Windowed(period=4, default=128),
    "exaone4": Windowed(period=4, default=4_096, layers=64),
    "gemma2": Windowed(period=2, default=4_096),
    "gemma3": Windowed(period=6),
    "gemma3n": Windowed(period=5),
    "gemma4": Windowed(),
    "gpt-oss": Windowed(period=2),
    "granite_swa": Windowed(),
    "laguna": Windowed(period=4, full_first=True),
    "llama4": Windowed(period=4, default=8_192, forced=8_192),
    "maple": Windowed(),
    "mellum": Windowed(period=4),
    "mimo2": Windowed(),
    "muse-glimmer": Windowed(period=4),
    "olmo2": Windowed(period=4),
    "plamo3": Windowed(period=8),
    "smallthinker": Windowed(period=4, full_first=True, forced=4_096),
    "spark2_5": Windowed(),
    "step35": Windowed(),
}
"""load_swa_pattern and LLM_KV_ATTENTION_SLIDING_WINDOW_PATTERN in src/models/*.cpp."""

WINDOW_IGNORED = frozenset({"phi3"})
"""src/models/phi3.cpp: its converter wrote windows that are none."""

WITHOUT_CACHE = frozenset(
    {
        "bert",
        "clef",
        "dream",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llada",
        "llada-moe",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "rnd1",
        "wavtokenizer-dec",
    }
)
"""create_memory: encoders and diffusion models see all their tokens at once."""

OTHER_CACHES = frozenset({"deepseek4", "dflash", "dots3note", "eagle3", "gemma4-assistant"})
"""create_memory: caches of another design than one row of keys and values for each token and layer."""

RECURRENT = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
"""llm_arch_is_recurrent in src/llama-arch.cpp."""

RECURRENT_WITHOUT_KV_HEADS = frozenset(
    {
        "bailingmoe3",
        "glm5-next",
        "granitehybrid",
        "jamba",
        "kimi-k3",
        "kimi-linear",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "plamo2",
    }
)
"""is_recr_impl in src/models/*.cpp: the layers with 0 key/value heads are the recurrent ones."""

RECURRENT_BUT_EVERY = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4, "qwen4exp": 4}
"""full_attn_interval in src/models/*.cpp, where the header has neither that key nor a list of layers."""

BOTH_IN_EVERY_LAYER = frozenset({"falcon-h1"})
"""create_memory: attention beside a state space in each layer."""

NO_STATE_GROUPS = frozenset({"jamba", "mamba"})
"""Architectures that do not read ssm.group_count."""

GEMMA3N_LAYERS_WITH_CACHE = 20
"""n_layer_kv_from_start in src/models/gemma3n.cpp: the layers after these use the caches of earlier ones."""

_STATE_KEYS = ("ssm.", "wkv.", "shortconv.", "kda.", "full_attention_interval", "attention.recurrent_layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What is known of the layers' caches; ``window`` in tokens where a layer slides."""

    kinds: tuple[LayerKind, ...] | None
    window: int | None


def layers_of(keys: Keys, count: int | None, kv_heads: PerLayer, feed_forward: PerLayer) -> Layers:
    """Return what each of ``count`` layers keeps; None where the engine's way with this architecture is not known."""
    architecture = keys.architecture or ""
    window, windowed = keys.number("attention.sliding_window"), WINDOWED.get(architecture)
    if count is None or not architecture or architecture in OTHER_CACHES:
        return Layers(kinds=None, window=window)
    if architecture in WITHOUT_CACHE:
        return Layers(kinds=(LayerKind.NONE,) * count, window=window)
    kinds = _by_state(keys, count, kv_heads, feed_forward)
    if kinds is None:
        return Layers(kinds=None, window=window)
    if architecture in WINDOW_IGNORED:
        window = None
    elif windowed is not None:
        window = _window(keys, windowed, count)
        slides = _slides(keys, windowed, count) if window else (False,) * count
        if slides is None:
            return Layers(kinds=None, window=window)
        kinds = [
            LayerKind.SLIDING if slide and kind is LayerKind.FULL else kind
            for kind, slide in zip(kinds, slides, strict=True)
        ]
    elif architecture == "lfm2" and window:
        kinds = [LayerKind.SLIDING if kind is LayerKind.FULL else kind for kind in kinds]
    elif window:
        return Layers(kinds=None, window=window)
    kept = _layers_with_cache(keys, count)
    return Layers(
        kinds=(*kinds[:kept], *[LayerKind.NONE] * (count - kept)),
        window=window if LayerKind.SLIDING in kinds[:kept] else None,
    )


def recurrent_state(keys: Keys, kinds: Sequence[LayerKind] | None, heads: PerLayer) -> RecurrentState | None:
    """Return what a recurrent layer keeps (n_embd_r and n_embd_s in src/llama-hparams.cpp), in elements."""
    if not kinds or not {LayerKind.RECURRENT, LayerKind.HYBRID} & set(kinds):
        return None
    width = keys.number("embedding_length")
    first_heads = heads[0] if isinstance(heads, tuple) and heads else heads
    kernel, inner, size = (keys.number(f"ssm.{key}") for key in ("conv_kernel", "inner_size", "state_size"))
    wkv, short, kda = (keys.number(key) for key in ("wkv.head_size", "shortconv.l_cache", "kda.head_dim"))
    state: RecurrentState | None = None
    if wkv and width:
        shifts = keys.number_or_zero("token_shift_count")
        state = RecurrentState(convolution=(2 if shifts is None else shifts) * width, state=width * wkv)
    elif short and width:
        state = RecurrentState(convolution=width * (short - 1), state=0)
    elif kda and isinstance(first_heads, int):
        state = RecurrentState(
            convolution=3 * ((kernel - 1) if kernel else 3) * first_heads * kda, state=kda * kda * first_heads
        )
    elif keys.architecture == "minimax-01" and isinstance(first_heads, int):
        length = keys.number("attention.key_length") or (width or 0) // max(first_heads, 1)
        state = RecurrentState(convolution=0, state=length * length * first_heads)
    elif kernel and inner and size:
        groups = 0 if keys.architecture in NO_STATE_GROUPS else keys.number_or_zero("ssm.group_count") or 0
        state = RecurrentState(convolution=(kernel - 1) * (inner + 2 * groups * size), state=size * inner)
    if state is not None and max(state.convolution, state.state) > MAX_STATE_ELEMENTS:
        raise keys.wrong("embedding_length", "and the other sizes of the recurrent state are beyond all counting")
    return state


def latent_attention(keys: Keys) -> LatentAttention | None:
    """Return the sizes of latent attention where the file is made for a compressed cache.

    Files of before that (without key_length_mla) have a full cache, as has MiniCPM3: is_mla in src/llama-hparams.cpp.
    """
    rank, rope = keys.number("attention.kv_lora_rank"), keys.number("rope.dimension_count")
    key, value = keys.number("attention.key_length_mla"), keys.number("attention.value_length_mla")
    if rank is None or rope is None or key is None or value is None:
        return None
    return LatentAttention(
        kv_rank=rank,
        rope_dim=rope,
        query_rank=keys.number("attention.q_lora_rank"),
        nope_dim=key - rope if key > rope else None,
        value_dim=value,
    )


def _by_state(keys: Keys, count: int, kv_heads: PerLayer, feed_forward: PerLayer) -> list[LayerKind] | None:
    """Return the kinds without regard to windows."""
    architecture = keys.architecture or ""
    if architecture in RECURRENT:
        return [LayerKind.RECURRENT] * count
    if architecture in BOTH_IN_EVERY_LAYER:
        return [LayerKind.HYBRID] * count
    if architecture in RECURRENT_BUT_EVERY:
        recurrent = _recurrent_layers(keys, RECURRENT_BUT_EVERY[architecture], count)
        return [LayerKind.RECURRENT if each else LayerKind.FULL for each in recurrent]
    headless = [heads == 0 for heads in _each(kv_heads, count)]
    if architecture in RECURRENT_WITHOUT_KV_HEADS:
        if kv_heads is None:
            return None
        kinds = [LayerKind.RECURRENT if each else LayerKind.FULL for each in headless]
        if architecture.startswith("nemotron_h"):  # there a layer is attention, a state or a feed-forward network
            wide = _each(feed_forward, count)
            kinds = [LayerKind.NONE if width else kind for kind, width in zip(kinds, wide, strict=True)]
        return kinds
    if any(keys.has(key) for key in _STATE_KEYS):
        return None
    return [LayerKind.NONE if each else LayerKind.FULL for each in headless]


def _recurrent_layers(keys: Keys, default: int, count: int) -> Sequence[bool]:
    listed = keys.numbers("attention.recurrent_layers")
    if listed is not None:
        return [bool(each) for each in _each(listed, count)]
    every = keys.number("full_attention_interval") or default
    return [(index + 1) % every != 0 for index in range(count)]


def _window(keys: Keys, windowed: Windowed, count: int) -> int | None:
    told = keys.number_or_zero("attention.sliding_window")
    if told == 0 or (windowed.layers is not None and windowed.layers != count):
        return None
    if windowed.forced is not None and (told or windowed.default):
        return windowed.forced
    return told or windowed.default


def _slides(keys: Keys, windowed: Windowed, count: int) -> Sequence[bool] | None:
    """Return which layers slide, as llama_hparams::set_swa_pattern in src/llama-hparams.cpp sets it."""
    pattern = keys.numbers("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return [bool(each) for each in _each(pattern, count)]
    period = windowed.period if pattern is None else pattern
    if period is None or windowed.period is None:
        return None
    if period == 0:
        return (True,) * count
    full = 0 if windowed.full_first else period - 1
    return [index % period != full for index in range(count)]


def _layers_with_cache(keys: Keys, count: int) -> int:
    """Return how many of the first layers have a cache of their own.

    Those that share another's come last, as do blocks that predict further tokens (n_layer_nextn), which the engine
    leaves out of the model's own cache.
    """
    if keys.architecture == "gemma3n":
        return min(GEMMA3N_LAYERS_WITH_CACHE, count)
    if keys.architecture == "gemma4":
        return max(count - (keys.number("attention.shared_kv_layers") or 0), 0)
    extra = 0 if keys.architecture == "graniteswitch" else keys.number("nextn_predict_layers") or 0
    return count if extra >= count else count - extra


def _each(value: PerLayer, count: int) -> Sequence[int | None]:
    """Return one value for each layer; a list that is too short says 0 for the rest, as the engine's arrays do."""
    if isinstance(value, tuple):
        return (*value[:count], *[0] * (count - len(value)))
    return (value,) * count
