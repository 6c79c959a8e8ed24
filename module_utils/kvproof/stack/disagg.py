# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's prefill/decode transfer: what a sender has to be told of its receiver, and what of it is in doubt.

A completion without disagg_spec ends an asynchronous sender (LMCache 0.5.6, pd_backend_async.py:1068), one with an init
port that nobody answers on hangs it for good (:721), and after a wrong alloc port it never delivers again (:756).  So a
spec is made of what the receiver's node shows, and used where nothing is in doubt.
"""

from __future__ import annotations

import ipaddress
import re
from collections import namedtuple

from .architectures import IN_PROCESS, PD_ROLES
from .numbers import of_digits, whole
from .settings import as_bool, kv_bytes_per_token

#: Use of a port → LMCache's setting for it, which has a port for each rank, and the spec's field.
PORTS = {
    "init": ("pd_peer_init_port", "receiver_init_port"),
    "alloc": ("pd_peer_alloc_port", "receiver_alloc_port"),
}
MODES = ("async", "sync")
BACKEND = "PDBackend"
#: Chunks that both buffers must hold for a prompt of one whole chunk: it takes two, and no more than half may be taken.
LEAST_CHUNKS = 4

#: ``kind``: what is in doubt: unread, role, backend, ranks, host, port, dial or buffer.  ``name``: of the engine.
#: ``certain``: the engines cannot share KV so.  ``expected``, ``observed``; ``advice``: what to do about it.
Doubt = namedtuple("Doubt", "kind name certain expected observed advice")


#: ``spec``: a disagg_spec but for its req_id, None where none is known.  ``withheld``: why nothing may be sent with it.
#: ``chunks``: that both buffers hold.
Known = namedtuple("Known", "spec withheld chunks")
NOTHING = Known(None, "a sender dies of a completion whose receiver it is not told, and no node showed one", None)


def known(sender: dict | None, receiver: dict | None, names: tuple[str, str]) -> Known:
    """What is known of a pair's transfer; arguments as of doubts()."""
    found = doubts(sender, receiver, names)
    return Known(spec_of(receiver), in_words(found[0]) if found else None, capacity((sender, receiver)))


def in_words(doubt: Doubt) -> str:
    """One sentence."""
    return f"{doubt.name}: {doubt.observed}, expected was {doubt.expected}; {doubt.advice}"


def ports_of(value: object) -> list[int]:
    """The ports of a setting: a number, several, or text with commas between them; what is none is left out."""
    parts = value if isinstance(value, (list, tuple)) else re.split(r"[\s,]+", str(value).strip("[] "))
    return [number for number in map(_number, parts) if number is not None and number < 65536]


def is_receiver(values: dict) -> bool:
    """Whether LMCache's settings are a receiver's."""
    return bool(as_bool(values.get("enable_pd"))) and values.get("pd_role") == "receiver"


def spec_of(receiver: dict | None) -> dict | None:
    """The disagg_spec, but for its req_id, that the NODE of a receiver shows in force; None where it shows none."""
    values = _in_force(receiver)
    if values is None or not is_receiver(values) or not isinstance(values.get("pd_peer_host"), str):
        return None
    ports = {field: ports_of(values.get(setting)) for setting, field in PORTS.values()}
    return {"receiver_host": values["pd_peer_host"], **ports} if all(ports.values()) else None


def targets_of(spec: dict | None) -> list[dict]:
    """What a sender's node has to reach, as lmcache_node_info dials it."""
    if not spec:
        return []
    return [
        {"to": "{}:{}".format(spec["receiver_host"], port), "why": "pd-" + use}
        for use, (_setting, field) in PORTS.items()
        for port in spec[field]
    ]


def capacity(nodes: tuple[dict | None, ...]) -> int | None:
    """Chunks that the buffers of all these engines hold; None where it is not known of each."""
    chunks = [_capacity(node or {}) for node in nodes]
    return None if None in chunks else min(chunks, default=None)


def doubts(sender: dict | None, receiver: dict | None, names: tuple[str, str]) -> list[Doubt]:
    """What of a pair's transfer is in doubt, the most telling first; none: the spec of spec_of() is right.

    sender, receiver: NODE documents, that of the sender with ``dials`` to targets_of().  names: of the two engines.
    """
    sides = ((sender or {}, names[0], "sender"), (receiver or {}, names[1], "receiver"))
    of_engines = [doubt for node, name, role in sides for doubt in _of_engine(node, name, role)]
    if of_engines:
        return sorted(of_engines, key=lambda doubt: not doubt.certain)
    spec = spec_of(receiver)
    if spec is None or receiver is None or sender is None:
        expected = "pd_peer_host, pd_peer_init_port and pd_peer_alloc_port"
        return [Doubt("unread", names[1], False, expected, "they are not all set in force", "set them and restart it")]
    ranks = _ranks(sender)
    of_pair = _of_ranks(sender, receiver, spec, names)
    if not of_pair:
        of_pair = _of_ports(receiver, spec, names[1], ranks or 1) + _of_ways(sender, receiver, spec, names)
    return of_pair or _of_buffers(sender, receiver, names)


