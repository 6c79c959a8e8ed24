# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes wall and CPU time of every task of a run as JSON to the file that TASK_TIMES names."""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: aggregate
short_description: Wall and CPU time of every task, as JSON
description:
  - Writes name, seconds and CPU seconds (Ansible's own and its workers') of every task to the file in the environment
    variable TASK_TIMES. For the benchmarks.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"

    def __init__(self):
        super().__init__()
        self.mark, self.cpu = time.perf_counter(), sum(os.times()[:4])
        self.name, self.times = "start of ansible-playbook", []

    def _next(self, name):
        now, cpu = time.perf_counter(), sum(os.times()[:4])
        spent = {"seconds": round(now - self.mark, 4), "cpu_seconds": round(cpu - self.cpu, 3)}
        self.times.append({"task": self.name, **spent})
        self.name, self.mark, self.cpu = name, now, cpu

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._next(task.get_name().strip())

    def v2_playbook_on_stats(self, stats):
        self._next("end")
        if os.environ.get("TASK_TIMES"):
            with open(os.environ["TASK_TIMES"], "w", encoding="utf-8") as out:
                json.dump(self.times, out, indent=1)
