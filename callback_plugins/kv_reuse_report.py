# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: kv_reuse_report
type: aggregate
short_description: Shows whether KV cache is reused, and writes the reports
version_added: 0.1.0
author:
  - The kvproof authors
description:
  - Collects the verdicts of the role C(kv_reuse) over all hosts of a playbook run, prints the chain of proof of each
    pair, a line for each cluster and the findings, and writes C(verdict.json), C(junit.xml), C(summary.md),
    C(index.html) and C(kv_reuse.prom), with C(kv_reuse_bundle) the evidence as C(bundle.json.gz), and what
    C(kv_reuse_formats) asks for.
  - With C(kv_reuse_history) it says what changed since the runs that are kept in that folder, and keeps this one.
  - It decides nothing; a task fails when a verdict must make the run fail.
  - Playbooks that do not use the role see nothing of it.
  - The reports say C(incomplete) from the start of the run to its end, so that no report of an earlier run is taken for
    this one's when it is stopped.
  - Colours are Ansible's own; E(NO_COLOR) and E(ANSIBLE_NOCOLOR) switch them off. Beside a stdout callback that prints
    JSON the report goes to the standard error.
options:
  reports_dir:
    description:
      - Folder of the reports, relative to the working directory.
      - The variable C(kv_reuse_reports_dir) of the inventory or the command line counts before this option.
    type: str
    default: reports
    env:
      - name: KV_REUSE_REPORTS_DIR
    ini:
      - section: callback_kv_reuse_report
        key: reports_dir
  progress:
    description:
      - Whether to say during the run how far it is. V(auto) changes one line on a terminal, prints a line every 10 s
        elsewhere, and nothing under AWX or ansible-runner, where each line would be an event.
      - Pairs are judged at the end of a run; until then the line tells how many were probed.
    type: str
    choices: [auto, "off"]
    default: auto
    env:
      - name: KV_REUSE_PROGRESS
    ini:
      - section: callback_kv_reuse_report
        key: progress
requirements:
  - prometheus_client, for C(kv_reuse.prom) alone
  - opentelemetry-exporter-otlp-proto-http, to send a trace to E(OTEL_EXPORTER_OTLP_ENDPOINT) alone
