# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import MP
from ..pasted import Line
from . import HINT, Attempt, Case, Finding, Sighting, Sightings
from ._contacts import dial_strength, reached_holder

FINDING = Finding(
    slug="p2p-port-unreachable",
    link=5,
    kind="cause",
    rank=50,
    title="The holder's P2P port does not answer its peer",
    meaning=(
        "The controller names the holder, but the receiver cannot connect to the advertised "
        "address: the lookup runs into its time-out."
    ),
    evidence="A dial from the receiver's node to the advertised peer_init_url and the lookup port.",
    remedy=(
        "Open p2p_init_ports and p2p_lookup_ports between the nodes, and advertise an address "
        "that peers can reach (p2p_host). In multiprocess mode: the port of --p2p-advertise-url, and the server's "
        "--port with a --host that is not localhost."
    ),
    source="LMCache 0.5.6 p2p_backend.py",
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("peer-silent", "lookup-timed-out"),
    cause_class="BIND_HOST",
    cannot="Whether the advertised address is wrong, a firewall closes its ports, or the holder has ended.",
    pasted=Line("ensure_peer_failed", "peer_socket_error", "retry_exhausted", strength=HINT),
)


SHUT = ("refused", "timeout", "unreachable")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    advertised = _advertised(case, attempts)
    dials = [d for d in case.receiver.node.get("dials") or [] if d.get("to") in advertised]
    shut = [d for d in dials if d.get("state") in SHUT]
    if shut:
        yield Sighting(
            case.holder.name,
            f"an answer from {', '.join(sorted({d['to'] for d in shut}))} to {case.receiver}",
            ", ".join(sorted({d["state"] for d in shut})),
            "the receiver cannot connect to where the holder says it is",
            strength=HINT if reached_holder(case, attempts) else dial_strength(case.receiver),
        )


def _advertised(case, attempts) -> set:
    """Addresses under which the receiver is told to find this holder: by the controller, or in its own log."""
    listed = {
        w["peer_init_url"]
        for w in case.workers or []
        if w.get("peer_init_url") and case.holder.instance_id and w.get("instance_id") == case.holder.instance_id
    }
    answers = [e for a in attempts for e in a.layouts or [] if e.get("chunks") and e.get("peer")]
    listed |= {e["peer"] for e in answers if case.holder.instance_id in (None, e.get("instance"))}
    url, port = case.holder.server.get("p2p_advertise_url"), case.holder.server.get("port")
    if url and case.architecture == MP:
        listed |= {url, f"{url.rpartition(':')[0]}:{port}"}
    met = [e for e in case.receiver.events if e.get("kind") == "peer_connected" and e.get("init") in listed]
    return listed | {e["lookup"] for e in met if e.get("lookup")}
