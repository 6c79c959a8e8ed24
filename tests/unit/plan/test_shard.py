# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of an inventory: every cluster in exactly one, whole, and the same on every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvproof.plan import shard as shards


def host(name: str, cluster: str, role: str = "prefill", in_play: bool = True) -> dict:
    return {"name": name, "cluster": cluster, "roles": [role], "in_play": in_play}


def fleet(*clusters: str) -> list[dict]:
    return [host(f"{cluster}-{role}", cluster, role) for cluster in clusters for role in ("prefill", "decode")]


@given(st.lists(st.text(max_size=8), unique=True, max_size=30), st.integers(1, 9))
def test_every_cluster_is_in_one_shard_with_all_its_hosts(clusters, of):
    hosts = fleet(*clusters)
    cuts = [shards.cut(hosts, number, of) for number in range(1, of + 1)]
    assert sorted(h["name"] for mine, _ in cuts for h in mine) == sorted(h["name"] for h in hosts)
    owners = [{h["cluster"] for h in mine} for mine, _ in cuts]
    assert sum(map(len, owners)) == len(clusters)
    assert [shard["clusters"] for _, shard in cuts] == [len(mine) for mine in owners]
    assert not shards.gaps([(shards.name(shard), shard) for _, shard in cuts])


def test_a_cluster_s_shard_does_not_change_with_the_version_or_the_machine():
    seen = [shards.number_of(name, 3) for name in ("tokyo", "osaka", "nagoya", "c000", "名古屋")]
    assert seen == [1, 2, 1, 3, 3]


def test_names_spread_over_the_shards():
    sizes = [0] * 5
    for at in range(1000):
        sizes[shards.number_of(f"cluster-{at}", 5) - 1] += 1
    assert min(sizes) > 160


def test_hosts_outside_of_the_run_are_not_counted():
    hosts = [*fleet("tokyo"), *({**h, "in_play": False} for h in fleet("osaka")), host("ctl", "kyoto", "controller")]
    _mine, shard = shards.cut(hosts, 1, 1)
    assert shard == {"number": 1, "of": 1, "clusters": 1, "all_clusters": 1}


@pytest.mark.parametrize(("text", "wanted"), [("2/5", (2, 5)), (" 02 / 5 ", (2, 5)), ("1/1", (1, 1)), ("", None)])
def test_what_may_be_given(text, wanted):
    assert shards.parse(text) == wanted


@pytest.mark.parametrize("text", ["6/5", "0/5", "2", "2/", "/5", "a/b", "1/0", "-1/5", "1.0/5", "2 of 5", "1/100000"])
def test_what_is_no_shard_is_said_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"^kv_reuse_shard is '.*': give which shard of how many, from 1/5 to 5/5 for"):
        shards.parse(text)


def of(number: int, of: int = 3, clusters: int = 2, all_clusters: int = 6) -> tuple[str, dict]:
    return f"r{number}", {"number": number, "of": of, "clusters": clusters, "all_clusters": all_clusters}


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ([of(1), of(3)], "shard 2/3 is in none of the reports: add the report of its run, or validate with kv_reuse_"),
        ([of(1), of(2), of(3), of(2)], "shard 2/3 is in several reports (r2, r2): leave all but one of its runs out"),
        ([of(1), of(2, 2)], "the reports are of shards of different cuts: 1/3 (r1), 2/2 (r2); validate all"),
        ([of(1), of(2), of(3, clusters=1)], "the shards were cut from different inventories (1/3: 2 of 6 clusters"),
        ([of(1), of(2), of(3, all_clusters=7)], "the shards were cut from different inventories (1/3: 2 of 6 clusters"),
    ],
)  # fmt: skip
def test_what_reports_lack(reports, problem):
    (said,) = shards.gaps(reports)
    assert said.startswith(problem)


def test_odd_numbers_in_a_report_cost_nothing():
    assert len(shards.gaps([of(1, 10**12)])) == 9


def test_plays_of_one_run():
    one, two = of(1)[1], of(1, clusters=0, all_clusters=1)[1]
    assert shards.together([]) == (None, None)
    assert shards.together([one, two]) == ({"number": 1, "of": 3, "clusters": 2, "all_clusters": 7}, None)
    assert shards.together([one, of(2)[1]])[1] == (
        "plays of this run took different shards, 1/3 and 2/3: give all the same"
    )
