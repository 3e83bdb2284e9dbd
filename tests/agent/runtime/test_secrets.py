"""What of a launch nobody may read."""

from __future__ import annotations

import pytest

from motorpool_agent.runtime.secrets import Secrets

KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"


@pytest.mark.parametrize(
    ("environment", "argv", "text", "shown"),
    [
        ({"HF_TOKEN": "hf_planted1"}, (), "token=hf_planted1", "token=***"),
        ({"MAX_TOKENS": "8192"}, (), "at most 8192", "at most 8192"),
        ({"MAX_NUM_TOKENS": "104857600"}, (), "104857600", "104857600"),
        ({"PLAIN": "planted-value"}, (), "planted-value", "planted-value"),
        ({"https_proxy": "http://me:planted@proxy:1"}, (), "via http://me:planted@proxy:1", "via http://***@proxy:1"),
        ({}, ("--hf-token", "hf_planted2"), "--hf-token hf_planted2", "--hf-token ***"),
        ({}, ("--api-key=planted-3"), "planted-3", "planted-3"),
        ({}, ("--api-key=planted-3",), "['--api-key=planted-3']", "['--api-key=***']"),
        ({}, ("--tokenizer", "mistral-one"), "mistral-one", "mistral-one"),
        ({}, ("--token",), "--token", "--token"),
        ({"A_KEY": "secret-1", "B_KEY": "secret-1-longer"}, (), "secret-1-longer secret-1", "*** ***"),
        ({"SSH_KEY": KEY}, (), "MIIEvQIBADANBg", "***"),
    ],
)
def test_named_secrets_are_replaced(environment: dict[str, str], argv: tuple[str, ...], text: str, shown: str) -> None:
    """
    Values of variables and options that are named like secrets are replaced; what merely counts tokens is not.
    """
    assert [shown] == Secrets.among(environment, argv).masked([text])


def test_keys_are_replaced_whatever_their_name() -> None:
    """
    What is known to be a key is one by itself, if it is long enough to be told from words.
    """
    secrets = Secrets.among({}, (), ("planted", "a", ""))

    assert ["a *** lies here"] == secrets.masked(["a planted lies here"])


def test_nothing_to_replace_costs_nothing() -> None:
    """
    Lines without secrets are the very same list.
    """
    lines = ["one", "two"]

    assert Secrets(("planted",)).masked(lines) is lines
