# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of examples/gitlab, examples/github and examples/jenkins: what their makers' schemas say of them, and what
their commands do, taken from the files and run by the shell that each runner has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import junitparser
import pytest
import yaml
from kvproof.report import views

pytest.importorskip("ansible")

from installed import BIN, environment, report

ROOT = Path(__file__).resolve().parents[2]
GITLAB = ROOT / "examples" / "gitlab" / "kv-reuse.gitlab-ci.yml"
GITHUB = ROOT / "examples" / "github" / "kv-reuse.yml"
JENKINS = ROOT / "examples" / "jenkins" / "Jenkinsfile"
CHECKER = shutil.which("check-jsonschema", path=f"{BIN}:{os.environ['PATH']}")
GROOVY, JAVA = shutil.which("groovy"), shutil.which("java")


def gitlab() -> dict:
    return yaml.safe_load(GITLAB.read_text(encoding="utf-8"))


def gitlab_as_merged() -> dict:
    """With its template in each job that extends it: of templates the schema asks nothing."""
    found = gitlab()
    template = found.pop(".kv-reuse")
    return {name: {**template, **one} if "extends" in one else one for name, one in found.items()}


def github() -> dict:
    return yaml.safe_load(GITHUB.read_text(encoding="utf-8").replace("\non:\n", '\n"on":\n'))


@pytest.mark.skipif(not CHECKER, reason="check-jsonschema is not installed (requirements-dev.txt)")
@pytest.mark.parametrize(
    ("found", "schema"), [(gitlab_as_merged, "gitlab-ci"), (github, "github-workflows")], ids=["gitlab", "github"]
)
def test_the_schema_of_its_makers_allows_it(found, schema, tmp_path):
    def check(content: dict) -> subprocess.CompletedProcess:
        path = tmp_path / "pipeline.yml"
        path.write_text(yaml.safe_dump(content))
        return subprocess.run([CHECKER, "--builtin-schema", f"vendor.{schema}", path], capture_output=True, check=False)

    done = check(found())
    assert done.returncode == 0, done.stdout
    wrong = found()
    job = wrong.get("jobs", wrong)["kv-reuse"]
    job["timeout-minutes" if schema == "github-workflows" else "timeout"] = ["two hours"]
    assert check(wrong).returncode == 1


