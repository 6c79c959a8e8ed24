"""KV from anywhere (kv_reuse_source: any): a pass where another engine made it, however it came, and never else."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from documents import (
    HIT,
    OTHER_WORDS,
    PROMPT,
    ROLES,
    anywhere,
    drop_events,
    event,
    failed,
    no_log,
    no_nodes,
    pair,
    put,
    setting,
)
from documents import request as answered
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import events, told, warnings
from kvproof.judge.apart import OF_P2P
from kvproof.judge.findings import all_findings
from kvproof.judge.verdict import judge

REUSED = ("proven",) * 3
UNPROVEN = ("inconclusive", ["other-engine-unproven"])
SAME = ("inconclusive", ["same-engine-answers"])
METRICS = "probe.engines.{}.metrics.{}.values.{}"
COUNTED, EXTERNAL = "vllm:prompt_tokens_total", "vllm:external_prefix_cache_hits_total"


def two_urls(*outcomes: str) -> dict:
    return no_nodes(anywhere(pair(*outcomes or REUSED)))


def from_store(document: dict) -> dict:
    for role in ROLES:
        setting(document, role, "remote_url", "redis://10.0.0.9:6379")
    return document


def more(document: dict, role: str, *whens: str, tokens: float = PROMPT, series: str = COUNTED) -> dict:
    """An engine counted so many tokens more by the time of these pages."""
    for when in whens:
        document["probe"]["engines"][role]["metrics"][when]["values"][series] += tokens
    return document


def links(document: dict) -> dict[int, str]:
    return {link["link"]: link["state"] for link in judge(document)["links"]}


# ---- what is proof


def test_two_urls_and_nothing_else():
    document = two_urls()
    assert told(document) == ("pass", [])
    assert [links(document)[n] for n in range(6, 13)] == ["holds", "holds (inferred)", "not needed", "not needed",
                                                          "holds (inferred)", "holds", "holds"]  # fmt: skip
    assert "which way is not seen" in judge(document)["links"][9]["text"]


def test_two_urls_are_no_proof_of_the_peer_and_the_report_names_the_switch():
    document = put(two_urls(), "source", "p2p")
    assert told(document) == ("inconclusive", ["reuse-unattributed"])
    assert "kv_reuse_source: any" in judge(document)["findings"][0]["remedy"]


def test_a_shared_store_seen_by_the_logs_though_others_use_the_engines():
    document = from_store(anywhere(pair(*("local",) * 3)))
    events(document, "receiver").append(event("looked_up", None, id="cmpl-other-0-11111111", hit=0, need=0, total=99))
    assert told(more(document, "receiver", "seeded", "after", tokens=99)) == ("pass", [])
    assert "prefill-1 was not asked; remote_url is set" in judge(document)["links"][9]["text"]
    assert told(put(document, "source", "p2p")) == ("inconclusive", ["reused-from-shared-store"])


def test_a_shared_store_needs_no_p2p():
    document = from_store(anywhere(pair(*("local",) * 3)))
    setting(document, "receiver", "enable_p2p", False)
    assert (told(document), warnings(document)) == (("pass", []), [])


def test_a_store_that_is_there_and_brings_nothing_is_not_p2ps_fault():
    document = from_store(anywhere(pair(*("missed",) * 3)))
    setting(document, "receiver", "enable_p2p", False)
    assert told(document) == ("fail", ["reuse-absent"])


def test_a_peer_proves_as_ever():
    document = anywhere(pair())
    assert told(document) == ("pass", [])
    assert all(links(document)[n] == "holds" for n in range(1, 14))


def test_findings_of_p2p_are_findings():
    assert {finding.slug for finding in all_findings()} >= OF_P2P


# ---- what is none


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("whens", [("after",), ("seeded", "after")])
def test_tokens_of_others_prove_nothing(role, whens):
    assert told(more(two_urls(), role, *whens)) == UNPROVEN


def test_one_engine_behind_two_urls():
    document = two_urls()
    for when in ("seeded", "after"):
        values = document["probe"]["engines"]["holder"]["metrics"][when]["values"]
        document["probe"]["engines"]["receiver"]["metrics"][when]["values"] = values
    assert told(document) == SAME


def test_one_process_on_one_host():
    document = anywhere(no_log(pair()))
    document["nodes"]["receiver"].update(hostname="host-prefill-1")
    assert told(document) == SAME


def test_one_process_that_is_no_engine_stands_before_several():
    document = anywhere(no_log(pair()))
    document["nodes"]["receiver"].update(hostname="host-prefill-1")
    for node in document["nodes"].values():
        node["engine"]["options"] = {}
    assert "same-engine-answers" not in told(document)[1]


@pytest.mark.parametrize("where", ["nodes", "two URLs"])
def test_a_mirror_that_warms_the_receiver(where):
    """Each seed goes to the receiver as well, under its id, while the seeds are sent or later."""
    document = from_store(anywhere(pair(*("local",) * 3)))
    for index in range(3):
        events(document, "receiver").insert(0, event("looked_up", f"{index}-seed", hit=0, need=0, total=PROMPT))
    more(document, "receiver", "seeded", "after", tokens=3 * PROMPT)
    assert told(no_nodes(document) if where == "two URLs" else document)[0] == "inconclusive"


def test_a_mirror_that_gives_ids_of_its_own():
    document = from_store(anywhere(pair(*("local",) * 3)))
    events(document, "receiver").insert(0, event("looked_up", None, id="x", hit=0, need=0, total=PROMPT))
    assert told(more(document, "receiver", "seeded", "after")) == UNPROVEN


def test_one_log_of_both():
    document = anywhere(pair(*("local",) * 3))
    both = events(document, "holder") + events(document, "receiver")
    for role in ROLES:
        document["nodes"][role]["log"]["events"] = both
    assert told(more(document, "receiver", "after"))[0] == "inconclusive"


@pytest.mark.parametrize("control", ["knockout", "never_seen"])
def test_a_control_that_hits(control):
    path = "probe.never_seen" if control == "never_seen" else "probe.trials[0].knockout"
    verdict, slugs = told(put(two_urls(), f"{path}.cached_tokens", HIT))
    assert verdict == "inconclusive"
    assert "control-hit" in slugs


@pytest.mark.parametrize("control", ["knockout", "never_seen"])
def test_a_control_that_was_not_read(control):
    path = "probe.never_seen" if control == "never_seen" else "probe.trials[0].knockout"
    assert told(put(two_urls(), f"{path}.cached_tokens", None))[0] == "inconclusive"


def test_knock_outs_that_all_went_first_show_nothing():
    """One that is not honoured leaves the prompt at the receiver, misses itself and lets the reuse hit."""
    document = two_urls()
    for trial in document["probe"]["trials"]:
        trial["order"] = "knockout-first"
    assert told(document) == UNPROVEN


def test_the_receivers_own_prefix_cache():
    for rise in (0.0, None):
        document = two_urls()
        path = METRICS.format("receiver", "after", EXTERNAL)
        assert told(put(document, path, rise))[0] == "inconclusive"


def test_masked_by_its_log():
    assert told(anywhere(pair(*("masked",) * 3))) == ("inconclusive", ["prefix-cache-masks"])


def test_an_answer_that_failed_leaves_the_tokens_uncounted():
    document = two_urls("proven", "proven", "proven")
    failed(document["probe"]["trials"][2]["seed"])
    assert told(document)[0] == "inconclusive"


def test_without_a_page_between_seeds_and_reuses():
    document = two_urls()
    del document["probe"]["engines"]["receiver"]["metrics"]["seeded"]
    assert told(document) == UNPROVEN


def test_an_engine_that_was_restarted():
    assert told(put(two_urls(), METRICS.format("holder", "after", COUNTED), 5.0))[0] == "inconclusive"


def test_a_log_that_was_cut():
    document = drop_events(anywhere(pair(*("local",) * 3)), "receiver", "layout")
    put(document, "nodes.receiver.log.truncated", True)
    assert told(more(document, "receiver", "after"))[0] == "inconclusive"


# ---- any world


@dataclass
class World:
    """Two engines A and B, whatever stands before them, and a store that they share or not.

    routes: which engine serves each request, in turn.  pages: of which engine (or "both", added up) each page of
    metrics is, for holder and receiver; it stays the same where no page says when its process started, since the
    probe reads such a page twice.  mirrored: where the seeds go as well, or "late", to B before each reuse.
    """

    routes: list[str]
    pages: list[str]
    mirrored: str
    shares: bool
    honours: bool
    prefix_cache: bool
    others: list[tuple[str, int]]
    offset: float
    starts: bool
    had: dict[str, set] = field(default_factory=lambda: {"A": set(), "B": set()})  # prompts that an engine has itself
    made: set = field(default_factory=set)  # prompts in the store
    counts: dict[str, list[float]] = field(default_factory=lambda: {"A": [0.0, 0.0], "B": [0.0, 0.0]})
    sent: int = 0
    genuine: list[bool] = field(default_factory=list)

    def serve(self, role: str, label: str, prompt, *, knocked: bool = False, at: str | None = None, **more) -> dict:
        served = at or self.routes[self.sent % len(self.routes)]
        self.sent += at is None
        salted, own = knocked and self.honours, self.had[served]
        key = (prompt, label) if salted else prompt
        local, remote = key in own, self.shares and key in self.made
        hit = HIT if local or remote else 0
        if role == "reuse" and hit:
            self.genuine.append(not local)
        if not salted:
            own.add(key)
            self.made.add(key)
        self.counts[served][0] += PROMPT
        self.counts[served][1] += 0 if local and self.prefix_cache else hit
        return answered(role, "holder" if role == "seed" else "receiver", label, hit, 0.05 if hit else 0.2, **more)

    def page(self, number: int, at: float) -> dict:
        of = self.pages[number if self.starts else number // 3 * 3]
        engines = ("A", "B") if of == "both" else (of,)
        tokens, hits = (sum(self.counts[engine][n] for engine in engines) for n in (0, 1))
        started = {"process_start_time_seconds": 5.5 if of == "B" else 2.5} if self.starts else {}
        values = {**started, COUNTED: tokens + self.offset * (of == "B"), EXTERNAL: hits}
        return {"state": "ok", "error": None, "lmcache": False, "at": at, "values": values}

    def document(self, orders: list[str]) -> dict:
        document = two_urls(*("proven",) * len(orders))
        probe, pages = document["probe"], {role: {} for role in ROLES}

        def scrape(when: str, at: float, number: int) -> None:
            for role in ROLES:
                pages[role][when] = self.page(number + 3 * (role == "receiver"), at)

        def elsewhere() -> None:
            if self.others:
                engine, tokens = self.others.pop()
                self.counts[engine][0] += tokens

        scrape("before", 1.0, 0)
        for n, trial in enumerate(probe["trials"]):
            trial["seed"] = {**self.serve("seed", f"{n}-seed", n), "sent_at": 1.5}
            if self.mirrored in ("A", "B"):
                self.serve("mirror", f"{n}-mirror", n, at=self.mirrored)
            elsewhere()
        scrape("seeded", 2.0, 1)
        for n, (trial, order) in enumerate(zip(probe["trials"], orders)):
            trial["order"] = order
            if self.mirrored == "late":
                self.serve("mirror", f"{n}-mirror", n, at="B")
            for name in ("knockout", "reuse") if order == "knockout-first" else ("reuse", "knockout"):
                trial[name] = self.serve(name, f"{n}-{name}", n, knocked=name == "knockout")
            elsewhere()
        probe["never_seen"] = self.serve("never_seen", "never", "never", text=OTHER_WORDS)
        probe["recompute"] = self.serve("recompute", "recompute", len(orders) - 1, knocked=True)
        scrape("after", 3.0, 2)
        for role in ROLES:
            probe["engines"][role]["metrics"] = pages[role]
        return document


ENGINE = st.sampled_from("AB")


def mostly(well, odd: st.SearchStrategy) -> st.SearchStrategy:
    """So that a world differs from a healthy one in few things at a time."""
    return st.one_of(*[st.just(well)] * 4, odd)


WORLDS = st.builds(
    World,
    routes=st.just(["A"] * 3 + ["B"] * 8) | st.lists(ENGINE, min_size=1, max_size=11),
    pages=mostly(list("AAABBB"), st.lists(st.sampled_from(["A", "B", "both"]), min_size=6, max_size=6)),
    mirrored=mostly("no", st.sampled_from(["A", "B", "late"])),
    shares=mostly(True, st.just(False)),
    honours=mostly(True, st.just(False)),
    prefix_cache=st.booleans(),
    others=mostly([], st.lists(st.tuples(ENGINE, st.sampled_from([1, PROMPT])), max_size=3)).map(list),
    offset=st.sampled_from([0.0, PROMPT, 7777.0]),
    starts=st.booleans(),
)
ORDERS = mostly(
    ["reuse-first", "knockout-first", "reuse-first"],
    st.lists(st.sampled_from(["reuse-first", "knockout-first"]), min_size=1, max_size=3),
)


@given(WORLDS, ORDERS)
@settings(max_examples=400)
def test_no_world_is_green_in_which_an_engine_reused_its_own(world, orders):
    verdict = judge(world.document(orders))
    assert verdict["check_errors"] == []
    if verdict["verdict"] == "pass":
        assert world.genuine
        assert all(world.genuine)


def test_the_world_that_is_well_is_green():
    world = World(["A"] * 3 + ["B"] * 8, list("AAABBB"), "no", True, True, True, [], 0.0, True)
    document = world.document(["reuse-first", "knockout-first", "reuse-first"])
    assert told(document) == ("pass", [])
    assert world.genuine == [True] * 3
