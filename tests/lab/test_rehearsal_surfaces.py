# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What a validator sees of a rehearsal engine: HTTP answers, metrics, log format, processes; against recordings."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from kvproof.stack import lines
from prometheus_client.parser import text_string_to_metric_families
from rehearsal import ROOT, cached, play, prompt

from lab.rehearsal.log import WORDINGS, Log
from lab.rehearsal.stats import LMCacheStats, Page

ANSI = re.compile(r"^\x1b\[\d+(;\d+)?m\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] LMCache (INFO|WARNING|ERROR):"
                  r"\x1b\[0m .* \x1b\[3m\([\w.]+\.py:\d+:[\w.]+\)\x1b\[0m$", re.DOTALL)  # fmt: skip


# ---- log


def test_every_lmcache_line_has_colours_and_origin():
    for name, parts in WORDINGS.items():
        if [part[0] for part in parts] == ["L"]:
            stream = io.StringIO()
            Log(stream).say(name)
            assert ANSI.match(stream.getvalue()[:-1]), name


def test_levels_hide_lines_of_their_own_logger_only():
    stream = io.StringIO()
    log = Log(stream, level="ERROR", vllm_level="WARNING")
    for name in ("looked_up", "double_free", "peer_error", "vllm_model", "access"):
        log.say(name)
    kept = [line[:6] for line in stream.getvalue().splitlines()]
    assert kept == ["\x1b[31;2", "INFO: "]


def test_the_validator_knows_the_lines():
    """Entries named after an event kind of the dialect are read back as that kind."""
    values = {"id": "cmpl-a-0-1a2b3c4d", "tokens": 1, "total": 2, "required": 2, "computed": 0, "hit": 1, "need": 1,
              "length": 1, "chunks": 1, "seconds": 3, "n": 0, "instance": "i", "worker": 0, "values": {"chunk_size": 1},
              "least": 5, "value": 1}  # fmt: skip
    kinds = {pattern.kind for pattern in lines.LMCACHE} & set(WORDINGS)
    assert len(kinds) > 20
    for kind in kinds:
        stream = io.StringIO()
        Log(stream).say(kind, **values)
        scanner = lines.Scanner()
        events = [scanner.feed(line, 0) for line in stream.getvalue().encode().splitlines(keepends=True)]
        assert kind in [event["kind"] for event in events if event], kind


# ---- metrics


def page(**changes):
    names = {"$model": "/m", "$served": "tiny", "$block_size": "128", "$prefix_caching": "False"}
    return Page(names, **{"world_size": 1, "lmcache": True, "multiprocess": True, **changes})


def samples(one):
    return {(sample.name, sample.labels.get("source") or sample.labels.get("le")): sample.value
            for family in text_string_to_metric_families(one.text().decode()) for sample in family.samples}  # fmt: skip


def test_lmcache_counts_appear_with_the_flush():
    one = page()
    stats = LMCacheStats(one, 0)
    stats.retrieve(512, 256, 0.01)
    assert samples(one)["lmcache:num_hit_tokens_total", None] == 0
    stats.flush()
    assert samples(one)["lmcache:num_hit_tokens_total", None] == 256
    assert samples(one)["lmcache:retrieve_hit_rate", None] == 0.5
    assert samples(one)["lmcache:time_to_retrieve_bucket", "+Inf"] == 1
    stats.flush()
    assert samples(one)["lmcache:retrieve_hit_rate", None] == 1.0  # nothing retrieved counts as all


def test_histograms_of_lmcache_need_a_value():
    assert not any(name.startswith("lmcache:time_to_store") for name, _label in samples(page()))


def test_without_the_folder_there_is_no_lmcache_series():
    names = {name for name, _label in samples(page(lmcache=False, multiprocess=False))}
    assert not any(name.startswith("lmcache:") for name in names)
    assert {"vllm:prompt_tokens_total", "python_info", "process_open_fds"} <= names


def test_every_rank_has_its_series():
    text = page(world_size=2).text().decode()
    assert 'lmcache:num_hit_tokens_total{model_name="/m",role="worker",served_model_name="tiny",worker_id="1"}' in text


