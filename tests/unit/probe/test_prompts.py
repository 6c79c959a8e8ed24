# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts: never seen, long enough, equal up to the ending, and refused where they do not fit."""

from __future__ import annotations

import pytest
from fake_engine import words_as_ids
from hypothesis import given
from hypothesis import strategies as st
from kvproof.probe import prompts, sizing


def material(source="tokenize", bos=(1,), per_word=1):
    """Material as a tokenizer with ``per_word`` ids a word gives it."""
    text, pieces = prompts.material_text()
    ids = [part for one in words_as_ids(text) for part in range(one, one + per_word)]
    if per_word > 1:  # the separator stays one id
        bar = words_as_ids("|")[0]
        ids = [one for one in ids if not bar < one < bar + per_word]
    return prompts.material_from_ids([*bos, *ids], pieces, source)


def test_material_is_cut_at_the_separators():
    made = material()
    assert made.spelled
    assert len(made.words) == len(prompts.WORDS)
    assert made.words[3] == words_as_ids(prompts.WORDS[3])
    assert made.opening[0] == 1
    assert made.ending == words_as_ids(prompts.ENDING)


def test_a_tokenizer_that_hides_the_separators_gives_slices_and_no_expected_text():
    ids = list(range(500))
    made = prompts.material_from_ids(ids, 66, "tokenize")
    pair = prompts.build(made, 100)
    assert not made.spelled
    assert pair.expected_text is None
    assert set(pair.reuse) <= set(ids)


@given(chunk=st.sampled_from([16, 64, 256, 300]), chunks=st.integers(1, 6), per_word=st.integers(1, 4))
def test_the_hit_to_expect_is_the_whole_chunks_of_the_common_prefix(chunk, chunks, per_word):
    bounds = sizing.Bounds(chunk_size=chunk, chunks=chunks, max_tokens=16)
    pair = prompts.build(material(per_word=per_word), bounds.prefix_tokens())
    common = next(i for i, (a, b) in enumerate(zip(pair.seed, pair.reuse)) if a != b)
    hit = prompts.expected_hit(pair.prefix_tokens, chunk)
    assert pair.prefix_tokens == common
    assert hit >= chunk * chunks
    assert hit % chunk == 0
    assert hit <= common < hit + chunk
    assert len(pair.reuse) > hit  # the last token is always computed
    assert pair.tokens == len(pair.reuse)
    assert pair.seed_tokens == len(pair.seed)


@given(source=st.sampled_from(["tokenize", "text"]))
def test_no_two_prompts_share_their_first_chunk(source):
    made = material() if source == "tokenize" else prompts.Material("text")
    pairs = [prompts.build(made, 64) for _unused in range(20)]
    starts = {tuple(pair.reuse[:16]) if source == "tokenize" else " ".join(pair.reuse.split()[:16]) for pair in pairs}
    assert len(starts) == 20


@given(words=st.integers(1, 3))
def test_prompts_of_all_pairs_clusters_and_runs_differ_within_their_first_block(words):
    """vLLM's own prefix cache works in blocks of 16 tokens; a common one would look like a hit of a control."""
    made = material(per_word=words)
    pairs = [prompts.build(made, 64 * words) for _unused in range(100)]
    sent = [ids for pair in pairs for ids in (pair.reuse, prompts.with_other_prefix(pair, prompts.build(made, 64)))]
    assert len({tuple(ids[:16]) for ids in sent}) == len(sent)


def test_the_expected_answer_follows_the_quotation_in_the_prefix():
    pair = prompts.build(prompts.Material("text"), 200)
    body, _sep, quoted = pair.reuse.partition(prompts.ENDING)
    assert f"{quoted.strip()} {pair.expected_text}" in body


def test_never_seen_control_has_the_same_ending_and_length_behind_another_prefix():
    made = material()
    pair, other = prompts.build(made, 100), prompts.build(made, 100)
    control = prompts.with_other_prefix(pair, other)
    assert len(control) == len(pair.reuse)
    assert control[:100] == other.reuse[:100]
    assert control[100:] == pair.reuse[100:]


def test_text_counts_are_bounds():
    pair = prompts.build(prompts.Material("text"), 100)
    words = len(pair.reuse.split())
    assert pair.prefix_tokens <= words
    assert pair.most_tokens >= words


