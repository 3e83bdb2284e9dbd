from pathlib import Path

from motorpool_formats import read_model
from tests.models.tiny_gguf import make_tiny_gguf


def test_tiny_model_is_tiny_and_the_same_each_time(tmp_path: Path) -> None:
    """
    Written twice, the model is the same 704,096 bytes.
    """
    first, second = (make_tiny_gguf(tmp_path / name).read_bytes() for name in ("a.gguf", "b.gguf"))

    assert len(first) == 704_096
    assert first == second


def test_tiny_model_may_be_larger(tmp_path: Path) -> None:
    """
    Width and layers make a model of another size, where a test needs one.
    """
    facts = read_model(make_tiny_gguf(tmp_path / "m.gguf", width=128, layers=4, context=512))

    assert (128, 4, 512) == (facts.hidden_size, facts.layers, facts.context_length)
    assert facts.file_bytes > 2 << 20