def _of_engine(node, name, role):
    """What is in doubt of an engine by itself."""
    engine, values = node.get("engine") or {}, _in_force(node)
    if node.get("ssh") != "ok" or engine.get("pid") is None:
        expected = "a look at its process, before anything is sent"
        yield Doubt(
            "unread", name, False, expected, "its process was not seen", "see that SSH and kv_reuse_become work"
        )
        return
    if values is None:
        advice = "give its log in kv_reuse_log, or set internal_api_server_enabled: true"
        yield Doubt("unread", name, False, "LMCache's settings in force", "they could not be read", advice)
        return
    wanted = f"enable_pd: true and pd_role: {role}"
    seen = "enable_pd: {}, pd_role: {}".format(str(as_bool(values.get("enable_pd"))).lower(), values.get("pd_role"))
    if not as_bool(values.get("enable_pd")) or values.get("pd_role") != role:
        advice = f"set pd_role: {role} there, or correct the inventory's groups"
        yield Doubt("role", name, bool(as_bool(values.get("enable_pd"))), wanted, seen, advice)
        return
    connector, kv_role = _transfer(node)
    if (connector, kv_role) != (IN_PROCESS, PD_ROLES[role]):
        kind = "role" if connector == IN_PROCESS and kv_role else "unread"
        expected = f"kv_connector {IN_PROCESS} and kv_role {PD_ROLES[role]}"
        yield Doubt(kind, name, False, expected, f"{connector} and {kv_role}", "set them in --kv-transfer-config")
    mode = values.get("pd_backend_mode") or MODES[0]
    if mode not in MODES:
        yield Doubt("unread", name, False, " or ".join(MODES), f"pd_backend_mode {mode}", "kvproof knows these alone")
    failed = [event for event in _head(node) if event.get("kind") in ("init_failed", "degraded")]
    backends = node.get("backends")
    if failed or (backends and BACKEND not in backends):
        observed = (
            str(failed[0].get("text") or failed[0].get("line"))
            if failed
            else "backends: " + ", ".join(map(str, backends))
        )
        advice = "correct what the first LMCache ERROR of its log names, and restart it"
        yield Doubt("backend", name, True, f"LMCache's {BACKEND}", observed, advice)
    parallel = _number((engine.get("options") or {}).get("data-parallel-size", 1)) or 1
    if parallel > 1:
        advice = "give each of its ranks a URL of its own"
        yield Doubt("ranks", name, False, "one engine behind its URL", f"data-parallel-size {parallel}", advice)


def _of_ranks(sender, receiver, spec, names):
    """A port for each rank: a sender's rank takes the port of its number (pd_backend_async.py:1068)."""
    ranks = [_ranks(sender), _ranks(receiver)]
    advice = (
        "start both with the same --tensor-parallel-size, and give each rank of the decode node a port of each kind"
    )
    if None in ranks:
        return [Doubt("unread", names[0], False, "the number of ranks of both", "it was not seen", advice)]
    if ranks[0] != ranks[1]:
        expected = f"{ranks[0]} rank(s), as {names[0]} has"
        return [Doubt("ranks", names[1], True, expected, f"{ranks[1]} rank(s)", advice)]
    short = [setting for setting, field in PORTS.values() if len(spec[field]) < ranks[0]]
    return [Doubt("ranks", names[1], True, f"{ranks[0]} ports in {setting}", "fewer", advice) for setting in short]


