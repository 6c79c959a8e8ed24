# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document of a run, ``kvproof.verdict/1``, declared; docs/verdict.schema.json is made of it.

``read()`` is the door for reports that others wrote: what it lets in can be shown in every view.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from ..evidence.shapes import Count, Errors, ListOf, MapOf, Text, Time, Whole, json_schema, shape_of
from ..plan.pair import PairNames, SkippedPair
from ..plan.shard import Shard

SCHEMA: Final = "kvproof.verdict/1"

# Roles of findings: what decided a verdict, and what a verdict cannot stand beside.
DECISIVE = ("failure", "cause", "validity")
_AGAINST = {"pass": DECISIVE, "inconclusive": ("failure",), "fail": ()}

Word = Literal["pass", "fail", "inconclusive"]
Counted = Literal["pass", "fail", "inconclusive", "waived", "not judged"]
Format = Literal["codequality", "sarif", "trace"]  # files that are written on request: kv_reuse_formats
Mode = Literal["inventory", "seed"]
Console = Literal["full", "short"]  # what is printed of a run: kv_reuse_console
Status = Literal["incomplete", "complete"]
Inconclusive = Literal["fail", "warn"]  # what an inconclusive pair means for the exit code
LinkNumber = Annotated[int, Whole(1, 13)]


class Broken(TypedDict):
    link: LinkNumber
    name: str


class Link(TypedDict):
    link: LinkNumber
    name: str
    kind: Literal["condition", "validity", "outcome", "performance"]
    state: Literal["holds", "holds (inferred)", "broken", "unknown", "not needed"]
    text: str


