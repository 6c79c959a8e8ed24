#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods as an inventory: a script for Ansible (--list) around `kubectl get pods -o json`, with nothing to install.

Each pod that runs is a host, with its labels, address, namespace and container under ``pod``; 2-roles.yml says what
they are to kvproof.  KUBECTL: another command, or with options of its own, as `kubectl --context prod`.
SELECTOR: which pods, all that have the label kvproof/cluster by default.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

SELECTOR = os.environ.get("SELECTOR", "kvproof/cluster")
COMMAND = [*shlex.split(os.environ.get("KUBECTL", "kubectl")), "get", "pods", "-A", "-l", SELECTOR, "-o", "json"]


def host(pod: dict) -> dict:
    meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
    return {
        "labels": meta.get("labels") or {},
        "ip": status["podIP"],
        "namespace": meta["namespace"],
        "name": meta["name"],
        "container": spec["containers"][0]["name"],
    }


def main() -> int:
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        print(f"{shlex.join(COMMAND)} gave no pods: {str(said).strip()}", file=sys.stderr)
        return 1
    running = [pod for pod in json.loads(done.stdout)["items"] if pod["status"].get("phase") == "Running"]
    pods = {pod["metadata"]["name"]: {"pod": host(pod)} for pod in running if pod["status"].get("podIP")}
    print(json.dumps({"pods": {"hosts": list(pods)}, "_meta": {"hostvars": pods}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
