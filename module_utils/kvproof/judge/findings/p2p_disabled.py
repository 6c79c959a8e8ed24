# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import MP
from ..pasted import P2P, SETTING, UNSET, Sign, is_given
from . import LIKELY, Attempt, Case, Finding, Sighting, Sightings, strength

FINDING = Finding(
    slug="p2p-disabled",
    link=4,
    kind="cause",
    rank=10,
    title="P2P sharing is switched off",
    meaning="This node neither asks peers for KV nor serves them.",
    evidence=(
        "enable_p2p in the effective configuration, else in the LMCache YAML; a worker without "
        "peer_init_url at the controller."
    ),
    remedy=(
        'Set enable_p2p: true (a boolean: the string "yes" is read as false) with p2p_host, '
        "p2p_init_ports and p2p_lookup_ports, restart the engine."
    ),
    source="LMCache 0.5.6 v1/config.py; only true and 1 count as true",
    architectures=("inprocess_p2p", "mp"),
    covers=("p2p-port-unreachable", "p2p-host-not-ours", "p2p-backend-missing"),
    cause_class="CONFIG_KEY",
    cannot="Whether another layer, such as the environment, sets it.",
    compares=P2P,
)

OF_P2P = ("p2p_host", "p2p_init_ports", "p2p_lookup_ports", "lookup_url", "distributed_url")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        if case.architecture == MP:
            server, read = side.server, side.server.get("port")
            if server.get("p2p_enabled") is False or (read and not server.get("p2p_advertise_url")):
                yield Sighting(
                    side.name,
                    "an LMCache server started with --p2p-advertise-url",
                    "no address advertised",
                    "this server takes no part in P2P sharing",
                    "Start this node's lmcache server with --p2p-advertise-url IP:PORT and --coordinator-url.",
                )
            continue
        p2p = side.flag("enable_p2p")
        if p2p is not None:
            if not p2p.value:
                yield Sighting(
                    side.name,
                    "enable_p2p: true",
                    f"enable_p2p: {side.setting('enable_p2p')}",
                    _why(side, p2p),
                    strength=strength(p2p),
                )
            continue
        mine = [w for w in case.workers or [] if side.instance_id and w.get("instance_id") == side.instance_id]
        if mine and all(w.get("peer_init_url") is None for w in mine):
            yield Sighting(
                side.name,
                "a peer_init_url at the controller",
                "registered without one",
                "the engine registered without P2P",
                strength=LIKELY,
            )


def _why(side, p2p):
    on_disk = (side.file_values or {}).get("enable_p2p")
    if on_disk is True and p2p.certain:
        return "the file says true, but the running engine was started before that: restart it"
    if isinstance(on_disk, str):
        return f"the file has the string {on_disk!r}; LMCache counts only true and 1 as true"
    return "this node takes no part in P2P sharing"


def pasted(material):
    if material.is_on("enable_pd") or is_given(material.values("remote_url")):
        return  # KV is shared in another way
    for node in material.nodes:
        keys, values = [key for key in OF_P2P if is_given(node.values(key))], node.values("enable_p2p")
        if keys and values and all(value in (UNSET, False) or _misread(value) for value in values):
            how = "is not set" if values[0] == UNSET else f"is {values[0]!r}"
        elif keys and not values and node.whole_configuration:
            how = "is not in the configuration"
        else:
            continue
        yield Sign(node.role, f"{', '.join(keys)} set, but enable_p2p {how}", SETTING)


def _misread(value) -> bool:
    return isinstance(value, str) and value.lower() not in ("true", "1", "false", "0", "")
