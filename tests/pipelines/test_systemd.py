# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of examples/systemd: run as they stand, and what node_exporter, Prometheus and its alerts then say."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

pytest.importorskip("ansible")

from installed import BIN, environment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
UNITS = EXAMPLES / "systemd"
SERVICE = (UNITS / "kv-reuse.service").read_text(encoding="utf-8")
SERVERS = ("prometheus", "prometheus-node-exporter")
PAIR = {"cluster": "c001", "holder": "c001-prefill", "receiver": "c001-decode"}


def values(key: str, unit: str = SERVICE) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


class Machine:
    """Folders in the place of those that the unit names, where its lines run as systemd would run them."""

    def __init__(self, folder: Path, collections: Path, inventory: Path):
        self.folder = folder
        self.state = folder / "var/lib/kvproof"
        self._places = {
            "/opt/kvproof/venv/bin": str(BIN),
            "/opt/kvproof/collections": str(collections),
            "/etc/kvproof/inventory": str(inventory),
            "/var/lib": str(folder / "var/lib"),
        }
        for name in values("StateDirectory")[0].split():
            (folder / "var/lib" / name).mkdir(parents=True)
        self.textfiles = folder / "var/lib/prometheus/node-exporter"
        self.textfiles.mkdir(parents=True)
        (_comment, rule) = (UNITS / "kv-reuse.tmpfiles.conf").read_text().rstrip().rsplit("\n", 1)
        _kind, link, *_rest, target = self.placed(rule).split()
        Path(link).symlink_to(target)

    def placed(self, line: str) -> str:
        for place, here in self._places.items():
            line = line.replace(place, here)
        return line

    def begin(self, *more: str) -> subprocess.Popen:
        """Runs what the service runs."""
        told = dict(self.placed(pair).split("=", 1) for pair in values("Environment"))
        del told["HOME"]  # SSH's sockets are there, whose paths have to be short
        (start,) = values("ExecStart")
        return subprocess.Popen(
            [*shlex.split(self.placed(start)), *more],
            cwd=self.state,
            env=environment(self.state, **told),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Runs what the service runs when it has ended, up to what fails, as systemd does."""
        for line in values("ExecStopPost"):
            if subprocess.run(shlex.split(self.placed(line)), check=False).returncode:
                break

    def start(self, *more: str) -> int:
        """The service from its begin to its end; its exit code."""
        code = self.begin(*more).wait(300)
        self.end()
        return code


@pytest.fixture
def machine(tmp_path, collections, clusters) -> Machine:
    return Machine(tmp_path, collections, clusters)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_has_nothing_to_complain_of(tmp_path):
    for name in ("kv-reuse.service", "kv-reuse.timer"):
        unit = (UNITS / name).read_text().replace("/opt/kvproof/venv/bin/ansible-playbook", "/usr/bin/true")
        (tmp_path / name).write_text(unit)
    command = ["systemd-analyze", "verify", "kv-reuse.service", "kv-reuse.timer"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-tmpfiles"), reason="systemd is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="systemd-sysusers wants root")
def test_the_user_and_the_link_are_made(tmp_path):
    for kind, folder in (("sysusers", "etc/sysusers.d"), ("tmpfiles", "etc/tmpfiles.d")):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(UNITS / f"kv-reuse.{kind}.conf", tmp_path / folder)
        command = [f"systemd-{kind}", f"--root={tmp_path}", "kv-reuse." + kind + ".conf"]
        more = ["--create"] if kind == "tmpfiles" else []
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.replace("Creating", "").count("rror")) == (0, 0), done.stderr
    assert values("User") == [(tmp_path / "etc/passwd").read_text().splitlines()[0].split(":")[0]]
    (install,) = [line for line in values("ExecStopPost") if "/mv " in line]
    link = tmp_path / "var/lib/prometheus/node-exporter/kv_reuse.prom"
    assert os.readlink(link) == shlex.split(install)[-1]


def test_metrics_of_a_failing_run_stay_while_the_next_one_runs_and_one_that_is_killed_is_told(machine):
    assert machine.start() == 2
    link, reports = machine.textfiles / "kv_reuse.prom", machine.state / "reports"
    failing = link.read_text()
    assert 'kv_reuse_verdict{cluster="c001",holder="c001-prefill",receiver="c001-decode"} 0.0' in failing
    assert failing == (reports / "kv_reuse.prom").read_text()
    assert link.stat().st_mode & 0o777 == 0o644, "node_exporter runs as another user"
    assert [path.name for path in (machine.state / "metrics").iterdir()] == ["kv_reuse.prom"]
    running = machine.begin()
    try:
        prom = reports / "kv_reuse.prom"
        eventually(lambda: "kv_reuse_run_complete 0.0" in prom.read_text(), prom.read_text)
        assert link.read_text() == failing
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    machine.end()
    assert "kv_reuse_run_complete 0.0" in link.read_text()


def test_a_machine_on_which_ansible_does_not_start_keeps_what_it_had(machine):
    machine.end()
    assert not (machine.textfiles / "kv_reuse.prom").exists()
    assert list((machine.state / "metrics").iterdir()) == []


def free_address(last: int) -> str:
    """One of this machine alone, and a port of it that nobody has."""
    host = f"127.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.{last}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


@contextmanager
def server(folder: Path, words: list[str], ready: str) -> Iterator[None]:
    """A server of others that this test starts, until it answers."""
    log = folder / f"{words[0]}.log"
    with log.open("wb") as out:
        started = subprocess.Popen(words, cwd=folder, stdout=out, stderr=out)
    try:
        eventually(lambda: started.poll() is None and get(ready) is not None, lambda: log.read_text()[-2000:])
        yield
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(60)


def get(url: str, **parameters: str) -> requests.Response | None:
    try:
        answer = requests.get(url, params=parameters, timeout=10, proxies={"http": ""})
    except requests.ConnectionError:
        return None
    return answer if answer.ok else None


def eventually(is_so: Callable[[], Any], why: Callable[[], object]) -> None:
    ends = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < ends, why()
        time.sleep(0.2)


class Prometheus:
    """What it answers."""

    def __init__(self, url: str):
        self.url = url

    def series(self, expression: str) -> list[tuple[dict, float]]:
        answer = get(f"{self.url}/api/v1/query", query=expression)
        result = answer.json()["data"]["result"] if answer else []
        return [(one["metric"], float(one["value"][1])) for one in result]

    def alerts(self) -> list[tuple[str, str]]:
        """(alert, cluster) of those that fire."""
        found = get(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]
        firing = [one["labels"] for one in found if one["state"] == "firing"]
        return sorted((labels["alertname"], labels.get("cluster", "")) for labels in firing)


@pytest.fixture
def prometheus(machine) -> Iterator[Prometheus]:
    """Prometheus with the rules of examples/prometheus, scraping a node_exporter that reads the machine's folder."""
    missing = [name for name in SERVERS if not shutil.which(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (Debian: apt-get install {' '.join(SERVERS)})")
    exporter, address = free_address(9), free_address(90)
    shutil.copy(EXAMPLES / "prometheus" / "kv_reuse.rules.yml", machine.folder)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["kv_reuse.rules.yml"],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [exporter]}]}],
    }
    (machine.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    read = ["--collector.disable-defaults", "--collector.textfile"]
    where = [f"--collector.textfile.directory={machine.textfiles}", f"--web.listen-address={exporter}"]
    scrape = [f"--storage.tsdb.path={machine.folder}/tsdb", f"--web.listen-address={address}"]
    with (
        server(machine.folder, ["prometheus-node-exporter", *read, *where], f"http://{exporter}/metrics"),
        server(machine.folder, ["prometheus", "--config.file=prometheus.yml", *scrape], f"http://{address}/-/ready"),
    ):
        yield Prometheus(f"http://{address}")


def test_prometheus_scrapes_what_the_service_left_and_its_alerts_fire_and_end(machine, prometheus):
    eventually(lambda: prometheus.series("node_textfile_scrape_error") != [], lambda: "node_exporter was not scraped")
    assert prometheus.series("kv_reuse_verdict") == []
    assert machine.start() == 2
    eventually(prometheus.alerts, lambda: prometheus.series('{__name__=~"kv_reuse.*"}'))
    assert prometheus.alerts() == [("KvReuseBroken", "c001")]
    assert [number for _labels, number in prometheus.series("node_textfile_scrape_error")] == [0]
    verdicts = {labels["cluster"]: number for labels, number in prometheus.series("kv_reuse_verdict")}
    assert verdicts == {"c000": 1, "c001": 0}
    ((labels, _one),) = prometheus.series('kv_reuse_finding{role="cause"}')
    assert labels["finding"] == "p2p-disabled"
    assert {key: labels[key] for key in PAIR} == PAIR
    (state, *_more) = prometheus.series("kv_reuse_link_state == 0")
    assert state[0]["cluster"] == "c001"

    assert machine.start("--limit", "c000*") == 0
    eventually(lambda: prometheus.alerts() == [], prometheus.alerts)
    assert [labels["cluster"] for labels, number in prometheus.series("kv_reuse_verdict == 1")] == ["c000"]
    assert prometheus.series("kv_reuse_run_complete")[0][1] == 1
