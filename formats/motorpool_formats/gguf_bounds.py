"""What a GGUF header may make us read or keep, whatever its bytes are.

The largest real headers have 262k tokens, twice as many merges and the tokenizer once more as JSON: some 45 MB. They
have under a hundred keys and some thousands of tensors. Each bound below leaves room beyond that; together they keep
the worst header within a second and 64 MiB: 0.3 s and 23 MiB are seen, and tests/formats/test_any_bytes.py holds the
memory.
"""

from dataclasses import dataclass

MAX_NAME_BYTES = 256
"""Of a key. The engine has no bound; the keys that it knows have under a hundred."""

MAX_TENSOR_NAME_BYTES = 127
"""GGML_MAX_NAME in ggml/include/ggml.h is 64 in llama.cpp and 128 in stable-diffusion.cpp, with the closing zero."""

MAX_DIMENSIONS = 4
"""GGML_MAX_DIMS in ggml/include/ggml.h."""

MAX_ELEMENTS = (1 << 63) - 1

KEPT_STRING_BYTES = 1_024
"""Longer strings (templates, licences) are passed over and only counted."""

KEPT_ARRAY_ITEMS = 1_024
"""Longer arrays are passed over and only counted; LLAMA_MAX_LAYERS in src/llama-hparams.h is 512."""


@dataclass(slots=True)
class Allowance:
    """How much of each is still allowed; the files of one model share it."""

    header_bytes: int = 64 << 20
    keys: int = 2_048
    tensors: int = 16_384
    strings: int = 3 << 19
    """Strings in arrays."""
    text_bytes: int = 1 << 20
    """Of strings that are kept."""
    numbers: int = 1 << 16
    """Of arrays that are kept."""
