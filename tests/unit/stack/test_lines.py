"""Log lines of in-process P2P: recorded ones (tests/fixtures/logs) and those that only the source shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from kvproof.stack import lines

LOGS = Path(__file__).resolve().parents[2] / "fixtures" / "logs"


def events_of(name: str) -> list[dict]:
    scanner, offset, found = lines.Scanner(), 0, []
    for raw in (LOGS / name).read_bytes().splitlines(keepends=True):
        event = scanner.feed(raw, offset)
        offset += len(raw)
        if event:
            found.append(event)
    return found


def message(text: str, level: str = "INFO") -> dict | None:
    """The event of one line as LMCache's formatter writes it."""
    colour = {"INFO": "\x1b[32;20m", "WARNING": "\x1b[33;20m", "ERROR": "\x1b[31;20m"}[level]
    line = (
        f"{colour}[2026-11-24 02:24:29,175] LMCache {level}:\x1b[0m {text} "
        f"\x1b[3m(some_file.py:12:lmcache.v1.some_module)\x1b[0m\n"
    )
    return lines.Scanner().feed(line.encode(), 7)


def only(event: dict, *fields: str) -> dict:
    return {field: event[field] for field in fields}


def test_the_receiver_of_a_healthy_cluster():
    events = events_of("healthy_decode.log")
    kinds = [event["kind"] for event in events]
    assert kinds[:14] == [
        "engine_started",
        "config_file",
        "none_hash",
        "hash_algorithm",
        "config",
        "registering",
        "initialized",
        "backend_created",
        "backend_created",
        "p2p_listening",
        "config_file",
        "none_hash",
        "hash_algorithm",
        "initialized",
    ]
    request = "cmpl-probe-mwbbucwy-B-0-be87fa18"
    of_request = [event for event in events if event.get("id") == request]
    assert [event["kind"] for event in of_request] == ["responded", "looked_up", "retrieved"]
    assert of_request[0]["length"] == 512
    assert only(of_request[1], "total", "computed", "hit", "need") == {
        "total": 743,
        "computed": 0,
        "hit": 512,
        "need": 512,
    }
    assert only(of_request[2], "tokens", "required", "total") == {"tokens": 512, "required": 512, "total": 512}
    before = events[events.index(of_request[0]) - 1]
    assert only(before, "kind", "instance", "location", "chunks", "peer") == {
        "kind": "layout",
        "instance": "prefill_1",
        "location": "LocalCPUBackend",
        "chunks": 2,
        "peer": "127.0.0.13:8200",
    }
    connected = next(event for event in events if event["kind"] == "peer_connected")
    assert only(connected, "init", "lookup") == {"init": "127.0.0.13:8200", "lookup": "127.0.0.13:8201"}


def test_the_holder_of_a_healthy_cluster():
    events = events_of("healthy_prefill.log")
    stored = [event for event in events if event["kind"] == "stored" and "mwbbucwy-A" in event["id"]]
    assert [only(event, "tokens", "total") for event in stored] == [{"tokens": 512, "total": 512}]
    asked = [event["id"] for event in events if event["kind"] == "peer_asked"]
    assert "cmpl-probe-mwbbucwy-B-0-be87fa18" in asked
    assert [event["n"] for event in events if event["kind"] == "transfer_finished"] == [0, 1, 2, 3, 4, 5]
    empty = next(event for event in events if event["kind"] == "layout")
    assert only(empty, "instance", "location", "chunks", "peer") == {
        "instance": "",
        "location": "",
        "chunks": 0,
        "peer": "",
    }


def test_start_up_facts():
    events = {event["kind"]: event for event in events_of("healthy_decode.log")[:10]}
    assert events["none_hash"]["value"] == "5313149338359954478"
    assert events["hash_algorithm"]["name"] == "builtin"
    assert events["config_file"]["path"] == "/opt/kv/run/decode.yaml"
    assert events["registering"]["instance"] == "decode_1"
    assert events["p2p_listening"]["address"] == "127.0.0.97:8201"
    assert only(events["initialized"], "role", "lmcache", "vllm") == {
        "role": "worker",
        "lmcache": "0.5.6-g3e11e108",
        "vllm": "0.32.0",
    }
    assert events["initialized"]["meta"]["kv_shape"] == [4, 2, 256, 4, 64]
    assert events["initialized"]["meta"]["kv_dtype"] == "torch.bfloat16"
    values = events["config"]["values"]
    assert only(values, "chunk_size", "enable_p2p", "p2p_init_ports", "p2p_host", "remote_url") == {
        "chunk_size": 256,
        "enable_p2p": True,
        "p2p_init_ports": [8200],
        "p2p_host": "127.0.0.97",
        "remote_url": None,
    }
    assert "extra_config" not in values


