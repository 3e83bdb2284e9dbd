from pathlib import Path

import pytest

from benchmarks import headers
from motorpool_formats import read_model


def test_both_readers_see_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The file that both readers are measured on is a model with the vocabulary that it is said to have.
    """
    monkeypatch.setattr(headers, "TOKENS", 500)
    monkeypatch.setattr(headers, "FEWER_TOKENS", 50)
    monkeypatch.setattr(headers, "RUNS", 1)

    figures = {figure.key: figure.value for figure in headers.header_figures()}

    assert {"gguf_reader_over_ours", "gguf_ours_ms", "gguf_reader_ms", "gguf_ours_peak_mb"} < set(figures)
    assert 1 == figures["gguf_reads"]
    assert 500 == read_model(headers._write(tmp_path / "m.gguf", 500)).vocab_size
