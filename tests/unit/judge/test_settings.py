# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of both engines beside each other."""

from __future__ import annotations

from documents import no_nodes, pair, put, setting
from kvproof.judge.verdict import judge
from mp_documents import facts, mp_pair


def rows(document: dict) -> dict[str, tuple]:
    return {row["setting"]: (row["holder"], row["receiver"], row["differs"]) for row in judge(document)["settings"]}


def test_what_should_be_alike_and_is_not_is_marked():
    told = rows(put(setting(pair(), "receiver", "chunk_size", 128), "nodes.receiver.versions.lmcache", "0.5.0"))
    assert told["chunk_size"] == ("256", "128", True)
    assert told["lmcache"] == ("0.5.6", "0.5.0", True)
    assert told["pre_caching_hash_algorithm"][2] is False


def test_what_each_has_for_itself_differs_from_nothing():
    told = rows(pair())
    assert told["lmcache_instance_id"][0] != told["lmcache_instance_id"][1]
    assert told["lmcache_instance_id"][2] is None


def test_what_was_seen_of_one_alone_is_not_compared():
    document = pair()
    document["nodes"]["receiver"]["versions"]["lmcache"] = None
    document["probe"]["engines"]["receiver"]["internal"] = None
    holder, receiver, differs = rows(document)["lmcache"]
    assert (holder, receiver, differs) == ("0.5.6", None, None)


def test_what_nobody_saw_has_no_row():
    assert "p2p_host" not in rows(no_nodes(pair()))


def test_of_multiprocess_mode_the_cache_servers_tell():
    assert rows(facts(mp_pair(), "receiver", chunk_size=128))["chunk_size"] == ("256", "128", True)
