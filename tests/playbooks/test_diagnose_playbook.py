"""playbooks/diagnose.yml as a user runs it, in a folder of its own."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import packed, ran

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = [sys.executable, "-m", "ansible", "playbook"]
PASTED = ROOT / "tests" / "fixtures" / "pasted"


def diagnose(folder: Path, *words: str, **given) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "KV_REUSE_"))}
    variables = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    return subprocess.run(
        [*PLAYBOOK, str(ROOT / "playbooks" / "diagnose.yml"), *variables, *words],
        cwd=folder,
        env={**kept, "ANSIBLE_HOME": str(folder / ".ansible"), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def bundled(folder: Path, *names: str) -> bytes:
    """Puts a run's bundle into the folder; its verdict.json."""
    run, doc = ran(*names)
    (folder / "bundle.json.gz").write_bytes(packed(run, doc))
    return (json.dumps(doc, indent=2) + "\n").encode()


@pytest.mark.parametrize(
    ("names", "code"), [(["healthy"], 0), (["healthy", "hashseed_differs"], 2)], ids=["pass", "fail"]
)
def test_a_bundle_is_judged_again(tmp_path, names, code):
    verdict = bundled(tmp_path, *names)
    done = diagnose(tmp_path, bundle="bundle.json.gz")
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "reports" / "diagnosis" / "verdict.json").read_bytes() == verdict
    assert "byte for byte" in done.stdout
    assert ("hash-seed-differs" in done.stdout) == (code == 2)


def test_the_folder_can_be_chosen(tmp_path):
    bundled(tmp_path, "healthy")
    assert diagnose(tmp_path, bundle="bundle.json.gz", reports_dir="again").returncode == 0
    assert (tmp_path / "again" / "verdict.json").exists()


def test_check_mode_judges_and_writes_nothing(tmp_path):
    bundled(tmp_path, "healthy")
    assert diagnose(tmp_path, "--check", bundle="bundle.json.gz").returncode == 0
    assert not (tmp_path / "reports").exists()


def test_a_pasted_thread_names_its_class_and_never_passes(tmp_path):
    done = diagnose(tmp_path, paste=PASTED / "ASYNC_OFF.two_yaml_files.txt")
    assert done.returncode == 2
    assert "CAUSE ASYNC_OFF" in done.stdout
    doc = json.loads((tmp_path / "reports" / "diagnosis" / "diagnosis.json").read_text())
    assert (doc["schema"], doc["class"]) == ("kvproof.diagnosis/1", "ASYNC_OFF")
    assert "ASYNC" in (tmp_path / "reports" / "diagnosis" / "diagnosis.md").read_text()


def test_logs_of_a_working_pair_are_inconclusive(tmp_path):
    logs = ROOT / "tests" / "fixtures" / "logs"
    done = diagnose(tmp_path, prefill_log=logs / "healthy_prefill.log", decode_log=logs / "healthy_decode.log")
    assert done.returncode == 2
    assert "INCONCLUSIVE" in done.stdout
    assert "To collect next" in done.stdout


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    fatal = next(line for line in done.stdout.splitlines() if line.startswith("fatal:"))
    return json.loads(fatal.partition("=> ")[2])["msg"]


def test_a_damaged_bundle_is_told(tmp_path):
    bundled(tmp_path, "healthy")
    path = tmp_path / "bundle.json.gz"
    path.write_bytes(path.read_bytes()[:3000])
    assert "bundle.json.gz cannot be judged: it is damaged" in refused(diagnose(tmp_path, bundle=path))
    assert not (tmp_path / "reports").exists()


def test_a_newer_bundle_is_told(tmp_path):
    newer = {"schema": "kvproof.bundle/2", "tool": "9.0"}
    (tmp_path / "b").write_bytes(gzip.compress(json.dumps(newer).encode()))
    assert "kvproof.bundle/2 of kvproof 9.0" in refused(diagnose(tmp_path, bundle="b"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "nothing to diagnose. Give -e bundle="),
        ({"paste": "absent.txt"}, "cannot read absent.txt: No such file"),
        ({"paste": "empty.txt"}, "is empty"),
        ({"paste": "empty.txt", "bundle": "x"}, "either a bundle or pasted material"),
    ],
    ids=["nothing", "absent", "empty", "both"],
)
def test_what_cannot_be_diagnosed_is_told_in_one_sentence(tmp_path, given, says):
    (tmp_path / "empty.txt").write_text("\n")
    assert says in refused(diagnose(tmp_path, **given))
