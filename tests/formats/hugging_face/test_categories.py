"""What models are for."""

from __future__ import annotations

import pytest

from motorpool_formats.hugging_face.categories import categories_in, categories_of
from motorpool_formats.hugging_face.documents import Document
from tests.formats.hugging_face.folders import MadeFolder

EMPTY = Document("config.json", {})


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("LlamaForCausalLM", ("llm",)),
        ("GPT2LMHeadModel", ("llm",)),
        ("Qwen2_5_VLForConditionalGeneration", ("llm",)),
        ("InternVLChatModel", ("llm",)),
        ("ChatGLMModel", ("llm",)),
        ("MiniCPMV", ("llm",)),
        ("Qwen2_5OmniModel", ("llm",)),
        ("DeepseekVLV2ForCausalLM", ("llm",)),
        ("BertModel", ("embedding",)),
        ("Gemma3TextModel", ("embedding",)),
        ("NomicBertModel", ("embedding",)),
        ("XLMRobertaForMaskedLM", ("embedding",)),
        ("ColPaliForRetrieval", ("embedding",)),
        ("HF_ColBERT", ("embedding",)),
        ("CLIPModel", ("embedding",)),
        ("JinaVLForRanking", ("reranker",)),
        ("WhisperForConditionalGeneration", ("speech_to_text",)),
        ("Qwen3ASRForConditionalGeneration", ("speech_to_text",)),
        ("BarkModel", ("text_to_speech",)),
        ("DiaForConditionalGeneration", ("text_to_speech",)),
        ("VitsModel", ("text_to_speech",)),
        ("LlamaForCausalLMEagle3", ("draft",)),
        ("EagleLlamaForCausalLM", ("draft",)),
        ("Eagle3LlamaForCausalLM", ("draft",)),
        ("MedusaModel", ("draft",)),
        ("DeepSeekMTPModel", ("draft",)),
        ("Eagle2_5_VLForConditionalGeneration", ("llm",)),
        ("BertForTokenClassification", ()),
        ("BertForSequenceClassification", ()),
        ("Qwen2ForRewardModel", ()),
        ("Something", ()),
    ],
)
def test_classes_tell_categories(architecture: str, expected: tuple[str, ...]) -> None:
    """
    The name of the class that reads a model says what it is for, or that this is not known.
    """
    assert expected == categories_of([architecture], EMPTY)


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": {"0": "LABEL_0"}},
        {"num_labels": 1},
        {"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": True},
    ],
)
def test_a_classifier_with_one_score_is_a_reranker(config: dict[str, object]) -> None:
    """
    A classifier of one class gives a score.
    """
    assert ("reranker",) == categories_of(["XLMRobertaForSequenceClassification"], Document("config.json", config))
    assert () == categories_of(["XLMRobertaForSequenceClassification"], Document("config.json", {"num_labels": 3}))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ("llm",)),
        ({"modules.json": [{"type": "sentence_transformers.models.Transformer"}]}, ("embedding",)),
        ({"1_Pooling/config.json": {}}, ("embedding",)),
        ({"config_sentence_transformers.json": {"model_type": "SentenceTransformer"}}, ("embedding",)),
        ({"config_sentence_transformers.json": {"model_type": "CrossEncoder"}}, ("reranker",)),
        ({"modules.json": [{"type": "sentence_transformers.cross_encoder.modules.LogitScore"}]}, ("reranker",)),
    ],
)
def test_files_of_sentence_transformers_tell_more(files: dict[str, object], expected: tuple[str, ...]) -> None:
    """
    Qwen3-Embedding names the class of a language model; the files beside it say what it was trained for.
    """
    assert expected == categories_in(MadeFolder(files), ["Qwen3ForCausalLM"], EMPTY)