class Finding(TypedDict):
    slug: Annotated[str, Text(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$"), "docs/findings/ has a page for each."]
    role: Annotated[
        Literal["failure", "cause", "validity", "warning", "note"],
        "failure and cause make the pair fail, validity makes it inconclusive, the others decide nothing.",
    ]
    link: LinkNumber
    title: str
    host: str
    expected: str
    observed: str
    reason: str
    remedy: str
    source: Annotated[str, "Where the fact behind the finding comes from."]
    doc: str
    waiver: Annotated[str, "The variable that accepts this finding."]
    waived: Annotated[str | None, "The reason an operator gave for accepting it."]


class Trial(TypedDict):
    outcome: Literal[
        "proven",
        "unattributed",
        "local",
        "masked",
        "timed-out",
        "slow",
        "unsent",
        "below-min",
        "load-failed",
        "missed",
        "error",
        "unknown",
    ]
    expected: int | None
    stored: int | None
    loaded: int | None
    request_id: str | None
    visible_s: Annotated[float | None, "From the end of the seed until its KV was seen stored."]
    seed_ttft_s: Annotated[float | None, "Prefill on the holder."]
    reused_ttft_s: Annotated[float | None, "Of the second request, whatever became of it."]
    recomputed_ttft_s: float | None
    itl_s: Annotated[dict[str, float | None] | None, "Time between the tokens of the second request's stream."]
    tpot_s: Annotated[float | None, "(total - TTFT) / (completion tokens - 1)."]


class Interval(TypedDict):
    """95 % bootstrap interval of a speedup over its pairs, widened for few of them; null for fewer than two."""

    low: float
    high: float


class Performance(TypedDict):
    """Median TTFT over trials that have both a reuse and a recompute of the same prompt."""

    reused_s: float
    recomputed_s: float
    speedup: Annotated[float, "Median of the pairs' ratios, recomputed to reused."]
    interval: Interval | None
    trials: Count
    tokens: int | None


class Spread(TypedDict):
    n: Count
    median: float
    p95: Annotated[float | None, "null for fewer than 20 values."]
    max: float


class Histogram(TypedDict):
    """What the holder's histogram of transfers gained over the probe; it counts failed ones, too."""

    state: Literal["ok", "not flushed yet", "not exported"]
    transfers: int | None
    mean_s: float | None
    mean_gb_s: float | None


class Moved(TypedDict):
    """GB are 2^30 bytes, as LMCache counts."""

    store_s: Annotated[Spread | None, "The holder's own log line of each seed."]
    transfer_s: Annotated[
        Spread | None, "Between the holder's log lines of this very request; their clock has milliseconds."
    ]
    transfer_gb_s: Spread | None
    load_s: Annotated[Spread | None, "The receiver's own log line of each reuse: into the engine's cache."]
    load_gb_s: Spread | None
    histogram: Histogram | None


class Length(TypedDict):
    asked: Count
    tokens: Annotated[int | None, "Of the prompts that were sent."]
    pairs: Count
    reused_s: float | None
    recomputed_s: float | None
    speedup: float | None
    interval: Interval | None
    skipped: Annotated[str | None, "Why nothing was measured."]


class BreakEven(TypedDict):
    tokens: Annotated[int | None, "Interpolated; null where no single length was seen."]
    text: str


class Timing(TypedDict):
    """What was measured. Decides nothing unless a limit is set."""

    reused_ttft_s: Spread | None
    recomputed_ttft_s: Spread | None
    itl_s: Annotated[Spread | None, "Times between tokens, of all second requests together."]
    tpot_s: Annotated[Spread | None, "One value per second request."]
    visible_s: Annotated[Spread | None, "From the end of a seed until its KV was seen stored."]
    visible_how: Literal["key_count", "log", "counter"] | None
    moved: Moved | None
    lengths: Annotated[list[Length], "kv_reuse_lengths, shortest first."]
    break_even: BreakEven | None


class Output(TypedDict):
    state: Literal["equal", "differs", "unclear", "unread", "none"]
    text: str
    difference: Annotated[float | None, "Largest difference of log-probabilities, nats."]
    limit: Annotated[float | None, "What counts as damage above it, nats."]
    noise: Annotated[float | None, "Of two recomputes of one prompt, nats."]
    compared: Count


class Answer(TypedDict):
    text: str | None
    finish_reason: str | None
    completion_tokens: int | None


class Counters(TypedDict):
    """Rises of an engine's counters over the probe. No verdict rests on them."""

    num_hit_tokens: float | None
    external_hits: float | None
    external_kv_transfer: float | None
    retrieve_hit_rate: Annotated[float | None, "A gauge as it stood after the probe, not a rise."]


class EngineCounters(TypedDict):
    holder: Counters
    receiver: Counters


class Tunnel(TypedDict):
    via: Annotated[list[str], "user@host:port, jump hosts first."]
    open_s: Annotated[float | None, "How long the login took."]
    rtt_s: Annotated[float | None, "Median round trip to the SSH server."]
    rtt_max_s: float | None
    pings: Count | None


class Tunnels(TypedDict):
    """SSH tunnels to the engines (kv_reuse_transport: ssh); absent without. Times include them."""

    holder: NotRequired[Tunnel]
    receiver: NotRequired[Tunnel]


class Router(TypedDict):
    """Prompts through the cluster's own router (kv_reuse_router_url), and which engines served them."""

    url: str
    sent: Count
    answered: Count
    text: Annotated[str, "What became of them, in words; or why nothing was sent."]


class ComparedSetting(TypedDict):
    setting: str
    holder: Annotated[str | None, "null: not seen."]
    receiver: str | None
    differs: Annotated[bool | None, "null: each engine has its own, or it was not seen of both."]


class Server(TypedDict):
    address: str
    port: Annotated[int | None, "null: the port of its scheme."]


class Sent(TypedDict):
    """A request to an engine, or the wait until a store was visible, by the validator's clock."""

    what: Annotated[str, "The request's role, or visible."]
    trial: Annotated[int | None, "Index of the trial that it belongs to."]
    length: Annotated[int | None, "The one of kv_reuse_lengths that it belongs to."]
    engine: Literal["holder", "receiver", "router"]
    began_at: Annotated[float, "Epoch seconds."]
    took_s: Annotated[float, "Until the answer's end, or until it failed."]
    ttft_s: float | None
    request_id: str | None
    response_id: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    error: Annotated[str | None, "Its kind."]


class Probed(TypedDict):
    """When a pair was probed, and what was sent, in order of time."""

    began_at: Annotated[float, "Epoch seconds."]
    took_s: float
    model: str | None
    servers: dict[str, Server]
    sent: list[Sent]


class Pair(PairNames):
    """holder and receiver are the inventory names of the prefill and of the decode node."""

    architecture: NotRequired[Annotated[str, "The way to share KV that it was judged by; absent before 0.2."]]
    verdict: Word
    waived: Annotated[bool, "Every finding that decided a verdict other than pass is waived."]
    first_broken: Annotated[Broken | None, "Where the chain broke; null unless the verdict is fail."]
    links: Annotated[list[Link], ListOf(shape_of(Link), count=13)]
    findings: Annotated[list[Finding], "Most important first."]
    trials: Annotated[list[Trial], "Fresh prompts in order."]
    counts: Annotated[
        dict[str, Count], MapOf(shape_of(Count), needs=("fresh_prompts",)), "Fresh prompts in all, and by outcome."
    ]
    performance: Performance | None
    timing: Timing
    output: Output
    answer: Answer | None
    settings: NotRequired[Annotated[list[ComparedSetting], "Of both engines; absent before 0.2."]]
    counters: EngineCounters
    tunnels: NotRequired[Tunnels]
    router: NotRequired[Annotated[Router, "Absent where the cluster has none."]]
    check_errors: Annotated[list[str], "Checks that could not be made of this evidence."]
    probed: NotRequired[Annotated[Probed, "Only where a trace was asked for (kv_reuse_formats)."]]


class Cluster(TypedDict):
    name: str
    verdict: Annotated[Word, "The worst of its pairs that are not waived."]
    counts: dict[Counted, Count]
    pairs: list[Pair]
    not_judged: Annotated[
        list[SkippedPair],
        "Pairs that were to be judged and have no verdict. Each makes the cluster inconclusive.",
    ]


class Place(TypedDict):
    """A line of a file, by its path from the project's folder."""

    path: str
    line: Annotated[int, Whole(1)]


class Places(TypedDict):
    """Where the project names its hosts, for formats whose readers show a finding at a line."""

    hosts: dict[str, Place]
    otherwise: Annotated[str, "The file for a host that no file of the project names: the run's summary."]


What = Literal["newly broken", "no longer proven", "no longer judged", "fixed", "new", "as before"]
Kind = Literal["reused", "recomputed"]  # of a TTFT


class Times(TypedDict):
    """Medians of a kind of TTFT in seconds."""

    before: float
    after: float
    beyond: Annotated[bool, "Every value of one run lies above every value of the other."]


class ChangedSetting(TypedDict):
    setting: str
    node: Literal["holder", "receiver"]
    before: str | None
    after: str | None


class ChangeOfPair(PairNames):
    """What became of a pair from one run to another."""

    what: What
    before: Annotated[str | None, "Its verdict and first reason then; null where that run has no verdict of it."]
    after: str | None
    settings: Annotated[list[ChangedSetting], "Where both runs judged it."]
    ttft: Annotated[dict[Kind, Times], "Of as many times on either side as can be compared."]


class Changed(ChangeOfPair):
    """A pair that is not as in its last run, the latest kept one that judged it."""

    was: Word | None
    now: Word | None
    since: Annotated[Time | None, "When that run ended; null where there is none."]


class Point(TypedDict):
    """A pair in an earlier run."""

    at: Annotated[Time, "When that run ended."]
    verdict: Word
    waived: bool
    reused_ttft_s: Annotated[float | None, "Median of what was reused; null where that is not proven."]


class Past(PairNames):
    earlier: Annotated[list[Point], "Oldest first."]


class History(TypedDict):
    """What changed since the runs that kv_reuse_history keeps. It decides nothing."""

    first: Annotated[Time | None, "When the earliest of the pairs' last runs ended; null where no kept run judged one."]
    last: Annotated[Time | None, "And the latest of them."]
    changes: Annotated[list[Changed], "Worst first. Pairs that are as before are there where their times lie apart."]
    pairs: Annotated[list[Past], "Of many, those that changed and those that do not pass come first."]


class Verdict(TypedDict):
    schema: Literal["kvproof.verdict/1"]
    tool: Annotated[str, "Version of kvproof."]
    run_id: str | None
    mode: Mode | None
    status: Annotated[Status, "incomplete until the run has ended; then nothing is proven."]
    started_at: Time
    finished_at: Time | None
    verdict: Annotated[
        Word | None,
        "The worst of all clusters; at best inconclusive when there are problems. null while incomplete.",
    ]
    inconclusive: Annotated[Inconclusive, "What an inconclusive pair means for the exit code."]
    run_fails: Annotated[bool, "Whether this run proved less than it should: it must not exit with 0."]
    exit_code: Annotated[int | None, "What ansible-playbook exits with, as far as this playbook decides it."]
    clusters: list[Cluster]
    not_probed: Annotated[list[SkippedPair], "Pairs that this run was not asked to judge."]
    problems: Annotated[list[str], "Why the run is no pass, where that belongs to no pair."]
    notes: list[str]
    shard: NotRequired[Annotated[Shard, "The part of an inventory that the run was given (kv_reuse_shard)."]]
    places: NotRequired[Annotated[Places, "Only where code quality or SARIF was asked for (kv_reuse_formats)."]]
    traceparent: NotRequired[Annotated[str, "The pipeline's own span, where a trace was asked for within it."]]
    history: NotRequired[Annotated[History, "Where kv_reuse_history keeps runs."]]


def read(document: Any) -> tuple[Verdict | None, str | None]:
    """A fresh copy of a run's document, or in a few words the first thing in it that is not as declared."""
    errors = Errors(strict=True)
    fresh: Verdict | None = shape_of(Verdict).read(document, None, errors)
    if fresh is None or errors:
        return None, next(iter(errors), "there is no document")
    complete = fresh["status"] == "complete"
    if complete != bool(fresh["verdict"]) or (complete and not fresh["finished_at"]):
        return None, "verdict and finished_at do not go with status"
    wrong = next(
        (why for cluster in fresh["clusters"] for pair in cluster["pairs"] if (why := _contradiction(pair))), None
    )
    return (None, wrong) if wrong else (fresh, None)


def _contradiction(pair: Pair) -> str | None:
    """Where a pair says to be better than its own findings and trials show."""
    name = f"{pair['holder']} and {pair['receiver']}"
    against = [finding["slug"] for finding in pair["findings"] if finding["role"] in _AGAINST[pair["verdict"]]]
    if against:
        return f"{name!r:.80}: verdict {pair['verdict']}, with the finding {against[0]}"
    if pair["verdict"] == "pass" and not any(trial["outcome"] == "proven" for trial in pair["trials"]):
        return f"{name!r:.80}: verdict pass, with no trial proven"
    decisive = [finding for finding in pair["findings"] if finding["role"] in DECISIVE]
    if pair["waived"] and not (decisive and all(finding["waived"] for finding in decisive)):
        return f"{name!r:.80}: waived, with findings that are not"
    return None


def schema() -> dict[str, Any]:
    """The JSON Schema of the document, for docs/verdict.schema.json."""
    about = (
        "reports/verdict.json: one run, its clusters, the verdict of each pair with its chain of proof and findings. "
        "Times are ISO 8601 in UTC, durations seconds, token counts tokens of the prompt. null always means: not seen."
    )
    ended = {"verdict": shape_of(Word).schema({}), "finished_at": {"type": "string"}}
    return {
        **json_schema(Verdict, "urn:kvproof:verdict:1", SCHEMA, about),
        "if": {"properties": {"status": {"const": "complete"}}},
        "then": {"properties": ended},
        "else": {"properties": {"verdict": {"type": "null"}, "run_fails": {"const": True}}},
    }