def pair_of(tokens, prefix):
    return prompts.PromptPair([], [], prefix, tokens, tokens, tokens, None, [])


@pytest.mark.parametrize(
    ("bounds", "tokens", "slug"),
    [
        ({}, 1060, None),
        ({"max_model_len": 1124}, 1060, None),
        ({"max_model_len": 1123}, 1060, "prompt-too-long"),
        ({"max_model_len": 300}, 1060, "prompt-shorter-than-chunk"),
        ({"kv_bytes_per_token": 131072, "pool_bytes": 2**27}, 1060, "probe-exceeds-pool"),
        (
            {"kv_bytes_per_token": 131072, "pool_bytes": 2**30, "max_probe_bytes": 2**29, "prompts": 5},
            1060,
            "probe-too-big",
        ),
        ({"kv_bytes_per_token": None, "max_probe_bytes": 1}, 1060, None),
    ],
)
def test_what_does_not_fit_is_refused(bounds, tokens, slug):
    made = sizing.Bounds(**{"chunk_size": 256, "chunks": 4, "max_tokens": 64, **bounds})
    refused = sizing.refusal(made, pair_of(tokens, 1040))
    assert (refused and refused["slug"]) == slug


def test_the_advice_of_a_refusal_is_right():
    bounds = sizing.Bounds(chunk_size=256, chunks=4, max_tokens=64, max_model_len=1000)
    text = sizing.refusal(bounds, prompts.build(material(), bounds.prefix_tokens()))["text"]
    fewer = int(text.split("kv_reuse_chunks to ")[1].split()[0])
    better = sizing.Bounds(chunk_size=256, chunks=fewer, max_tokens=64, max_model_len=1000)
    assert sizing.refusal(better, prompts.build(material(), better.prefix_tokens())) is None


def test_a_prefix_shorter_than_a_chunk_is_refused():
    bounds = sizing.Bounds(chunk_size=256, chunks=1, max_tokens=16)
    assert sizing.refusal(bounds, pair_of(200, 180))["slug"] == "prompt-shorter-than-chunk"


@given(shares=st.integers(1, 60), size=st.sampled_from([4096, 131072]), least=st.sampled_from([0, 700]))
def test_prompts_of_all_pairs_that_share_an_engine_stay_within_the_bound_or_are_refused(shares, size, least):
    most, trials = 2**30, 3
    bounds = sizing.Bounds(
        chunk_size=256,
        chunks=4,
        max_tokens=32,
        min_retrieve_tokens=least,
        kv_bytes_per_token=size,
        max_probe_bytes=most / shares,
        prompts=trials + 2,
        shares=shares,
    )
    pair = prompts.build(material(), bounds.prefix_tokens())
    fits = bounds.prompts * pair.tokens * size * shares <= most
    refused = sizing.refusal(bounds, pair)
    assert fits == (refused is None)
    if refused:  # not even the shortest prompts fit
        assert bounds.fitting_chunks() == least // 256 + 1
        assert f"{shares} pairs of this run use one engine" in refused["text"] or shares == 1
    assert (sizing.shortened(bounds) is not None) == (bounds.fitting_chunks() < 4)


@given(least=st.integers(0, 5000), chunk=st.sampled_from([16, 256]))
def test_the_prefix_exceeds_min_retrieve_tokens(least, chunk):
    bounds = sizing.Bounds(chunk_size=chunk, chunks=1, max_tokens=16, min_retrieve_tokens=least)
    assert prompts.expected_hit(bounds.prefix_tokens(), chunk) > least


@pytest.mark.parametrize(
    ("meta", "size"),
    [
        ({"kv_shape": [32, 2, 256, 8, 128], "kv_dtype": "torch.bfloat16", "world_size": 1}, 131072),
        ({"kv_shape": "(4, 2, 256, 4, 64)", "kv_dtype": "torch.float32", "world_size": 2}, 16384),
        ({"kv_shape": [4, 2, 256], "kv_dtype": "torch.bfloat16"}, None),
        ({"kv_shape": [4, 2, 256, 4, 64], "kv_dtype": "torch.odd"}, None),
        (None, None),
    ],
)
def test_kv_bytes_per_token(meta, size):
    assert sizing.kv_bytes_per_token(meta) == size