def test_the_sources_of_prompt_tokens_add_up(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("p", 2)
        await stage.ask("d", prompt(1), "reuse")
        await stage.ask("d", prompt(2), "other")
        await asyncio.sleep(0.2)
        return [(await stage.get(name, "/metrics"))[1] for name in "pd"]

    holder, receiver = play(tmp_path, story)
    values = {(sample.name, sample.labels.get("source")): sample.value
              for family in text_string_to_metric_families(receiver)
              for sample in family.samples if "le" not in sample.labels}  # fmt: skip
    assert values["vllm:prompt_tokens_by_source_total", "external_kv_transfer"] == 512
    assert values["vllm:prompt_tokens_by_source_total", "local_compute"] == 1200 - 512
    assert values["vllm:external_prefix_cache_hits_total", None] == 512
    assert values["vllm:request_success_total", None] is not None
    assert values["lmcache:num_hit_tokens_total", None] == 512
    assert "lmcache:p2p_time_to_transfer_count" in holder


# ---- HTTP


def test_answers_have_vllms_shape(tmp_path):
    async def story(stage):
        answer = await stage.ask("d", prompt(1, 30), "shape", logprobs=3, max_tokens=3)
        text = await stage.ask("d", "apple river", "text")
        models = await stage.get("d", "/v1/models")
        wrong = [await stage.get("d", path) for path in ("/nope", "/v1/completions")]
        asked = stage.http.post(f"http://{stage.addresses['d']}:8000/tokenize", json={"prompt": "apple river"})
        async with asked as reply:
            ids = (await reply.json())["tokens"]
        return answer, text, models, wrong, ids

    answer, text, models, wrong, ids = play(tmp_path, story)
    assert answer["id"] == "cmpl-shape"
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "created_cache_tokens": None,
                                                        "multimodal_tokens": None}  # fmt: skip
    logprobs = answer["choices"][0]["logprobs"]
    assert [len(logprobs[name]) for name in ("tokens", "token_logprobs", "top_logprobs")] == [3, 3, 3]
    assert text["usage"]["prompt_tokens"] == len(ids)
    assert models[1]["data"][0]["root"] == "rehearsal-model"
    assert wrong == [(404, {"detail": "Not Found"}), (405, {"detail": "Method Not Allowed"})]


