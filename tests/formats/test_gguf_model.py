import math
from pathlib import Path

import gguf
import pytest

from motorpool_formats import ModelCorruptError, ModelFacts, ModelIncompleteError, read_model
from motorpool_formats.gguf import read_header
from motorpool_formats.gguf_model import MAX_LAYERS, model_facts
from motorpool_formats.places import LocalFolder
from tests.formats.gguf_bytes import (
    F32,
    I32,
    LLAMA,
    ONE_TENSOR,
    Q4_0_TENSOR,
    STRING,
    U32,
    U64,
    Entry,
    Items,
    Typed,
    Values,
    gguf_bytes,
)
from tests.formats.sources import BytesSource
from tests.models.tiny_gguf import make_tiny_gguf

DETAILED: Values = {
    "general.architecture": "qwen3moe",
    "general.name": "Two Layers",
    "general.file_type": 15,
    "qwen3moe.block_count": 2,
    "qwen3moe.embedding_length": 2048,
    "qwen3moe.feed_forward_length": 6144,
    "qwen3moe.attention.head_count": 32,
    "qwen3moe.attention.head_count_kv": 4,
    "qwen3moe.attention.key_length": 128,
    "qwen3moe.attention.value_length": 96,
    "qwen3moe.attention.sliding_window": 512,
    "qwen3moe.context_length": 40960,
    "qwen3moe.vocab_size": 151936,
    "qwen3moe.expert_count": 128,
    "qwen3moe.expert_used_count": 8,
}
FOUR_TENSORS = (
    Entry("token_embd.weight", (32, 4), Q4_0_TENSOR),  # 72 bytes
    Entry("blk.0.attn_q.weight", (8, 4)),  # 128 bytes
    Entry("blk.1.attn_q.weight", (8, 2)),  # 64 bytes
    Entry("blk.1.ffn_up.weight", (8,)),  # 32 bytes
)


def facts_of(values: Values = LLAMA, tensors: tuple[Entry, ...] = ONE_TENSOR) -> ModelFacts:
    return model_facts([read_header(BytesSource(gguf_bytes(values, tensors)))])


def llama(**values: str | int | bool | Typed | Items) -> Values:
    return {**LLAMA, **{f"llama.{key.replace('__', '.')}": value for key, value in values.items()}}


def test_facts_are_the_headers() -> None:
    """
    What the header says of the model's shape becomes a fact of its own.
    """
    facts = facts_of(DETAILED)

    assert ("gguf", "qwen3moe", "Two Layers", "Q4_K_M") == (
        facts.format,
        facts.architecture,
        facts.name,
        facts.quantization,
    )
    assert (2, 2048, 6144, 32, 4) == (
        facts.layers,
        facts.hidden_size,
        facts.feed_forward,
        facts.heads,
        facts.kv_heads,
    )
    assert (128, 96, 512) == (facts.key_length, facts.value_length, facts.sliding_window)
    assert (40960, 151936) == (facts.context_length, facts.vocab_size)
    assert (128, 8) == (facts.experts, facts.experts_used)


def test_tiny_model_is_read_as_the_gguf_package_reads_it(tmp_path: Path) -> None:
    """
    Our reader and the gguf package see the same tensors, sizes and values in the same file.
    """
    path = make_tiny_gguf(tmp_path / "tiny.gguf", layers=3)
    with LocalFolder(tmp_path).open(path.name) as source:
        header = read_header(source)

    theirs = gguf.GGUFReader(path)

    assert [
        (tensor.name, tuple(int(length) for length in tensor.shape), int(tensor.n_bytes), tensor.data_offset)
        for tensor in theirs.tensors
    ] == [
        (tensor.name, tensor.shape, tensor.size_bytes, header.data_offset + tensor.offset) for tensor in header.tensors
    ]
    for key in ("block_count", "embedding_length", "attention.head_count_kv", "context_length"):
        assert theirs.fields[f"llama.{key}"].contents() == header.values[f"llama.{key}"]


