# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A few of lab/faults and two healthy clusters, as real processes.  ``make faults`` runs them all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

import matrix

from lab.cluster.slots import Slots

FAULTS = ["hash-seed-differs", "output-differs", "p2p-settings-incomplete", "same-engine-answers--router",
          "async-loading-off--and-local-cpu-off", "p2p-settings-incomplete--worker-ports",
          "p2p-disabled--mp-server", "coordinator-came-back", "kv-not-offered", "pd-recomputed",
          "pd-receiver-restarted", "pd-role-wrong", "two-ranks-of-mp"]  # fmt: skip
JOBS = 2


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """By name; two clusters at a time."""
    todo, slots, folder = matrix.faults(FAULTS, healthy=2), Slots(), tmp_path_factory.mktemp("clusters")
    with ThreadPoolExecutor(JOBS) as pool:
        return {row.name: row for row in pool.map(lambda name: matrix.run(slots, name, todo[name], folder), todo)}


@pytest.mark.parametrize("name", [*FAULTS, "healthy-0", "healthy-1"])
def test_verdict_and_findings_are_those_of_the_fault(rows, name):
    row = rows[name]
    assert row.wrong is None, f"{row.verdict}, {row.findings}: {row.wrong}"


def judged(verdict: str, **roles: str) -> dict:
    findings = [{"slug": slug.replace("_", "-"), "role": role} for slug, role in roles.items()]
    return {"verdict": verdict, "findings": findings}


@pytest.mark.parametrize(("verdict", "expect", "said"), [
    (judged("fail", chunk_size_differs="cause"), ("fail", "chunk-size-differs", []), None),
    (judged("fail", chunk_size_differs="cause"), ("pass", None, []), "verdict should be pass"),
    (judged("fail", b="cause"), ("fail", "a", []), "first finding should be a"),
    (judged("fail", a="cause", b="cause"), ("fail", "a", []), "not to blame: b"),
    (judged("fail", a="cause", b="note"), ("fail", "a", []), None),
    (judged("fail", a="cause"), ("fail", "a", ["b"]), "missing: b"),
    (judged("pass", a="warning"), ("pass", None, []), "not to blame: a"),
    (judged("pass", a="warning"), ("pass", None, ["a"]), None),
])  # fmt: skip
def test_what_counts_as_wrong(verdict, expect, said):
    assert matrix.wrong(verdict, dict(zip(("verdict", "first", "also"), expect))) == said