def test_a_traceback_is_followed_to_its_cause():
    events = events_of("init_failed.log")
    failed = [event for event in events if event["kind"] in ("init_failed", "degraded")]
    assert [event["kind"] for event in failed] == ["init_failed", "degraded"]
    assert {event["text"] for event in failed} == {"nixl_cu12._bindings.nixlNotFoundError: NIXL_ERR_NOT_FOUND"}
    rest = {event["kind"]: event for event in events}
    assert rest["lookup_timed_out"]["seconds"] == 3
    assert rest["unhealthy"]["operation"] == "store"
    assert rest["lookup_server_error"]["text"] == ""


def test_a_controller_that_never_answered():
    events = {event["kind"]: event for event in events_of("controller_absent.log")}
    assert events["register_failed"]["text"] == "Resource temporarily unavailable"
    assert only(events["worker_failed"], "instance", "worker", "text") == {
        "instance": "prefill_1",
        "worker": 0,
        "text": "Resource temporarily unavailable",
    }
    assert "Timeout occurred" in events["controller_timed_out"]["text"]
    assert events["register_failed"]["line"].startswith("[2026-11-24 02:33:01,404] LMCache ERROR: Failed")


def test_a_peer_that_answers_with_an_error():
    error = next(event for event in events_of("peer_error.log") if event["kind"] == "peer_error")
    assert error["code"] == "P2P_SERVER_ERROR"
    failed = next(event for event in events_of("peer_get_failed.log") if event["kind"] == "peer_get_failed")
    assert failed["text"] == "list index out of range"
    assert error["id"] == next(event["id"] for event in events_of("peer_get_failed.log") if event["id"] == error["id"])


def test_what_a_traceback_repeats_is_reported_once():
    events = events_of("pd_with_p2p.log")
    assert [event["kind"] for event in events] == ["pd_p2p_conflict"]


