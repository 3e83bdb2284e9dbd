import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.security.tokens import hash_secret, new_join_token, new_token, read_token

FINGERPRINT = "0123456789abcdef" * 4


def test_token_proves_itself() -> None:
    """
    A new token read back is its own id and matches its stored hash, which holds nothing of the secret.
    """
    made = new_token()
    read = read_token(made.text)

    assert read is not None
    assert made.token_id == read.token_id
    assert read.matches(made.secret_hash)
    assert made.text.startswith("mp_")
    assert hashlib.sha256(read.secret.encode()).digest() == made.secret_hash
    assert len(bytes.fromhex(read.secret)) == 32


def test_join_token_carries_the_authority() -> None:
    """
    A join token ends with the fingerprint of the authority that the machine is to trust.
    """
    made = new_join_token(FINGERPRINT)
    read = read_token(made.text)

    assert read is not None
    assert made.text.startswith("mpj_")
    assert made.text.endswith(f"_{FINGERPRINT}")
    assert read.matches(made.secret_hash)


def test_wrong_secret_does_not_match() -> None:
    """
    The secret of one token is not that of another.
    """
    read = read_token(new_token().text)

    assert read is not None
    assert not read.matches(new_token().secret_hash)


def test_tokens_differ() -> None:
    """
    No two tokens are alike.
    """
    assert len({new_token().text for _ in range(100)}) == 100


SECRET = "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mp_",
        f"mp_short_{SECRET}",
        f"mp_abcdefghij_{SECRET[:-1]}",
        f"mp_abcdefghij_{SECRET}\n",
        f"mp_abcdefghij_{SECRET.upper()}",
        f"mp_abcdefghij_{SECRET}_{FINGERPRINT}",
        f"mpj_abcdefghij_{SECRET}",
        f"xp_abcdefghij_{SECRET}",
    ],
)
def test_what_is_no_token_is_not_read(text: str) -> None:
    """
    Anything that is not exactly one of our forms is no token.
    """
    assert read_token(text) is None


@pytest.mark.promise("P9")
@given(st.text())
def test_any_text_is_read_or_not(text: str) -> None:
    """
    Whatever stands where a token should be is at most no token.
    """
    read_token(text)


def test_hash_is_of_fixed_length() -> None:
    """
    The stored hash has 32 bytes.
    """
    assert len(hash_secret("x")) == 32
