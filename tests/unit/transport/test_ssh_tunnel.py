# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The probe through real OpenSSH servers: what it proves there, and what it says when there is no way through."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sshd
from certificates import self_signed
from fake_engine import CHUNK, FakeCluster, Server
from kvproof.judge.verdict import judge
from kvproof.probe.controller import read_controller
from kvproof.probe.engine import EngineSettings
from kvproof.probe.inprocess_p2p import InProcessP2P
from kvproof.probe.options import Settings
from kvproof.transport.http import Deadline, HttpClient, RequestFailed, UrlError
from kvproof.transport.ssh_route import RouteError, SshSettings, route

pytest.importorskip("paramiko", reason="paramiko is not installed")
if not sshd.TOOLS:
    pytest.skip("no sshd, ssh and ssh-keygen here", allow_module_level=True)

from kvproof.transport.ssh_tunnel import Tunnel

ROOT = Path(__file__).resolve().parents[3]
ANSIBLE = Path(sys.executable).parent / "ansible"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    made = sshd.Sshd(tmp_path_factory.mktemp("node"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def closed_node(tmp_path_factory):
    made = sshd.Sshd(tmp_path_factory.mktemp("closed"), "AllowTcpForwarding no")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_agent(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def cluster():
    made = FakeCluster()
    yield made
    made.close()


@pytest.fixture
def server():
    made = Server()
    made.on["/x"] = lambda h, _p: h.reply(200, {"a": 1})
    yield made
    made.close()


def ssh(node, **changes) -> SshSettings:
    return SshSettings(node.address, node.args(**changes))


def client(url: str, settings: SshSettings, **more) -> HttpClient:
    deadline = Deadline(20)
    return HttpClient(url, deadline, tunnel=Tunnel(settings, deadline), **more)


def error(http: HttpClient, path: str = "/x") -> dict:
    with pytest.raises(RequestFailed) as caught:
        http.get(path)
    return caught.value.error


def experiment(cluster, holder: SshSettings, receiver: SshSettings, **settings) -> dict:
    wanted = {"run_id": "kabc12345", "trials": 1, "chunk_size": CHUNK, "wait_s": 2.0, "deadline_s": 30.0, **settings}
    return InProcessP2P(
        Settings(**wanted, controller_ssh=holder),
        EngineSettings("holder", "p1", cluster.prefill.url, ssh=holder),
        EngineSettings("receiver", "d1", cluster.decode.url, ssh=receiver),
        cluster.controller.url,
    ).run()


def judged(probe: dict) -> dict:
    document = {
        "schema": "kvproof.evidence/1",
        "cluster": "c",
        "mode": "inventory",
        "pair": {"holder": "p1", "receiver": "d1"},
        "probe": probe,
        "nodes": {"holder": None, "receiver": None},
        "controllers": [],
    }
    return judge(json.loads(json.dumps(document)))


def decisive(verdict: dict) -> list[str]:
    return [f["slug"] for f in verdict["findings"] if f["role"] in ("failure", "cause", "validity")]


def test_the_whole_experiment_goes_through_and_opens_no_port(cluster, node, monkeypatch):
    def listen(*_args):
        raise AssertionError("a port was opened")

    monkeypatch.setattr(socket.socket, "listen", listen)
    probe = experiment(cluster, ssh(node), ssh(node))
    assert probe["errors"] == []
    trial = probe["trials"][0]
    assert trial["reuse"]["cached_tokens"] == trial["expected_hit"] > 0
    assert trial["visible"]["how"] == "key_count"  # the controller, through its own tunnel
    for engine in probe["engines"].values():
        assert engine["reachable"] is True
        assert engine["metrics"]["after"]["state"] == "ok"
        tunnel = engine["tunnel"]
        assert tunnel["via"] == [f"{sshd.USER}@{node.address}:{node.port}"]
        assert 0 < tunnel["rtt_s"] <= tunnel["rtt_max_s"] < 5
        assert tunnel["pings"] == 10
    assert set(judged(probe)["tunnels"]) == {"holder", "receiver"}


def test_without_a_tunnel_nothing_is_said_about_the_engine(cluster, node, closed_node):
    probe = experiment(cluster, ssh(node), ssh(closed_node))
    engine = probe["engines"]["receiver"]
    assert (engine["reachable"], engine["error"]["kind"]) == (None, "ssh")
    verdict = judged(probe)
    assert (verdict["verdict"], decisive(verdict)) == ("inconclusive", ["tunnel-failed"])
    assert verdict["links"][0] == {**verdict["links"][0], "state": "unknown", "text": "no SSH tunnel to d1"}
    assert "AllowTcpForwarding local" in verdict["findings"][0]["observed"]
    assert cluster.decode.requests == []


def test_an_engine_that_the_node_itself_does_not_reach_is_unreachable(cluster, node):
    cluster.decode.close()
    verdict = judged(experiment(cluster, ssh(node), ssh(node)))
    assert (verdict["verdict"], decisive(verdict)) == ("fail", ["engine-unreachable"])
    assert "as the node itself sees it" in verdict["findings"][0]["observed"]


def test_an_engine_that_is_down_fails_the_pair_whatever_the_other_ones_tunnel_does(cluster, node, closed_node):
    cluster.prefill.close()
    verdict = judged(experiment(cluster, ssh(node), ssh(closed_node)))
    assert verdict["verdict"] == "fail"
    assert set(decisive(verdict)) == {"engine-unreachable", "tunnel-failed"}


def test_a_controller_behind_no_tunnel_was_not_asked(cluster, closed_node):
    http = client(cluster.controller.url, ssh(closed_node))
    assert read_controller(http)["http"]["state"] == "no-tunnel"


def test_a_connection_lost_in_the_middle_is_the_tunnels_not_the_engines(server, node):
    def cut(handler, _payload):
        handler.start_stream()
        handler.send("data: {}\n\n")
        node.end_sessions()

    server.on["/cut"] = cut
    http = client(server.url, ssh(node))
    found = error(http, "/cut")
    assert found["kind"] == "ssh"
    assert "was lost" in found["text"]
    assert error(http)["kind"] == "ssh"


def test_a_stream_that_the_engine_breaks_off_stays_the_engines(server, node):
    def cut(handler, _payload):
        handler.start_stream()
        handler.send("data: {}\n\n")
        handler.close_connection = True

    server.on["/cut"] = cut
    assert error(client(server.url, ssh(node)), "/cut")["kind"] == "stream"


def test_a_changed_host_key_is_refused_even_where_unknown_ones_are_not(server, node, tmp_path):
    other = sshd.make_key(tmp_path / "other").with_suffix(".pub").read_text()
    changed = tmp_path / "known_hosts"
    changed.write_text(f"[{node.address}]:{node.port} {other}")
    for strict in ("yes", "no", "accept-new"):
        found = error(client(server.url, ssh(node, UserKnownHostsFile=str(changed), StrictHostKeyChecking=strict)))
        assert found["kind"] == "ssh"
        assert "is not the one in" in found["text"]


@pytest.mark.parametrize("strict", ["no", "accept-new"])
def test_an_unknown_host_key_is_taken_where_ssh_would_take_it(server, node, strict):
    unchecked = ssh(node, UserKnownHostsFile="/dev/null", StrictHostKeyChecking=strict)
    assert client(server.url, unchecked).get_json("/x") == {"a": 1}


def test_a_hashed_known_hosts_file_serves(server, node, tmp_path):
    hashed = tmp_path / "known_hosts"
    shutil.copy(node.known_hosts, hashed)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
    assert node.address not in hashed.read_text()
    assert client(server.url, ssh(node, UserKnownHostsFile=str(hashed))).get_json("/x") == {"a": 1}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"UserKnownHostsFile": "/dev/null"}, "is in none of /dev/null"),
        (
            {"UserKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "ask"},
            "compare it with the server's and add it",
        ),
        ({"IdentityFile": "OTHER"}, "refused the login (tried: OTHER)"),
        ({"IdentityFile": "/no/such/key"}, "refused the login (tried: no key found)"),
        ({"IdentityFile": "SECRET"}, "is encrypted (SECRET): add it to ssh-agent"),
        ({"Port": "9"}, "no SSH server listens at"),
        ({"Hostname": "no-such-name.invalid"}, "the name no-such-name.invalid does not resolve"),
        ({"NoSuchOption": "1"}, "correct ansible_ssh_common_args"),
        ({"ProxyCommand": "false"}, "no SSH session with"),
    ],
)
def test_each_closed_way_is_one_sentence(server, node, tmp_path, changes, says):
    names = {"OTHER": str(tmp_path / "other"), "SECRET": str(tmp_path / "secret")}
    sshd.make_key(tmp_path / "other")
    sshd.make_key(tmp_path / "secret", "passphrase")
    for name, path in names.items():
        changes, says = {key: value.replace(name, path) for key, value in changes.items()}, says.replace(name, path)
    found = error(client(server.url, ssh(node, **changes)))
    assert found["kind"] == "ssh"
    assert says in found["text"]
    assert "\n" not in found["text"]


