# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of a pair of vLLM's NixlConnector, as documents.py has it of the in-process P2P."""

from __future__ import annotations

from documents import PROMPT, ROLES, event, failed, pair
from kvproof.judge.dialects.nixl_pd import COMPUTED, FAILED, FROM_PEER, LATE, READS

PROMPTS, FINISHED = "vllm:prompt_tokens_total", "vllm:request_success_total"
KV_ROLES = {"holder": "kv_producer", "receiver": "kv_consumer"}
OFFER = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_engine_id": "87858062-ccf6-4768-b82f-770b079e70e3",
    "remote_request_id": "cmpl-kept",
    "remote_host": "127.0.0.13",
    "remote_port": 5600,
    "remote_num_tokens": PROMPT,
    "remote_blocks": 9,
}


def rises(came: int, read: int = 0, lost: int = 0) -> dict[str, float]:
    """Of the receiver's counters over one request."""
    values = {FROM_PEER: came, COMPUTED: PROMPT - came, READS: read, FAILED: lost, PROMPTS: PROMPT, FINISHED: 1}
    return {name: float(value) for name, value in values.items()}


def nixl_pair(*outcomes: str) -> dict:
    """Fresh prompts that were "proven" (three times where none is named), "missed", "failed" (and computed again),
    "refused" (with HTTP 500) or "unoffered"."""
    outcomes = outcomes or ("proven",) * 3
    document = pair(*("proven" if outcome == "proven" else "missed" for outcome in outcomes), architecture="nixl_pd")
    document["controllers"] = []
    probe = document["probe"]
    probe.update(controller=None, architecture="nixl_pd", withheld=None)
    pages = {role: probe["engines"][role]["metrics"] for role in ROLES}
    for trial, outcome in zip(probe["trials"], outcomes):
        trial.update(prefix_tokens=PROMPT, knockout_how="plain", repeat=None)
        trial["seed"].update(completion_tokens=1, kv_transfer=dict(OFFER))
        trial["window"] = {"receiver": rises(0, lost=int(outcome in ("failed", "refused"))), "knockout": rises(0)}
        if outcome == "proven":
            trial["window"]["receiver"] = rises(PROMPT, read=1)
        elif outcome == "refused":
            failed(trial["reuse"])
            trial["window"]["receiver"].update({PROMPTS: 0.0, COMPUTED: 0.0})
            trial.update(knockout=None)
        elif outcome == "unoffered":
            trial["seed"]["kv_transfer"] = None
            trial.update(reuse=None, knockout=None, window=None)
        for role in ("reuse", "knockout"):
            if trial[role]:
                trial[role]["cached_tokens"] = 0
    probe["window"] = {"never_seen": rises(0), "recompute": rises(0)}
    for role in ROLES:
        recognised = {"architecture": "nixl_pd", "kv_role": KV_ROLES[role], "connector": "NixlConnector"}
        probe["engines"][role]["recognised"] = recognised
        node = document["nodes"][role]
        node.update(backends=None, effective={"source": None, "values": {}}, meta=None, p2p_host=None)
        node["config_file"] = {"state": "absent", "values": {}}
        node["log"].update(head=[event("engine_started", connector="NixlConnector", role=KV_ROLES[role])], events=[])
        for when in ("before", "after"):
            pages[role][when]["values"][READS] = 0.0
            pages[role][when]["values"][FAILED] = 0.0
    if "unoffered" in outcomes:
        probe.update(never_seen=None, recompute=None, window=None)
    pages["receiver"]["after"]["values"][READS] = float(outcomes.count("proven"))
    sent = [request for request in _requests(probe) if request["role"] != "warmup"]
    for role in ROLES:
        values, mine = pages[role], [request for request in sent if request["engine"] == role]
        before = values["before"]["values"].get(FINISHED, 0.0)
        values["after"]["values"][FINISHED] = before + sum(1 for request in mine if not request["error"])
    return document


def _requests(probe: dict) -> list[dict]:
    of_trials = [trial[role] for trial in probe["trials"] for role in ("seed", "reuse", "knockout")]
    return [request for request in (*of_trials, probe["never_seen"], probe["recompute"]) if request]


def sent_home(document: dict) -> dict:
    """The holder's answers send everybody to localhost."""
    for trial in document["probe"]["trials"]:
        trial["seed"]["kv_transfer"]["remote_host"] = "localhost"
    return document


def told_by_the_log(document: dict) -> dict:
    """The receiver's log says why reads failed, and nobody counted them."""
    for index, trial in enumerate(document["probe"]["trials"]):
        trial["window"]["receiver"][FAILED] = 0.0
        line = event("nixl_failed", f"{index}-reuse", text="handshake_failed", line="NIXL transfer failure: …")
        document["nodes"]["receiver"]["log"]["events"] += [line, event("nixl_incompatible")]
    return document


def read_late(document: dict) -> dict:
    """The holder had given up what was read."""
    document["probe"]["engines"]["holder"]["metrics"]["after"]["values"][LATE] = 2.0
    return document
