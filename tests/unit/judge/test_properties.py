"""What must hold of the judge for any evidence: no crash, no wrong green, no cause made up from what is missing."""

from __future__ import annotations

import copy

import documents as build
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kvproof.evidence import document as evidence
from kvproof.judge.verdict import judge

DECISIVE = ("failure", "cause", "validity")
OUTCOMES = (
    "proven",
    "missed",
    "timed-out",
    "local",
    "masked",
    "below-min",
    "load-failed",
    "peer-error",
    "error",
    "unsent",
)


def places(document, path=()) -> list[tuple]:
    """Every place in a document, the root left out."""
    found = [path] if path else []
    if isinstance(document, (dict, list)):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            found += places(value, (*path, key))
    return found


def telling(document) -> list[tuple]:
    """Places that are not like others before them: one trial, one position of log-probabilities."""
    return [
        path
        for path in places(document)
        if not (path[:2] == ("probe", "trials") and path[2:3] in ((1,), (2,)) and len(path) > 3)
        and not ("logprobs" in path and path[path.index("logprobs") + 1 :][:1] not in ((), (0,)))
    ]


def parent_of(document, path: tuple):
    for step in path[:-1]:
        document = document[step]
    return document


def without(document: dict, cuts: list[tuple[tuple, bool]]) -> dict:
    """A copy in which these places are null, or absent where the flag says so and they are an object's field."""
    document = copy.deepcopy(document)
    for path, absent in sorted(cuts, key=lambda cut: len(cut[0]), reverse=True):
        parent = parent_of(document, path)
        if absent and isinstance(parent, dict):
            del parent[path[-1]]
        else:
            parent[path[-1]] = None
    return document


def cuts_of(document: dict):
    return st.lists(
        st.tuples(st.sampled_from(places(document)), st.booleans()), min_size=1, max_size=12, unique_by=lambda c: c[0]
    )


def healthy() -> dict:
    """A pair with all that an operator may ask for: other lengths, and limits that are met."""
    document = build.pair(limits={"min_speedup": 2.0, "max_ttft_ms": 500.0})
    return build.put(document, "probe.lengths", [build.length(4096, (0.08, 0.2)), build.length(512, (0.06, 0.05))])


HEALTHY = healthy()
FAULTY = {
    "missed": build.pair(*("missed",) * 3),
    "timed out": build.pair(*("timed-out",) * 3),
    "local": build.pair(*("local",) * 3),
    "masked": build.pair(*("masked",) * 3),
    "below min": build.pair(*("below-min",) * 3),
    "load failed": build.pair(*("load-failed",) * 3),
    "peer error": build.pair(*("peer-error",) * 3),
    "errors": build.pair(*("error",) * 3),
    "unsent": build.pair("proven", "proven", "unsent"),
    "one missed": build.pair("proven", "missed", "proven"),
    "mostly lost": build.pair("proven", "timed-out", "timed-out"),
    "p2p off": build.setting(build.pair(*("missed",) * 3), "receiver", "enable_p2p", False),
    "hash seed": build.put(build.pair(*("missed",) * 3), "nodes.receiver.log.head[2].value", "7"),
    "no log": build.no_log(build.pair()),
    "no nodes": build.no_nodes(build.pair()),
    "engine gone": build.unreachable_engine(build.pair(), "receiver"),
    "control hit": build.put(
        build.put(build.pair(), "nodes.receiver.log.events[6].hit", build.HIT),
        "probe.trials[0].knockout.cached_tokens",
        build.HIT,
    ),
    "damaged": build.put(
        build.put(build.pair(), "probe.trials[0].reuse.logprobs", build.logprobs(build.OTHER_WORDS)),
        "probe.trials[1].reuse.logprobs",
        build.logprobs(build.OTHER_WORDS),
    ),
}


@given(cuts_of(HEALTHY))
def test_less_of_a_healthy_pair_is_never_a_failure(cuts):
    verdict = judge(without(HEALTHY, cuts))
    assert verdict["verdict"] != "fail", [f for f in verdict["findings"] if f["role"] in ("failure", "cause")]
    assert verdict["check_errors"] == []


