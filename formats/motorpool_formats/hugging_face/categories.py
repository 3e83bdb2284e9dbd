"""What a model is for, by the classes that its config.json names and the files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from motorpool_formats.hugging_face.documents import Document, find_document, read_json
from motorpool_formats.protocols import Folder

SPEECH_TO_TEXT = frozenset(
    {
        "CohereAsrForConditionalGeneration",
        "FireRedASR2ForConditionalGeneration",
        "FunASRForConditionalGeneration",
        "GlmAsrForConditionalGeneration",
        "GraniteSpeechForConditionalGeneration",
        "HubertForCTC",
        "KyutaiSpeechToTextForConditionalGeneration",
        "MoonshineForConditionalGeneration",
        "ParakeetForCTC",
        "Qwen3ASRForConditionalGeneration",
        "Qwen3ASRRealtimeGeneration",
        "SeamlessM4TForSpeechToText",
        "SeamlessM4Tv2ForSpeechToText",
        "Speech2TextForConditionalGeneration",
        "VibeVoiceAsrForConditionalGeneration",
        "VoxtralRealtimeGeneration",
        "Wav2Vec2BertForCTC",
        "Wav2Vec2ForCTC",
        "WhisperForConditionalGeneration",
    }
)

TEXT_TO_SPEECH = frozenset(
    {
        "BarkModel",
        "CsmForConditionalGeneration",
        "DiaForConditionalGeneration",
        "DiaModel",
        "FastSpeech2ConformerWithHifiGan",
        "HiggsAudioForConditionalGeneration",
        "ParlerTTSForConditionalGeneration",
        "Qwen3TTSForConditionalGeneration",
        "SeamlessM4TForTextToSpeech",
        "SpeechT5ForTextToSpeech",
        "VibeVoiceForConditionalGeneration",
        "VitsModel",
    }
)

RERANKERS = frozenset({"JinaForRanking", "JinaVLForRanking"})

CHAT_WITHOUT_A_HEAD = frozenset(
    {
        "AquilaModel",
        "ChatGLMModel",
        "GritLM",
        "HfMoondream",
        "LlamaNemotronNanoVL",
        "Llama_Nemotron_Nano_VL",
        "MiDashengLMModel",
        "MiniCPMO",
        "MiniCPMV",
        "MossAudioModel",
        "NVLM_D",
        "Ovis",
        "Ovis2_5",
        "Qwen2_5OmniModel",
        "UltravoxModel",
    }
)
"""They write text, though their class's name ends like that of a model without an output layer."""

_DRAFT = re.compile(r"^P?[Ee]agle(?!2)|Eagle3|EAGLE|Medusa|MLPSpeculator|MTP(?:Model)?$|DFlash|DSpark|DraftModel$")
_WRITES = re.compile(r"For(?:CausalLM|ConditionalGeneration|Seq2SeqLM)|LMHeadModel$|ChatModel$|^NemotronH_")
_EMBEDS = re.compile(
    r"(?<!Reward)Model$|ForMaskedLM$|ForPreTraining$|ForRetrieval$|ColBERT|^Col[A-Z]\w*$|WithoutHead$|ForTextEmbedding$|^MPNet"
)
_CLASSIFIES = "ForSequenceClassification"

_FILES_OF_SENTENCE_TRANSFORMERS = ("modules.json", "1_Pooling/config.json", "config_sentence_transformers.json")


def categories_of(architectures: Sequence[str], config: Document) -> tuple[str, ...]:
    """Return what a model of these classes is for; empty where that is not known."""
    for architecture in architectures:
        if architecture in SPEECH_TO_TEXT:
            return ("speech_to_text",)
        if architecture in TEXT_TO_SPEECH:
            return ("text_to_speech",)
        if _DRAFT.search(architecture):
            return ("draft",)
        if architecture in RERANKERS or (architecture.endswith(_CLASSIFIES) and _scores(config)):
            return ("reranker",)
        if architecture in CHAT_WITHOUT_A_HEAD or _WRITES.search(architecture):
            return ("llm",)
        if _EMBEDS.search(architecture):
            return ("embedding",)
    return ()


def categories_in(folder: Folder, architectures: Sequence[str], config: Document) -> tuple[str, ...]:
    """Return what the model in a folder is for: files of sentence-transformers say it where a class leaves it open."""
    by_class = categories_of(architectures, config)
    if by_class not in {(), ("llm",), ("embedding",)}:
        return by_class
    files = folder.files()
    if not any(file in files for file in _FILES_OF_SENTENCE_TRANSFORMERS):
        return by_class
    return ("reranker",) if _is_cross_encoder(folder) else ("embedding",)


def _scores(config: Document) -> bool:
    """Return whether a classifier gives one score, as a reranker does, and not one for each of several classes."""
    if "classifier_from_token" in config or config.values.get("is_original_qwen3_reranker") is True:
        return True  # vLLM's overrides for rerankers that were published as language models
    labels = config.values.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.whole("num_labels")
    return count == 1


def _is_cross_encoder(folder: Folder) -> bool:
    settings = find_document(folder, "config_sentence_transformers.json")
    if settings and settings.text("model_type") == "CrossEncoder":
        return True
    if "modules.json" not in folder.files():
        return False
    modules = read_json(folder, "modules.json")
    if not isinstance(modules, list):
        return False
    return any(isinstance(module, dict) and ".cross_encoder." in str(module.get("type")) for module in modules)
