"""Conditions that are no causes: what may be right, what this run refutes, and which value is in force."""

from __future__ import annotations

import pytest
from documents import (
    HIT,
    ROLES,
    add_head,
    dial,
    drop_events,
    event,
    looked_up,
    no_log,
    pair,
    put,
    request,
    setting,
    untold,
)
from judging import events, told, warnings
from kvproof.judge.verdict import judge

MISSED = ("missed",) * 3
LOST = ("timed-out",) * 3


def blocked(document: dict, why: str, state: str) -> dict:
    """Dials fail for the SSH user, whose network is not the engine's."""
    return dial(put(document, "nodes.receiver.engine.other_namespace", True), "receiver", why, state)


def same_id_in_files(document: dict) -> dict:
    for role in ROLES:
        setting(document, role, "lmcache_instance_id", "kv-node", "file")
        log = document["nodes"][role]["log"]
        log["head"] = [e for e in log["head"] if e["kind"] != "registering"]
    return document


def nat(document: dict) -> dict:
    put(document, "nodes.holder.p2p_host", {"value": "203.0.113.7", "resolved": ["203.0.113.7"], "ours": False})
    open_port = {"to": "203.0.113.7:8200", "why": "peer-init", "state": "open", "ms": 1.0}
    document["nodes"]["receiver"]["dials"].append(open_port)
    return document


def private_http(document: dict) -> dict:
    """The validator and the node module are refused; both nodes reach the ZMQ ports."""
    http = {"state": "refused", "status": None, "text": "connection refused"}
    document["probe"]["controller"].update(http=http, workers=None)
    document["controllers"][0].update(http=http, workers=None)
    return document


def elsewhere(document: dict) -> dict:
    """No such process on the host that the inventory names; the ports answer."""
    private_http(document)
    document["controllers"][0]["process"].update(running=False, pid=None)
    return document


def another_controller(document: dict) -> dict:
    """kv_reuse_controller_url is that of another cluster's controller."""
    for one in (document["controllers"][0], document["probe"]["controller"]):
        one["url"] = "http://10.7.7.7:9000"
        for worker in one["workers"]:
            worker["instance_id"] = f"x-{worker['instance_id']}"
    for trial in document["probe"]["trials"]:
        trial["visible"] = {"how": "key_count", "reached": False, "waited_s": 5.0, "limit_s": 5.0}
    return document


def add_event(document: dict, role: str, kind: str, label: str | None = None) -> dict:
    events(document, role).append(event(kind, label, text="Local cpu memory under pressure"))
    return document