@pytest.mark.parametrize("name", FAULTY)
@given(data=st.data())
@settings(max_examples=30)
def test_less_of_a_broken_pair_is_never_a_pass(name, data):
    document = FAULTY[name]
    cuts = data.draw(cuts_of(document))
    assert judge(document)["verdict"] != "pass"
    assert judge(without(document, cuts))["verdict"] != "pass", cuts


@pytest.mark.slow
def test_each_single_part_of_a_healthy_pair_may_be_missing():
    """Exhaustively, one at a time: never a failure, never a crash, never a check that could not be made."""
    for path in telling(HEALTHY):
        verdict = judge(without(HEALTHY, [(path, True)]))
        assert verdict["verdict"] in ("pass", "inconclusive"), path
        assert verdict["check_errors"] == [], path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["control hit", "damaged", "one missed"])
def test_each_single_part_of_a_broken_pair_may_be_missing(name):
    for path in telling(FAULTY[name]):
        verdict = judge(without(FAULTY[name], [(path, True)]))
        assert verdict["verdict"] != "pass", path
        assert verdict["check_errors"] == [], path


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(places(HEALTHY)), JUNK), min_size=1, max_size=6))
def test_junk_is_met_at_the_door(changes):
    """Junk of another type counts as not seen and is told; what junk of the right type says is another matter."""
    document = copy.deepcopy(HEALTHY)
    for path, junk in changes:
        try:
            parent_of(document, path)[path[-1]] = copy.deepcopy(junk)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    verdict = judge(document)
    assert verdict["verdict"] in ("pass", "fail", "inconclusive")
    assert len(verdict["links"]) == 13
    assert not [text for text in verdict["check_errors"] if "Error:" in text]


@given(JUNK)
def test_a_document_that_is_none_proves_nothing(junk):
    verdict = judge(junk)
    assert verdict["verdict"] == "inconclusive"
    assert verdict["findings"][0]["slug"] == "experiment-incomplete"


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=5))
def test_every_mixture_of_outcomes_is_explained(outcomes):
    """A pass has no decisive finding and a whole chain; everything else has a reason; a failure says where."""
    document = build.pair(*outcomes)
    verdict = judge(document)
    decisive = [f for f in verdict["findings"] if f["role"] in DECISIVE]
    states = {link["link"]: link["state"] for link in verdict["links"]}
    if verdict["verdict"] == "pass":
        assert decisive == []
        assert all(states[n] in ("holds", "holds (inferred)") for n in range(6, 13))
        assert verdict["first_broken"] is None
        proven = outcomes.count("proven")
        assert proven * 2 >= len(outcomes)
        assert set(outcomes) <= {"proven", "timed-out"}
    else:
        assert verdict["findings"][0]["role"] in DECISIVE
    if verdict["verdict"] == "fail":
        assert states[verdict["first_broken"]["link"]] == "broken"
        assert verdict["findings"][0]["link"] == verdict["first_broken"]["link"]
        assert "proven" not in outcomes or outcomes.count("proven") * 2 < len(outcomes)
    else:
        assert verdict["first_broken"] is None


@given(cuts_of(HEALTHY))
@settings(max_examples=30)
def test_the_judge_is_deterministic_and_leaves_its_evidence_alone(cuts):
    document = without(HEALTHY, cuts)
    before = copy.deepcopy(document)
    assert judge(document) == judge(document)
    assert document == before


def test_what_is_read_is_a_copy():
    read, errors = evidence.read(HEALTHY)
    assert (read, errors) == (HEALTHY, [])
    read["probe"]["trials"][0]["reuse"]["text"] = "another"
    read["nodes"]["holder"]["engine"]["options"]["model"] = "another"
    assert healthy() == HEALTHY


@pytest.mark.parametrize("size", ["2", "many", [2], -1, True])  # others count as not seen (evidence.document)
def test_a_world_size_that_is_no_number_of_ranks_proves_nothing(size):
    document = build.pair()
    for side in ("holder", "receiver"):
        node = document["nodes"][side]
        (node.get("meta") or node["engine"]["internal"]["meta"])["world_size"] = size
    assert judge(document)["verdict"] == "inconclusive"
