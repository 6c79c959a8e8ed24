# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pairs a run probes: every node in each of its roles, no pair more than needed, nothing left out in silence."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvproof.plan.topology import plan, rounds


def host(name: str, *roles: str, cluster: str = "c", in_play: bool = True) -> dict:
    return {"name": name, "cluster": cluster, "roles": list(roles or ("prefill", "decode")), "in_play": in_play}


def named(pairs: list[dict]) -> list[str]:
    return [f"{pair['cluster']}:{pair['holder']}>{pair['receiver']}" for pair in pairs]


@st.composite
def fleets(draw) -> list[dict]:
    """Hosts of up to three clusters; some are both, some controllers, some not in the play."""
    roles = st.sampled_from([("prefill",), ("decode",), ("prefill", "decode"), ("controller",)])
    drawn = draw(st.lists(st.tuples(roles, st.sampled_from("abc"), st.booleans()), max_size=14))
    return [host(f"n{i}", *r, cluster=c, in_play=p or i % 3 > 0) for i, (r, c, p) in enumerate(drawn)]


def sides(hosts: list[dict], cluster: str) -> tuple[list[str], list[str]]:
    """Holders and receivers in the play that have a partner other than themselves."""
    mine = [h for h in hosts if h["cluster"] == cluster and h["in_play"]]
    holders, receivers = ([h["name"] for h in mine if role in h["roles"]] for role in ("prefill", "decode"))
    return [h for h in holders if set(receivers) - {h}], [r for r in receivers if set(holders) - {r}]


@given(hosts=fleets())
def test_cover_has_every_node_in_each_of_its_roles_in_the_fewest_pairs(hosts):
    found = plan(hosts, "cover").pairs
    for cluster in "abc":
        mine = [pair for pair in found if pair["cluster"] == cluster]
        holders, receivers = sides(hosts, cluster)
        assert {pair["holder"] for pair in mine} == set(holders)
        assert {pair["receiver"] for pair in mine} == set(receivers)
        assert len(mine) == max(len(holders), len(receivers))


@given(hosts=fleets(), mode=st.sampled_from(["full", "cover", "one"]), most=st.integers(0, 4))
def test_every_pair_there_is_gets_probed_or_named_with_a_reason(hosts, mode, most):
    found = plan(hosts, mode, most)
    told = named(found.pairs) + named(found.skipped)
    by_name = {h["name"]: h for h in hosts}
    expected = [
        f"{p['cluster']}:{p['name']}>{d['name']}"
        for p in hosts
        for d in hosts
        if p["cluster"] == d["cluster"] and p is not d and "prefill" in p["roles"] and "decode" in d["roles"]
    ]
    assert sorted(told) == sorted(expected)
    assert all(pair["reason"] for pair in found.skipped)
    assert all(by_name[pair[role]]["in_play"] for pair in found.pairs for role in ("holder", "receiver"))
    assert bool(found.problem) == (not found.pairs)
    if most:
        assert max(Counter(pair["cluster"] for pair in found.pairs).values(), default=0) <= most


@given(hosts=fleets(), mode=st.sampled_from(["full", "cover", "one"]))
def test_shares_count_all_pairs_that_use_the_busier_engine(hosts, mode):
    pairs = plan(hosts, mode).pairs
    for pair in pairs:
        uses = [sum(name in (p["holder"], p["receiver"]) for p in pairs) for name in (pair["holder"], pair["receiver"])]
        assert pair["shares"] == max(uses)


@given(holders=st.integers(1, 6), receivers=st.integers(1, 20))
def test_cover_spreads_the_load_evenly(holders, receivers):
    hosts = [host(f"p{n}", "prefill") for n in range(holders)] + [host(f"d{n}", "decode") for n in range(receivers)]
    fewer = "holder" if holders <= receivers else "receiver"
    uses = Counter(pair[fewer] for pair in plan(hosts).pairs).values()
    assert max(uses) - min(uses) <= 1