"""

import json
import os
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ansible.plugins.callback import CallbackBase

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.plan.pair import key_of
from kvproof.report import bundle, files, history_files, language, otlp, progress, views
from kvproof.report.run import Run
from kvproof.report.views import clean, console, github, pages

from plugin_utils import reporter, screen

ROLES = ("kv_reuse", "kvproof.cluster.kv_reuse")
ACTIONS = ("kv_reuse_plan", "kv_reuse_probe", "kv_reuse_verdict", "kv_reuse_merge")
GROUPS = ("kv_prefill", "kv_decode", "kv_controller")
DEFAULT_FOLDER = "reports"
SUMMARY = "summary.md"


class CallbackModule(CallbackBase):
    """Takes from the results what the role's tasks put there, and hands it to pure functions."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kv_reuse_report"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, display=None, options=None):
        super().__init__(display, options)
        self._run = Run(_now())
        self._folder: Path | None = None  # None: nothing was written yet
        self.trouble: str | None = None  # why nothing can be written there
        self._uses_role = False
        self._progress = progress.Progress()
        self._line = screen.ChangingLine()
        self._merged: tuple[dict, str, list[str], str] | None = (
            None  # what kv_reuse_merge made, where and what it wrote
        )

    def v2_playbook_on_start(self, playbook):
        self.disabled = not reporter.claim(self)
        self._run, self._folder = Run(_now()), None
        self._begin_progress()
        self._uses_role = any(role.get_name() in ROLES for play in playbook.get_plays() for role in play.get_roles())

    def v2_playbook_on_play_start(self, play):
        if self._uses_role and self._folder is None:
            self._report_into(_folder_by_inventory(play))

    def v2_playbook_on_task_start(self, task, is_conditional):
        role = getattr(task, "_role", None)
        if self._folder is None and role and role.get_name() in ROLES:
            self._report_into(None)

    def probed(self, pairs: list[dict]):
        """These pairs have been probed (plugin_utils/reporter)."""
        for pair in pairs:
            self._progress.probed(key_of(pair))
        self._tell_progress()

    def v2_runner_on_ok(self, result):
        self._take(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._take(result, failed=True)
        if not ignore_errors:
            self._run.failure(result._host.get_name(), result._task.get_name(), _message(result._result))

    def v2_runner_on_unreachable(self, result):
        text = _message(result._result)
        self._run.failure(result._host.get_name(), result._task.get_name(), text, unreachable=True)

    def v2_playbook_on_stats(self, stats):
        self._line.erase()
        if self._merged:
            self._show(*self._merged)
        if self._folder is None:
            return
        exit_code = 4 if stats.dark else 2 if stats.failures else 0
        doc = self._compared(self._run.document("complete", _now(), exit_code))
        written = self._write(doc)
        if self._run.bundle:
            written += self._write_bundle(doc)
        self._keep(doc)
        self._show(doc, self._folder, written, self._run.language)
        if "trace" in self._run.formats and (problem := otlp.send(clean.cleaned(doc), os.environ)):
            self._display.warning(f"kv_reuse_report: {problem}")
        if os.environ.get("GITHUB_ACTIONS") == "true":
            self._annotate(doc)

    def _compared(self, doc: dict) -> dict:
        """The run's document, with what changed since the runs that are kept."""
        if not self._run.history or not doc["clusters"]:
            return doc
        past, notes = history_files.compared(self._kept_in(), doc)
        self._run.past(past)
        self._run.note(notes)
        return self._run.document("complete", doc["finished_at"], doc["exit_code"])

    def _keep(self, doc: dict):
        if self._run.history:
            for problem in history_files.keep(self._kept_in(), doc, self._run.history["keep"]):
                self._display.warning(f"kv_reuse_history: {problem}")

    def _kept_in(self) -> Path:
        return Path(self._run.history["folder"]).expanduser().absolute()

    def _annotate(self, doc: dict):
        """A job of GitHub's has its lines in the output, and its summary in a file that the runner names."""
        harmless = clean.cleaned(doc)
        for line in github.commands(harmless):
            self._display.display(line, stderr=screen.prints_json())
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path:
            return
        with language.speaking(self._run.language):
            summary = pages.summary(harmless)
        if problem := files.append(Path(path), summary):
            self._display.warning(f"kv_reuse_report: {problem}")

    def _take(self, result, failed=False):
        values, role = result._result, getattr(result._task, "_role", None)
        if not (role and role.get_name() in ROLES) and result._task.action.rpartition(".")[2] not in ACTIONS:
            return  # debug, set_fact and others show what ours returned
        if "kv_reuse_plan" in values:
            plan = _plain(values["kv_reuse_plan"])
            self._run.plan(plan, failed, _message(values))
            self._progress.planned(len(plan.get("pairs") or []), time.monotonic())
            self._report_into(self._run.reports_dir)
            if self._run.bundle:  # an earlier run's must not stand beside this one's reports
                files.discard(self._folder / bundle.NAME)
        if "kv_reuse_probed_pairs" in values:
            self.probed(_plain(values["kv_reuse_probed_pairs"]))
        if "kv_reuse_judged" in values:
            for judged in json.loads(values["kv_reuse_judged"]):
                self._take_judged(judged)
        if "kv_reuse_merged" in values:
            written, folder = _plain(values.get("kv_reuse_reports") or []), values.get("kv_reuse_reports_dir")
            self._merged = _plain(values["kv_reuse_merged"]), folder, written, values.get("kv_reuse_lang") or "en"
        self._tell_progress()

    def _take_judged(self, judged: dict):
        self._run.verdicts(judged["verdicts"], judged.get("source"))
        self._run.unjudged(judged["unjudged"])
        self._run.note(judged["notes"])
        for verdict in judged["verdicts"]:
            self._progress.judged(key_of(verdict), verdict["verdict"])

    def _begin_progress(self):
        shown = progress.way(dict(os.environ), screen.stdout_callback(), sys.stdout.isatty())
        if self.disabled or self.get_option("progress") == "off":
            shown = progress.OFF
        self._progress = progress.Progress(shown)
        if shown == progress.LINE:
            self._line.stand_aside_for(self._display)

    def _tell_progress(self):
        text = self._progress.due(time.monotonic())
        if text and self._line.ready:
            self._line.draw(text[: self._display.columns - 1])
        elif text:
            self._display.display(text, stderr=screen.prints_json())

    def _report_into(self, name: str | None):
        """Marks the reports as incomplete in the folder asked for, and takes them back from another one."""
        name = name if name and name != DEFAULT_FOLDER else self.get_option("reports_dir")
        folder = Path(name).expanduser().absolute()
        if folder == self._folder:
            return
        if self._folder:
            files.remove(self._folder)
        self._folder = folder
        self._write(self._run.document("incomplete"))

    def _write(self, doc: dict) -> list[str]:
        formats = views.asked(self._run.formats, os.environ)
        written, problems = files.write(self._folder, doc, formats, self._run.language)
        self.trouble = problems[0] if problems and not written else None
        if problems and doc["status"] == "complete":
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            self._display.warning(
                f"kv_reuse_report: {problems[0]}{more}. What the report says is printed below; "
                "a file of that name may be an earlier run's."
            )
        return written

    def _write_bundle(self, doc: dict) -> list[str]:
        problem = files.write_bytes(self._folder / bundle.NAME, bundle.pack(self._run, doc, views.verdict(doc)))
        if problem:
            self._display.warning(f"kv_reuse_report: {problem}")
        return [] if problem else [bundle.NAME]

    def _show(self, doc: dict, folder: Path | str, written: list[str], spoken: language.Language):
        places = [f"{folder} ({', '.join(written)})"] if written else []
        closer = f"less {shlex.quote(str(Path(folder) / SUMMARY))}" if SUMMARY in written else None
        more = {"how": self._run.console, "closer": closer}
        with language.speaking(spoken):
            screen.show(
                self._display,
                lambda width, ascii_only: console.lines(doc, places, width, ascii_only=ascii_only, **more),
            )


def _folder_by_inventory(play) -> str | None:
    """kv_reuse_reports_dir as the inventory and the command line have it; None when they do not say."""
    variables = play.get_variable_manager().get_vars(play=play)
    hosts = [host for group in GROUPS for host in (variables.get("groups") or {}).get(group) or []]
    for values in (*((variables.get("hostvars") or {}).get(host) or {} for host in hosts[:1]), variables):
        folder = values.get("kv_reuse_reports_dir")
        if isinstance(folder, str) and folder and "{{" not in folder:
            return folder
    return None


def _message(values: dict) -> str:
    """A task's own words; of a loop, those of its first failed item; of a module that did not run, its first words."""
    items = [item for item in values.get("results") or [] if item.get("failed") or item.get("unreachable")]
    failed = items[0] if items else values
    errors = str(failed.get("module_stderr") or "").strip().splitlines()
    return ": ".join([str(failed.get("msg") or values.get("msg") or ""), *errors[:1]])


def _plain(value):
    """Plain JSON types: newer Ansible hands over lazy, tagged containers."""
    return json.loads(json.dumps(value, default=str))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