def test_tiny_model_has_its_facts(tmp_path: Path) -> None:
    """
    The tiny model's facts are those it was made with.
    """
    path = make_tiny_gguf(tmp_path / "tiny.gguf", width=32, layers=3, context=256)

    facts = read_model(path)

    assert ("tiny-random-llama", "llama", ("llm",), "F32") == (
        facts.name,
        facts.architecture,
        facts.categories,
        facts.quantization,
    )
    assert (3, 32, 96, 4, 2, 256) == (
        facts.layers,
        facts.hidden_size,
        facts.feed_forward,
        facts.heads,
        facts.kv_heads,
        facts.context_length,
    )
    assert (path.stat().st_size, True) == (facts.file_bytes, facts.chat_template)
    assert 4 * (facts.parameters or 0) == facts.weight_bytes


def test_bytes_are_counted_by_layer() -> None:
    """
    Each layer has its tensors' bytes, all else is outside the layers, and together they are the weights.
    """
    facts = facts_of(llama(block_count=2), FOUR_TENSORS)

    assert ((128, 96), 72, 296) == (facts.layer_bytes, facts.nonlayer_bytes, facts.weight_bytes)
    assert 128 + 32 + 16 + 8 == facts.parameters


def test_encoder_and_decoder_blocks_are_layers() -> None:
    """
    In a model of two halves, the blocks of one number in both are one layer.
    """
    tensors = (Entry("enc.blk.0.a", (8,)), Entry("dec.blk.0.a", (8,)), Entry("dec.blk.1.a", (4,)))

    assert (64, 16) == facts_of(llama(block_count=2), tensors).layer_bytes


def test_blocks_beyond_the_layers_are_outside() -> None:
    """
    A tensor that names a layer the model does not have is counted, but makes no layer.
    """
    facts = facts_of(LLAMA, (*ONE_TENSOR, Entry("blk.999999999.a", (8,))))

    assert ((128,), 32) == (facts.layer_bytes, facts.nonlayer_bytes)


def test_unknown_is_none() -> None:
    """
    What the header does not say is None, not 0; and with it what would follow from it.
    """
    facts = facts_of({})

    assert {None} == {
        facts.name,
        facts.architecture,
        facts.layers,
        facts.layer_bytes,
        facts.nonlayer_bytes,
        facts.hidden_size,
        facts.feed_forward,
        facts.heads,
        facts.kv_heads,
        facts.key_length,
        facts.value_length,
        facts.vocab_size,
        facts.context_length,
        facts.experts,
        facts.experts_used,
        facts.sliding_window,
    }
    assert ((), False, 128) == (facts.categories, facts.chat_template, facts.weight_bytes)


def test_zero_stands_for_none() -> None:
    """
    A dense model that writes 0 experts, or a window of 0, has none of them.
    """
    facts = facts_of(llama(expert_count=0, attention__sliding_window=0, context_length=0))

    assert (None, None, None) == (facts.experts, facts.sliding_window, facts.context_length)


def test_defaults_are_the_formats() -> None:
    """
    Without their keys, there are as many KV heads as heads, and they divide the hidden size among them.
    """
    facts = facts_of(llama(embedding_length=64, attention__head_count=4))

    assert (4, 16, 16) == (facts.kv_heads, facts.key_length, facts.value_length)


def test_layers_may_differ() -> None:
    """
    Heads, KV heads and feed-forward may be given for each layer; 0 says that a layer has none.
    """
    values = llama(
        block_count=2,
        embedding_length=64,
        feed_forward_length=Items(U32, [128, 256]),
        attention__head_count=Items(I32, [8, 8]),
        attention__head_count_kv=Items(U32, [2, 0]),
    )

    facts = facts_of(values, FOUR_TENSORS)

    assert ((128, 256), (8, 8), (2, 0), 8) == (
        facts.feed_forward,
        facts.heads,
        facts.kv_heads,
        facts.key_length,
    )


def test_a_model_without_attention_has_no_heads() -> None:
    """
    Where a model says 0 heads (Mamba), 0 is the fact, and the size of a head is unknown.
    """
    facts = facts_of(llama(embedding_length=64, attention__head_count=0))

    assert (0, 0, None) == (facts.heads, facts.kv_heads, facts.key_length)


def test_vocabulary_is_counted_from_the_tokens() -> None:
    """
    Without a key for it, the vocabulary is as big as the list of tokens.
    """
    facts = facts_of({**LLAMA, "tokenizer.ggml.tokens": Items(STRING, ["a", "b", "c"])})

    assert facts.vocab_size == 3


