"""A run on a rehearsal cluster that writes a bundle, judged again without the cluster: to the same bytes."""

from __future__ import annotations

import gzip
import json

import pytest
from rehearsal import ROOT
from validation import HEADER, KEY, play, validated

pytest.importorskip("ansible")


@pytest.mark.parametrize(
    ("changes", "code", "verdict"),
    [({}, 0, "pass"), ({"d": {"lmcache": {"enable_p2p": False}}}, 2, "fail")],
    ids=["pass", "fail"],
)
def test_a_bundle_is_judged_to_the_same_bytes(tmp_path, changes, code, verdict):
    waive = json.dumps({"kv_reuse_waive": [{"finding": "chunk-size-differs", "reason": "ours", "until": "2099-01-31"}]})
    history = ("-e", f"kv_reuse_history={tmp_path}/history")
    done = validated(tmp_path, changes, "-e", "kv_reuse_bundle=true", "-e", waive, *history)
    assert done.returncode == code, done.stdout + done.stderr
    report = (tmp_path / "reports" / "verdict.json").read_bytes()
    assert json.loads(report)["verdict"] == verdict
    assert [change["what"] for change in json.loads(report)["history"]["changes"]] == ["new"]

    again = play(tmp_path, str(ROOT / "playbooks" / "diagnose.yml"), "-e", "bundle=reports/bundle.json.gz")
    assert again.returncode == code, again.stdout + again.stderr
    assert (tmp_path / "reports" / "diagnosis" / "verdict.json").read_bytes() == report
    assert "the same verdict.json as the run's, byte for byte" in " ".join(again.stdout.split())

    text = gzip.decompress((tmp_path / "reports" / "bundle.json.gz").read_bytes()).decode()
    assert [entry["what"] for entry in json.loads(text)["said"]][-1] == "past"
    assert "judged" in [entry["what"] for entry in json.loads(text)["said"]]
    for secret in (KEY, HEADER):
        assert secret not in text