class Job:
    """A checkout on a runner, and what a job leaves there."""

    def __init__(self, folder: Path, collections: Path):
        self.folder, self._collections = folder, collections
        self.reports = folder / "reports"

    def shell(self, words: list[str], **told: str) -> subprocess.CompletedProcess:
        own = {"ANSIBLE_COLLECTIONS_PATH": str(self._collections), **told}
        return subprocess.run(
            words,
            cwd=self.folder,
            env=environment(self.folder, **own),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def holds(self, verdict: str) -> None:
        """The reports are those of a run with this verdict, and a reader of others' can read them."""
        found = report(self.reports)
        assert (found["status"], found["verdict"]) == ("complete", verdict)
        assert set(views.NAMES) <= {path.name for path in self.reports.iterdir()}
        assert len(list(junitparser.JUnitXml.fromfile(str(self.reports / "junit.xml")))) > 0


@pytest.fixture
def job(tmp_path, collections) -> Job:
    return Job(tmp_path, collections)


# ---- GitLab


def run_on_gitlab(job: Job, inventory: Path | str, **more: str) -> subprocess.CompletedProcess:
    """As GitLab's runner does: script in one shell, after_script in another, whatever the first ended with."""
    template = gitlab()[".kv-reuse"]
    own = {"GITLAB_CI": "true", "CI_JOB_URL": "https://ci/-/1", "KVPROOF_INVENTORY": str(inventory)}
    told = {**template["variables"], **own, **more}
    done = job.shell(
        ["bash", "-eo", "pipefail", "-c", "\n".join([*template["before_script"], *template["script"]])], **told
    )
    after = job.shell(["bash", "-eo", "pipefail", "-c", "\n".join(template["after_script"])], **told)
    assert after.returncode == 0, after.stderr
    return done


def test_gitlabs_artifacts_are_there_after_a_failure(job, clusters):
    done = run_on_gitlab(job, clusters)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\x1b[" in done.stdout, "GitLab shows colours"
    job.holds("fail")
    artifacts = gitlab()[".kv-reuse"]["artifacts"]
    for path in (*artifacts["paths"], *artifacts["reports"].values()):
        assert (job.folder / path).exists(), path
    (link,) = json.loads((job.reports / "links.json").read_text())["KV reuse"]
    assert (job.folder / link["external_link"]["url"].partition("/artifacts/file/")[2]).is_file()


def test_gitlabs_job_passes_on_a_healthy_cluster_with_a_key_that_everybody_may_read(job, healthy):
    hosts = yaml.safe_load(healthy.read_text(encoding="utf-8"))
    key = job.folder / "key"
    key.write_text(Path(hosts["all"]["vars"].pop("ansible_ssh_private_key_file")).read_text())
    key.chmod(0o666)
    (job.folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    done = run_on_gitlab(job, "hosts.yml", KVPROOF_SSH_KEY=str(key), TMPDIR=str(job.folder))
    assert done.returncode == 0, done.stdout + done.stderr
    job.holds("pass")
    (pair,) = report(job.reports)["clusters"][0]["pairs"]
    assert pair["findings"] == [], "nodes that cannot be read are a finding"


def test_gitlabs_jobs_are_the_template_with_rules_that_exclude_each_other():
    jobs = {name: one for name, one in gitlab().items() if name.startswith("kv-reuse")}
    assert {one["extends"] for one in jobs.values()} == {".kv-reuse"}
    assert sorted(one["rules"][0]["if"] for one in jobs.values()) == [
        '$CI_PIPELINE_SOURCE != "schedule"',
        '$CI_PIPELINE_SOURCE == "schedule"',
    ]
    assert jobs["kv-reuse-nightly"]["allow_failure"] == {"exit_codes": [2]}
    assert "allow_failure" not in jobs["kv-reuse"]


def test_an_inventory_that_is_not_there_fails_the_job_with_a_report_that_says_so(job):
    done = run_on_gitlab(job, "no such inventory")
    assert done.returncode == 2, done.stdout + done.stderr
    job.holds("inconclusive")
    assert report(job.reports)["problems"]


# ---- GitHub


def steps() -> dict[str, dict]:
    return {one.get("name") or one["uses"]: one for one in github()["jobs"]["kv-reuse"]["steps"]}


def run_on_github(job: Job, inventory: Path) -> subprocess.CompletedProcess:
    """As GitHub's runner does, where Ansible and the collection are where the step before would have put them."""
    temp = job.folder / "temp"
    (temp / "kvproof").mkdir(parents=True)
    (temp / "kvproof" / "bin").symlink_to(BIN)
    (temp / "collections").symlink_to(job._collections)
    step = steps()["Prove that KV cache is reused"]
    values = {"inputs.inventory || 'inventory'": str(inventory), "runner.temp": str(temp)}
    told = {
        name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text) for name, text in step["env"].items()
    }
    (job.folder / "summary").touch()
    own = {"RUNNER_TEMP": str(temp), "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(job.folder / "summary")}
    return job.shell(["bash", "-e", "-c", step["run"]], **own, **told)


def test_githubs_step_fails_with_annotations_a_summary_and_what_is_uploaded(job, clusters):
    done = run_on_github(job, clusters)
    assert done.returncode == 2, done.stdout + done.stderr
    job.holds("fail")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("::error title=KV reuse")]
    assert "c001" in line
    assert (job.folder / "summary").read_text() == (job.reports / "summary.md").read_text()
    upload = steps()["Keep the reports"]
    assert (upload["if"], job.folder / upload["with"]["path"]) == ("always()", job.reports)


def test_githubs_step_installs_what_the_archive_names(collections):
    run = steps()["Install Ansible and kvproof"]["run"]
    assert (collections / "ansible_collections/kvproof/cluster" / re.search(r"-xOf \S+ (\S+)", run)[1]).is_file()


# ---- Jenkins


def run_on_jenkins(job: Job, inventory: Path | str) -> list[dict]:
    """What the Jenkinsfile does, step for step, and the build's result (declarative.groovy)."""
    if not (GROOVY and JAVA):
        pytest.skip("groovy is not installed (Debian: apt-get install groovy)")
    told = {"INVENTORY": str(inventory), "JAVA_HOME": str(Path(JAVA).resolve().parents[1])}
    done = job.shell([GROOVY, str(Path(__file__).with_name("declarative.groovy")), str(JENKINS)], **told)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_jenkins_keeps_the_reports_of_a_failure_and_says_what_it_is(job, clusters):
    _credentials, run, junit, archive, end = run_on_jenkins(job, clusters)
    assert (run["step"], run["how"]["code"]) == ("sh", 2)
    job.holds("fail")
    assert (job.folder / junit["how"]["testResults"]).is_file()
    assert archive["how"]["artifacts"] == "reports/**"
    assert end["result"] == "FAILURE"
    assert end["trouble"] == ["KV cache is not proven to be reused: reports/index.html says where, why, and what to do"]


def test_jenkins_passes_on_a_healthy_cluster(job, healthy):
    *_steps, end = run_on_jenkins(job, healthy)
    job.holds("pass")
    assert end == {"result": "SUCCESS", "trouble": []}


def test_a_section_that_declarative_does_not_have_is_noticed(job):
    if not (GROOVY and JAVA):
        pytest.skip("groovy is not installed (Debian: apt-get install groovy)")
    wrong = job.folder / "Jenkinsfile"
    wrong.write_text(JENKINS.read_text().replace("triggers {", "trigger {"))
    told = {"JAVA_HOME": str(Path(JAVA).resolve().parents[1])}
    done = job.shell([GROOVY, str(Path(__file__).with_name("declarative.groovy")), str(wrong)], **told)
    assert done.returncode != 0
    assert "No signature of method: Pipeline.trigger()" in done.stderr
