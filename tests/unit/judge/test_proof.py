"""What counts as a proof: evidence that is partial, foreign, shared or contradictory. One question a test."""

from __future__ import annotations

import pytest
from documents import (
    CHUNK,
    HIT,
    PROMPT,
    ROLES,
    RUN,
    event,
    layout,
    logged_id,
    no_log,
    no_nodes,
    pair,
    put,
    setting,
)
from judging import CHUNKS_OF_OTHERS, events, foreign_lookup, insert, told, warnings
from kvproof.judge.verdict import judge

MISSED = ("missed",) * 3
HOLDER = ROLES["holder"]


def test_one_log_is_enough_the_holders():
    """The holder saw this very id, and the response tells of the hit, sooner than any recompute."""
    assert told(no_log(pair(), "receiver")) == ("pass", [])


def test_one_log_is_enough_the_receivers():
    """In an idle log the controller's answer before this id's line names the holder."""
    assert told(no_log(pair(), "holder")) == ("pass", [])


def test_no_log_is_not_enough():
    assert told(no_log(pair())) == ("inconclusive", ["reuse-unattributed"])
    assert told(no_nodes(pair())) == ("inconclusive", ["reuse-unattributed"])


def test_a_hit_of_the_receivers_log_amid_others_lookups_names_no_peer():
    """A layout line carries no id: beside another client's lookups its place tells nothing."""
    document = no_log(pair(), "holder")
    insert(document, "1-reuse", foreign_lookup())
    assert told(document) == ("inconclusive", ["reuse-unattributed"])


def test_others_lookups_do_not_matter_where_the_holder_saw_the_id():
    document = pair()
    insert(document, "1-reuse", foreign_lookup(hit=CHUNKS_OF_OTHERS * CHUNK))
    assert told(document) == ("pass", [])


def test_a_local_hit_beside_anothers_layout_line_is_not_a_transfer():
    """The line that names the holder belongs to somebody else's lookup."""
    document = pair(*("local",) * 3)
    for index in range(3):
        insert(document, f"{index}-reuse", [layout(), *foreign_lookup()])
    assert told(no_log(document, "holder")) == ("inconclusive", ["reuse-unattributed"])


@pytest.mark.parametrize("kind", ["peer_error", "retry_exhausted", "ensure_peer_failed", "peer_get_failed"])
def test_a_load_of_a_request_whose_transfer_failed_came_from_elsewhere(kind):
    """The receiver had a part of the prefix itself; the peer that should have sent the rest did not."""
    document = pair()
    for index in range(3):
        events(document, "receiver").append(event(kind, f"{index}-reuse", text="timed out", code="X"))
    assert told(document) == ("inconclusive", ["reuse-unattributed"])
    assert told(no_log(document, "holder")) == ("inconclusive", ["reuse-unattributed"])


def test_a_layout_that_names_another_node_does_not_prove_this_pair():
    document = no_log(pair(), "holder")
    for one in events(document, "receiver"):
        if one["kind"] == "layout" and one["chunks"]:
            one.update(instance="prefill-2", peer="127.0.0.14:8200")
    assert told(document) == ("inconclusive", ["reuse-unattributed"])


def test_after_a_time_out_the_place_of_a_layout_line_tells_nothing():
    document = no_log(pair("timed-out", "proven", "proven"), "holder")
    assert told(document)[0] == "inconclusive"


def test_a_truncated_log_proves_no_absence():
    document = put(pair(*("local",) * 3), "nodes.holder.log.truncated", True)
    assert told(document) == ("inconclusive", ["reuse-unattributed"])


def test_the_holder_was_asked_and_failed_and_something_was_loaded_all_the_same():
    document = pair()
    for index in range(3):
        events(document, "holder").append(event("peer_get_failed", f"{index}-reuse", text="out of memory"))
    setting(document, "receiver", "remote_url", "redis://10.0.0.9:6379")
    assert told(document) == ("inconclusive", ["reuse-unattributed"])


def test_a_shared_store_in_the_configuration_does_not_spoil_a_peers_proof():
    assert told(setting(pair(), "receiver", "remote_url", "redis://10.0.0.9:6379")) == ("pass", [])


def test_one_engine_behind_both_urls():
    """A router, or one process in both groups: the second request hits what the first one stored."""
    document = pair(*("local",) * 3)
    both = events(document, "holder") + events(document, "receiver")
    for role in ROLES:
        document["nodes"][role]["log"]["events"] = both
        setting(document, role, "lmcache_instance_id", HOLDER)
    assert told(document) == ("inconclusive", ["reused-locally-not-p2p"])
    assert "instance-id-duplicate" in warnings(document)


def test_a_router_that_swaps_the_engines():
    """Seed and reuse went to the engines the other way round: neither log shows what it should."""
    document = pair()
    logs = [document["nodes"][role]["log"] for role in ROLES]
    logs[0]["events"], logs[1]["events"] = logs[1]["events"], logs[0]["events"]
    assert told(document)[0] == "inconclusive"


