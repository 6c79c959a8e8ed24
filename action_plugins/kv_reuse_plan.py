# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: which pairs this run judges.  Fails when there is none, so that nothing judged is never green."""

from __future__ import annotations

import datetime
import os
import secrets
import sys
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.evidence.assemble import packed
from kvproof.judge import waivers
from kvproof.plan import shard as shards
from kvproof.plan import topology
from kvproof.report import files, views

from plugin_utils import languages, places, reporter
from plugin_utils.base import ControllerAction, Refused
from plugin_utils.variables import RoleVariables

SERIAL = (
    "kv_reuse: this play runs on its hosts in batches (serial), and a pair needs all hosts of its cluster: "
    "leave serial out, or run the play once for each part with --limit"
)
STRATEGY = "kv_reuse: this play's strategy is {}, under which every host probes all pairs: use linear for this play"
LOST = "kv_reuse: {}: a run whose reports are lost proves nothing to anybody"
#: kv_reuse_architecture of engines that are looked at before anything is sent: a sender has to be told its receiver.
LOOKED_AT = ("auto", "lmcache_pd")
LIMITS = ("min_speedup", "max_ttft_ms")


class ActionModule(ControllerAction):
    """Checks the variables of every host once for all tasks of the role, and sends nothing anywhere."""

    SPEC: ClassVar = {
        "mode": {"type": "str", "default": "cover"},
        "max_pairs": {"type": "int", "default": 0},
        "parallel_pairs": {"type": "int", "default": 1},
        "shard": {"type": "str", "default": ""},
        "inconclusive": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
        "waive": {"type": "raw"},
        "reports_dir": {"type": "str", "default": "reports"},
        "console": {"type": "str", "choices": ["full", "short"], "default": "full"},
        "lang": languages.OPTION,
        "bundle": {"type": "bool", "default": False},
        "formats": {"type": "list", "elements": "str", "choices": [*views.FORMATS], "default": []},
        "history": {"type": "str", "default": ""},
        "history_keep": {"type": "int", "default": 50},
        "seed_mode": {"type": "bool", "default": False},
    }

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        in_play, play = task_vars["ansible_play_hosts_all"], self._task.get_play()
        if play.serial and set(task_vars["ansible_play_batch"]) != set(in_play):
            raise Refused(SERIAL)
        if reporter.trouble():
            raise Refused(LOST.format(reporter.trouble()))
        if str(play.strategy).endswith(("free", "host_pinned")):
            raise Refused(STRATEGY.format(play.strategy))
        if not reporter.reports():  # an earlier run's reports would stand for this one, which nobody writes down
            files.remove(Path(args["reports_dir"] or "reports").expanduser().absolute())
        parallel = args["parallel_pairs"] or 1
        if parallel < 1:
            raise Refused(f"kv_reuse_parallel_pairs is {parallel}; use a number of pairs, 1 or more")
        if args["history"] and args["history_keep"] < 1:
            raise Refused(f"kv_reuse_history_keep is {args['history_keep']}; use a number of runs, 1 or more")
        wanted = _shard(args["shard"], args["seed_mode"])
        roles = _roles(task_vars["groups"])
        options, refused, misspelt = self._options([host for host in in_play if host in roles], task_vars)
        hosts = _hosts(roles, options, set(in_play), task_vars["hostvars"])
        shard = None
        if wanted:
            hosts, shard = shards.cut(hosts, *wanted)
            mine = {host["name"] for host in hosts}
            options = {host: its for host, its in options.items() if host in mine}
            refused = {host: problem for host, problem in refused.items() if host in mine}
        plan = topology.plan(hosts, args["mode"], args["max_pairs"] or 0)
        for number, pair in enumerate(plan.pairs):
            pair["number"] = number
        folder = Path(args["reports_dir"] or "reports").expanduser().absolute()
        if reporter.reports() and folder.is_dir() and (short := files.lacks_room(folder, len(plan.pairs))):
            raise Refused(LOST.format(short))
        lang, misspoken = languages.spoken(args["lang"])
        _counting, ignored = waivers.active(waivers.plain(args["waive"]), datetime.date.today())
        shown = {
            "mode": "seed" if args["seed_mode"] else "inventory",
            "run_id": secrets.token_hex(4),
            "pairs": plan.pairs,
            "skipped": plan.skipped,
            "notes": ([shards.note(shard)] if shard else []) + plan.notes + ignored + misspelt + misspoken,
            "reports_dir": args["reports_dir"] or "reports",
            "inconclusive": args["inconclusive"] or "fail",
            "console": args["console"] or "full",
            "lang": lang,
            "bundle": args["bundle"],
            **({"shard": shard} if shard else {}),
            **_of_formats(views.asked(args["formats"] or [], os.environ), hosts, task_vars["hostvars"], folder),
        }
        # check mode proves nothing: there is nothing to compare or to keep
        if args["history"] and not self._task.check_mode:
            shown["history"] = {"folder": args["history"], "keep": args["history_keep"]}
        more = {
            "rounds": topology.rounds(plan.pairs, parallel),
            "others": {role: _hosts_of(role, hosts, options) for role in topology.OTHERS},
            "beyond": topology.beyond(hosts, plan.pairs),
            "refused": refused,
            "judging": {pair["receiver"]: _judging(options.get(pair["receiver"])) for pair in plan.pairs},
        }
        result = {
            "kv_reuse_plan": shown,
            "plan": packed({**shown, **more}),
            "nodes": _nodes(shown, more["others"], options),
            "unknown": _unknown(shown, options),
            **({"warnings": misspelt + misspoken} if misspelt or misspoken else {}),
        }
        if plan.problem and not shards.is_empty(shard):
            return {**result, "failed": True, "msg": f"kv_reuse: {plan.problem}"}
        return result

    def _options(
        self, hosts: list[str], task_vars: dict[str, Any]
    ) -> tuple[dict[str, dict], dict[str, str], list[str]]:
        """Host → the role's variables, host → what is wrong with them, and a sentence for each that is misspelt."""
        variables, options, refused = RoleVariables(self, task_vars), {}, {}
        for host in hosts:
            try:
                options[host] = variables.of(host)
            except Refused as problem:
                refused[host] = str(problem)
        return options, refused, variables.misspelt()


