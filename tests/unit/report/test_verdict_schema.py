"""Every document that can be written fits docs/verdict.schema.json, and the fixtures are what the judge says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recordings as recording
import verdicts
from jsonschema import Draft202012Validator
from kvproof.judge.verdict import judge
from kvproof.report import parts
from kvproof.report.run import Run
from verdict_schema import SCHEMA, errors

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("healthy", "sync_loading", "local_hit_decode")


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "doc",
    [
        verdicts.document(*map(verdicts.verdict, NAMES), exit_code=2),
        verdicts.document(verdicts.live(), exit_code=0),
        verdicts.document(verdicts.waived(), missing=2, skipped=[{"cluster": "demo", "holder": "a", "receiver": "b"}]),
        verdicts.run(verdicts.verdict("healthy")).document("incomplete"),
        Run(verdicts.STARTED).document("incomplete"),
        Run(verdicts.STARTED).document("complete", verdicts.FINISHED, 4),
    ],
    ids=["three", "live", "waived", "running", "started", "nothing"],
)
def test_documents_fit(doc):
    assert errors(doc) == []
    assert parts.read(doc) == (doc, None)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "green"},
        {"status": "incomplete"},
        {"verdict": None},
        {"surprise": 1},
    ],
)
def test_a_wrong_document_does_not_fit(change):
    doc = {**verdicts.document(verdicts.verdict("healthy")), **change}
    assert errors(doc)
    assert parts.read(doc)[0] is None


def test_every_recording_judged_fits(recordings):
    folders = [path for path in sorted(recordings.iterdir()) if (path / "probes.json").exists()]
    judged = []
    for folder in folders:
        if json.loads((folder / "meta.json").read_text()).get("architecture", "inprocess_p2p") == "inprocess_p2p":
            judged.append(judge(recording.evidence(folder)))
    assert len(judged) > 10
    doc = verdicts.document(*judged)
    assert errors(doc) == []
    assert parts.read(doc) == (doc, None)


@pytest.mark.parametrize("name", NAMES)
def test_fixtures_are_what_the_judge_says(recordings, name):
    def gist(pair):
        """All but the wording."""
        links = [(link["link"], link["state"]) for link in pair["links"]]
        slugs = [(finding["slug"], finding["role"], sorted(finding)) for finding in pair["findings"]]
        return sorted(pair), pair["verdict"], pair["first_broken"], links, slugs, [sorted(t) for t in pair["trials"]]

    assert gist(judge(recording.evidence(recordings / name))) == gist(verdicts.verdict(name))
