"""A llama of random weights: small enough to write in any test, real enough for llama.cpp to load and answer.

What it answers is a stream of English words that never ends by itself, on one machine the same for the same
prompt at temperature 0. Nothing in it is anyone's but ours.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
from numpy.typing import NDArray

HEADS = 4
KV_HEADS = 2
FEED_FORWARD_FACTOR = 3
SEED = 5
VOCABULARY = 576

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

WORDS = (
    "a about add again air all also and animal any are around ask away back be because before below "
    "between big blue book both boy bridge bring build but by call can car carry change city close cold "
    "come could country cut day did do door down draw each earth eat end engine even every far farm fast "
    "feet few field find first five follow food for form four from garden gave get girl give go good "
    "great had hand has have he help her here high him his home house how if in into is it just know land "
    "large leave life light line little live long make man many may me moon more morning most motor move "
    "much must my name near need new night no not now of often old on one only open or other our out over "
    "own paper part people place plan play point rain red river road room round said same saw school see "
    "she ship should show small snow so some song soon star start still street table take than that the "
    "them there these they thing this time to took train tree two until up us very voice was water we "
    "went were west what when where which while white who why will wind with word work world would year "
    "you your"
)

_WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes the space before a word
_WORD_LOGIT, _OTHER_LOGIT = 4.0, -20.0


class _Token(NamedTuple):
    text: str
    type: gguf.TokenType
    score: float = 0.0

    @property
    def is_word(self) -> bool:
        """Whether this is a piece longer than the space alone."""
        return self.type == gguf.TokenType.NORMAL and len(self.text) > 2


def make_tiny_gguf(
    path: Path, *, width: int = 64, layers: int = 2, context: int = 4096, pooling: gguf.PoolingType | None = None
) -> Path:
    """Write the model to ``path`` (704 KB at the default size) and return the path; with a pooling it embeds."""
    tokens = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random-llama")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD_FACTOR * width)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    if pooling is not None:
        writer.add_pooling_type(pooling)
    add_words(writer)
    for name, weights in _tensors(tokens, width, layers):
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> list[_Token]:
    """Return control tokens, all bytes (so that any text has tokens), words and letters: a multiple of 32."""
    tokens = [
        _Token("<unk>", gguf.TokenType.UNKNOWN),
        _Token("<s>", gguf.TokenType.CONTROL),
        _Token("</s>", gguf.TokenType.CONTROL),
    ]
    tokens += [_Token(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces = [*(_WORD_START + word for word in WORDS.split()), _WORD_START, *letters]
    tokens += [_Token(piece, gguf.TokenType.NORMAL, -float(rank)) for rank, piece in enumerate(pieces)]
    padding = -len(tokens) % 32
    return tokens + [_Token(f"<pad{index}>", gguf.TokenType.UNUSED, -1e4) for index in range(padding)]


def add_words(writer: gguf.GGUFWriter) -> None:
    """Write the tokenizer of VOCABULARY tokens, and a chat template."""
    tokens = _vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.text for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.type for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(tokens: list[_Token], width: int, layers: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Give the weights: in dimension 0 a constant no layer touches, by which the output favours words."""
    random = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)

    def matrix_leaving_dimension_0(rows: int, columns: int) -> NDArray[np.float32]:
        weights = matrix(rows, columns)
        weights[0] = 0
        return weights

    ones = np.ones(width, np.float32)
    feed_forward = FEED_FORWARD_FACTOR * width
    kv_width = KV_HEADS * (width // HEADS)
    embeddings = matrix(len(tokens), width, scale=8)
    embeddings[:, 0] = 3
    output = matrix(len(tokens), width)
    output[:, 0] = [_WORD_LOGIT if token.is_word else _OTHER_LOGIT for token in tokens]
    yield "token_embd.weight", embeddings
    yield "output_norm.weight", ones
    yield "output.weight", output
    for layer in range(layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones
        yield f"{block}.attn_q.weight", matrix(width, width)
        yield f"{block}.attn_k.weight", matrix(kv_width, width)
        yield f"{block}.attn_v.weight", matrix(kv_width, width)
        yield f"{block}.attn_output.weight", matrix_leaving_dimension_0(width, width)
        yield f"{block}.ffn_norm.weight", ones
        yield f"{block}.ffn_gate.weight", matrix(feed_forward, width)
        yield f"{block}.ffn_up.weight", matrix(feed_forward, width)
        yield f"{block}.ffn_down.weight", matrix_leaving_dimension_0(width, feed_forward)
