from motorpool import v1
from motorpool_cli.secrets import mask_spec


def test_what_is_named_like_a_secret_is_not_shown() -> None:
    """
    Variables, options and users in URLs; what counts tokens is shown.
    """
    spec = v1.DeploymentSpec(
        env={"HF_TOKEN": "hf_1", "UPSTREAM": "http://me:word@proxy:1", "LEVEL": "info"},
        parameters=["--api-key", "sk", "--max-tokens", "8", "--hf-token=hf_1", "--token"],
    )
    mask_spec(spec)

    assert {"HF_TOKEN": "***", "UPSTREAM": "http://***@proxy:1", "LEVEL": "info"} == dict(spec.env)
    assert ["--api-key", "***", "--max-tokens", "8", "--hf-token=***", "--token"] == spec.parameters