def test_a_key_in_the_agent_serves_where_its_file_is_encrypted(server, node, tmp_path, monkeypatch):
    secret = sshd.make_key(tmp_path / "secret", "")
    with open(node.folder / "authorized_keys", "a") as file:
        file.write(secret.with_suffix(".pub").read_text())
    if not shutil.which("ssh-agent"):
        pytest.skip("no ssh-agent here")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "agent").exists():
            assert agent.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", secret], check=True, capture_output=True)
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "passphrase", "-f", secret], check=True)
        assert client(server.url, ssh(node, IdentityFile=str(secret))).get_json("/x") == {"a": 1}
    finally:
        agent.terminate()
        agent.wait()


@pytest.fixture(scope="module")
def beyond(node, tmp_path_factory):
    """A second node, and a configuration file in which the first is its jump host."""
    made = sshd.Sshd(tmp_path_factory.mktemp("beyond"))
    config = made.folder / "ssh_config"
    config.write_text(
        f"Host bastion\n  HostName {node.address}\n  Port {node.port}\n  User {sshd.USER}\n"
        f"  IdentityFile {node.client_key}\n  UserKnownHostsFile {node.known_hosts}\n"
        f"Host inner\n  HostName {made.address}\n  Port {made.port}\n  User {sshd.USER}\n"
        f"  IdentityFile {made.client_key}\n  UserKnownHostsFile {made.known_hosts}\n"
        "Host *\n  IdentitiesOnly yes\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
    )
    yield made, config
    made.close()