@pytest.mark.parametrize(
    ("level", "text", "kind", "fields"),
    [
        (
            "INFO",
            "Reqid: cmpl-a-0-11112222, Total tokens 900, Inference Engine computed tokens: 0, LMCache hit "
            "tokens: 256, but need to load: 256 < min_retrieve 512, skip retrieve but record for save skip",
            "below_min_retrieve",
            {"id": "cmpl-a-0-11112222", "total": 900, "computed": 0, "hit": 256, "need": 256},
        ),
        (
            "INFO",
            "Reqid: cmpl-a-0, Total tokens 735, LMCache hit tokens: 512, need to load: 512",  # before 0.4.1
            "looked_up",
            {"id": "cmpl-a-0", "total": 735, "computed": None, "hit": 512, "need": 512},
        ),
        (
            "INFO",
            "Stored 512 out of total 735 tokens. size: 0.0625 gb, cost 1.1 ms, throughput: 2.2 GB/s",
            "stored",
            {"id": None, "tokens": 512, "total": 735},
        ),
        (
            "INFO",
            "Retrieved 512 out of total 512 out of total 735 tokens. size: 0.1 gb",  # 0.3.5
            "retrieved",
            {"id": None, "tokens": 512, "required": 512, "total": 735},
        ),
        (
            "INFO",
            "[req_id=r-1] Retrieved 256 out of 512 out of total 735 tokens",  # layer-wise
            "retrieved",
            {"id": "r-1", "tokens": 256, "required": 512, "total": 735},
        ),
        (
            "ERROR",
            "Max retry count reached for lookup_id cmpl-a-0-11112222",
            "retry_exhausted",
            {"id": "cmpl-a-0-11112222"},
        ),
        (
            "ERROR",
            "ZMQ error occurred for lookup_id cmpl-a-0-1. Error: Resource temporarily unavailable",
            "peer_socket_error",
            {"id": "cmpl-a-0-1", "text": "Resource temporarily unavailable"},
        ),
        (
            "ERROR",
            "Failed to ensure peer connection for lookup_id cmpl-a-0-1: timed out",
            "ensure_peer_failed",
            {"id": "cmpl-a-0-1", "text": "timed out"},
        ),
        (
            "ERROR",
            "Error during P2P get operation for lookup_id cmpl-a-0-1: boom",
            "peer_get_failed",
            {"id": "cmpl-a-0-1", "text": "boom"},
        ),
        ("ERROR", "Peer request handler crashed: boom", "handler_crashed", {"text": "boom"}),
        (
            "ERROR",
            "Receiver abc does not exist in transfer channel",
            "receiver_unknown",
            {"text": "Receiver abc does not exist in transfer channel"},
        ),
        (
            "ERROR",
            "Controller returned error for batched P2P lookup: no such worker",
            "controller_lookup_failed",
            {"text": "no such worker"},
        ),
        (
            "WARNING",
            "Local cpu memory under pressure so choosing to store only  2 total chunks of KV cache.",
            "memory_pressure",
            {},
        ),
        (
            "WARNING",
            "No eviction candidates found in local cpu backend. Local cpu memory is under pressure. "
            "Waiting for 0.1 seconds before retrying.",
            "memory_pressure",
            {},
        ),
        (
            "WARNING",
            "Remote connection failed in contains: Error 111 connecting to kv:6379. Refused.",
            "store_lost",
            {"text": "Remote connection failed in contains: Error 111 connecting to kv:6379. Refused."},
        ),
        ("WARNING", "Connection is None in batched_contains, returning 0", "store_lost", {}),
        ("WARNING", "batched put error: Error 111 connecting to kv:6379.", "store_lost", {}),
        (
            "ERROR",
            "Put task failed for key m@1@0@ab@half: Error 111 connecting",
            "store_lost",
            {"text": "Put task failed", "code": "Error 111 connecting"},
        ),
        (
            "WARNING",
            "Unknown configuration key: enable_ptp (source: file)",
            "config_key_unknown",
            {"key": "enable_ptp"},
        ),
        ("INFO", "Using default NONE_HASH=0 (vLLM < PR#20511)", "none_hash", {"value": "0"}),
        (
            "INFO",
            "LMCache Configuration: {'chunk_size': 128, 'max_local_cpu_size': '5.0 GB'}",
            "config",
            {"values": {"chunk_size": 128, "max_local_cpu_size": "5.0 GB"}},
        ),
        (
            "INFO",
            "Creating LMCacheEngine with config: LMCacheEngineConfig(chunk_size=256, local_cpu=True, "
            "p2p_init_ports=[8200, 8201], remote_url='redis://u:p@h:1/0?x=1', extra_config={'token': 's3cret'})",
            "config",
            {
                "values": {
                    "chunk_size": 256,
                    "local_cpu": True,
                    "p2p_init_ports": [8200, 8201],
                    "remote_url": "redis://h:1/0",
                }
            },
        ),
        ("INFO", "Recreated backend: P2PBackend (P2PBackend)", "backend_created", {"name": "P2PBackend"}),
        (
            "ERROR",
            "Failed to initialize LMCacheManager components: Traceback (most recent call last):",
            "degraded",
            {"text": "Traceback (most recent call last):"},
        ),
        ("ERROR", "Remote NIXL agent engine ID mismatch. Expected a, received b", "agent_mismatch", {}),
        (
            "ERROR",
            "Failed during post_init: zmq.error.ZMQError: Cannot assign requested address (addr='tcp://x')",
            "degraded",
            {},
        ),
    ],
)
def test_a_line_as_the_source_writes_it(level, text, kind, fields):
    event = message(text, level)
    assert event["kind"] == kind
    assert only(event, *fields) == fields
    assert ("line" in event) == (level != "INFO")
    assert (event["at"], event["offset"]) == ("2026-11-24 02:24:29,175", 7)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"zmq.error.ZMQError: Cannot assign requested address (addr='tcp://192.0.2.7:8201')\n", "bind_failed"),
        (b"(Worker pid=1) ERROR 11-24 [x.py:1] zmq.error.ZMQError: Address already in use\n", "bind_failed"),
        (b"AssertionError: Unsupported channel type: tcp\n", "unsupported_channel"),
        (
            b"(Worker pid=2) ERROR 11-24 02:53:49 [worker.py:1] Remote NIXL agent engine ID mismatch.\n",
            "agent_mismatch",
        ),
    ],
)
def test_lines_of_python_and_vllm(raw, kind):
    event = lines.Scanner().feed(raw, 0)
    assert event["kind"] == kind
    assert event["at"] is None
    assert event["line"]


