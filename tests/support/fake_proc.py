"""Lays out a process filesystem in a folder, as far as the node side reads one."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

BOOT = 1795480000
TICKS = os.sysconf("SC_CLK_TCK")


class FakeProc:
    """`str(proc)` is its path.  Process 1 and `self` are there from the start."""

    def __init__(self, folder: Path, hidepid: bool = False):
        self.folder = folder / "proc"
        (self.folder / "net").mkdir(parents=True)
        (self.folder / "stat").write_text(f"cpu  1 2 3\nbtime {BOOT}\nprocesses 9\n")
        self.tcp, self.tcp6 = [], []
        self._write_net()
        self.spaces: dict[str, Path] = {}
        self.add(4321, ["python3"], link_self=True)
        if not hidepid:
            self.add(1, ["/sbin/init"])

    def __str__(self) -> str:
        return str(self.folder)

    def _write_net(self) -> None:
        head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        self.head = head
        (self.folder / "net" / "tcp").write_text(head + "".join(self.tcp))
        (self.folder / "net" / "tcp6").write_text(head + "".join(self.tcp6))
        (self.folder / "net" / "fib_trie").write_text(
            "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
            "     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           /32 host LOCAL\n"
            "        |-- 127.255.255.255\n           /32 link BROADCAST\n"
            "     |-- 10.0.0.17\n        /32 host LOCAL\n"
        )
        (self.folder / "net" / "if_inet6").write_text(
            "00000000000000000000000000000001 01 80 10 80       lo\n"
            "fe80000000000000025056fffe000001 02 40 20 80     eth0\n"
        )

    def space(self, name: str, address: str, listeners: dict[int, int]) -> None:
        """Another network namespace with an address of its own, and ports → inodes that are listened on there."""
        net = self.spaces[name] = self.folder.parent / f"net-{name}"
        net.mkdir()
        rows = [self.row("0.0.0.0", port, inode) for port, inode in listeners.items()]
        (net / "tcp").write_text(self.head + "".join(rows))
        (net / "fib_trie").write_text(f"Main:\n  |-- {address}\n     /32 host LOCAL\n")

    def listen(self, address: str, port: int, inode: int, state: str = "0A") -> None:
        (self.tcp6 if ":" in address else self.tcp).append(self.row(address, port, inode, state))
        self._write_net()

    @staticmethod
    def row(address: str, port: int, inode: int, state: str = "0A") -> str:
        """A line of /proc/net/tcp or tcp6."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        raw = socket.inet_pton(family, address)
        words = "".join(f"{word:08X}" for word in struct.unpack(f"={len(raw) // 4}I", raw))
        return (
            f"   0: {words}:{port:04X} {'0' * len(words)}:0000 {state} 00000000:00000000 00:00000000 00000000 "
            f"1000        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
        )

    def add(
        self,
        pid: int,
        words: list[str],
        *,
        ppid: int = 1,
        env: dict | None = None,
        sockets=(),
        fds: dict | None = None,
        mnt: str = "mnt:[1]",
        nspid: str | None = None,
        link_self: bool = False,
        environ: bool = True,
        cgroup: str = "0::/system.slice/x.scope\n",
        space: str | None = None,
        started: float = 100.0,
    ) -> None:
        folder = self.folder / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "fd").mkdir()
        (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
        (folder / "stat").write_text(
            f"{pid} (a b) c) S {ppid} " + " ".join(["0"] * 17) + f" {int(started * TICKS)} 0 0\n"
        )
        (folder / "status").write_text(f"Name:\tx\nNSpid:\t{nspid or pid}\n")
        (folder / "cgroup").write_text(cgroup)
        if mnt:
            (folder / "ns" / "mnt").symlink_to(mnt)
        (folder / "cwd").symlink_to("/srv/engine")
        for number, inode in enumerate(sockets, start=10):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
        for number, target in (fds or {}).items():
            (folder / "fd" / str(number)).symlink_to(target)
        if environ:
            (folder / "environ").write_bytes(
                b"\0".join(f"{name}={value}".encode() for name, value in (env or {}).items()) + b"\0"
            )
        net = folder / "net"
        net.symlink_to(self.spaces[space] if space else self.folder / "net")
        if link_self:
            (self.folder / "self").symlink_to(str(pid))

    def hide_descriptors(self, pid: int) -> None:
        """As for another user's process: neither descriptors nor environment nor namespaces."""
        folder = self.folder / str(pid)
        for entry in (folder / "fd").iterdir():
            entry.unlink()
        (folder / "fd").rmdir()
        (folder / "fd").write_text("")  # listing it fails, as it does without permission
        (folder / "environ").unlink()
        (folder / "environ").mkdir()  # reading it fails
        (folder / "ns" / "mnt").unlink()
        (folder / "cwd").unlink()
