# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""python -m lab.cluster ACTION: how the role kv_lab has a cluster made; its variables come as JSON by standard input.

show    what has to be there before: packages, model, accounts; refuses a fault that cannot be made
units   what hosts of their own run instead, as systemd services (units.py); nothing is started
up      starts what does not run as it should, and waits until it is ready
break   does what the fault does after the start
stop    stops the processes
down    stops them and removes everything but the models and the logs

Prints one JSON object, in it whether anything ``changed``; exit 1 with a sentence on failure.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

from . import ssh, supervise, units
from .cluster import Cluster, take_down
from .fault import FaultError, changes, load
from .lab import Lab, is_root, me


def _cluster(variables: dict[str, Any]) -> Cluster:
    name = variables["fault"]
    fault = load(name, Path(variables["faults_dir"]))
    if "only" in fault and variables["engine"] != fault["only"]:
        wanted = "leave ENGINE=vllm out" if fault["only"] == "rehearsal" else "ENGINE=vllm makes it"
        raise FaultError(f"{name} cannot be made with engine {variables['engine']}: {wanted}.")
    lab = Lab.of(variables)
    if fault and fault.get("architecture", lab.architecture) != lab.architecture:
        raise FaultError(f"{name} is made in another architecture: ARCH={fault['architecture']}.")
    return Cluster(lab, fault)


def _exists(account: str) -> bool:
    try:
        return bool(pwd.getpwnam(account))
    except KeyError:
        return False


def show(variables: dict[str, Any]) -> dict[str, Any]:
    cluster = _cluster(variables)
    if cluster.fault.get("hosts"):
        name = variables["fault"]
        raise FaultError(f"{name} wants nodes that are hosts of their own: make molecule-hosts CASES={name}.")
    return _needs(cluster)


def _needs(cluster: Cluster) -> dict[str, Any]:
    lab, fault = cluster.lab, cluster.fault
    accounts = [name for name in dict.fromkeys([ssh.user(lab, fault), lab.engine_user]) if name not in ("", me())]
    return {
        "changed": False,
        "requirements": lab.stack.requirements,
        "packages": lab.stack.packages,
        "model": str(lab.model),
        "make_model": [*lab.stack.make_model, str(lab.model)],
        "model_copy": any(changes(fault, node.role)["model_copy"] for node in lab.nodes),
        "accounts": accounts,
        "missing_accounts": [name for name in accounts if not _exists(name)],
        "root": is_root(),
        "after_start": fault.get("after_start"),
    }


def services(variables: dict[str, Any]) -> dict[str, Any]:
    cluster = _cluster(variables)
    return {**_needs(cluster), "hosts": units.by_host(cluster.lab, cluster.fault)}


def up(variables: dict[str, Any]) -> dict[str, Any]:
    return _cluster(variables).start()


def break_further(variables: dict[str, Any]) -> dict[str, Any]:
    done = _cluster(variables).after_start()
    return {"changed": bool(done), "done": done}


def stop(variables: dict[str, Any]) -> dict[str, Any]:
    stopped = Cluster(Lab.of(variables)).stop()
    return {"changed": bool(stopped), "stopped": stopped}


def down(variables: dict[str, Any]) -> dict[str, Any]:
    return take_down(Lab.of(variables))


ACTIONS = {"show": show, "units": services, "up": up, "break": break_further, "stop": stop, "down": down}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ACTIONS:
        print(__doc__, file=sys.stderr)
        return 2
    os.umask(0o022)  # the lab's other users have to get at their files
    try:
        print(json.dumps(ACTIONS[arguments[0]](json.load(sys.stdin))))
    except (FaultError, supervise.Failure, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
