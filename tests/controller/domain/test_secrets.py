import pytest

from motorpool_controller.domain.secrets import without_secrets


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (["--hf-token", "hf_1", "--port", "1"], ["--hf-token", "***", "--port", "1"]),
        (["--api-key=sk", "--tokenizer=mistral"], ["--api-key=***", "--tokenizer=mistral"]),
        (["api_key", "sk"], ["api_key", "***"]),
        (["--max-tokens", "8", "--token"], ["--max-tokens", "8", "--token"]),
        (["--token", "--port", "1"], ["--token", "--port", "1"]),
        ([], []),
    ],
)
def test_values_of_options_named_like_secrets_are_masked(written: list[str], shown: list[str]) -> None:
    """
    What an option is called decides; what counts tokens is none.
    """
    assert shown == without_secrets(written, "***")