@pytest.mark.parametrize("prefix", [b"", b"(EngineCore_DP0 pid=12) ", b"2026-11-24T02:24:29.1Z stderr F "])
def test_prefixes_of_runtimes_and_line_ends(prefix):
    line = prefix + b"[2026-11-24 02:24:29,175] LMCache INFO: P2P transfer finished for request 3 (a.py:1:b)\r\n"
    assert lines.Scanner().feed(line, 0)["n"] == 3


def test_a_container_runtimes_json_line():
    line = (
        b'{"log":"\\u001b[32;20m[2026-11-24 02:24:29,175] LMCache INFO:\\u001b[0m P2P transfer finished for '
        b'request 4\\n","stream":"stderr","time":"2026-11-24T02:24:29Z"}\n'
    )
    assert lines.Scanner().feed(line, 0)["n"] == 4


def test_secrets_do_not_pass_in_texts_and_lines():
    event = message("Failed to register with controller: redis://user:hunter2@h:1/?token=abc api_key=sk-123", "ERROR")
    assert "hunter2" not in str(event)
    assert "abc" not in str(event)
    assert "sk-123" not in event["line"]


def test_levels_count_known_and_unknown_lines():
    scanner = lines.Scanner()
    for level in ("INFO", "WARNING", "CRITICAL", "DEBUG"):
        scanner.feed(f"[2026-11-24 02:24:29,175] LMCache {level}: nothing known\n".encode(), 0)
    assert scanner.levels == {"INFO": 1, "WARNING": 1, "ERROR": 1, "DEBUG": 1}


@pytest.mark.parametrize(
    ("sent", "logged", "same"),
    [
        ("kvp-1-0-reuse", "cmpl-kvp-1-0-reuse-0-be87fa18", True),
        ("cmpl-kvp-1-0-reuse", "cmpl-kvp-1-0-reuse-0-be87fa18", True),
        ("kvp-1-0-reuse", "chatcmpl-kvp-1-0-reuse-be87fa18", True),
        ("kvp-1-0-reuse", "cmpl-kvp-1-0-reuse-0", True),
        ("kvp-1-0-reuse", "kvp-1-0-reuse", True),
        ("kvp-1-0-reuse", "cmpl-kvp-1-0-reuse2-0-be87fa18", False),
        ("kvp-1", "cmpl-kvp-12-0-be87fa18", False),
        ("kvp-1", "cmpl-kvp-1-0-reuse-0-be87fa18", False),
    ],
)
def test_same_request(sent, logged, same):
    assert lines.same_request(sent, logged) is same


@pytest.mark.parametrize("name", sorted(path.name for path in LOGS.glob("*.log")))
def test_a_scanner_for_start_up_facts_finds_the_same_ones_and_counts_the_same_lines(name):
    found = []
    for scanner in (lines.Scanner(), lines.Scanner(lines.STARTUP_ANCHORS)):
        events = [scanner.feed(raw, n) for n, raw in enumerate((LOGS / name).read_bytes().splitlines(keepends=True))]
        found.append(([event for event in events if event and event["kind"] in lines.STARTUP], scanner.levels))
    assert found[0] == found[1]


def test_every_recorded_engine_log_yields_start_up_facts(recordings):
    for path in sorted(recordings.glob("*/decode.log")):
        scanner = lines.Scanner()
        kinds = {event["kind"] for event in map(scanner.feed, path.read_bytes().splitlines(), range(10**6)) if event}
        assert "engine_started" in kinds, path
        if path.parent.name not in ("pd_with_p2p", "nixl_pd", "mp_healthy", "mp_p2p_off_prefill"):
            assert {"none_hash", "hash_algorithm", "config_file", "initialized"} <= kinds, path


def test_a_configuration_that_lmcache_refuses():
    scanner = lines.Scanner()
    worker = "(Worker pid=7) ERROR 11-24 02:24:29 [multiproc_executor.py:1063] "
    told = "ValueError: lmcache_worker_ports is required and cannot be empty when enable_controller=True"
    events = [scanner.feed(f"{worker}{text}\n".encode(), 0) for text in (told, told, "AssertionError")]
    assert [event and (event["kind"], event["text"]) for event in events] == [
        ("config_refused", told.removeprefix("ValueError: ")),
        None,  # a traceback is printed several times over
        ("config_refused", "AssertionError"),
    ]
    assert scanner.feed(f"{worker}AssertionError: PD only supports enable_p2p=False\n".encode(), 0)["kind"] == (
        "pd_p2p_conflict"
    )
