# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts through a cluster's own router: what the engines' counters prove of it, and what they leave open."""

from __future__ import annotations

import pytest
from documents import PROMPT, WORDS, logprobs, pair
from kvproof.judge.counters import FINISHED
from kvproof.judge.verdict import judge
from mp_documents import mp_pair
from nixl_documents import nixl_pair
from pd_documents import pd_pair
from routed_documents import (
    ALONE,
    DISAGGREGATED,
    HOLDER,
    RECEIVER,
    TWICE,
    URL,
    answering,
    counted,
    prompt,
    real,
    refused,
    through,
    unsent,
)


def about_the_router(document: dict) -> tuple[str, list[tuple[str, str]]]:
    """(verdict, role and slug of what is said of the router)."""
    verdict = judge(document)
    assert verdict["check_errors"] == []
    return verdict["verdict"], [(f["role"], f["slug"]) for f in verdict["findings"] if f["slug"].startswith("router-")]


@pytest.mark.parametrize(
    ("build", "served"),
    [
        (nixl_pair, [DISAGGREGATED] * 3),
        (nixl_pair, [{**DISAGGREGATED, RECEIVER: counted(PROMPT + 1, loaded=PROMPT)}] * 3),  # with the first new token
        (pair, [{HOLDER: counted(PROMPT)}, {RECEIVER: counted(PROMPT)}, {HOLDER: counted(PROMPT)}]),
        (mp_pair, [{HOLDER: counted(PROMPT)}, {RECEIVER: counted(PROMPT)}, {HOLDER: counted(PROMPT)}]),
    ],
)
def test_a_router_that_does_its_work_changes_nothing(build, served):
    without = judge(build())
    verdict = judge(through(build(), *served))
    assert verdict.pop("router")["answered"] == 3
    assert verdict == without


@pytest.mark.parametrize(
    ("router", "found"),
    [
        ("right", None),
        ("whole", "router-not-disaggregating"),
        ("drops", "router-drops-kv"),
        ("changes", "router-prompt-differs"),
        ("mixes", "router-output-differs"),
        ("vllm-router, disaggregating", None),
        ("vllm-router, plain", "router-not-disaggregating"),
    ],
)
def test_real_engines_behind_routers(router, found):
    expected = ("fail", [("failure", found)]) if found else ("pass", [])
    assert about_the_router(real(router)) == expected


def test_what_became_of_the_prompts_is_told_in_words():
    router = judge(through(nixl_pair(), DISAGGREGATED, DISAGGREGATED, ALONE))["router"]
    assert (router["url"], router["sent"], router["answered"]) == (URL, 3, 3)
    assert router["text"] == (
        f"2 of 3: {HOLDER} computed the prompt, {RECEIVER} loaded the prompt; 1 of 3: {RECEIVER} computed the prompt"
    )
    half = {**DISAGGREGATED, RECEIVER: counted(PROMPT, loaded=PROMPT - 200)}
    text = judge(through(nixl_pair(), half))["router"]["text"]
    assert text.endswith(f"{RECEIVER} computed 200 tokens and loaded {PROMPT - 200} tokens")


@pytest.mark.parametrize("alone", [ALONE, {HOLDER: counted(PROMPT)}], ids=["decode", "prefill"])
def test_a_router_that_never_disaggregates_fails_a_pair_that_passed(alone):
    assert about_the_router(through(nixl_pair(), *[alone] * 3)) == ("fail", [("failure", "router-not-disaggregating")])
    verdict = judge(through(nixl_pair(), *[alone] * 3))
    assert verdict["first_broken"]["link"] == 13  # what the pair's own requests showed stands
    assert [link["state"] for link in verdict["links"][5:12] if link["link"] != 9] == ["holds"] * 6


@pytest.mark.parametrize(
    "served",
    [
        [ALONE, ALONE, DISAGGREGATED],  # it can
        [ALONE],  # one prompt may be chance
        [{RECEIVER: counted(PROMPT, loaded=PROMPT)}] * 3,  # from a prefill engine that the inventory does not have
    ],
)
def test_what_was_not_shown_of_all_is_no_failure(served):
    verdict, said = about_the_router(through(nixl_pair(), *served))
    assert verdict == "pass"
    assert "failure" not in [role for role, _slug in said]


def test_both_ways_are_told_apart_from_one_alone():
    known = [DISAGGREGATED, TWICE, DISAGGREGATED]
    assert about_the_router(through(nixl_pair(), *known)) == ("pass", [("warning", "router-in-part")])


@pytest.mark.parametrize(
    "doubt",
    [
        {"window": None},
        {"unfinished": 1.0},
        {"unfinished": None},
        {"window": {**counted(PROMPT)["window"], FINISHED: 2.0}},
        {"window": {FINISHED: 1.0}},
    ],
)
@pytest.mark.parametrize("name", [HOLDER, RECEIVER])
def test_counters_of_a_window_that_is_not_idle_prove_nothing(name, doubt):
    served = {**ALONE, name: {**counted(PROMPT), **doubt}}
    assert about_the_router(through(nixl_pair(), *[served] * 3)) == ("pass", [("note", "router-unproven")])


