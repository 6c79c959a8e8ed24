"""Two engines of one machine, each with port 8000 in a network namespace of its own, and what is read of them.

Run as root within `unshare --net`, which is the host here: nothing of it touches the machine's own network.  Prints, as
JSON, the NODE document of each way to an engine, both of them up and then with engine `a` killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from kvproof.node.engine import gather

ENGINE = """
import http.server, os, sys
ticks = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
boot = next(int(line.split()[1]) for line in open("/proc/stat") if line.startswith("btime"))
page = b"process_start_time_seconds %f\\n" % (boot + ticks / os.sysconf("SC_CLK_TCK"))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(page)
    def log_message(self, *args):
        pass
name = sys.argv[2].rpartition("/")[2]
line = "LMCache INFO: Reqid: cmpl-kvp-%s-0-be87fa18, Total tokens 743, Inference Engine computed tokens: 0, "
line += "LMCache hit tokens: 512, need to load: 512 (a.py:1:b)"
print("[2026-11-24 02:24:38,993]", line % name, file=sys.stderr, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Container:
    """An engine called `name` at 10.99.NUMBER.2, and at every address of 10.50.NUMBER.0/24, as behind NAT."""

    def __init__(self, folder: Path, name: str, number: int):
        self.name, self.address, self.natted = name, f"10.99.{number}.2", f"10.50.{number}.9"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        here = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == here:
            time.sleep(0.01)
        pid = str(self.holder.pid)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "addr", "add", f"10.99.{number}.1/24", "dev", f"v{number}")
        run("ip", "link", "set", f"v{number}", "up")
        for words in (
            f"addr add {self.address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add local 10.50.{number}.0/24 dev lo",
        ):
            run("nsenter", "--net", "--target", pid, "ip", *words.split())
        run("ip", "route", "add", f"10.50.{number}.0/24", "via", self.address)
        program = folder / name / "vllm"
        program.parent.mkdir()
        program.write_text(ENGINE)
        with open(folder / f"{name}.log", "wb") as log:
            words = ["nsenter", "--net", "--target", pid, sys.executable, str(program), "serve", f"/models/{name}"]
            self.engine = subprocess.Popen(words, stderr=log)
        self.wait()

    def wait(self) -> None:
        for _ in range(200):
            try:
                socket.create_connection((self.address, 8000), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"engine {self.name} does not listen")


def publish(port: int, address: str) -> None:
    """A port of the host that a program forwards, as rootless container runtimes do."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def serve(server: socket.socket) -> None:
        while True:
            near, _ = server.accept()
            try:
                far = socket.create_connection((address, 8000), 2)
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, args=(socket.create_server(("0.0.0.0", port)),), daemon=True).start()


def main(folder: Path) -> dict:
    run("ip", "link", "set", "lo", "up")
    a = Container(folder, "a", 1)
    time.sleep(0.3)  # engines that start in one tenth of a second are not told apart by their start
    b = Container(folder, "b", 2)
    for port, its in ((8001, a), (8002, b)):
        publish(port, its.address)
    ways = {
        "address": [(its.address, 8000) for its in (a, b)],
        "natted": [(its.natted, 8000) for its in (a, b)],
        "published": [("127.0.0.1", port) for port in (8001, 8002)],
    }

    def documents() -> dict:
        return {
            way: [gather(host=host, port=port, ids=[f"cmpl-kvp-{name}"]) for name, (host, port) in zip("ab", places)]
            for way, places in ways.items()
        }

    try:
        seen = {"pids": [a.engine.pid, b.engine.pid], "up": documents()}
        a.engine.send_signal(signal.SIGKILL)
        a.engine.wait()
        seen["killed"] = documents()
        a.holder.kill()
        a.holder.wait()
        seen["gone"] = documents()
        return seen
    finally:
        for process in (a.engine, b.engine, a.holder, b.holder):
            process.kill()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
