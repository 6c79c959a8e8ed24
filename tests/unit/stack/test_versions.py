# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version table against what was read in the sources of each release (tests/versions/read.json, make versions)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kvproof.stack import mp, versions
from kvproof.stack.settings import DEFAULTS
from kvproof.stack.versions import FORMER_DEFAULTS, LMCACHE, READ, TABLE, VLLM

RECORD = json.loads((Path(__file__).parents[2] / "versions" / "read.json").read_text("utf-8"))


def test_the_releases_and_names_of_the_table_are_those_that_were_read():
    names = [f"{row.what} {name}" for row in TABLE for name in row.names.split()]
    assert sorted(names) == sorted(set(names)) == sorted(RECORD["table"]), "run: make versions WRITE=1"
    assert {product: tuple(releases) for product, releases in RECORD["read"].items()} == READ


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.what} {row.of} {row.since}-{row.until}")
def test_each_name_is_in_the_releases_of_its_row_and_in_no_other(row):
    first = READ[row.of].index(row.since) if row.since else 0
    last = READ[row.of].index(row.until) if row.until else len(READ[row.of]) - 1
    expected = "".join("01"[first <= number <= last] for number in range(len(READ[row.of])))
    assert {n: RECORD["table"][f"{row.what} {n}"] for n in row.names.split()} == dict.fromkeys(
        row.names.split(), expected
    )


@pytest.mark.parametrize("key", RECORD["defaults"])
def test_defaults_are_those_of_the_newest_release_and_former_ones_of_the_older(key):
    last, former = FORMER_DEFAULTS.get(key, (None, None))
    changed = READ[LMCACHE].index(last) + 1 if last else 0
    values = RECORD["defaults"][key]
    assert key not in DEFAULTS or values[-1] == DEFAULTS[key]
    assert set(values[:changed]) - {"absent"} == ({former} if last else set())
    assert {str(value) for value in values[changed:]} <= {str(values[-1]), "absent"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.5.6-g3e11e108", (0, 5, 6)),
        ("0.3.9.post2", (0, 3, 9)),
        ("v0.32.0rc1", (0, 32, 0)),
        ("dev", (0,)),
        (None, (0,)),
    ],
)
def test_release_numbers(text, numbers):
    assert versions.release(text) == numbers


@pytest.mark.parametrize(
    ("product", "version", "answer"),
    [
        (LMCACHE, "0.5.6-g3e11e108", None),
        (LMCACHE, "0.4.1", None),
        (LMCACHE, "0.5.7.dev12+g1234567", "newer"),
        (LMCACHE, "0.3.7", "older"),
        (VLLM, "0.32.1", None),
        (VLLM, "0.33.0", "newer"),
        (VLLM, "0.11.2", "older"),
        (VLLM, None, None),
        (VLLM, "a build of our own", None),
    ],
)
def test_releases_beyond_those_that_were_read(product, version, answer):
    assert versions.unread(product, version) == answer


def test_where_the_multiprocess_server_is_looked_for_is_its_default():
    defaults = {option: values[-1] for option, values in RECORD["defaults"].items()}
    assert defaults["--http-port"] == mp.SERVER_HTTP_PORT
    assert defaults["--port"] == mp.SERVER_PORT
    assert defaults["--http-host"] == mp.SERVER_HTTP_HOST


def test_since():
    assert versions.since("vllm:num_requests_kv_fetch_by_stage") == (0, 32, 0)
    assert versions.since("stored") == (0, 3, 9)