def test_ids_that_several_responses_share_tie_nothing():
    document = pair()
    for trial in document["probe"]["trials"]:
        for name in ("seed", "reuse", "knockout"):
            trial[name].update(response_id="cmpl-proxy", request_id="proxy")
    for role in ROLES:
        for one in events(document, role):
            if one.get("id"):
                one["id"] = "cmpl-proxy-0-11111111"
    assert told(document)[0] == "inconclusive"


def test_a_proxy_that_answers_with_ids_of_its_own_but_passes_the_sent_ones_on():
    document = pair()
    for number, trial in enumerate(document["probe"]["trials"]):
        for name in ("seed", "reuse", "knockout"):
            trial[name]["response_id"] = f"gateway-{name}{number}"
    assert told(document) == ("pass", [])


def test_a_proxy_that_rewrites_both_ids():
    document = pair()
    for number, trial in enumerate(document["probe"]["trials"]):
        for name in ("seed", "reuse", "knockout"):
            trial[name].update(response_id=f"gateway-{name}{number}", request_id=f"sent-{name}{number}")
    verdict, decisive = told(document)
    assert (verdict, decisive) == ("inconclusive", ["reuse-unattributed"])


def test_ids_that_begin_alike_are_not_the_same_request():
    document = pair()
    for one in events(document, "receiver"):
        if one.get("id") == logged_id("0-reuse"):
            one["id"] = f"cmpl-kvp-{RUN}-0-reuse-extra-0-1a2b3c4d"
    assert judge(document)["trials"][0]["loaded"] == HIT, "by cached_tokens"
    assert told(no_log(document, "holder"))[0] == "inconclusive"


def test_an_id_of_a_repeated_attempt_is_another_request():
    document = pair()
    assert judge(document)["trials"][0]["outcome"] == "proven"
    for one in events(document, "receiver"):
        if one.get("id") == logged_id("1-reuse"):
            one["id"] = logged_id("1.1-reuse")
    assert judge(document)["trials"][1]["outcome"] == "proven", "the holder's log and the response still tell"


@pytest.mark.parametrize("ttft", [0.19, 0.2, 0.5, None])
def test_cached_tokens_alone_prove_no_load(ttft):
    """vLLM counts what the lookup promised, even where the load fails and it recomputes."""
    document = no_log(pair(), "receiver")
    for trial in document["probe"]["trials"]:
        trial["reuse"]["ttft_s"] = ttft
    assert told(document) == ("inconclusive", ["outcome-unread"])


def test_one_rank_that_loaded_nothing():
    """With tensor parallelism every rank has a line, and the request has what the least of them loaded."""
    document = pair()
    for index in range(3):
        events(document, "receiver").append(event("retrieved", f"{index}-reuse", tokens=0, required=HIT, total=HIT))
    assert told(document) == ("fail", ["load-failed"])


def test_every_rank_tells_and_nothing_is_counted_twice():
    document = pair()
    for role in ROLES:
        document["nodes"][role]["meta"]["world_size"] = 2
        doubled = [e for e in events(document, role) for _ in range(2 if e["kind"] in ("stored", "retrieved") else 1)]
        document["nodes"][role]["log"]["events"] = doubled
    verdict = judge(document)
    assert verdict["verdict"] == "pass"
    assert [(trial["stored"], trial["loaded"]) for trial in verdict["trials"]] == [(HIT, HIT)] * 3


@pytest.mark.parametrize(("mla", "verdict"), [(False, "inconclusive"), (True, "pass")])
def test_a_rank_that_does_not_tell_is_not_taken_for_one_that_loaded(mla, verdict):
    """Unless one loads for all, as with MLA."""
    document = pair()
    for role in ROLES:
        document["nodes"][role]["meta"].update(world_size=2, use_mla=mla)
        stored = [e for e in events(document, role) for _ in range(2 if e["kind"] == "stored" else 1)]
        document["nodes"][role]["log"]["events"] = stored
    assert told(document)[0] == verdict


def test_chunked_prefill_stores_in_steps():
    document = pair()
    for one in events(document, "holder"):
        if one["kind"] == "stored":
            one["tokens"] = HIT // 2
    for index in range(3):
        events(document, "holder").append(event("stored", f"{index}-seed", tokens=HIT // 2, total=PROMPT))
    assert [trial["stored"] for trial in judge(document)["trials"]] == [HIT] * 3


def test_a_part_of_the_prefix_is_a_reuse_with_a_warning():
    document = pair()
    for one in events(document, "receiver"):
        if one["kind"] == "retrieved":
            one["tokens"] = CHUNK
    assert told(document) == ("pass", [])
    assert warnings(document) == ["partial-reuse"]


def test_old_versions_write_no_id_on_load_and_store_lines():
    document = pair()
    for role in ROLES:
        for one in events(document, role):
            if one["kind"] in ("stored", "retrieved"):
                del one["id"]
    assert told(document) == ("pass", [])
    assert judge(document)["trials"][0]["stored"] is None
    missed = pair(*MISSED)
    for one in events(missed, "holder"):
        one.pop("id" if one["kind"] == "stored" else "", None)
    assert told(missed) == ("fail", ["reuse-absent"]), "nothing-stored would be a guess"