def _of_formats(formats: list[str], hosts: list[dict], hostvars, folder: Path) -> dict[str, Any]:
    """The formats that are written on request, and what they show besides."""
    if not formats:
        return {}
    names = [host["name"] for host in hosts]
    shows_places, within = {"codequality", "sarif"} & {*formats}, os.environ.get("TRACEPARENT")
    return {
        "formats": formats,
        **({"places": places.of_hosts(names, hostvars, folder, os.environ)} if shows_places else {}),
        **({"traceparent": within} if within and "trace" in formats else {}),
    }


def _shard(text: str, seed_mode: bool) -> tuple[int, int] | None:
    try:
        wanted = shards.parse(text)
    except ValueError as problem:
        raise Refused(str(problem)) from None
    if wanted and seed_mode:
        raise Refused("kv_reuse_shard is a part of an inventory, and two URLs have none: leave it out")
    return wanted


def _roles(groups: dict[str, list[str]]) -> dict[str, list[str]]:
    """Host → what it is in its cluster, of all hosts of the validation."""
    roles: dict[str, list[str]] = {}
    for group, role in topology.GROUPS.items():
        for name in groups.get(group) or []:
            roles.setdefault(str(name), []).append(role)
    return roles


def _hosts(roles: dict[str, list[str]], options: dict[str, dict], in_play: set[str], hostvars) -> list[dict]:
    """As topology.plan() takes them.  Those that are not in the play have no options."""
    return [
        {
            "name": name,
            "roles": mine,
            "in_play": name in in_play,
            "cluster": str(
                options.get(name, {}).get("kv_reuse_cluster") or hostvars[name].get("kv_reuse_cluster") or "default"
            ),
        }
        for name, mine in roles.items()
    ]


def _hosts_of(role: str, hosts: list[dict], options: dict[str, dict]) -> dict[str, list[str]]:
    """Cluster → its hosts of a role, as far as their variables are known."""
    of_clusters: dict[str, list[str]] = {}
    for host in hosts:
        if role in host["roles"] and host["name"] in options:
            of_clusters.setdefault(host["cluster"], []).append(host["name"])
    return of_clusters


def _judging(options: dict | None) -> dict | None:
    """What the operator demands of a receiver's pairs and what is accepted; None where its variables are wrong."""
    if options is None:
        return None
    limits = {name: options[f"kv_reuse_{name}"] for name in LIMITS if options[f"kv_reuse_{name}"] > 0}
    return {"limits": limits, "source": options["kv_reuse_source"], "waive": waivers.plain(options["kv_reuse_waive"])}


def _unknown(plan: dict, options: dict[str, dict]) -> list[str]:
    """Hosts whose engine is sent something, and of which no variable says all that has to be known for it."""
    if plan["mode"] != "inventory":
        return []
    engines = dict.fromkeys(pair[role] for pair in plan["pairs"] for role in ("holder", "receiver"))
    mine = {host: options[host] for host in engines if host in options}
    return [host for host, its in mine.items() if its["kv_reuse_nodes"] and its["kv_reuse_architecture"] in LOOKED_AT]


def _nodes(plan: dict, others: dict[str, dict[str, list[str]]], options: dict[str, dict]) -> dict[str, list[str]]:
    """Host → what is to be looked at, of the hosts where something is (lmcache_node_info's parts).

    A log that is read on the controller needs no host.
    """
    engines = {pair[role] for pair in plan["pairs"] for role in ("holder", "receiver")}
    at = {role: {host for hosts in of_clusters.values() for host in hosts} for role, of_clusters in others.items()}
    nodes = {}
    for host, its in options.items():
        log, of_others = its["kv_reuse_log"], [role for role, hosts in at.items() if host in hosts]
        if its["kv_reuse_nodes"]:
            parts = ["engine"] if plan["mode"] == "inventory" else ["log"] * any(log.values())
        else:
            parts, of_others = ["log"] * bool(log.get("on_controller")), []
        looked_at = parts * (host in engines) + of_others
        if looked_at:
            nodes[host] = looked_at
    return nodes
