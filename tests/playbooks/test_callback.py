"""The callback in real playbook runs, whose tasks say what the role's tasks would say (fixtures/callback)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from callback_project import PAIR, PROJECT, judged
from kvproof.report import bundle, views

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]


def test_a_pass_is_printed_and_written(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    doc = project.report()
    assert (doc["status"], doc["verdict"], doc["exit_code"], doc["run_id"]) == ("complete", "pass", 0, "r1")
    assert done.stdout.rstrip().endswith("exit code 0  pairs were judged, and none failed")
    assert f"reports    {project.folder}/reports" in done.stdout
    assert "\x1b" not in done.stdout
    names = sorted(views.NAMES)
    assert sorted(path.name for path in (project.folder / "reports").iterdir()) == names


def test_a_failure_is_the_tasks_and_the_report_says_why(project):
    project.inventory(prefill={}, decode=judged("sync_loading"))
    done = project.run()
    assert done.returncode == 2
    assert (project.report()["verdict"], project.report()["exit_code"]) == ("fail", 2)
    assert " ✗ async-loading-off  Asynchronous loading is off, so P2P is never asked" in done.stdout


def test_the_gates_refusal_is_the_report(project):
    project.inventory({"pairs": []}, prefill={})
    hosts = json.loads((project.folder / "hosts.json").read_text())
    hosts["all"]["vars"]["said_plan"].update(failed=True, msg="no decode node")
    (project.folder / "hosts.json").write_text(json.dumps(hosts))
    done = project.run()
    assert done.returncode == 2
    assert project.report()["problems"] == ["no decode node"]
    assert " ✗ no decode node\nINCONCLUSIVE  no pair was judged" in done.stdout


def test_a_module_that_did_not_run_is_told_in_its_own_words(project):
    project.inventory(prefill={}, decode={"ansible_python_interpreter": "/nowhere/python3", "said_module": True})
    assert project.run().returncode == 2
    assert "/nowhere/python3: " in project.report()["clusters"][0]["not_judged"][0]["reason"]


def test_a_host_that_failed_before_its_verdict_is_not_dropped(project):
    other = {"cluster": "healthy", "holder": "prefill", "receiver": "decode2"}
    project.inventory(
        {"pairs": [PAIR, other]}, prefill={}, decode=judged("healthy"), decode2={"said_trouble": "no such log"}
    )
    done = project.run()
    assert done.returncode == 2
    cluster = project.report()["clusters"][0]
    assert cluster["verdict"] == "inconclusive"
    assert cluster["not_judged"][0]["reason"] == 'decode2: task "kv_reuse : Read the node" failed: no such log'
    assert ' ? prefill → decode2 not judged: decode2: task "kv_reuse : Read the node" failed' in done.stdout


SSH = {"said_ssh": True, "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh client here")
def test_an_unreachable_host_is_not_dropped(project):
    project.inventory(prefill={}, decode={**SSH})
    done = project.run()
    assert done.returncode == 4
    doc = project.report()
    assert doc["exit_code"] == 4
    reason = doc["clusters"][0]["not_judged"][0]["reason"]
    assert reason.startswith('decode: task "kv_reuse : Reach the node" could not reach the host: ')


@pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh client here")
def test_an_unreachable_host_that_is_judged_all_the_same_is_no_problem(project):
    project.inventory(prefill={}, decode={**SSH, **judged("healthy"), "said_ignore": True})
    done = project.run("validate.yml", "-e", "said_ignore=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.report()["verdict"] == "pass"


def test_an_exit_code_of_0_without_a_verdict_is_called_no_pass(project):
    project.inventory(prefill={}, decode={})
    done = project.run()
    assert done.returncode == 0
    assert (project.report()["verdict"], project.report()["run_fails"]) == ("inconclusive", True)
    assert " ✗ no task failed, so Ansible exits with 0 although this run is no pass" in done.stdout


def test_the_role_included_at_run_time_reports_too(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    assert project.run("dynamic.yml").returncode == 0
    assert project.report()["verdict"] == "pass"


def test_other_playbooks_see_nothing_of_it(project):
    project.inventory(prefill={})
    done = project.run("other.yml")
    assert done.returncode == 0
    assert "KV reuse" not in done.stdout
    assert not (project.folder / "reports").exists()


def test_no_green_report_survives_a_run_that_ends_before_its_end(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    assert project.run().returncode == 0
    assert project.run("broken_end.yml").returncode not in (0, 2)
    assert (project.report()["status"], project.report()["verdict"]) == ("incomplete", None)
    reports = project.folder / "reports"
    assert "INCOMPLETE" in (reports / "summary.md").read_text()
    assert 'type="incomplete"' in (reports / "junit.xml").read_text()
    assert "kv_reuse_run_complete 0.0" in (reports / "kv_reuse.prom").read_text()


def test_a_killed_run_leaves_an_incomplete_report(project):
    project.inventory(prefill={}, decode={**judged("healthy"), "said_hang": True})
    (project.folder / "reports").mkdir()
    (project.folder / "reports" / "verdict.json").write_text('{"status": "complete", "verdict": "pass"}')
    started = subprocess.Popen(
        project.command("validate.yml", "-e", "said_hang=true"),
        cwd=project.folder,
        env=project.environment({}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while project.report()["status"] == "complete" and started.poll() is None:
            time.sleep(0.1)
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert (project.report()["status"], project.report()["verdict"]) == ("incomplete", None)


def test_a_folder_that_cannot_be_written_is_one_warning(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    (project.folder / "reports").write_text("a file")
    done = project.run()
    assert done.returncode == 0
    assert done.stderr.count("WARNING") == 1
    assert "cannot make the folder" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "PASS  1 of 1 pairs passed" in done.stdout
    assert "\nreports  " not in done.stdout


@pytest.mark.parametrize("how", ["environment", "plan", "command line", "inventory"])
def test_the_folder_can_be_chosen(project, how):
    project.inventory(
        {"reports_dir": "elsewhere"} if how != "environment" else None,
        prefill={"kv_reuse_reports_dir": "elsewhere"} if how == "inventory" else {},
        decode=judged("healthy"),
    )
    more = ("-e", "kv_reuse_reports_dir=elsewhere") if how == "command line" else ()
    environment = {"KV_REUSE_REPORTS_DIR": "elsewhere"} if how == "environment" else {}
    assert project.run("validate.yml", *more, **environment).returncode == 0
    assert project.report("elsewhere")["verdict"] == "pass"
    assert not (project.folder / "reports").exists()


def test_another_runs_report_is_left_alone_when_the_folder_is_chosen_on_the_command_line(project):
    project.inventory({"reports_dir": "elsewhere"}, prefill={}, decode=judged("healthy"))
    (project.folder / "reports").mkdir()
    (project.folder / "reports" / "verdict.json").write_text("another's")
    assert project.run("validate.yml", "-e", "kv_reuse_reports_dir=elsewhere").returncode == 0
    assert (project.folder / "reports" / "verdict.json").read_text() == "another's"


def test_colours_are_ansibles_own(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    coloured = project.run("validate.yml", ANSIBLE_FORCE_COLOR="1", ANSIBLE_LOG_PATH="run.log")
    assert "\x1b[0;32m✓\x1b[0m" in coloured.stdout
    logged = (project.folder / "run.log").read_text(encoding="utf-8")
    assert "✓  3 cache layer up" in logged
    assert "\x1b[0;32m✓" not in logged


def test_beside_any_stdout_callback(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    done = project.run("validate.yml", ANSIBLE_STDOUT_CALLBACK="minimal")
    assert "PASS  1 of 1 pairs passed" in done.stdout


def test_a_stdout_callback_that_prints_json_stays_alone_on_the_standard_output(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    plugin = (
        "from ansible.plugins.callback import CallbackBase\n"
        "class CallbackModule(CallbackBase):\n"
        "    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, 'stdout', 'json'\n"
        "    def v2_playbook_on_stats(self, stats):\n"
        "        print('{}')\n"
    )
    (project.folder / "more").mkdir()
    (project.folder / "more" / "json.py").write_text(plugin)
    done = project.run("validate.yml", ANSIBLE_STDOUT_CALLBACK="json", ANSIBLE_CALLBACK_PLUGINS="more")
    assert json.loads(done.stdout) == {}
    assert "PASS  1 of 1 pairs passed" in done.stderr


def test_a_job_of_githubs_has_its_annotation_and_its_summary(project):
    project.inventory(prefill={}, decode=judged("sync_loading"))
    summary = project.folder / "step_summary"
    summary.write_text("earlier steps\n")
    done = project.run("validate.yml", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert len([line for line in done.stdout.splitlines() if line.startswith("::error title=KV reuse")]) == 1
    assert summary.read_text() == "earlier steps\n" + (project.folder / "reports" / "summary.md").read_text()
    elsewhere = project.run("validate.yml", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(project.folder))
    assert "Is a directory" in elsewhere.stdout + elsewhere.stderr


@pytest.mark.parametrize("enabled", [{}, {"ANSIBLE_CALLBACKS_ENABLED": "kvproof.cluster.kv_reuse_report"}])
def test_as_a_collection_it_reports_once(project, enabled):
    collection = project.folder / "ansible_collections" / "kvproof" / "cluster"
    (collection / "plugins").mkdir(parents=True)
    (collection / "playbooks").mkdir()
    for link, target in (
        ("plugins/callback", ROOT / "callback_plugins"),
        ("plugins/module_utils", ROOT / "module_utils"),
        ("plugins/action", PROJECT / "action_plugins"),
        ("roles", PROJECT / "roles"),
        ("playbooks/callback_plugins", ROOT / "callback_plugins"),
        ("playbooks/validate.yml", PROJECT / "validate.yml"),
    ):
        (collection / link).symlink_to(target)
    shutil.rmtree(project.folder / "roles")
    project.inventory(prefill={}, decode=judged("healthy"))
    done = project.run("kvproof.cluster.validate", ANSIBLE_COLLECTIONS_PATH=str(project.folder), **enabled)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS  1 of 1 pairs passed") == 1
    assert project.report()["verdict"] == "pass"


def test_marks_fall_back_to_ascii(project):
    project.inventory(prefill={}, decode=judged("sync_loading"))
    done = project.run("validate.yml", PYTHONIOENCODING="ascii")
    assert "   X  4 configured alike" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_secrets_of_task_arguments_do_not_get_into_the_reports(project):
    project.inventory(prefill={}, decode={**judged("healthy"), "kv_reuse_api_key": "sesame-7f3a"})
    project.run()
    assert all("sesame" not in path.read_text() for path in (project.folder / "reports").iterdir())


def test_a_bundle_is_written_when_asked_for_and_an_earlier_one_does_not_stay(project):
    old = project.folder / "reports" / "bundle.json.gz"
    old.parent.mkdir()
    old.write_bytes(b"of an earlier run")
    project.inventory({"bundle": True}, prefill={}, decode=judged("healthy"))
    assert project.run().returncode == 0
    document = bundle.unpack(old.read_bytes())
    assert (document["schema"], document["verdict"]) == ("kvproof.bundle/1", "pass")
    assert document["verdict_sha256"] == hashlib.sha256((old.parent / "verdict.json").read_bytes()).hexdigest()


def test_no_bundle_is_written_unasked(project):
    project.inventory(prefill={}, decode=judged("healthy"))
    assert project.run().returncode == 0
    assert not (project.folder / "reports" / "bundle.json.gz").exists()


def test_a_failure_ends_with_the_command_to_look_closer(project):
    project.inventory(prefill={}, decode=judged("sync_loading"))
    done = project.run()
    summary = project.folder / "reports" / "summary.md"
    assert f"\nlook closer  less {summary}\n" in done.stdout
    assert summary.is_file()


def test_a_short_report_has_no_chain(project):
    project.inventory({"console": "short"}, prefill={}, decode=judged("sync_loading"))
    done = project.run()
    assert "4 configured alike" not in done.stdout
    assert " ✗ async-loading-off" in done.stdout


def test_what_people_read_is_in_the_language_that_was_asked_for(project):
    project.inventory({"lang": "ja"}, prefill={}, decode=judged("sync_loading"))
    done = project.run()
    assert " ✗ async-loading-off  非同期ロードが無効" in done.stdout
    assert "\n詳しく見る   less " in done.stdout
    assert "所見" in (project.folder / "reports" / "summary.md").read_text("utf-8")
    assert '<html lang="ja">' in (project.folder / "reports" / "index.html").read_text("utf-8")
    assert project.report()["clusters"][0]["pairs"][0]["findings"][0]["title"].startswith("Asynchronous loading is off")
