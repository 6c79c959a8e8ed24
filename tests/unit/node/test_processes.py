"""The ladder from a port to a process, on a process filesystem laid out for the test."""

from __future__ import annotations

import os

import pytest
from fake_proc import BOOT, FakeProc
from kvproof.node import processes, sockets
from kvproof.stack import commands

SERVE = ["/opt/venv/bin/python", "/opt/venv/bin/vllm", "serve", "/opt/model"]
SERVER = ["/opt/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/opt/model"]


def engine(proc: FakeProc, port: int = 8000, host: str | None = None, **how) -> processes.Process:
    return processes.find(port, host, commands.engine, str(proc), **how)


def test_the_sockets_owner_is_the_engine(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("127.0.0.97", 8000, 77)
    proc.add(50, [*SERVER, "--host", "127.0.0.97", "--port=8000"], sockets=[76, 77])
    proc.add(51, ["VLLM::EngineCore"], ppid=50, sockets=[77])  # inherits the socket
    found = engine(proc)
    assert (found.pid, found.found_by, found.running, found.unseen) == (50, "socket", True, [])
    assert found.listeners == [sockets.Listener("127.0.0.97", 8000, "77")]
    assert found.command.options == {"model": "/opt/model", "host": "127.0.0.97", "port": "8000"}
    assert processes.started_at(str(proc), 50) == BOOT + 100
    assert processes.owner(str(proc), 50) == processes.owner("/proc", os.getpid())


def test_children_with_a_title_lead_to_their_parent(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("0.0.0.0", 8000, 77)
    proc.add(50, [*SERVE, "--api-server-count", "2"])
    proc.add(51, ["VLLM::ApiServer_0"], ppid=50, sockets=[77])
    proc.add(52, ["VLLM::ApiServer_1"], ppid=50, sockets=[77])
    found = engine(proc)
    assert (found.pid, found.found_by) == (50, "socket")
    assert found.command.options["model"] == "/opt/model"


def test_two_engines_of_one_machine_are_told_apart_by_host(tmp_path):
    proc = FakeProc(tmp_path)
    for pid, host, inode in ((50, "127.0.0.13", 70), (60, "127.0.0.97", 71)):
        proc.listen(host, 8000, inode)
        proc.add(pid, [*SERVER, "--host", host], sockets=[inode])
    assert engine(proc, host="127.0.0.13").pid == 50
    assert engine(proc, host="127.0.0.97").pid == 60
    both = engine(proc)
    assert (both.pid, both.running) == (None, True)
    assert both.unseen == ["which of the processes 50, 60 is meant by port 8000: give the host, too"]


def test_an_unprivileged_user_finds_it_by_its_command_line(tmp_path):
    proc = FakeProc(tmp_path)
    for pid, host, inode in ((50, "127.0.0.13", 70), (60, "127.0.0.97", 71)):
        proc.listen(host, 8000, inode)
        proc.add(pid, [*SERVER, "--host", host, "--port", "8000"], sockets=[inode])
        proc.hide_descriptors(pid)
    found = engine(proc, host="127.0.0.97")
    assert (found.pid, found.found_by, found.running) == (60, "cmdline", True)
    assert found.unseen == ["pid of the socket"]
    with pytest.raises(OSError, match="environ"):
        processes.environ(str(proc), 60)
    assert processes.namespace(str(proc), 60) == (False, False)


@pytest.mark.parametrize(
    "words",
    [
        [*SERVE],  # 8000 is the default
        [*SERVE, "--port", "8000"],
        [*SERVER, "--port=8000"],
        ["vllm", "serve", "m"],
        ["python3.12", "-u", "-m", "vllm.entrypoints.openai.api_server"],
        ["/usr/bin/python3", "/x/vllm/entrypoints/openai/api_server.py"],
        [*SERVE, "--config", "/etc/vllm.yaml"],  # the port may stand there
    ],
)
def test_command_lines_of_an_engine_on_port_8000(tmp_path, words):
    proc = FakeProc(tmp_path)
    proc.add(50, words)
    assert engine(proc).pid == 50


@pytest.mark.parametrize(
    "words",
    [
        [*SERVE, "--port", "8001"],
        [*SERVE[:2], "bench", "serve", "--port", "8000"],
        ["sh", "-c", "vllm serve m --port 8000"],
        ["ssh", "node", "vllm", "serve", "m", "--port", "8000"],
        ["grep", "vllm.entrypoints.openai.api_server"],
        ["python3", "-c", "import vllm.entrypoints.openai.api_server"],
        ["VLLM::EngineCore"],
        [""],
    ],
)
def test_command_lines_that_are_no_engine_on_port_8000(tmp_path, words):
    proc = FakeProc(tmp_path)
    proc.add(50, words)
    found = engine(proc)
    assert (found.pid, found.running, found.unseen) == (None, False, [])


def test_nothing_there_is_known_only_where_everything_is_visible(tmp_path):
    proc = FakeProc(tmp_path, hidepid=True)
    found = engine(proc)
    assert (found.running, found.listeners, found.unseen) == (None, [], ["other users' processes"])


def test_a_listening_port_of_nobody_we_see(tmp_path):
    proc = FakeProc(tmp_path, hidepid=True)
    proc.listen("::", 8000, 70)
    found = engine(proc, host="10.0.0.17")
    assert (found.pid, found.running) == (None, None)
    assert found.listeners == [sockets.Listener("::", 8000, "70")]
    assert found.unseen == ["pid of the socket", "other users' processes"]


def test_a_process_that_is_no_vllm_is_taken_from_its_socket(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("127.0.0.13", 8000, 70)
    proc.add(50, ["python3", "rehearsal.py", "--port", "8000", "--api-key", "sk-1"], sockets=[70])
    found = engine(proc)
    assert (found.pid, found.found_by, found.command) == (50, "socket", None)


def test_behind_a_container_runtimes_proxy_is_the_engine(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("0.0.0.0", 8000, 70)
    proc.add(40, ["/usr/bin/docker-proxy", "-host-port", "8000"], sockets=[70])
    proc.add(50, [*SERVE, "--host", "0.0.0.0"], mnt="mnt:[2]", nspid="50\t1")
    found = engine(proc, host="10.0.0.17")
    assert (found.pid, found.found_by) == (50, "cmdline")
    assert processes.namespace(str(proc), 50) == (True, True)


def test_a_container_is_noticed_without_rights(tmp_path):
    proc = FakeProc(tmp_path)
    proc.add(50, SERVE, nspid="50\t1")
    proc.hide_descriptors(50)
    assert processes.namespace(str(proc), 50) == (True, False)
    assert processes.namespace(str(proc), 99999) == (True, False)


def test_an_engine_that_only_starts_up_runs_but_does_not_listen(tmp_path):
    proc = FakeProc(tmp_path)
    proc.add(50, SERVE)
    found = engine(proc)
    assert (found.pid, found.running, found.listeners) == (50, True, [])


def test_behind_nat_a_process_counts_that_is_shown_to_answer(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("10.0.0.17", 8000, 70)
    proc.add(50, [*SERVE, "--host", "10.0.0.17"], sockets=[70])
    alone = engine(proc, host="192.0.2.80")
    assert (alone.pid, alone.running, alone.others) == (None, None, [50])
    assert alone.unseen == [processes.NOT_SHOWN.format(8000)]
    shown = engine(proc, host="192.0.2.80", leads_to=lambda commands_of: (min(commands_of), "connection"))
    assert (shown.pid, shown.found_by, shown.listeners) == (
        50,
        "connection",
        [sockets.Listener("10.0.0.17", 8000, "70")],
    )


def test_a_connection_is_no_listener(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("10.0.0.17", 8001, 71, state="01")
    assert engine(proc, port=8001).listeners == []


class TwoContainers:
    """Two engines of one machine, each with port 8000 in a network namespace of its own, seen from the host's."""

    def __init__(self, folder, gone: int | None = None):
        self.proc = FakeProc(folder)
        for pid, name, address in ((50, "a", "10.88.0.2"), (60, "b", "10.88.0.3")):
            if pid != gone:
                self.proc.space(name, address, {8000: pid + 20})
                self.proc.add(pid, SERVE, sockets=[pid + 20], space=name, started=pid * 10)


def test_of_two_containers_with_one_port_the_address_decides(tmp_path):
    two = TwoContainers(tmp_path)
    found = engine(two.proc, host="10.88.0.3")
    assert (found.pid, found.found_by, found.unseen) == (60, "socket", [])
    two.proc.hide_descriptors(50)
    found = engine(two.proc, host="10.88.0.2")
    assert (found.pid, found.found_by, found.unseen) == (50, "cmdline", ["pid of the socket"])


@pytest.mark.parametrize("host", ["10.88.0.2", "10.0.0.17", "127.0.0.1", None])
def test_an_engine_that_is_gone_is_not_its_neighbour(tmp_path, host):
    found = engine(TwoContainers(tmp_path, gone=50).proc, host=host)
    assert (found.pid, found.command, found.running, found.others) == (None, None, None, [60])
    assert found.unseen == [processes.NOT_SHOWN.format(8000)]


def test_an_engine_that_is_gone_from_a_namespace_that_stayed(tmp_path):
    two = TwoContainers(tmp_path, gone=50)
    two.proc.space("a", "10.88.0.2", {})
    two.proc.add(51, [*SERVE, "--port", "8001"], space="a")
    found = engine(two.proc, host="10.88.0.2")
    assert (found.pid, found.running, found.listeners, found.unseen) == (None, False, [], [])


def test_an_engine_on_the_host_is_not_one_whose_container_is_gone(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("0.0.0.0", 8000, 70)
    proc.add(50, SERVE, sockets=[70])
    assert engine(proc, host="10.88.0.2").pid is None
    assert engine(proc, host="10.0.0.17").pid == 50


def test_an_engine_bound_to_another_address_of_the_host_is_another(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("10.0.0.17", 8000, 70)
    proc.add(50, [*SERVE, "--host", "10.0.0.17"], sockets=[70])
    proc.hide_descriptors(50)
    assert engine(proc, host="127.0.0.1").pid is None


def test_an_engine_whose_port_stands_in_a_file_and_that_listens_on_another_is_another(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("0.0.0.0", 8100, 70)
    proc.add(50, [*SERVE, "--config", "/etc/vllm.yaml"], sockets=[70])
    assert engine(proc).pid is None
    assert engine(proc, port=8100).pid == 50


def test_docker_proxy_says_whose_port_it_publishes(tmp_path):
    two = TwoContainers(tmp_path)
    two.proc.listen("0.0.0.0", 8001, 70)
    words = ["/usr/bin/docker-proxy", "-host-port", "8001", "-container-ip", "10.88.0.3", "-container-port", "8000"]
    two.proc.add(40, words, sockets=[70])
    found = engine(two.proc, port=8001, host="10.0.0.17")
    assert (found.pid, found.found_by, found.listeners[0].port) == (60, "socket", 8000)


def test_the_environment_passes_the_allow_list(tmp_path):
    proc = FakeProc(tmp_path)
    proc.add(
        50,
        SERVE,
        env={
            "PYTHONHASHSEED": "0",
            "HF_TOKEN": "hf_x",
            "LMCACHE_P2P_HOST": "10.0.0.17",
            "LMCACHE_REMOTE_URL": "redis://u:p@h:1",
        },
    )
    assert processes.environ(str(proc), 50) == {
        "PYTHONHASHSEED": "0",
        "LMCACHE_P2P_HOST": "10.0.0.17",
        "LMCACHE_REMOTE_URL": "redis://h:1",
    }


@pytest.mark.parametrize(
    ("fds", "target"),
    [
        ({"1": "/var/log/out.log", "2": "/var/log/vllm.log"}, ("file", "/var/log/vllm.log")),
        ({"1": "/var/log/out.log", "2": "pipe:[4]"}, ("file", "/var/log/out.log")),
        ({"1": "/dev/pts/0", "2": "/var/log/gone.log (deleted)"}, ("file", "/var/log/gone.log")),
        ({"1": "socket:[9]", "2": "socket:[9]"}, ("unit", "vllm@0.service")),
    ],
)
def test_where_the_engine_writes_its_log(tmp_path, fds, target):
    proc = FakeProc(tmp_path)
    proc.add(50, SERVE, fds=fds, cgroup="0::/system.slice/system-vllm.slice/vllm@0.service\n")
    assert processes.output_target(str(proc), 50)[:2] == target


@pytest.mark.parametrize("fds", [{"1": "/dev/null", "2": "/dev/null"}, {"2": "pipe:[4]"}, {}])
def test_a_log_that_goes_nowhere_we_can_follow(tmp_path, fds):
    proc = FakeProc(tmp_path)
    proc.add(50, SERVE, fds=fds)
    assert processes.output_target(str(proc), 50) is None


def test_paths_of_another_namespace_go_through_its_root(tmp_path):
    proc = FakeProc(tmp_path)
    proc.add(50, SERVE)
    assert processes.resolve_path(str(proc), 50, "/etc/a.yaml", True) == f"{proc}/50/root/etc/a.yaml"
    assert processes.resolve_path(str(proc), 50, "a.yaml", True) == f"{proc}/50/root/srv/engine/a.yaml"
    assert processes.resolve_path(str(proc), 50, "a.yaml", False) == "/srv/engine/a.yaml"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (
            [
                "python3",
                "/opt/venv/bin/lmcache_controller",
                "--host",
                "127.0.0.5",
                "--port",
                "9100",
                "--monitor-ports",
                '{"pull": 8300, "reply": 8400, "heartbeat": 8500}',
            ],
            {"host": "127.0.0.5", "port": 9100, "monitor_ports": {"pull": 8300, "reply": 8400, "heartbeat": 8500}},
        ),
        (
            ["python3", "-m", "lmcache.v1.api_server", '--monitor-ports={"pull":8300,"reply":8400}'],
            {"host": "0.0.0.0", "port": 9000, "monitor_ports": {"pull": 8300, "reply": 8400, "heartbeat": None}},
        ),
        (
            ["lmcache_controller", "--host", "localhost", "--monitor-port", "9002"],
            {"host": "localhost", "port": 9000, "monitor_ports": {"pull": 9002, "reply": None, "heartbeat": None}},
        ),
        (
            ["lmcache_controller", "--monitor-ports", "not json"],
            {"host": "0.0.0.0", "port": 9000, "monitor_ports": {"pull": 9001, "reply": None, "heartbeat": None}},
        ),
    ],
)
def test_command_lines_of_a_controller(words, options):
    assert commands.controller_options(commands.controller(words).options) == options


def test_no_controller():
    assert commands.controller(["python3", "-m", "http.server", "9000"]) is None
    assert commands.controller([]) is None