@pytest.mark.parametrize("made", [1, 0])
def test_an_engine_that_did_not_make_the_answer_did_not_do_it_alone(made):
    """The page of the decode engine is an old one, as of an exporter between: it stands still."""
    served = {HOLDER: counted(PROMPT, made=made)}
    assert about_the_router(through(nixl_pair(), *[served] * 3)) == ("pass", [("note", "router-unproven")])


def test_engines_that_do_not_tell_what_they_computed_prove_nothing_of_disaggregation():
    served = {RECEIVER: counted(PROMPT)}
    document = through(nixl_pair(), *[served] * 3)
    for one in document["probe"]["router"]["requests"]:
        window = one["engines"][RECEIVER]["window"]
        one["engines"][RECEIVER]["window"] = {name: window[name] for name in window if "source" not in name}
    assert about_the_router(document) == ("pass", [("note", "router-unproven")])


@pytest.mark.parametrize(
    ("shifts", "served"),
    [
        ((0.0, 0.0, 0.0), DISAGGREGATED),
        ((0.001, 0.001, 0.001), DISAGGREGATED),  # noise
        ((1.0, 0.0, 0.0), DISAGGREGATED),  # one alone
        (
            (1.0, 1.0, 1.0),
            {HOLDER: counted(PROMPT - 8), RECEIVER: counted(PROMPT - 8, loaded=PROMPT - 8)},
        ),
        ((), DISAGGREGATED),  # nothing to compare
    ],
)
def test_answers_that_prove_no_difference(shifts, served):
    document = answering(through(nixl_pair(), *[served] * 3), *shifts)
    assert "router-output-differs" not in [slug for _role, slug in about_the_router(document)[1]]


def test_answers_differ_through_no_router_where_the_pairs_own_do():
    document = answering(through(nixl_pair(), *[DISAGGREGATED] * 3), 1.0, 1.0, 1.0)
    for trial in document["probe"]["trials"]:
        trial["reuse"]["logprobs"] = logprobs(WORDS, 1.0)
    assert about_the_router(document) == ("fail", [])


def test_a_pair_that_does_not_reuse_is_not_the_routers_fault():
    document = through(nixl_pair(*("missed",) * 3), *[TWICE] * 3)
    verdict, said = about_the_router(document)
    assert (verdict, said) == ("fail", [])


def test_a_router_makes_nothing_pass():
    document = through(nixl_pair(*("missed",) * 3), *[DISAGGREGATED] * 3)
    assert about_the_router(document) == ("fail", [])


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("connect", None, "failure"),
        ("dns", None, "failure"),
        ("stream", None, "failure"),
        ("http", 502, "failure"),
        ("http", 401, "note"),  # the operator's key, or model
        ("timeout", None, "note"),  # engines may be slow
        ("ssh", None, "note"),
    ],
)
def test_a_router_that_lets_nothing_through(kind, status, expected):
    verdict, said = about_the_router(refused(pair(), kind, status))
    assert [role for role, _slug in said] == [expected]
    assert verdict == ("fail" if expected == "failure" else "pass")


def test_one_prompt_that_came_through_shows_that_the_way_is_open():
    document = refused(pair())
    document["probe"]["router"]["requests"][0] = prompt({HOLDER: counted(PROMPT)})
    assert about_the_router(document) == ("pass", [("note", "router-unproven")])


def test_why_nothing_was_sent_is_told():
    verdict = judge(unsent(pd_pair(), "a sender ends when it gets a plain completion"))
    [found] = [one for one in verdict["findings"] if one["slug"] == "router-unproven"]
    assert (found["role"], found["reason"]) == ("note", "a sender ends when it gets a plain completion")
    assert verdict["router"]["text"] == "nothing was sent: a sender ends when it gets a plain completion"


def places(part, path=()) -> list[tuple]:
    """Every place in a ROUTED."""
    keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
    return [one for key in keys for one in [(*path, key), *places(part[key], (*path, key))]]


WHOLE = through(nixl_pair(), DISAGGREGATED)["probe"]["router"]["requests"][0]


@pytest.mark.parametrize("absent", [False, True], ids=["null", "absent"])
@pytest.mark.parametrize("path", places(WHOLE), ids=str)
def test_less_evidence_of_a_right_router_is_never_a_failure(path, absent):
    document = answering(through(nixl_pair(), *[DISAGGREGATED] * 3), 0.0, 0.0, 0.0)
    for routed in document["probe"]["router"]["requests"]:
        *way, last = path
        part = routed
        for key in way:
            part[key] = dict(part[key])  # its own
            part = part[key]
        if absent:
            del part[last]
        else:
            part[last] = None
    verdict, said = about_the_router(document)
    assert verdict == "pass"
    assert {role for role, _slug in said} <= {"note"}


@pytest.mark.parametrize("odd", [{}, {"requests": None}, {"requests": [{}]}, {"requests": [{"engines": {"a": None}}]}])
def test_odd_evidence_of_a_router_takes_no_verdict_down(odd):
    document = pair()
    document["probe"]["router"] = odd
    assert about_the_router(document)[0] == "pass"