@pytest.mark.parametrize(
    "values",
    [
        llama(block_count=MAX_LAYERS + 1),
        llama(block_count="two"),
        llama(block_count=True),
        llama(block_count=Typed(F32, 2.0)),
        llama(block_count=Typed(I32, -1)),
        llama(context_length=Typed(U64, 2**40)),
        llama(attention__head_count_kv=Items(U32, [1, 2, 3])),
        llama(attention__head_count_kv=Items(I32, [-1])),
        {**LLAMA, "general.name": 7},
        {**LLAMA, "general.file_type": "Q4"},
    ],
)
def test_a_value_of_the_wrong_kind_is_corrupt(values: Values) -> None:
    """
    A value of the wrong type, sign, size or number is corrupt, and the error names its key.
    """
    with pytest.raises(ModelCorruptError, match=r"key (llama|general)\."):
        facts_of(values)


def test_names_lose_what_a_terminal_would_obey() -> None:
    """
    A model's name has no control characters left.
    """
    facts = facts_of({**LLAMA, "general.name": "a\x1b[2Jb\n"})

    assert facts.name == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}"


def of_architecture(architecture: str, **values: str | int) -> Values:
    own = {key.replace("__", "."): value for key, value in values.items()}
    return {"general.architecture": architecture, "tokenizer.ggml.model": "bert", **own}


@pytest.mark.parametrize(
    ("expected", "values", "tensor"),
    [
        (("llm",), of_architecture("llama"), "output.weight"),
        (("embedding",), of_architecture("nomic-bert"), "output.weight"),
        (("embedding",), of_architecture("qwen3", qwen3__pooling_type=3), "output.weight"),
        (("llm",), of_architecture("qwen3", qwen3__pooling_type=0), "output.weight"),
        (("reranker",), of_architecture("qwen3", qwen3__pooling_type=4), "output.weight"),
        (("reranker",), of_architecture("bert"), "cls.weight"),
        (("image",), {"general.architecture": "flux"}, "double_blocks.0.a"),
        (("text_to_speech",), of_architecture("wavtokenizer-dec"), "output.weight"),
        (("projector",), {"general.architecture": "clip"}, "v.blk.0.a"),
        (("adapter",), of_architecture("llama", general__type="adapter"), "blk.0.a.lora_a"),
        ((), {"general.architecture": "unheard-of"}, "a"),
    ],
)
def test_categories_are_told_from_the_header(expected: tuple[str, ...], values: Values, tensor: str) -> None:
    """
    Pooling, classifier, architecture and tokenizer tell what a model is for, and else nothing is said.
    """
    assert expected == facts_of(values, (Entry(tensor, (8,)),)).categories


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ("Q4_1", {"general.file_type": 3}),
        ("Q8_0", {"general.file_type": 7 + 1024}),
        ("F32", {"general.file_type": 0}),
        ("Q4_0", {"general.file_type": 999}),
        ("Q4_0", {}),
    ],
)
def test_quantization_is_the_files_or_else_the_most_of_it(expected: str, values: Values) -> None:
    """
    The quantization is the file's type; where that is absent or unknown, the type most of the bytes have.
    """
    tensors = (Entry("a", (32,)), Entry("b", (32, 8), Q4_0_TENSOR))

    assert expected == facts_of(values, tensors).quantization


@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.chat_templates"])
def test_chat_template_is_noticed(key: str) -> None:
    """
    One template, or a list of named ones, is a chat template.
    """
    assert facts_of({**LLAMA, key: "{{ messages }}"}).chat_template


def test_a_vocabulary_is_no_model() -> None:
    """
    A file of metadata without a tensor is incomplete.
    """
    with pytest.raises(ModelIncompleteError, match="no tensors"):
        facts_of(LLAMA, ())


def test_digest_tells_headers_and_sizes_apart() -> None:
    """
    The same bytes give the same digest; another value or another size gives another one.
    """
    longer = model_facts([read_header(BytesSource(gguf_bytes() + b"\0"))])

    assert facts_of().digest == facts_of().digest
    assert 3 == len({facts_of().digest, longer.digest, facts_of(llama(context_length=1)).digest})


def test_parameters_are_exact() -> None:
    """
    Parameters are counted as whole numbers, also beyond what a float holds.
    """
    assert math.prod((8, 4)) == facts_of().parameters
