"""Which way of sharing KV an engine has: from its command line and LMCache's settings, and from recordings."""

from __future__ import annotations

import json

import pytest
from kvproof.node import log
from kvproof.stack import commands
from kvproof.stack.architectures import recognise

LMCACHE = {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}


@pytest.mark.parametrize(
    ("transfer", "lmcache", "name", "role"),
    [
        (LMCACHE, {"enable_p2p": True}, "inprocess_p2p", "kv_both"),
        (LMCACHE, {}, "inprocess_p2p", "kv_both"),
        (LMCACHE, {"enable_pd": True, "pd_role": "sender"}, "lmcache_pd", "kv_producer"),
        (LMCACHE, {"enable_pd": "true", "pd_role": "receiver"}, "lmcache_pd", "kv_consumer"),
        (
            {**LMCACHE, "kv_connector_extra_config": {"lmcache.enable_pd": True, "lmcache.pd_role": "sender"}},
            {"enable_pd": False},
            "lmcache_pd",
            "kv_producer",
        ),
        ({"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both"}, None, "mp", "kv_both"),
        ({"kv_connector": "NixlConnector", "kv_role": "kv_producer"}, None, "nixl_pd", "kv_producer"),
        ({"kv_connector": "MooncakeConnector", "kv_role": "kv_both"}, None, None, "kv_both"),
        (
            {"kv_connector": "MultiConnector", "connectors": [LMCACHE, {"kv_connector": "OffloadingConnector"}]},
            {},
            "inprocess_p2p",
            "kv_both",
        ),
        (
            {"kv_connector": "MultiConnector", "connectors": [LMCACHE, {"kv_connector": "NixlConnector"}]},
            {},
            None,
            None,
        ),
        (None, None, None, None),
    ],
)
def test_an_engine_is_what_its_connector_and_enable_pd_say(transfer, lmcache, name, role):
    assert recognise(transfer, lmcache)[:2] == (name, role)


@pytest.mark.parametrize("odd", [5, ["LMCacheConnectorV1"], {"a": 1}, True])
def test_a_connector_that_is_no_name_is_none_that_was_seen(odd):
    assert recognise({"kv_connector": odd, "kv_role": "kv_both"}, {}) == (None, None, None, None)
    assert recognise({"kv_connector": "MultiConnector", "connectors": [odd, LMCACHE]}, {}).name == "inprocess_p2p"


def test_without_lmcaches_settings_the_in_process_connector_may_be_either():
    assert "enable_pd may be set" in recognise(LMCACHE, None).unsure
    assert recognise(LMCACHE, {}).unsure is None


@pytest.mark.parametrize(
    ("recording", "name"),
    [("healthy", "inprocess_p2p"), ("mp_healthy", "mp"), ("lmcache_pd", "lmcache_pd"), ("nixl_pd", "nixl_pd")],
)
@pytest.mark.parametrize("node", ["prefill", "decode"])
def test_recorded_engines_are_recognised_by_command_line_and_by_log(recordings, recording, name, node):
    folder = recordings / recording
    process = json.loads((folder / "processes.json").read_text())[node][0]
    words = process["cmdline"] if isinstance(process, dict) else process
    transfer = commands.engine(words).options["kv-transfer-config"]
    lmcache = {"enable_pd": recording == "lmcache_pd", "pd_role": {"prefill": "sender", "decode": "receiver"}[node]}
    assert recognise(transfer, lmcache).name == name
    head = log.read({"file": str(folder / f"{node}.log")}, log.Want())["head"]
    [started] = [event for event in head if event["kind"] == "engine_started"]
    assert (started["connector"], started["role"]) == (transfer["kv_connector"], transfer["kv_role"])
