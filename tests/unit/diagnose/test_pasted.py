"""Pasted material: what a finding needs to be shown, and what must not be concluded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recordings as recording
from kvproof.diagnose.classes import CLASSES
from kvproof.diagnose.conclude import diagnose, read
from kvproof.diagnose.stated import Stated
from kvproof.judge.findings import all_findings
from kvproof.judge.pasted import HINT, PROOF, SETTING, UNSET
from kvproof.report.views import diagnosis

TESTS = Path(__file__).resolve().parents[2]
FIXTURES = TESTS / "fixtures" / "pasted"
LOGS = TESTS / "fixtures" / "logs"
P2P = "enable_p2p: true\n"
MISS = "LMCache hit tokens: 0, need to load: 0\n"

# slug → (text that shows it, how strongly)
SHOWS = {
    "address-not-ours": ("zmq.error.ZMQError: Cannot assign requested address (addr='tcp://10.9.9.9:8200')", PROOF),
    "async-loading-off": (P2P + "enable_async_loading: false\n" + MISS, SETTING),
    "attribute-missing": ("AttributeError: 'SchedulerOutput' object has no attribute 'resumed_ids'", PROOF),
    "controller-unreachable-from-node": ("LMCache ERROR: Timeout occurred, recreating socket. Error: again", HINT),
    "corrupt-releases": ("LMCache 0.5.3, vLLM 0.27.0: every cached prompt is answered with gibberish", SETTING),
    "lmcache-degraded": ("LMCache ERROR: LMCacheEngine marked as init failed: division by zero", PROOF),
    "disk-only": (P2P + "redis: wrong number of arguments for 'del' command", PROOF),
    "handshake-metadata": ("nixlBackendError: NIXL_ERR_BACKEND in loadRemoteMD", HINT),
    "hash-of-none": (
        "[HASH_GENERATION] prefix_hash=5, PYTHONHASHSEED=0, result_hash=-17 (P) vs 23 (D), the same tokens",
        PROOF,
    ),
    "config-key-unknown": ("LMCache WARNING: Unknown configuration key: enable_p2q (source: file)", HINT),
    "legacy-p2p": ("LMCache 0.5.6\n" + P2P + "lookup_url: redis://cache:6379\n" + MISS, SETTING),
    "local-cpu-off": (P2P + "local_cpu: false\n" + MISS, SETTING),
    "lookup-empty": ("Got layout info from controller: ('', '', 0, '')", HINT),
    "lookup-timed-out": ("Request cmpl-1 is still waiting for async lookup after 3 seconds", HINT),
    "pool-exhausted": (
        "Local cpu memory under pressure so choosing to store only 3 total chunks.",
        SETTING,
    ),
    "metrics-missing": ("export PROMETHEUS_MULTIPROC_DIR=\n", SETTING),
    "p2p-disabled": ("p2p_host: 10.0.0.1\nenable_p2p: 'yes'\n" + MISS, SETTING),
    "p2p-settings-incomplete": (
        "AssertionError: lmcache_worker_ports is required when enable_controller=True",
        PROOF,
    ),
    "pd-excludes-p2p": ("AssertionError: PD only supports enable_p2p=False", PROOF),
    "peer-error": ("P2P error for lookup_id 1, error code: REMOTE_XFER_HANDLER_NOT_INITIALIZED", HINT),
    "p2p-port-unreachable": ("LMCache ERROR: Failed to ensure peer connection for lookup_id 1: again", HINT),
    "port-list-short": ("vllm serve m --tensor-parallel-size 4\n" + P2P + "p2p_init_ports: [8200, 8201]\n", SETTING),
    "port-taken": ("OSError: [Errno 98] Address already in use", PROOF),
    "prefix-cache-masks": ("Total tokens 900, LMCache hit tokens: 768, need to load: -64", PROOF),
    "rank-elsewhere": ("PP=2 with ray\nTimeout occurred for rank 1, recreating all sockets. Error: again", PROOF),
    "not-registered": ("LMCache ERROR: Failed to register with controller: Resource unavailable", PROOF),
    "hash-seed-differs": ("2 engines\nPYTHONHASHSEED=\n" + MISS, SETTING),
    "server-on-another-node": ('{"kv_connector_extra_config": {"lmcache.mp.host": "tcp://10.0.0.9"}}', HINT),
    "server-without-engine": ("No GPU context found for model tiny with world size 1 during lookup!", PROOF),
    "prompt-shorter-than-chunk": ("LMCache 0.5.6\nchunk_size: 256\nTotal tokens 40, LMCache hit tokens: 0\n", SETTING),
    "side-channel-host": ("VLLM_NIXL_SIDE_CHANNEL_HOST=\nRuntimeError: Remote NIXL agent engine ID mismatch.", PROOF),
    "tensor-parallel-p2p": ("vllm serve m -tp 2 --port 8000\n" + P2P + MISS, SETTING),
    "transfer-channel": ("AssertionError: Unsupported channel type: tcp", PROOF),
    "ucx-transport": ("[1:2] tcp_ep.c:9 UCX  ERROR tcp_ep 0x1: Endpoint timeout", PROOF),
    "p2p-host-not-ours": (P2P + "p2p_host: 0.0.0.0\n" + MISS, SETTING),
    "worker-reaped": ("Worker a_0 last heartbeat time: 1.0, current time: 40.0, more than 30 seconds", PROOF),
}


def of(text: str) -> dict:
    return diagnose({"paste": text})


def test_every_finding_that_pasted_text_can_show_is_shown_and_has_a_class():
    findings = all_findings()
    assert {finding.slug for finding in findings if finding.pasted} == set(SHOWS)
    assert all(finding.look or finding.pasted for finding in findings)
    assert all(finding.look for finding in findings if finding.compares)
    for finding in findings:
        assert (finding.cause_class in CLASSES) == bool(finding.pasted or finding.compares), finding.slug
        assert finding.cannot.strip() == finding.cannot != ""


@pytest.mark.parametrize("slug", sorted(SHOWS))
def test_a_finding_is_seen(slug):
    text, strength = SHOWS[slug]
    doc = of(text)
    seen = next(one for one in doc["causes"] + doc["possible"] if one["slug"] == slug)
    assert seen["strength"] == strength
    assert seen in (doc["possible"] if strength == HINT else doc["causes"]), doc


def test_an_unexplained_error_keeps_a_setting_from_being_the_cause():
    settings = P2P + "enable_async_loading: false\n"
    assert of(settings)["class"] == "ASYNC_OFF"
    crashed = of(settings + "RuntimeError: something of another kind\n")
    assert (crashed["class"], [one["class"] for one in crashed["possible"]]) == (None, ["ASYNC_OFF"])
    assert of(settings + "RuntimeError: something of another kind\n" + MISS)["class"] == "ASYNC_OFF", (
        "it explains a miss"
    )


def test_a_proven_error_comes_before_settings():
    doc = of(P2P + "enable_async_loading: false\n" + MISS + "OSError: [Errno 98] Address already in use\n")
    assert (doc["class"], [one["class"] for one in doc["possible"]]) == ("PORT_COLLISION", ["ASYNC_OFF"])


def test_two_faults_are_both_named():
    doc = of("Address already in use\nLMCacheEngine marked as init failed: Address already in use\n")
    assert [one["class"] for one in doc["causes"]] == ["PORT_COLLISION", "DEGRADED"]
    assert "besides: DEGRADED" in diagnosis.headline(doc)


def test_kv_found_at_a_peer_refutes_what_would_have_prevented_that():
    found = "Got layout info from controller: ('p', 'LocalCPUBackend', 4, '10.0.0.1:8200')\n"
    for slug in ("async-loading-off", "local-cpu-off", "tensor-parallel-p2p", "hash-seed-differs"):
        doc = of(SHOWS[slug][0] + found)
        assert slug not in [one["slug"] for one in doc["causes"]], slug


NOT_CONCLUDED = {
    "a remedy in the answer": P2P + "enable_async_loading: false\n" + MISS + "enable_async_loading: true\n",
    "a setting in a sentence": "Does it matter that enable_p2p: true needs enable_async_loading: false or true?",
    "an error while shutting down": (
        "Exception ignored in: <function Engine.__del__ at 0x7f>\nTraceback (most recent call last):\n"
        "AttributeError: 'Engine' object has no attribute '_runner'\n"
    ),
    "what is None has no attribute": "AttributeError: 'NoneType' object has no attribute 'lookup'",
    "one engine needs no seed": "PYTHONHASHSEED=\nchunk_size: 256\n" + MISS,
    "a seed warning beside hits": "2 engines\nPYTHONHASHSEED=\nLMCache hit tokens: 512, need to load: 511\n",
    "a transport that ended with its peer": "UCX  ERROR tcp_ep 0x1: Endpoint timeout\nEngineDeadError\n",
    "tokens per second are no prompt": "LMCache 0.5.6\nchunk_size: 256\nAvg prompt throughput: 12 tokens/s\n",
    "chunks of an unknown release": "chunk_size: 256\nTotal tokens 40, LMCache hit tokens: 0\n",
    "garbage collection": "LMCache 0.5.3, vLLM 0.27.0: garbage collection takes long",
    "old P2P with ranks": "LMCache 0.3.3\nvllm serve m -tp 2 --port 1\n" + P2P + MISS,
    "nothing known": "it does not work, please help",
    "a full PD buffer behind misses": "enable_pd: true\n" + MISS + "Failed to allocate memory object, retrying...\n",
}


@pytest.mark.parametrize("text", NOT_CONCLUDED.values(), ids=NOT_CONCLUDED)
def test_it_is_not_concluded(text):
    doc = of(text)
    assert (doc["verdict"], doc["class"], doc["causes"]) == ("inconclusive", None, [])
    assert doc["collect"], "what to collect next is told"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.txt")), ids=lambda path: path.stem)
def test_a_pasted_thread(path):
    """Named <class>.<what>.txt after the class that it shows; none: nothing may be concluded."""
    expected = path.name.split(".")[0]
    assert of(path.read_text())["class"] == (None if expected == "none" else expected)


def test_logs_of_a_working_pair_name_no_cause():
    texts = {f"{role}_log": (LOGS / f"healthy_{role}.log").read_text() for role in ("prefill", "decode")}
    doc = diagnose(texts)
    assert (doc["verdict"], doc["causes"]) == ("inconclusive", [])
    assert any("this proves no reuse" in text for text in doc["seen"])
    assert diagnose({"paste": "\n".join(texts.values())})["causes"] == []


# recording → class; what is not here must end inconclusive, whatever of it is given
RECORDED = {
    "chunk_mismatch": "KEY_MISMATCH",
    "controller_absent": "CTRL_PORT",
    "hashseed_differs": "HASH_SEED",
    "lmcache_init_failed": "DEGRADED",
    "local_cpu_off_prefill": "LOCAL_CPU_OFF",
    "model_path_differs": "KEY_MISMATCH",
    "p2p_off_decode": "CONFIG_KEY",
    "pd_with_p2p": "CONFIG_KEY",
    "short_prompt": "CHUNK",
    "sync_loading": "ASYNC_OFF",
}
FILES = {
    "prefill_log": "prefill.log",
    "decode_log": "decode.log",
    "prefill_config": "prefill.yaml",
    "decode_config": "decode.yaml",
    "controller_log": "controller.log",
    "prefill_metrics": "metrics.prefill.after.txt",
    "decode_metrics": "metrics.decode.after.txt",
}


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in recording.RECORDINGS.glob("*/meta.json")), ids=lambda p: p.name
)
def test_a_recording_is_diagnosed_or_left_open(folder):
    texts = {name: (folder / file).read_text() for name, file in FILES.items() if (folder / file).exists()}
    expected = RECORDED.get(folder.name)
    assert diagnose(texts)["class"] == expected
    parts = [
        {"engine_log": texts["prefill_log"]},
        {"engine_log": texts["decode_log"]},
        {"paste": "\n".join(texts.values())},
    ]
    for part in parts:
        assert diagnose(part)["class"] in (expected, None)


def test_localhost_is_a_hint_and_the_wildcard_address_a_setting():
    strengths = {host: of(P2P + f"p2p_host: {host}\n") for host in ("localhost", "0.0.0.0")}
    local, wildcard = (doc["possible"] + doc["causes"] for doc in strengths.values())
    assert [(one["slug"], one["strength"]) for one in local] == [("p2p-host-not-ours", HINT)]
    assert [(one["slug"], one["strength"]) for one in wildcard] == [("p2p-host-not-ours", SETTING)]


def test_what_two_nodes_show_is_named_where_one_only_hints_at_it():
    logged = "[2026-01-01 00:00:00,000] LMCache {}: {} (token_database.py:1:x)\n"
    texts = {
        f"{role}_log": logged.format("INFO", f"Initialized NONE_HASH={number}")
        + logged.format("WARNING", "using builtin hash without PYTHONHASHSEED set")
        for role, number in (("prefill", 11), ("decode", 12))
    }
    doc = diagnose(texts)
    assert [(one["slug"], one["strength"]) for one in doc["causes"]] == [("hash-seed-differs", PROOF)]
    assert "NONE_HASH=11" in doc["causes"][0]["seen"][0]["text"]
    assert [one["strength"] for one in diagnose({"engine_log": texts["decode_log"]})["possible"]] == [HINT]


def test_two_files_are_compared():
    one, other = (
        "enable_p2p: true\nenable_async_loading: true\nchunk_size: 256\n",
        "chunk_size: 512\nenable_p2p: true\n",
    )
    doc = diagnose({"prefill_config": one, "decode_config": other + "enable_async_loading: true\n"})
    assert (doc["class"], doc["causes"][0]["slug"]) == ("KEY_MISMATCH", "chunk-size-differs")


def test_a_file_that_is_no_yaml_is_told():
    doc = diagnose({"decode_config": "chunk_size: [256\n"})
    assert "cannot be read" in doc["problems"][0]


def test_a_page_without_lmcache_is_a_hint():
    doc = diagnose(
        {"decode_metrics": (TESTS / "fixtures" / "metrics_decode.txt").read_text().replace("lmcache:", "other:")}
    )
    assert [one["slug"] for one in doc["possible"]] == ["metrics-missing"]


SECRETS = "sk-abcdefgh12345678", "hunter2hunter2", "hf_abcdefgh12345678"


def test_no_secret_comes_through():
    text = (
        f"vllm serve m --api-key {SECRETS[0]} --tensor-parallel-size 2\nHF_TOKEN={SECRETS[2]}\n"
        f"enable_p2p: true\nlookup_url: redis://me:{SECRETS[1]}@cache:6379\n"
        f"Address already in use: http://me:{SECRETS[1]}@10.0.0.1 token={SECRETS[0]}\n"
    )
    doc = of(text)
    assert doc["class"] == "PORT_COLLISION"
    assert not any(secret in json.dumps(doc) + diagnosis.page(doc) for secret in SECRETS)


def test_what_is_stated_by_its_form():
    stated = Stated()
    stated.take(
        "PYTHONHASHSEED=0 LMCACHE_CHUNK_SIZE=128 vllm serve m --tensor-parallel-size 2 \\\n  --kv-transfer-config "
        '\'{"kv_connector":"LMCacheConnectorV1","kv_connector_extra_config":{"lmcache.local_cpu": false}}\'\n'
        '  - name: LMCACHE_ENABLE_P2P\n    value: "True"\n'
        "export VLLM_NIXL_SIDE_CHANNEL_HOST=unset\n# enable_pd: true\nmax_local_cpu_size: 5  # GB\n"
        "vLLM Version : 0.18.1rc1\nlmcache==0.4.3, LMCache 0.3.x, vllm 0.26-0.28\n"
    )
    assert stated.settings == {
        "chunk_size": [128],
        "local_cpu": [False],
        "enable_p2p": ["True"],
        "max_local_cpu_size": [5],
    }
    assert stated.env == {"PYTHONHASHSEED": ["0"], "VLLM_NIXL_SIDE_CHANNEL_HOST": [UNSET]}
    assert stated.options["tensor-parallel-size"] == ["2"]
    assert stated.versions == {
        "vllm": {((0, 18, 1), (0, 18, 1)), ((0, 26), (0, 28))},
        "lmcache": {((0, 4, 3), (0, 4, 3)), ((0, 3), (0, 3, 9999))},
    }


def test_versions_that_are_not_sure_decide_nothing():
    for text, within in (("LMCache 0.3.5", True), ("LMCache 0.4.2", False), ("LMCache 0.3.x", None), ("", None)):
        assert read({"paste": text + "\n."}).version_within("lmcache", (0, 3), (0, 3, 11)) is within, text


def test_the_page_and_the_lines_tell_the_same():
    doc = of(SHOWS["port-taken"][0] + "\nGot layout info from controller: ('', '', 0, '')\n<script>`x`")
    text = "\n".join("".join(part for part, _ in line) for line in diagnosis.lines(doc, ["reports"]))
    for word in ("PORT_COLLISION", "Possible, not concluded", "CTRL_LOOKUP", "but not"):
        assert word in text
    assert "CAUSE PORT\\_COLLISION" in diagnosis.page(doc) or "CAUSE PORT_COLLISION" in diagnosis.page(doc)


def test_the_page_lists_the_classes():
    page = (TESTS.parent / "docs" / "diagnose.md").read_text()
    table = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in CLASSES.items())
    assert page.endswith(table)