@pytest.mark.parametrize(("body", "status", "param"), [
    ({"model": "nope"}, 404, "model"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": "x"}, 400, "body.max_tokens"),
    ({"logprobs": 25}, 400, "logprobs"),
    ({"prompt": [10**6]}, 400, None),
    ({"prompt": [300] * 5000}, 400, "input_tokens"),
    ({"prompt": ""}, 400, "prompt"),
    ({"cache_salt": ""}, 400, "cache_salt"),
    ({"kv_transfer_params": "x"}, 400, "body.kv_transfer_params"),
    ({"stream": True, "prompt_logprobs": 1}, 400, "prompt_logprobs"),
])  # fmt: skip
def test_what_vllm_refuses(tmp_path, body, status, param):
    more = dict(body)
    ids = more.pop("prompt", [300, 301])
    answer = play(tmp_path, lambda stage: stage.ask("d", ids, **more))
    assert (answer["error"]["code"], answer["error"]["param"]) == (status, param)


def test_a_stream_ends_with_usage_and_done(tmp_path):
    async def story(stage):
        body = {"model": "tiny", "prompt": [300, 301, 302], "max_tokens": 2, "stream": True,
                "stream_options": {"include_usage": True}}  # fmt: skip
        async with stage.http.post(f"http://{stage.addresses['d']}:8000/v1/completions", json=body) as reply:
            return await reply.text()

    events = [line[6:] for line in play(tmp_path, story).splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    parsed = [json.loads(event) for event in events[:-1]]
    assert [len(event["choices"]) for event in parsed] == [1, 1, 0]
    assert parsed[1]["choices"][0]["finish_reason"] == "length"
    assert parsed[2]["usage"]["completion_tokens"] == 2


def test_an_api_key_guards_v1_only(tmp_path):
    async def story(stage):
        url = f"http://{stage.addresses['d']}:8000/v1/models"
        statuses = [(await stage.get("d", path))[0] for path in ("/v1/models", "/health")]
        async with stage.http.get(url, headers={"Authorization": "Bearer secret"}) as reply:
            return [*statuses, reply.status]

    assert play(tmp_path, story, {"d": {"arguments": ["--api-key", "secret"]}}) == [401, 200, 200]


def test_prompt_logprobs_are_never_served_from_cache(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("p", 2)
        answer = await stage.ask("d", prompt(1), "reference", prompt_logprobs=1)
        await stage.told("d", "reference", "responded")
        return cached(answer), len(answer["choices"][0]["prompt_logprobs"]), stage.kinds("d", "reference")

    hits, count, kinds = play(tmp_path, story)
    assert (hits, count) == (0, 600)
    assert sorted(kinds) == ["responded", "stored"]


def test_a_stop_string_ends_the_answer(tmp_path):
    async def story(stage):
        whole = await stage.ask("d", prompt(1, 40), "whole", max_tokens=12)
        text = whole["choices"][0]["text"]
        return text, (await stage.ask("d", prompt(1, 40), "cut", max_tokens=12, stop=text[10:14]))["choices"][0]

    text, cut = play(tmp_path, story)
    assert cut["finish_reason"] == "stop"
    assert text.startswith(cut["text"])
    assert len(cut["text"]) <= 10


def test_the_controllers_answers(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("p", 2)
        posts = {}
        for path, body in (("/query_worker_info", {"instance_id": "p"}), ("/health", {"instance_id": "p"}),
                           ("/query_instance", {"event_id": "x", "ip": stage.addresses["d"]}),
                           ("/lookup", {"tokens": prompt(1)}), ("/lookup", {})):  # fmt: skip
            async with stage.http.post(f"http://{stage.addresses['c']}:9000{path}", json=body) as reply:
                posts.setdefault(path, []).append((reply.status, await reply.json()))
        return posts, (await stage.get("c", "/health", 9000))[0], (await stage.get("c", "/metrics", 9000))[1]

    posts, health, metrics = play(tmp_path, story)
    assert [one["instance_id"] for one in posts["/query_worker_info"][0][1]["worker_infos"]] == ["p"]
    assert posts["/health"][0][1]["error_codes"] == {"0": 0}
    assert posts["/query_instance"][0][1]["res"] == "d"
    assert posts["/lookup"][0][1]["layout_info"] == {"p": ["LocalCPUBackend", 512]}
    assert posts["/lookup"][1][0] == 422
    assert health == 405
    assert 'lmcache:cache_controller_kv_pool_keys_count{role="controller"} 2.0' in metrics


# ---- processes


def answers(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_an_engines_process_looks_like_vllms(tmp_path):
    address = f"127.{100 + os.getpid() % 100}.251.1"
    words = ["--model", "m", "--host", address, "--port", "8000"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "lab.rehearsal", "engine", *words], cwd=ROOT, stdout=log)
    try:
        for _ in range(200):
            if answers(f"http://{address}:8000/health"):
                break
            time.sleep(0.05)
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            shown = file.read().decode().split("\0")[:-1]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
    assert shown[1:] == ["-m", "vllm.entrypoints.openai.api_server", *words]
    assert code == 0
    assert b"non-default args: {'model': 'm'" in (tmp_path / "log").read_bytes()


# ---- recordings


def recorded(path):
    scanner = lines.Scanner()
    return [event for event in (scanner.feed(raw, 0) for raw in path.read_bytes().splitlines(keepends=True)) if event]


def test_start_lines_are_those_of_the_recording(tmp_path, recordings):
    async def story(stage):
        await stage.registered()
        return stage.events("d")

    mine = [event for event in play(tmp_path, story) if event["kind"] in lines.STARTUP]
    real = [event for event in recorded(recordings / "healthy" / "decode.log") if event["kind"] in lines.STARTUP]
    ours, theirs = ({(event["kind"], *sorted(set(event) - {"at", "offset"})) for event in some}
                    for some in (mine, real))  # fmt: skip
    assert ours == theirs
    none_hash = [next(event["value"] for event in some if event["kind"] == "none_hash") for some in (mine, real)]
    assert none_hash[0] == none_hash[1]
    configs = [next(event["values"] for event in some if event["kind"] == "config") for some in (mine, real)]
    assert configs[0].keys() == configs[1].keys()


def test_request_lines_are_those_of_the_recording(tmp_path, recordings):
    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "A")
        await stage.announced("p", 2)
        await stage.ask("d", prompt(1), "B")
        await stage.ask("d", prompt(1), "R", prompt_logprobs=1)
        await stage.ask("d", prompt(2), "X")
        return {role: stage.kinds(name, role) for name, role in (("p", "A"), ("d", "B"), ("d", "R"), ("d", "X"))}

    mine = play(tmp_path, story)
    for role, name in (("A", "prefill"), ("B", "decode"), ("R", "decode"), ("X", "decode")):
        found = [event["kind"] for event in recorded(recordings / "healthy" / f"{name}.log")
                 if re.search(rf"probe-\w+-{role}-0-", event.get("id") or "")]  # fmt: skip
        assert found == mine[role] * 2, role  # the recording has two probes


def test_metric_names_are_those_of_the_recording(recordings):
    def names(text):
        return {(family.name, family.type) for family in text_string_to_metric_families(text)}

    real = names((recordings / "healthy" / "metrics.decode.before.txt").read_text())
    mine = names(page().text().decode())
    assert real - mine == set()