@pytest.mark.parametrize(
    "way", [["-J", "bastion"], ["-o", "ProxyJump=bastion"], ["-o", "ProxyCommand=ssh -F CONFIG -W %h:%p bastion"]]
)
def test_a_jump_host_leads_on(server, node, beyond, way):
    inner, config = beyond
    args = ("-F", str(config), *(word.replace("CONFIG", str(config)) for word in way))
    http = client(server.url, SshSettings("inner", args))
    assert http.get_json("/x") == {"a": 1}
    last = f"{sshd.USER}@{inner.address}:{inner.port}"
    first = [] if "ProxyCommand" in way[-1] else [f"{sshd.USER}@{node.address}:{node.port}"]
    assert http.tunnel.document()["via"] == [*first, last]


def test_a_jump_host_that_leads_nowhere_says_nothing_about_the_engine(server, closed_node, beyond):
    _inner, config = beyond
    text = config.read_text() + (
        f"Host closed\n  HostName {closed_node.address}\n  Port {closed_node.port}\n  User {sshd.USER}\n"
        f"  IdentityFile {closed_node.client_key}\n  UserKnownHostsFile {closed_node.known_hosts}\n"
    )
    other = config.with_name("other_config")
    other.write_text(text)
    found = error(client(server.url, SshSettings("inner", ("-F", str(other), "-J", "closed"))))
    assert found["kind"] == "ssh"
    assert "forbids forwarding" in found["text"]


