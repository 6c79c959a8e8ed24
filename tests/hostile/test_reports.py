# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports where nothing can be written, bundles that unpack without end, and files to merge that are none."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import bounded
import bundles
import pytest
import verdicts
from kvproof.report import bundle, files

pytest.importorskip("ansible")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "action_plugins"))
from plugin_utils import report_files


def test_a_report_that_cannot_be_written_takes_the_earlier_one_away(tmp_path, monkeypatch):
    files.write(tmp_path, verdicts.document(verdicts.verdict("healthy")))
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "pass"

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_replace", full)
    written, problems = files.write(tmp_path, verdicts.document(verdicts.verdict("sync_loading")))
    assert written == []
    assert len(problems) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"[" * (1 << 30),
        b'{"schema": "kvproof.bundle/1", "said": [' + b"[]," * (64 << 20) + b"[]]}",
        b" " * (300 << 20),
        b"[[]" + b",[]" * 1_000_000 + b"]",
    ],
    ids=["deep", "of empty lists", "of blanks", "small"],
)
def test_a_bundle_that_unpacks_without_end_is_refused_in_little_memory(text):
    raw = gzip.compress(text, 1)
    del text
    measured = bounded.run(lambda: bundle.unpack(raw), 20)
    assert measured.error.startswith("Unreadable")
    assert measured.megabytes < 500


def test_a_bundle_of_a_run_packs_to_more_than_that():
    raw = bundles.packed(*bundles.ran("healthy", "corrupt_zero_k", "hashseed_differs"))
    assert len(gzip.decompress(raw)) < bundle.MOST_RATIO * len(raw) / 2


def test_what_is_no_file_or_too_large_is_not_merged(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300 << 20)
    for name, words in (("pipe", "it is no file"), ("large", "more than 64 MB"), ("absent", "cannot be read")):
        measured = bounded.run(lambda path=tmp_path / name: report_files.read(path, "reports").trouble, 10)
        assert words in measured.value
        assert measured.megabytes < 100
