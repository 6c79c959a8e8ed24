# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A node is read and left as it is: every system call of the program that is piped into it, and all files around it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
if not shutil.which("strace"):
    pytest.skip("strace is not installed (Debian: apt-get install strace)", allow_module_level=True)

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots
from plugin_utils import node_program

CHANGES = (
    "creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,mknod,mknodat,"
    "chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,truncate,ftruncate,utimensat,utime,utimes,setxattr,mount,"
    "umount2,kill,tkill,tgkill,ptrace,setuid,setgid,setresuid,setresgid,reboot,sethostname,init_module"
)
FOR_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
NULL = '"/dev/null"'  # where a command's errors go
MOST_BYTES = 512 << 10  # of logs and files, for one look at an engine and its controller
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What a run asks of a host that is an engine's and the controller's, of a cluster that is up."""
    with Slots().take() as slot, Cluster(slot.lab(tmp_path_factory.mktemp("cluster"))) as cluster:
        for folder in (cluster.lab.dir, *cluster.lab.dir.parents):
            if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
                folder.chmod(0o755)
        command = {"command": ["cat", str(cluster.log("prefill"))]}
        yield {
            "lmcache_node_info": {
                "port": 8000,
                "host": cluster.addresses["prefill"],
                "log": {"file": str(cluster.log("decode"))},
                "ids": ["kvp-x"],
                "run_marker": "kvp-",
                "since": 1.0,
                "peers": [{"to": f"{cluster.addresses['decode']}:8200", "why": "peer-init"}],
                "controller_url": cluster.controller_url,
            },
            "lmcache_log_info": {"log": command, "ids": ["kvp-x"]},
            "lmcache_controller_info": {"url": cluster.controller_url},
        }


def tree(folder: Path) -> dict[str, tuple]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino, path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def traced(asked: dict, home: Path, trace: Path, user: int | None = None, python: str = sys.executable) -> dict:
    """The program's answer; every system call of it and its children that could change something is in ``trace``."""
    switch = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={CHANGES},open,openat,openat2", python, "-I", "-"],
        input=node_program.build(asked),
        capture_output=True,
        timeout=120,
        check=False,
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home)},
        **switch,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def changing(trace: Path) -> list[str]:
    """Calls that write, create, move, signal or become somebody else."""
    calls, lines = [], trace.read_text(errors="replace").splitlines()
    assert sum("openat(" in line for line in lines) > 20, "the trace is of this program"
    for line in lines:
        call = line.split(None, 1)[-1]
        if call.startswith(("---", "+++", "<...")):
            continue
        if call.startswith("open") and (not FOR_WRITING.search(call) or NULL in call):
            continue
        calls.append(call)
    return calls


def test_nothing_is_written_signalled_or_become(asked, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    before = tree(home)
    told = traced(asked, home, tmp_path / "trace")
    assert told["said"]["node"]["engine"]["running"], told
    assert told["said"]["log"]["state"] == "ok"
    # its own commands are ended with all that they started: signals go to sessions of its own making, and to no other
    signals = [call for call in changing(tmp_path / "trace") if call.startswith(("kill", "tkill", "tgkill"))]
    assert [call for call in changing(tmp_path / "trace") if call not in signals] == []
    started = set(re.findall(r"^(\d+) ", (tmp_path / "trace").read_text(), re.MULTILINE))
    assert {re.search(r"\((-?\d+)", call)[1].lstrip("-") for call in signals} <= started
    assert tree(home) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become nobody")
@pytest.mark.skipif(not os.path.exists(SYSTEM_PYTHON), reason=f"no {SYSTEM_PYTHON}, which everybody may run")
def test_a_user_who_may_write_nowhere_reads_as_much(asked, tmp_path):
    tmp_path.chmod(0o755)
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir(mode=0o555)
    trace.touch()
    trace.chmod(0o666)
    told = traced(asked, home, trace, NOBODY, SYSTEM_PYTHON)
    assert told["problems"] == []
    assert told["said"]["log"]["state"] == "ok"
    assert [call for call in changing(trace) if not call.startswith(("kill", "tkill", "tgkill"))] == []


def test_what_a_look_reads_is_bounded(asked, tmp_path):
    told = traced(asked, tmp_path, tmp_path / "trace")
    assert 0 < told["said"]["node"]["bytes_read"] < MOST_BYTES