def test_the_route_is_what_ssh_says(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host b\n  ProxyJump a\nHost c\n  HostName c.example\n  Port 2200\n")
    args = ["-F", str(config), "-o", "User=kv", "-o", "IdentityFile=~/k", "-J", "b,u@c:22"]
    hops = route("10.0.0.1", args)
    assert [(hop.host, hop.port) for hop in hops] == [("a", 22), ("b", 22), ("c.example", 22), ("10.0.0.1", 22)]
    assert (hops[2].user, hops[3].user) == ("u", "kv")
    assert hops[3].keys == (os.path.expanduser("~/k"),)
    assert hops[0].keys != hops[3].keys  # as with ssh, a jump host gets none of the target's arguments
    config.write_text("Host b\n  ProxyJump c\nHost c\n  ProxyJump b\n")
    with pytest.raises(RouteError, match="correct ProxyJump"):
        route("b", ["-F", str(config)])


def test_tls_is_checked_end_to_end(server, node, tmp_path):
    pem = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    url = server.url.replace("http://", "https://")
    assert client(url, ssh(node), ca_cert=str(pem)).get_json("/x") == {"a": 1}
    assert error(client(url, ssh(node)))["kind"] == "tls"


def test_connections_and_threads_end_with_the_tunnel(server, node):
    before = threading.active_count()
    http = client(server.url, ssh(node))
    for _ in range(3):
        http.get("/x")
        http._session = None  # as after an exchange that was given up
    http.tunnel.close()
    for _ in range(200):
        if threading.active_count() <= before:
            break
        threading.Event().wait(0.02)
    assert threading.active_count() <= before


def test_a_proxy_beside_it_is_refused(node):
    with pytest.raises(UrlError, match="both ssh and a proxy"):
        EngineSettings("holder", "p1", "http://p1:1", ssh=ssh(node), proxy="http://proxy:1")


# ---- by Ansible


def run_module(folder: Path, node, args: dict, *options: str, **variables) -> tuple[dict, str]:
    """The result of the module where prefill-1 and decode-1 are hosts with these variables, and all output."""
    known = {
        "ansible_host": node.address,
        "ansible_port": node.port,
        "ansible_user": "{{ lookup('ansible.builtin.env', 'KV_TEST_USER') }}",
        "ansible_ssh_private_key_file": str(node.client_key),
        "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={node.known_hosts}",
        **variables,
    }
    hosts = {"localhost": {"ansible_connection": "local"}, "prefill-1": known, "decode-1": known}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    done = subprocess.run(
        [str(ANSIBLE), "localhost", "-i", str(folder / "hosts.json"), "-m", "kv_reuse_probe", "-a", json.dumps(args),
         *options],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
             "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
             "ANSIBLE_NOCOLOR": "1", "KV_TEST_USER": sshd.USER},
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    result = re.search(r"^localhost \| \S+ => (\{.*)", done.stdout, re.S | re.M).group(1)
    return json.JSONDecoder().raw_decode(result)[0], done.stdout + done.stderr


def module_args(cluster) -> dict:
    return {
        "holder": {"name": "p1", "url": cluster.prefill.url, "ssh": {"inventory_host": "prefill-1"}},
        "receiver": {"name": "d1", "url": cluster.decode.url, "ssh": {"inventory_host": "decode-1"},
                     "api_key": "sk-secret"},
        "controller_url": cluster.controller.url,
        "controller_ssh": {"inventory_host": "prefill-1"},
        "chunk_size": CHUNK,
        "trials": 1,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible is not installed beside this Python")
class TestModule:
    def test_it_logs_in_as_ansible_would(self, tmp_path, cluster, node):
        result, output = run_module(tmp_path, node, module_args(cluster))
        probe = result["probe"]
        assert probe["errors"] == []
        assert probe["engines"]["receiver"]["tunnel"]["via"] == [f"{sshd.USER}@{node.address}:{node.port}"]
        assert probe["trials"][0]["reuse"]["cached_tokens"] == probe["trials"][0]["expected_hit"]
        assert probe["controller"]["http"]["state"] == "ok"
        assert "sk-secret" not in output

    def test_the_router_and_the_coordinator_are_reached_through_their_hosts(self, tmp_path, cluster, node):
        there = {"inventory_host": "decode-1"}
        ways = {"router_url": cluster.decode.url, "router_ssh": there, "coordinator_ssh": there}
        result, _output = run_module(tmp_path, node, {**module_args(cluster), **ways})
        asked = [one["request"] for one in result["probe"]["router"]["requests"]]
        assert [request["error"] for request in asked] == [None] * 4

    def test_host_keys_are_checked_unless_ansible_does_not(self, tmp_path, cluster, node):
        unknown = {"ansible_ssh_common_args": "-F none -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes"}
        result, _output = run_module(tmp_path, node, module_args(cluster), **unknown)
        assert result["probe"]["engines"]["holder"]["error"]["kind"] == "ssh"
        assert result["probe"]["trials"] == []
        result, _output = run_module(tmp_path, node, module_args(cluster), **unknown, ansible_host_key_checking=False)
        assert result["probe"]["errors"] == []

    def test_in_check_mode_nobody_logs_in(self, tmp_path, cluster, node):
        log = node.folder / "sshd.log"
        before = log.stat().st_size
        result, _output = run_module(tmp_path, node, module_args(cluster), "--check")
        assert result["probe"]["skipped"] == "check mode"
        assert log.stat().st_size == before

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"inventory_host": "nobody"}, "nobody is no host of the inventory"),
            ({"args": "-p 22"}, "holder.ssh.host is empty"),
            ({"host": "h", "args": "'"}, "holder.ssh.args cannot be split into words"),
        ],
    )
    def test_bad_input_is_one_clear_sentence(self, tmp_path, cluster, node, given, says):
        args = module_args(cluster)
        args["holder"]["ssh"] = given
        result, output = run_module(tmp_path, node, args)
        assert "localhost | FAILED!" in output
        assert says in result["msg"]
        assert "\n" not in result["msg"]