CONDITIONS = {
    "dials blocked for the SSH user": lambda d: blocked(d, "controller", "timeout"),
    "p2p port shut for the SSH user": lambda d: blocked(d, "peer", "refused"),
    "a file that says off": lambda d: setting(d, "receiver", "enable_p2p", False, "file"),
    "a file with another chunk size": lambda d: setting(d, "receiver", "chunk_size", 128, "file"),
    "a file with the same instance id": same_id_in_files,
    "p2p_host behind NAT": nat,
    "a controller whose HTTP is private": private_http,
    "a controller in another container": elsewhere,
    "SSH to the controller's host lost": lambda d: put(d, "controllers", [{"name": "c", "ssh": "unreachable"}]),
    "the workers of another controller": another_controller,
    "503 of the scheduler alone": lambda d: put(d, "nodes.receiver.internal_api", {"state": "ok", "status": 503}),
    "hosts without names": lambda d: put(d, "nodes.holder.hostname", None),
    "the pool under pressure": lambda d: add_event(d, "holder", "memory_pressure"),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_that_may_be_right_are_no_causes_of_stalls(name):
    """All lookups lost to time-outs, as LMCache as shipped can do on a busy machine: nothing certain, so no failure."""
    assert told(CONDITIONS[name](pair(*LOST)))[0] == "inconclusive"


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_beside_a_proof_are_warnings_at_most(name):
    assert told(CONDITIONS[name](pair())) == ("pass", [])


def test_a_condition_that_one_reuse_refutes_is_no_cause_of_the_other_misses():
    document = setting(pair("proven", "missed", "missed"), "receiver", "enable_p2p", False)
    assert told(document) == ("inconclusive", ["reuse-intermittent"])
    assert warnings(document) == ["p2p-disabled"]


def test_reuse_from_an_unknown_source_refutes_a_condition_too():
    document = no_log(pair("proven", "missed"))
    setting(document, "receiver", "enable_p2p", False, "file")
    assert told(document)[0] == "inconclusive"


def test_what_was_seen_of_the_lost_requests_stands_beside_a_single_proof():
    assert told(pair("proven", "peer-error", "peer-error"))[0] == "fail"
    assert told(pair("proven", "proven", "peer-error"))[0] == "inconclusive"


def test_a_condition_explains_nothing_where_the_outcome_is_unknown():
    """Conditions explain, outcomes decide."""
    document = setting(untold(no_log(pair(), "receiver")), "holder", "enable_p2p", False)
    assert told(document) == ("inconclusive", ["outcome-unread"])
    assert warnings(document) == ["p2p-disabled"]


def test_the_value_in_force_goes_before_file_and_environment():
    document = pair(*MISSED)
    setting(document, "receiver", "enable_p2p", False, "file")
    document["nodes"]["receiver"]["engine"]["env"]["LMCACHE_ENABLE_P2P"] = "true"
    assert told(document) == ("fail", ["reuse-absent"]), "the environment goes before the file"
    document["probe"]["engines"]["receiver"]["internal"] = {"url": "http://x:6999", "conf": {"enable_p2p": False}}
    assert told(document) == ("fail", ["p2p-disabled"]), "the internal API goes before both"


def test_a_key_that_an_engine_does_not_name_is_unknown_not_default():
    document = pair(*MISSED)
    for layer in ("effective", "config_file"):
        del document["nodes"]["receiver"][layer]["values"]["enable_p2p"]
    for one in document["nodes"]["receiver"]["log"]["head"]:
        one.get("values", {}).pop("enable_p2p", None)
    assert told(document) == ("fail", ["reuse-absent"])


def test_numbers_of_an_environment_are_strings():
    document = setting(pair(*MISSED), "receiver", "chunk_size", 128, "file")
    document["nodes"]["receiver"]["engine"]["env"]["LMCACHE_CHUNK_SIZE"] = "256"
    assert told(document) == ("fail", ["reuse-absent"])


def test_the_effective_chunk_size_decides_what_was_to_be_expected():
    """The probe went by 256; the cluster cuts into chunks of 2048."""
    document = pair(*MISSED)
    for role in ROLES:
        setting(document, role, "chunk_size", 2048)
    assert told(document) == ("inconclusive", ["prompt-shorter-than-chunk"])


def test_degraded_lines_of_an_engine_whose_lmcache_works_are_stale():
    document = add_head(pair(*LOST), "holder", "degraded", text="x", line="LMCache ERROR: degraded mode")
    assert told(document) == ("inconclusive", ["lookup-timed-out"])
    assert warnings(document) == ["lmcache-degraded"]


def test_clocks_do_not_matter():
    document = pair()
    for role in ROLES:
        for one in [*events(document, role), *document["nodes"][role]["log"]["head"]]:
            one["at"] = "1999-01-01 00:00:00,000"
        document["nodes"][role]["time"] = 0.0
    assert told(document) == ("pass", [])


def test_the_log_of_another_engine():
    document = pair()
    document["nodes"]["receiver"]["log"]["events"] = [
        event("looked_up", None, id="cmpl-other-0-11111111", hit=512, need=512, computed=0),
        event("retrieved", None, id="cmpl-other-0-11111111", tokens=512, required=512, total=512),
    ]
    assert told(document) == ("pass", []), "the holder's log and the responses prove it"
    assert "log-without-this-run" in [f["slug"] for f in judge(document)["findings"]]
    assert told(no_log(document, "holder")) == ("inconclusive", ["reuse-unattributed"])


def test_ssh_lost_to_both_nodes():
    document = pair()
    lost = {"schema": "kvproof.node/1", "ssh": "unreachable", "ssh_reason": "timed out"}
    document["nodes"] = {role: dict(lost) for role in ROLES}
    verdict = judge(document)
    assert verdict["verdict"] == "inconclusive"
    assert [f["slug"] for f in verdict["findings"]] == ["reuse-unattributed", "ssh-unreachable", "ssh-unreachable"]


def test_the_same_prompt_again_is_no_trial():
    """A repeat hits locally; it never counts."""
    document = pair(*MISSED)
    for index, trial in enumerate(document["probe"]["trials"]):
        trial["repeat"] = request("repeat", "receiver", f"{index}-repeat", cached=HIT)
        events(document, "receiver").extend([looked_up(f"{index}-repeat", HIT)])
    assert told(document) == ("fail", ["reuse-absent"])


def test_a_drop_of_a_counter_is_a_restart_not_a_rise():
    document = untold(no_log(pair(*MISSED), "receiver"))
    document["probe"]["engines"]["receiver"]["metrics"]["before"]["values"]["vllm:request_success_total"] = 50.0
    assert told(document) == ("inconclusive", ["outcome-unread"])
    assert judge(document)["counters"]["receiver"]["external_hits"] == 0


def test_waiving_what_decided_a_verdict_changes_what_it_means_not_what_it_is():
    document = setting(pair(*MISSED), "receiver", "enable_p2p", False)
    verdict = judge(document, {"p2p-disabled": "decode-1 joins next week"})
    assert (verdict["verdict"], verdict["waived"]) == ("fail", True)
    assert verdict["findings"][0]["waived"] == "decode-1 joins next week"
    assert judge(document, {"reuse-absent": "not what decided"})["waived"] is False
    assert judge(pair(), {"p2p-disabled": "nothing to waive"})["waived"] is False


def test_a_document_of_another_schema_is_not_judged():
    verdict = judge(put(pair(), "schema", "kvproof.evidence/2"))
    assert verdict["verdict"] == "inconclusive"
    assert verdict["check_errors"] == ["the evidence is kvproof.evidence/2; this kvproof judges kvproof.evidence/1"]


def test_a_check_that_breaks_never_leaves_a_verdict_green(monkeypatch):
    from kvproof.judge import verdict as module
    from kvproof.judge.findings import all_findings

    def broken(case, attempts):
        raise KeyError("nobody expected this")

    findings = [f for f in all_findings() if f.slug != "control-hit"]
    control = next(f for f in all_findings() if f.slug == "control-hit")
    object.__setattr__(broken_control := type(control)(**vars(control)), "look", broken)
    monkeypatch.setattr(module, "all_findings", lambda: (*findings, broken_control))
    verdict = judge(pair())
    assert verdict["verdict"] == "inconclusive"
    assert [f["slug"] for f in verdict["findings"]] == ["check-failed"]
    assert verdict["check_errors"] == ["control-hit: KeyError: 'nobody expected this'"]


def test_a_drop_of_all_lines_of_one_kind_is_never_green_by_itself():
    for role, kinds in (("holder", ("peer_asked",)), ("receiver", ("layout",)), ("receiver", ("looked_up",))):
        assert told(drop_events(pair(), role, *kinds))[0] in ("pass", "inconclusive")
    document = drop_events(drop_events(pair(), "holder", "peer_asked"), "receiver", "layout")
    assert told(document) == ("inconclusive", ["reused-locally-not-p2p"])