def test_a_bound_keeps_the_pairs_that_serve_most_nodes_and_names_those_left_out():
    hosts = [host(f"p{n}", "prefill") for n in range(2)] + [host(f"d{n}", "decode") for n in range(4)]
    found = plan(hosts, "cover", 2)
    assert named(found.pairs) == ["c:p0>d0", "c:p1>d1"]
    assert {p["reason"] for p in found.skipped} == {"kv_reuse_max_pairs: 2", "kv_reuse_pairs: cover"}
    assert found.notes == ["cluster c: no pair has d2, d3 as receiver: not proven there"]
    assert [len(plan(hosts, "full", most).pairs) for most in (0, 3, 99)] == [8, 3, 8]


def test_cover_and_full_leave_no_note():
    hosts = [host(f"n{n}") for n in range(3)]
    assert (plan(hosts, "cover").notes, plan(hosts, "full").notes) == ([], [])
    assert len(plan(hosts, "cover").pairs) == 3


def test_limit_judges_what_it_touched_and_says_so():
    hosts = [host("p0", "prefill"), host("d0", "decode"), host("d1", "decode", in_play=False)]
    found = plan(hosts)
    assert named(found.pairs) == ["c:p0>d0"]
    assert found.skipped[0]["reason"] == "d1 not in this run (--limit)"
    assert found.notes == ["only 2 of 3 engines are in this run (--limit); it judges no others"]


def test_one_pair_a_cluster_says_which_nodes_it_does_not_touch():
    hosts = [host("p0", "prefill"), host("d0", "decode"), host("d1", "decode"), host("e0", cluster="e")]
    found = plan([*hosts, host("e1", cluster="e")], "one")
    assert named(found.pairs) == ["c:p0>d0", "e:e0>e1"]
    assert found.notes[0] == "cluster c: no pair has d1 as receiver: not proven there"


@pytest.mark.parametrize(
    ("hosts", "word"),
    [
        ([], "no engine in the inventory"),
        ([host("p", "prefill")], "no decode node"),
        ([host("d", "decode")], "no prefill node"),
        ([host("b")], "no pair of two nodes in one cluster"),
        ([host("p", "prefill", cluster="a"), host("d", "decode", cluster="b")], "the same kv_reuse_cluster"),
        ([host("p", "prefill"), host("d", "decode", in_play=False)], "--limit"),
    ],
)
def test_nothing_to_judge_is_a_problem_with_advice(hosts, word):
    assert word in plan(hosts).problem


@pytest.mark.parametrize(
    ("mode", "most", "word"), [("all", 0, "use one of"), ("cover", -1, "kv_reuse_max_pairs is -1")]
)
def test_settings_that_are_none(mode, most, word):
    assert word in plan([host("a"), host("b")], mode, most).problem


@given(hosts=fleets(), parallel=st.integers(1, 5))
def test_a_round_has_no_engine_twice_and_no_pair_is_left_out(hosts, parallel):
    pairs = plan(hosts, "full").pairs
    found = rounds(pairs, parallel)
    sent = [pair for cluster in found.values() for one in cluster for pair in one]
    assert sorted(named(sent)) == sorted(named(pairs))
    for cluster, several in found.items():
        for one in several:
            engines = [pair[role] for pair in one for role in ("holder", "receiver")]
            assert {pair["cluster"] for pair in one} == {cluster}
            assert 0 < len(one) <= parallel
            assert len(set(engines)) == len(engines)


def test_pairs_without_a_common_engine_go_side_by_side():
    hosts = [host(f"p{i}", "prefill") for i in range(3)] + [host(f"d{i}", "decode") for i in range(3)]
    assert [len(one) for one in rounds(plan(hosts, "cover").pairs, 3)["c"]] == [3]
    assert [len(one) for one in rounds(plan(hosts, "cover").pairs)["c"]] == [1, 1, 1]
