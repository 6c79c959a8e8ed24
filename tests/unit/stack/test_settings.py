"""Nothing that is not listed leaves a node, whatever it looks like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvproof.stack import commands, lines, redact, settings

SECRET = st.text(
    alphabet="abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789/@:+#?&%-_", min_size=12, max_size=40
).map(lambda text: "S3cr3t" + text + "End")
NAME = st.text(alphabet="abcdefghijklmnopqrstuvwxyz_-", min_size=1, max_size=24)


@given(SECRET, NAME)
def test_values_of_unlisted_names_never_pass(secret, name):
    mapping = {
        "chunk_size": 256,
        "extra_config": {"password": secret},
        "remote_auth": secret,
        "blend_special_str": secret,
    }
    if name not in settings.LMCACHE_KEYS | settings.META_KEYS:
        mapping[name] = secret
    assert secret not in json.dumps(settings.lmcache_config(mapping))
    assert secret not in json.dumps(settings.lmcache_meta({**mapping, "kv_connector_extra_config": {"k": secret}}))
    assert secret not in json.dumps(
        settings.environment({name.upper(): secret} if name.upper() not in settings.ENV_NAMES else {})
    )
    assert secret not in json.dumps(lines.config_values(repr(mapping)))
    assert settings.lmcache_config(mapping)["chunk_size"] == 256


def test_a_configuration_that_python_cannot_read_back_is_read_by_its_fields():
    assert lines.config_values("{{'a': 1}: 2, 'chunk_size': 256}") == {"chunk_size": 256}


@given(SECRET)
def test_credentials_and_queries_of_urls_never_pass(secret):
    url = f"redis://user:{secret}@cache.example:6379/0?token={secret}#{secret}"
    for kept in (
        redact.without_credentials(url),
        redact.without_credentials(f"connecting to {url} failed"),
        json.dumps(settings.lmcache_config({"remote_url": url, "external_lookup_client": [url]})),
        json.dumps(settings.environment({"LMCACHE_REMOTE_URL": url})),
        redact.redact_line(url),
    ):
        assert secret not in kept
        assert "S3cr3t" not in kept


@given(
    SECRET,
    st.sampled_from(["api-key", "hf-token", "ssl-keyfile", "middleware", "hf-overrides", "api_key"]),
    st.booleans(),
)
def test_unlisted_options_never_pass(secret, name, joined):
    words = [f"--{name}={secret}"] if joined else [f"--{name}", secret]
    kept = commands.listed([*words, "--port", "8000"], commands.VLLM_OPTIONS)
    assert kept == {"port": "8000"}


@given(SECRET)
def test_secrets_inside_a_listed_json_option_never_pass(secret):
    config = {
        "kv_connector": "MultiConnector",
        "token": secret,
        "kv_connector_extra_config": {
            "lmcache.chunk_size": 256,
            "lmcache.extra_config": secret,
            "auth": secret,
            "lmcache.remote_url": f"redis://u:{secret}@h:1",
            "connectors": [{"kv_connector": "LMCacheConnectorV1", "password": secret}],
        },
    }
    kept = commands.listed(["--kv-transfer-config", json.dumps(config)], commands.VLLM_OPTIONS)
    assert secret not in json.dumps(kept)
    assert kept["kv-transfer-config"] == {
        "kv_connector": "MultiConnector",
        "kv_connector_extra_config": {"lmcache.chunk_size": 256, "lmcache.remote_url": "redis://h:1"},
        "connectors": [{"kv_connector": "LMCacheConnectorV1"}],
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("redis://:pw@10.0.0.1:6379", "redis://10.0.0.1:6379"),
        ("http://10.0.0.1:9000/path", "http://10.0.0.1:9000/path"),
        ("https://h/x?token=1&b=2#c", "https://h/x"),
        ("user:pw@host:8300", "host:8300"),
        ("127.0.0.5:8300", "127.0.0.5:8300"),
        ("/var/log/vllm.log", "/var/log/vllm.log"),
    ],
)
def test_redact(text, kept):
    assert redact.without_credentials(text) == kept


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("api_key=sk-12345 rest", "sk-12345"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ("'password': 'hunter2',", "hunter2"),
        ("using hf_abcdefgh12345", "hf_abcdefgh"),
        ("token: abc", "abc"),
        ("AWS_SECRET_ACCESS_KEY=wJalr/XUtn done", "wJalr"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("secret_key=hush", "hush"),
        ("credential=hush", "hush"),
        ("pwd=hush", "hush"),
        ("pass: hush", "hush"),
        ("--password hush rest", "hush"),
        ("--s3-secret-key hush rest", "hush"),
        ("with token 0a1b2c3d4e5f6a7b8c9d", "0a1b2c3d"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSF"),
        ("x" * 4000 + "http://user:hush@" + "y" * 4000, "hush"),
    ],
)
def test_redact_line(line, gone):
    assert gone not in redact.redact_line(line)


def test_words_of_ordinary_lines_stay():
    for line in (
        "Max retry count reached for lookup_id cmpl-1, Total tokens: 5",
        "the first token after 0.5 s; token database, max_tokens=5, compass: north, bypass: 5",
    ):
        assert redact.redact_line(line) == line


def test_options_in_all_their_forms():
    words = [
        "--max_model_len=4096",
        "--enforce-eager",
        "--port",
        "8000",
        "-tp",
        "2",
        "--seed",
        "-1",
        "--served-model-name",
        "a",
        "b",
        "stray",
        "--",
        "-",
    ]
    assert commands.listed(words, commands.VLLM_OPTIONS, commands.VLLM_SHORT_OPTIONS) == {
        "max-model-len": "4096",
        "enforce-eager": True,
        "port": "8000",
        "tensor-parallel-size": "2",
        "seed": "-1",
        "served-model-name": "a",
    }


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("inf"), None),
        (float("nan"), None),
        (1.5, 1.5),
        ({"a": 1}, None),
        ([1, {"a": 2}, "x"], [1, "x"]),
        ((4, 2), [4, 2]),
        ("y" * 2000, "y" * 512),
        (None, None),
        (True, True),
        (object(), None),
    ],
)
def test_plain(value, kept):
    assert redact.plain(value) == kept


def test_what_is_no_object_gives_nothing():
    assert commands.kv_transfer_config("{broken") is None
    assert commands.kv_transfer_config("[1]") is None
    assert settings.lmcache_config("text") == {}
    assert settings.lmcache_meta(None) is None


def test_other_keys_are_names_only():
    assert settings.other_keys({"chunk_size": 1, "enable_ptp": "s3cret", 5: 1}) == ["5", "enable_ptp"]
