# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the ports of a receiver of LMCache's prefill/decode transfer, on a made-up process filesystem."""

from __future__ import annotations

import socket

import pytest
from fake_proc import FakeProc
from kvproof.node import http
from kvproof.node.engine import gather
from kvproof.node.http import Answer

SETTINGS = (
    "enable_pd: true\npd_role: {role}\npd_peer_host: {host}\npd_peer_init_port: 7300\npd_peer_alloc_port: [7400]\n"
)


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """NODE.pd of an engine; what it is asked for is (role, host, owners of the init and the alloc port)."""
    monkeypatch.setattr(http, "get", lambda *_args, **_more: Answer("refused", None, "refused", None))
    monkeypatch.setattr(socket, "create_connection", lambda *_args, **_more: pytest.fail("nothing may be dialled"))

    def look(role="receiver", host="10.0.0.17", init=51, alloc=51, hidden=False):
        config = tmp_path / "lmcache.yaml"
        config.write_text(SETTINGS.format(role=role, host=host))
        proc = FakeProc(tmp_path)
        proc.listen("10.0.0.17", 8000, 70)
        sockets = {51: [], 60: []}
        for inode, (port, address, owner) in enumerate([(7300, host, init), (7400, "0.0.0.0", alloc)], start=71):
            if owner:
                proc.listen(address, port, inode)
                sockets[owner].append(inode)
        env = {"LMCACHE_CONFIG_FILE": str(config)}
        proc.add(50, ["vllm", "serve", "/m", "--host", "10.0.0.17"], env=env, sockets=[70])
        proc.add(51, ["VLLM::Worker"], ppid=50, sockets=sockets[51])
        proc.add(60, ["python3", "another.py"], sockets=sockets[60])
        if hidden:
            proc.hide_descriptors(51)
        return gather(str(proc), only=["pd"], host="10.0.0.17")["pd"]

    return look


def held(document: dict) -> list:
    return [(port["use"], port["port"], port["held"]) for port in document["ports"]]


def test_a_workers_ports_are_its_engines(seen):
    document = seen()
    assert (document["host_ours"], held(document)) == (True, [("init", 7300, "engine"), ("alloc", 7400, "engine")])


def test_a_port_of_nobody_and_one_of_another_process_are_told(seen):
    assert held(seen(init=None, alloc=60)) == [("init", 7300, "nobody"), ("alloc", 7400, "another")]


def test_an_owner_that_may_not_be_seen_is_not_known(seen):
    assert held(seen(hidden=True)) == [("init", 7300, None), ("alloc", 7400, None)]


def test_an_address_of_another_host_is_not_its_own(seen):
    assert seen(host="10.0.0.99", init=None)["host_ours"] is False


def test_a_sender_has_no_such_ports(seen):
    assert seen(role="sender") is None


def test_given_addresses_alone_are_dialled_without_a_look_at_anything(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = f"127.0.0.1:{server.getsockname()[1]}"
        document = gather(str(tmp_path / "no-proc"), only=["dials"], peers=[{"to": to, "why": "pd-init"}])
    [dial] = document["dials"]
    assert (dial["to"], dial["why"], dial["state"]) == (to, "pd-init", "open")
