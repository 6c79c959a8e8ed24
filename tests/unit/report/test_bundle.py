"""Evidence bundles: nothing secret in them, judged again to the same document, and clear words for what cannot be."""

from __future__ import annotations

import datetime
import gzip
import json
import re

import pytest
from bundles import FIXTURES, TODAY, evidence, packed, ran
from kvproof.report import bundle, views


@pytest.mark.parametrize(
    "story",
    [
        {"names": ["healthy"]},
        {"names": ["healthy", "hashseed_differs", "corrupt_zero_k"]},
        {"names": ["healthy"], "missing": 2, "failure": "no such\nfile; token=abcdef " + "x" * 3000},
        {"names": [], "missing": 1},
    ],
    ids=["pass", "several", "not-judged", "none"],
)
def test_a_bundle_is_judged_to_the_same_document(story):
    run, doc = ran(*story.pop("names"), **story)
    content = bundle.unpack(packed(run, doc))
    again = views.verdict(bundle.judge_again(content))
    assert again == views.verdict(doc)
    assert bundle.is_same(content, again)
    assert "/home/somebody" not in json.dumps(content)


def test_waivers_are_weighed_on_the_day_of_the_run():
    """One that ended since still counts; one that had ended does not, and the sentence about it stays."""
    ended = {"finding": "hash-seed-differs", "reason": "ended before", "until": datetime.date(2026, 11, 23)}
    last_day = {"finding": "hash-seed-differs", "reason": "its last day", "until": TODAY}
    for waive, verdict in (([ended], "fail"), ([ended, last_day], "pass")):
        run, doc = ran("hashseed_differs", waive=waive)
        assert doc["verdict"] == verdict
        again = bundle.judge_again(bundle.unpack(packed(run, doc)))
        assert views.verdict(again) == views.verdict(doc)
        assert any("ended on 2026-11-23" in note for note in again["notes"])


def test_the_same_run_gives_the_same_bytes():
    assert packed(*ran("healthy")) == packed(*ran("healthy"))


def test_another_verdict_is_not_called_the_same():
    run, doc = ran("healthy")
    content = bundle.unpack(bundle.pack(run, doc, "the verdict.json of another version"))
    assert not bundle.is_same(content, views.verdict(bundle.judge_again(content)))


SECRETS = {
    "kv_reuse_api_key": "key/with-40%signs",
    "kv_reuse_headers": {"Authorization": "Bearer abc.def.ghi", "X-Tenant": "blue"},
    "kv_reuse_proxy": "http://user:proxypass@10.0.0.1:3128",
    "kv_reuse_url": "http://me:enginepass@10.0.0.1:8000",
}


def test_no_secret_stays_in_scrubbed_evidence():
    """Wherever in the evidence an engine, a tool or a log has echoed it."""
    leaks = (
        "key/with-40%signs abc.def.ghi proxypass enginepass http://me:enginepass@10.0.0.1:8000/v1?token=q hf_0123456789"
    )
    document = evidence("healthy")

    def planted(part):
        if isinstance(part, dict):
            return {name: planted(value) for name, value in part.items()}
        if isinstance(part, list):
            return [planted(value) for value in part]
        return f"{part} {leaks}" if isinstance(part, str) else part

    document = {**planted(document), "cluster": "demo", "pair": document["pair"]}
    document["probe"]["errors"] = [{"where": "seed", "kind": "http", "status": 400, "text": f"tenant blue: {leaks}"}]
    text = json.dumps(bundle.scrubbed(document, bundle.secrets_of(SECRETS)))
    for secret in ("key/with-40%signs", "abc.def.ghi", "proxypass", "enginepass", "token=q", "hf_0123456789", "blue"):
        assert secret not in text, secret


def test_clean_evidence_is_scrubbed_to_itself():
    for path in FIXTURES.glob("*.json"):
        document = json.loads(path.read_text())["evidence"]
        assert bundle.scrubbed(document, bundle.secrets_of(SECRETS)) == document


def test_names_of_hosts_are_no_secrets():
    document = {
        "cluster": "production",
        "pair": {"holder": "production-1", "receiver": "d"},
        "probe": {"text": "production"},
    }
    found = bundle.scrubbed(document, ["production"])
    assert (found["cluster"], found["pair"]["holder"], found["probe"]["text"]) == ("production", "production-1", "***")


def document_with(**changes) -> bytes:
    run, doc = ran("healthy")
    return gzip.compress(json.dumps({**bundle.unpack(packed(run, doc)), **changes}).encode())


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "damaged"),
        (b"PK\x03\x04 some other archive", "not gzip-compressed"),
        (packed(*ran("healthy"))[:2000], "damaged"),
        (packed(*ran("healthy"))[:-4] + b"\0\0\0\0", "damaged"),
        (gzip.compress(b"no JSON"), "no JSON in it"),
        (gzip.compress(b'{"schema": "kvproof.verdict/1"}'), "no kvproof bundle"),
        (gzip.compress(b"[1]"), "no kvproof bundle"),
        (document_with(schema="kvproof.bundle/2", tool="9.1"), "kvproof.bundle/2 of kvproof 9.1"),
    ],
    ids=["empty", "foreign", "cut", "crc", "text", "verdict", "list", "newer"],
)
def test_what_is_no_bundle_is_told_in_one_sentence(raw, says):
    with pytest.raises(bundle.Unreadable) as told:
        bundle.unpack(raw)
    assert says in str(told.value)
    assert not re.search(r"\n|Traceback", str(told.value))


@pytest.mark.parametrize(
    "changes",
    [{"said": None}, {"said": [{"what": "dance"}]}, {"said": [{"what": "judged", "on": "someday"}]}, {"said": ["x"]}],
)
def test_a_bundle_with_broken_parts_is_told_too(changes):
    with pytest.raises(bundle.Unreadable, match="damaged"):
        bundle.judge_again(bundle.unpack(document_with(**changes)))


def test_evidence_of_a_newer_schema_is_no_pass():
    run, doc = ran("healthy")
    content = bundle.unpack(packed(run, doc))
    judged = next(one for one in content["said"] if one["what"] == "judged")
    judged["evidence"][0]["schema"] = "kvproof.evidence/9"
    assert bundle.judge_again(content)["verdict"] != "pass"


def test_evidence_that_is_no_list_is_refused_at_once():
    document = bundle.unpack(packed(*ran("healthy")))
    next(entry for entry in document["said"] if entry["what"] == "judged")["evidence"] = "x" * 100_000
    with pytest.raises(bundle.Unreadable, match="damaged"):
        bundle.judge_again(document)