def _of_ports(receiver, spec, name, ranks):
    """The spec's ports, which have to be held by the receiver's own process."""
    pd = receiver.get("pd") or {}
    if not _is_address(spec["receiver_host"]) or pd.get("host_ours") is not True:
        expected = "an address of its own node in pd_peer_host"
        certain = _is_address(spec["receiver_host"]) and pd.get("host_ours") is False
        observed = "pd_peer_host {}".format(spec["receiver_host"])
        return [Doubt("host", name, certain, expected, observed, "set it to the address that the prefill node reaches")]
    held = {(port.get("use"), port.get("port")): port.get("held") for port in pd.get("ports") or []}
    found = []
    for use, (setting, field) in PORTS.items():
        for port in spec[field][:ranks]:
            by = held.get((use, port))
            if by == "engine":
                continue
            observed = {"nobody": "nobody listens there", "another": "another process has it"}.get(by or "")
            advice = (
                f"give it a port of its own in {setting} and restart it" if observed else "set kv_reuse_become: true"
            )
            expected = f"its own process on port {port} ({setting})"
            kind = "port" if observed else "unread"
            found.append(Doubt(kind, name, bool(observed), expected, observed or "whose it is was not seen", advice))
    return sorted(found, key=lambda doubt: not doubt.certain)


def _of_ways(sender, receiver, spec, names):
    """The way from the sender's node to these ports."""
    host = spec["receiver_host"]
    same = sender.get("hostname") == receiver.get("hostname") and sender.get("addresses") == receiver.get("addresses")
    if not same and (_is_loopback(host) or host in (sender.get("addresses") or [])):
        expected, advice = (
            "an address of the decode node alone",
            "set pd_peer_host to one that the prefill node reaches",
        )
        observed = f"pd_peer_host {host}, which is an address of {names[0]}'s own node"
        return [Doubt("host", names[1], True, expected, observed, advice)]
    states = {dial.get("to"): dial.get("state") for dial in sender.get("dials") or []}
    found = []
    for target in targets_of(spec):
        state = states.get(target["to"])
        if state != "open":
            observed = f"connection from {names[0]}: {state}" if state else f"it was not tried from {names[0]}"
            expected, advice = f"an answer at {target['to']}", "open these ports between the nodes"
            found.append(Doubt("dial" if state else "unread", names[1], bool(state), expected, observed, advice))
    return found


def _of_buffers(sender, receiver, names):
    """A prompt that does not fit a sender's buffer waits without a limit (pd_allocation_timeout_sec is infinite)."""
    for node, name in ((sender, names[0]), (receiver, names[1])):
        chunks = _capacity(node)
        expected = f"a buffer for {LEAST_CHUNKS} chunks or more"
        if chunks is None:
            advice = "set internal_api_server_enabled: true, or give its log in kv_reuse_log"
            return [Doubt("unread", name, False, expected, "pd_buffer_size or the KV's shape was not seen", advice)]
        if chunks < LEAST_CHUNKS:
            observed = "pd_buffer_size {} holds {}".format(_in_force(node).get("pd_buffer_size"), chunks)
            return [Doubt("buffer", name, False, expected, observed, "raise pd_buffer_size, and restart it")]
    return []


def _capacity(node):
    values, meta = _in_force(node) or {}, dict(node.get("meta") or {}, world_size=1)
    size, per_token = whole(values.get("pd_buffer_size"), 1), kv_bytes_per_token(meta)
    tokens = re.findall(r"\d+", str(meta.get("kv_shape") or "")[:200])[2:3]
    chunk = of_digits(tokens[0]) if tokens else None
    return int(size // (per_token * chunk)) if size and per_token and chunk else None


def _in_force(node):
    """LMCache's settings that the engine runs with; None where they were not read."""
    effective = (node or {}).get("effective") or {}
    return (effective.get("values") or {}) if effective.get("source") else None


def _head(node):
    return (node.get("log") or {}).get("head") or []


def _transfer(node):
    """(vLLM's connector, its kv_role), each None where it was not seen."""
    transfer = ((node.get("engine") or {}).get("options") or {}).get("kv-transfer-config")
    if isinstance(transfer, dict) and transfer.get("kv_connector"):
        return transfer["kv_connector"], transfer.get("kv_role")
    started = [event for event in _head(node) if event.get("kind") == "engine_started" and event.get("connector")]
    return (started[-1]["connector"], started[-1].get("role")) if started else (None, None)


def _ranks(node):
    size = whole((node.get("meta") or {}).get("world_size"), 1)
    options = (node.get("engine") or {}).get("options") or {}
    if size is None and options and "config" not in options:
        parts = [_number(options.get(name, 1)) for name in ("tensor-parallel-size", "pipeline-parallel-size")]
        size = parts[0] * parts[1] if parts[0] and parts[1] else None
    return size


def _number(value):
    """A number above 0, as such or as text; None for anything else."""
    digits = value.strip() if isinstance(value, str) else ""
    return whole(of_digits(digits) if digits.isascii() and digits.isdigit() else value, 1)


def _is_address(host):
    """Whether it is an address that a process can be reached at: names are no addresses for ZeroMQ's bind."""
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_loopback(host):
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
