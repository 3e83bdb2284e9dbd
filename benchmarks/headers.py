"""Reading a GGUF header with a large vocabulary, ours and the gguf package's reader on the same file in the same run.

The package writes the file: 256,000 tokens of random letters with scores and types, and as many merges. Its reader is
run once, as it takes half a minute; ours is the median of several. Both find the file in the page cache, and both are
measured in processor time, so that what else the machine does is not counted.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np

from benchmarks.figures import Figure, median
from motorpool_formats import read_folder, read_model
from motorpool_formats.places import CountedFolder, LocalFolder

TOKENS, FEWER_TOKENS = 256_000, 128_000
RUNS = 9
SEED = 5
LONGEST_TOKEN = 14
AIM_MS, AIM_RATIO = 100, 300


def header_figures() -> Sequence[Figure]:
    """Measure both readers."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        _say(f"writing a header with {TOKENS:,} tokens and as many merges")
        large, small = (_write(Path(name) / f"{tokens}.gguf", tokens) for tokens in (TOKENS, FEWER_TOKENS))
        return _measure(large, small)


def _measure(large: Path, small: Path) -> Sequence[Figure]:
    header_bytes = large.stat().st_size
    read_model(large)  # brings the file into the page cache, and modules into memory
    ours_ms = median([_milliseconds(lambda: read_model(large)) for _ in range(RUNS)])
    _say(f"ours: {ours_ms:.1f} ms; now the gguf package's reader, which takes a while")
    theirs_ms = _milliseconds(lambda: gguf.GGUFReader(large))
    folder = CountedFolder(LocalFolder(large.parent))
    read_folder(folder, large.name)
    return (
        Figure(
            key="gguf_reader_over_ours",
            value=round(theirs_ms / ours_ms, 1),
            meaning="gguf.GGUFReader / ours, on the same header in the same run",
            least=AIM_RATIO,
        ),
        Figure(
            key="gguf_ours_ms",
            value=round(ours_ms, 1),
            meaning=f"ours: facts of a header with {TOKENS // 1000}k tokens and as many merges, p50 of {RUNS}",
            aim=AIM_MS,
        ),
        Figure(key="gguf_reader_ms", value=round(theirs_ms), meaning="gguf.GGUFReader, once"),
        Figure(key="gguf_header_mb", value=round(header_bytes / 1e6, 1), meaning="that header, MB"),
        Figure(key="gguf_reads", value=folder.reads, meaning="reads that it took"),
        Figure(
            key="gguf_ours_peak_mb",
            value=_peak_mb(large),
            meaning="most that was allocated at a time, MB",
        ),
        Figure(
            key="gguf_ours_half_peak_mb",
            value=_peak_mb(small),
            meaning=f"the same with {FEWER_TOKENS // 1000}k tokens and merges",
        ),
    )


def _write(path: Path, tokens: int) -> Path:
    chance = random.Random(SEED)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(1, LONGEST_TOKEN))) for _ in range(tokens)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_head_count(4)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * tokens)
    writer.add_token_types([1] * tokens)
    writer.add_token_merges([f"{word[: len(word) // 2]} {word[len(word) // 2 :]}" for word in words])
    writer.add_tensor("token_embd.weight", np.zeros((1, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1_000 * (time.process_time() - began)


def _peak_mb(path: Path) -> float:
    tracemalloc.start()
    try:
        read_model(path)
        return round(tracemalloc.get_traced_memory()[1] / 1e6, 2)
    finally:
        tracemalloc.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
