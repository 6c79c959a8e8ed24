# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""NIXL's UCX progress thread spins one core per engine, which starves two engines on two cores.

poll   the agent is made without that thread; a Python thread drives progress every millisecond
idle   the thread stays, at the lowest scheduling class
stock  nothing is changed
"""

from __future__ import annotations

import os
import threading
import time

POLL_SECONDS = 0.001


def install(mode: str) -> None:
    """Changes what LMCache imports when it makes an agent, in an engine or in a cache server."""
    if mode == "stock":
        return
    try:
        import nixl._api as nixl
    except ImportError as error:
        print("lab: NIXL is left as it is:", error, flush=True)
        return
    if mode == "poll":
        stock_config = nixl.nixl_agent_config

        def config(**options):
            # the agent is now used from two threads of ours
            options.update(enable_prog_thread=False, sync_mode=nixl.nixl_thread_sync_t.NIXL_THREAD_SYNC_STRICT)
            return stock_config(**options)

        nixl.nixl_agent_config = config
    nixl.nixl_agent = {"poll": _polled, "idle": _with_idle_thread}[mode](nixl.nixl_agent)


def in_vllm() -> None:
    """vLLM calls it in each of its processes (entry_points.txt), before its own NixlConnector makes an agent.

    The variable is set by vLLM where it wants NIXL for that connector, and NIXL must not be imported before.
    """
    if "UCX_RCACHE_MAX_UNRELEASED" in os.environ:
        install(os.environ.get("LAB_NIXL", "poll"))


def _polled(stock):
    class Agent(stock):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._lab_lock, self._lab_notifs = threading.Lock(), {}
            threading.Thread(target=self._lab_poll, daemon=True, name="lab-nixl-progress").start()

        def get_new_notifs(self, *args, **kwargs):
            """What came since the last call, to the polling thread, too."""
            with self._lab_lock:
                self._lab_collect(*args, **kwargs)
                notifs, self._lab_notifs = self._lab_notifs, {}
            return notifs

        def _lab_collect(self, *args, **kwargs):
            for sender, some in super().get_new_notifs(*args, **kwargs).items():
                self._lab_notifs.setdefault(sender, []).extend(some)

        def _lab_poll(self):
            while True:
                try:
                    with self._lab_lock:
                        self._lab_collect()
                except Exception as error:  # progress must go on whatever one poll met
                    print("lab: NIXL progress:", error, flush=True)
                    time.sleep(1)
                time.sleep(POLL_SECONDS)

    return Agent


def _with_idle_thread(stock):
    class Agent(stock):
        def __init__(self, *args, **kwargs):
            before = set(os.listdir("/proc/self/task"))
            super().__init__(*args, **kwargs)
            for thread in set(os.listdir("/proc/self/task")) - before:
                os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))

    return Agent
