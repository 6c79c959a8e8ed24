# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics pages as the probe reads them; the fixtures are excerpts of a real pair's pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_engine import Server
from kvproof.probe import metrics
from kvproof.transport.http import Deadline, HttpClient

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def scrape(server):
    return metrics.scrape(HttpClient(server.url, Deadline(10)), server.url + "/metrics")


def test_a_real_receivers_page(server):
    server.on["/metrics"] = lambda h, _p: h.reply(200, (FIXTURES / "metrics_decode.txt").read_bytes(), "text/plain")
    page = scrape(server)
    values = page["values"]
    assert (page["state"], page["error"], page["lmcache"]) == ("ok", None, True)
    assert values["vllm:external_prefix_cache_hits_total"] == 2048
    assert values["vllm:prompt_tokens_by_source_total{source=external_kv_transfer}"] == 2048
    assert values["vllm:prompt_tokens_by_source_total{source=local_compute}"] == 3888
    assert values["vllm:request_success_total"] == 8  # summed over finish reasons
    assert values["lmcache:num_hit_tokens_total"] == 2048
    assert values["lmcache:retrieve_hit_rate"] == 1
    assert not any("bucket" in key for key in values)


def test_a_real_holders_page(server):
    server.on["/metrics"] = lambda h, _p: h.reply(200, (FIXTURES / "metrics_prefill.txt").read_bytes(), "text/plain")
    values = scrape(server)["values"]
    assert values["lmcache:p2p_time_to_transfer_count"] > 0
    assert values["lmcache:num_stored_tokens_total"] > 0


def test_counters_without_total_ranks_and_odd_values():
    page = metrics.read_page(
        b"# TYPE vllm:prompt_tokens counter\n"
        b'vllm:prompt_tokens{engine="0"} 5\nvllm:prompt_tokens{engine="1"} 7\n'
        b'lmcache:retrieve_hit_rate{worker_id="0"} 1\nlmcache:retrieve_hit_rate{worker_id="1"} 0\n'
        b"lmcache:num_stored_tokens NaN\nsecret_series 3\n"
    )
    assert page["values"] == {"vllm:prompt_tokens": 12.0, "lmcache:retrieve_hit_rate": 0.5}
    assert page["lmcache"] is True


def test_a_page_without_lmcache_series_is_fine():
    page = metrics.read_page(b"vllm:prompt_tokens_total 5\n")
    assert (page["state"], page["lmcache"]) == ("ok", False)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>login</html>", b"", b"it works!", b'{"error": "x"}'])
def test_what_is_no_metrics_page_is_called_so(server, body):
    server.on["/metrics"] = lambda h, _p: h.reply(200, body, "text/html")
    page = scrape(server)
    assert page["state"] == "not-prometheus"
    assert page["values"] == {}
    assert "kv_reuse_metrics_url" in page["error"]["text"]


def test_a_broken_line_among_the_wanted_ones_is_no_metrics_page(server):
    server.on["/metrics"] = lambda h, _p: h.reply(200, b'up 1\nvllm:prompt_tokens_total{a="b" 5\n', "text/plain")
    assert scrape(server)["state"] == "not-prometheus"


def test_a_page_that_cannot_be_had_is_an_error(server):
    page = scrape(server)
    assert page["state"] == "error"
    assert page["error"]["status"] == 404
