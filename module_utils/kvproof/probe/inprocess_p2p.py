# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment of one pair, in one process: fresh prompts, their reuse, and the controls that make it proof.

Per trial: seed on the holder, wait until its KV is visible, reuse on the receiver, and a knock-out (the same
prompt, made to miss and not stored), the two timed requests in alternating order.  Once per pair: repeat, a
never-seen prompt, a second recompute.  Everything that happens ends in the document PROBE; a bad cluster
never raises.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..stack.settings import DEFAULTS
from ..transport.http import Deadline, RequestFailed
from . import lengths as lengthprobe
from . import prompts, sizing
from .completions import REFUSED, CompletionClient, knockout_fields
from .engine import Engine, EngineSettings, empty_engine, side_by_side
from .store_watch import StoreWatch, controller_client, not_waited, read_controller

FEW_TOKENS = 8  # what every request generates but those of the first trial; the first token tells most
WARMUP_TOKENS = 2
REFERENCE_MOST_TOKENS = 2048  # prompt_logprobs makes logits of the whole prompt
FLUSH_S = 11.0  # LMCache flushes its counters every 10 s
VAIN_WAIT_S = 1.0  # a store that did not show within the full wait, and did not lead to a hit, gets no more
BLIND_WAIT_S = 0.25  # one that did not show and led to a hit all the same: a full pool evicts, so the count stays
WARMUP_WAIT_S = 1.0
MISSES_ENOUGH = 2  # plain misses after which no lost trial is made again


@dataclass(frozen=True)
class Settings:
    """What to do; times in seconds.  ``chunk_size`` None: as the internal API says, else LMCache's default."""

    run_id: str
    trials: int = 3
    extra_attempts: int = 2
    chunks: int = 4
    chunk_size: int | None = None
    wait_s: float = 5.0
    deadline_s: float = 120.0
    max_tokens: int = 32
    max_probe_mb: float | None = None
    shares: int = 1
    lengths: tuple[int, ...] = ()
    wait_for_flush: bool = False
    controller_ssh: Any = None  # sshroute.SshSettings: reach the controller through this host


def new_run_id() -> str:
    """A short random id, part of every request id of a run."""
    return "k" + secrets.token_hex(4)


def empty_probe(
    settings: Settings, holder: EngineSettings, receiver: EngineSettings, skipped: str | None = None
) -> dict[str, Any]:
    """PROBE before anything is known."""
    shown = {
        "trials": settings.trials,
        "extra_attempts": settings.extra_attempts,
        "chunks": settings.chunks,
        "wait_s": settings.wait_s,
        "deadline_s": settings.deadline_s,
        "max_tokens": settings.max_tokens,
        "flush_waited_s": None,
    }
    return {
        "schema": "kvproof.probe/1",
        "run_id": settings.run_id,
        "skipped": skipped,
        "started_at": round(time.time(), 6),
        "duration_s": 0.0,
        "settings": shown,
        "engines": {"holder": empty_engine(holder), "receiver": empty_engine(receiver)},
        "controller": None,
        "prompt": None,
        "warmup": [],
        "trials": [],
        "never_seen": None,
        "recompute": None,
        "reference": None,
        "lengths": [],
        "errors": [],
    }


class TokenizerError(Exception):
    """The tokenizer given cannot be loaded; the message is one sentence."""


class Experiment:
    """One pair's experiment; ``run()`` returns PROBE.

    Raises ImportError where a tokenizer path is wanted and transformers is missing, and TokenizerError where
    the path holds no tokenizer: both are the operator's to mend.
    """

    def __init__(
        self, settings: Settings, holder: EngineSettings, receiver: EngineSettings, controller_url: str | None = None
    ):
        self.settings, self.deadline = settings, Deadline(settings.deadline_s)
        self.probe = empty_probe(settings, holder, receiver)
        self.holder = Engine(holder, self.deadline, self._note)
        self.receiver = Engine(receiver, self.deadline, self._note)
        self.probe["engines"] = {"holder": self.holder.document, "receiver": self.receiver.document}
        self.controller = controller_client(controller_url, self.deadline, settings.controller_ssh)
        self._knockout_refused = False
        self._longest_wait = settings.wait_s  # less once waiting has proved to be of no use
        self._ended = time.monotonic()  # of the last request

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        self._contact()
        try:
            if self._prepare():
                side_by_side(*self._scrapes("before"))
                self.watch.learn_gauge()
                self._trials()
                self._controls()
        except RequestFailed as exc:
            self._note("experiment", exc.error)
        self._finish()
        self._lengths()
        self.probe["duration_s"] = round(time.monotonic() - started, 3)
        return self.probe

    def _note(self, where: str, error: dict[str, Any]) -> None:
        self.probe["errors"].append({"where": where, **error})

    def _contact(self) -> None:
        def controller() -> None:
            self.probe["controller"] = read_controller(self.controller)

        side_by_side(self.holder.contact, self.receiver.contact, controller)
        self.clients = {
            engine.settings.role: CompletionClient(engine.http, engine.settings.role, engine.document["model"] or "")
            for engine in (self.holder, self.receiver)
        }

    # ---- what is sent

    def _prepare(self) -> bool:
        """Material, sizes, warm-up; False where no trial can be made."""
        if self.holder.lacks() or self.receiver.lacks():
            return False
        self.material = self._tokenize()
        self.bounds, self.chunk_source = sizing.bounds(
            self.settings, (self.holder, self.receiver), max(self.settings.max_tokens, FEW_TOKENS)
        )
        self.watch = StoreWatch(
            self.holder,
            self.receiver,
            self.bounds.chunk_size,
            controller=self.controller,
            workers=(self.probe["controller"] or {}).get("workers"),
        )
        if not self._size_up():
            return False
        refused = self._warm_up()
        if refused and self.material.source != "text":
            self._note(
                "prompt",
                {
                    "kind": "http",
                    "status": refused,
                    "text": "prompts as token ids are refused, so text is sent and counts are estimates",
                },
            )
            self.material = prompts.Material("text")
            return self._size_up() and not self._warm_up()
        return not refused

    def _tokenize(self) -> prompts.Material:
        """Token ids by the server, else by a tokenizer given, else text."""
        found = []
        for engine in (self.holder, self.receiver):
            try:
                found.append(prompts.tokenize_with_server(engine.http, engine.document["model"]))
                engine.document["tokenize"] = True
            except RequestFailed as exc:
                self._note(f"{engine.settings.role}.tokenize", exc.error)
        if found:
            return found[0]
        path = self.holder.settings.tokenizer or self.receiver.settings.tokenizer
        if not path:
            return prompts.Material("text")
        try:
            return prompts.tokenize_with_transformers(path)
        except (OSError, ValueError) as exc:
            raise TokenizerError(
                f"tokenizer {path} cannot be loaded ({str(exc).splitlines()[0][:160]}): give the "
                "folder of the model's tokenizer, or leave it out"
            ) from exc

    def _size_up(self) -> bool:
        """PROMPT, from a first pair that is not sent; False where it must not be."""
        pair = self._build()
        self.probe["prompt"] = {
            "source": self.material.source,
            "estimated": self.material.source == "text",
            "tokens": pair.tokens,
            "prefix_tokens": pair.prefix_tokens,
            "chunk_size": self.bounds.chunk_size,
            "chunk_size_source": self.chunk_source,
            "expected_hit": prompts.expected_hit(pair.prefix_tokens, self.bounds.chunk_size),
            "shortened": sizing.shortened(self.bounds),
            "refused": sizing.refusal(self.bounds, pair),
        }
        return self.probe["prompt"]["refused"] is None

    def _build(self, prefix_tokens: int | None = None) -> prompts.PromptPair:
        return prompts.build(self.material, prefix_tokens or self.bounds.prefix_tokens())

    def _ask(
        self,
        engine: str,
        role: str,
        prompt: Any,
        label: str,
        *,
        max_tokens: int = FEW_TOKENS,
        extra: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        request_id = f"kvp-{self.settings.run_id}-{label}"
        request = self.clients[engine].ask(role, prompt, request_id, max_tokens, extra)
        self._ended = time.monotonic()
        if request["error"]:
            self._note(f"{engine}.{role}", request["error"])
        return request

    # ---- warm-up

    def _warm_up(self) -> int | None:
        """Takes the first `logprobs` and the peers' first contact out of the trials.

        Returns the status with which an engine refused the prompt, None when both took it.
        Raises RequestFailed where an engine gave no answer at all.
        """
        pair = self._build(
            max(1, self.bounds.min_retrieve_tokens // self.bounds.chunk_size + 1) * self.bounds.chunk_size
            + prompts.SLACK_TOKENS
        )
        mark = self.watch.before()
        label = "warmup" if self.material.source != "text" else "warmup-text"
        for engine, prompt in (("holder", pair.seed), ("receiver", pair.reuse)):
            request = self._ask(engine, "warmup", prompt, f"{label}-{engine}", max_tokens=WARMUP_TOKENS)
            self.probe["warmup"].append(request)
            error = request["error"]
            if error and error["status"] in REFUSED:
                return error["status"]
            if error:
                raise RequestFailed(
                    error["kind"], f"the warm-up of the {engine} failed, so no trial was made", error["status"]
                )
            if engine == "holder" and self.watch.sees:
                self._longest_wait = min(WARMUP_WAIT_S, self.settings.wait_s)
                shown = self._wait(mark, request, pair)["reached"]
                self._longest_wait = self.settings.wait_s
            elif self.watch.sees and not shown and request["cached_tokens"]:
                self._longest_wait = min(BLIND_WAIT_S, self.settings.wait_s)
        return None

    def _wait(
        self, mark: dict[str, Any], seed: dict[str, Any], pair: prompts.PromptPair, since: float | None = None
    ) -> dict[str, Any]:
        limit = max(0.0, min(self._longest_wait, self.deadline.left()))
        return self.watch.wait(
            mark,
            seed["response_id"] or seed["request_id"],
            pair.seed_tokens // self.bounds.chunk_size,
            limit=limit,
            since=self._ended if since is None else since,
        )

    # ---- trials

    def _trials(self) -> None:
        """The trials; one that looks lost to a lookup time-out is made again with a fresh prompt."""
        ahead = []
        if not self.watch.sees:  # no witness: all seeds first, so that one wait serves them all
            ahead = [self._seed(index, 0) for index in range(self.settings.trials)]
        for index in range(self.settings.trials):
            for attempt in range(self.settings.extra_attempts + 1):
                if self.deadline.passed():
                    raise self.holder.http.deadline_error()
                begun = ahead[index] if ahead and attempt == 0 else self._seed(index, attempt)
                trial = self._trial(begun)
                if self._engine_gave_up():
                    return
                if not self._timed_out(trial["reuse"]) or not self._another_helps(index):
                    break

    def _engine_gave_up(self) -> bool:
        """After a request that hung or found nobody, or two failed trials in a row, nothing more can be learned."""
        errors = [(one["seed"]["error"] or (one["reuse"] or {}).get("error")) for one in self.probe["trials"][-2:]]
        gone = errors[-1] is not None and errors[-1]["kind"] in ("timeout", "deadline", "connect")
        return gone or (len(errors) == 2 and all(errors))

    def _another_helps(self, index: int) -> bool:
        """Whether a fresh prompt for a lost one can still lead to a proof, which takes half of all attempts."""
        trials = self.probe["trials"]
        hits = sum(bool(one["reuse"] and one["reuse"]["cached_tokens"]) for one in trials)
        lost = sum(self._timed_out(one["reuse"]) for one in trials)
        plain = len(trials) - hits - lost
        controller = (self.probe["controller"] or {}).get("http", {}).get("state", "ok")
        return (
            plain < MISSES_ENOUGH
            and hits + self.settings.trials - index >= lost
            and controller == "ok"
            and (self._kv_left(1) or 0) >= 0
        )

    def _seed(self, index: int, attempt: int) -> dict[str, Any]:
        """Sends a fresh prompt to the holder; all that the rest of the trial needs."""
        pair, mark = self._build(), self.watch.before()
        name = str(index) if attempt == 0 else f"{index}.{attempt}"
        tokens = self.settings.max_tokens if (index, attempt) == (0, 0) else FEW_TOKENS
        seed = self._ask("holder", "seed", pair.seed, f"{name}-seed", max_tokens=tokens)
        return {
            "index": index,
            "attempt": attempt,
            "name": name,
            "pair": pair,
            "mark": mark,
            "seed": seed,
            "max_tokens": tokens,
            "ended": self._ended,
        }

    def _trial(self, begun: dict[str, Any]) -> dict[str, Any]:
        pair, seed = begun["pair"], begun["seed"]
        knockout_first = begun["index"] % 2 == 1 and begun["attempt"] == 0
        trial = {
            "index": begun["index"],
            "attempt": begun["attempt"],
            "order": "knockout-first" if knockout_first else "reuse-first",
            "prefix_tokens": pair.prefix_tokens,
            "expected_hit": prompts.expected_hit(pair.prefix_tokens, self.bounds.chunk_size),
            "expected_text": pair.expected_text,
            "seed": seed,
            "visible": not_waited(),
            "reuse": None,
            "knockout": None,
            "repeat": None,
            "knockout_how": "none",
            "prompt_kv_tokens": seed["prompt_tokens"] or pair.tokens,
        }
        self.probe["trials"].append(trial)
        if seed["error"]:
            return trial
        trial["visible"] = self._wait(begun["mark"], seed, pair, begun["ended"])
        if knockout_first:
            self._knock(trial, begun)
        self._reuse(trial, begun)
        if not knockout_first and not (self._timed_out(trial["reuse"]) and begun["attempt"]):
            self._knock(trial, begun)  # a second lost attempt has nothing to compare
        if self._repeat_tells(trial):
            trial["repeat"] = self._ask("receiver", "repeat", pair.reuse, f"{begun['name']}-repeat")
        if self.watch.sees and not trial["visible"]["reached"] and trial["reuse"]["cached_tokens"] is not None:
            enough = BLIND_WAIT_S if trial["reuse"]["cached_tokens"] else VAIN_WAIT_S
            self._longest_wait = min(enough, self._longest_wait)
        self._last = begun
        return trial

    def _reuse(self, trial: dict[str, Any], begun: dict[str, Any]) -> None:
        trial["reuse"] = self._ask(
            "receiver", "reuse", begun["pair"].reuse, f"{begun['name']}-reuse", max_tokens=begun["max_tokens"]
        )

    def _knock(self, trial: dict[str, Any], begun: dict[str, Any]) -> None:
        if self._knockout_refused:
            return
        request = self._knockout("knockout", begun, f"{begun['name']}-knockout")
        if request["error"] and request["error"]["status"] in REFUSED:
            self._knockout_refused = True  # the error list says so; the reference serves instead
            return
        trial["knockout"], trial["knockout_how"] = request, "tag"

    def _knockout(self, role: str, begun: dict[str, Any], label: str) -> dict[str, Any]:
        """The reuse prompt, made to miss."""
        return self._ask(
            "receiver",
            role,
            begun["pair"].reuse,
            label,
            max_tokens=begun["max_tokens"],
            extra=knockout_fields(),
        )

    def _timed_out(self, reuse: dict[str, Any] | None) -> bool:
        """Whether a reuse looks lost to the lookup's time-out: no hit, and its first token came after the time-out
        and a recompute, as the seeds show how long that takes at least.

        Where cached_tokens is not told, the time alone decides.
        """
        if reuse is None or reuse["error"] or reuse["cached_tokens"]:
            return False
        limit = (self.receiver.conf("lookup_timeout_ms") or DEFAULTS["lookup_timeout_ms"]) / 1000
        cold = min((one["seed"]["ttft_s"] for one in self.probe["trials"] if one["seed"]["ttft_s"]), default=0.0)
        waited = reuse["ttft_s"] if reuse["ttft_s"] is not None else reuse["total_s"]
        return waited is not None and waited >= 0.95 * limit + 0.5 * cold

    def _repeat_tells(self, trial: dict[str, Any]) -> bool:
        """A repeat is asked once after a hit and once after a time-out: there it shows where KV is now."""
        if trial["reuse"]["error"] or not (trial["reuse"]["cached_tokens"] or self._timed_out(trial["reuse"])):
            return False
        hit = bool(trial["reuse"]["cached_tokens"])
        return not any(one["repeat"] and bool(one["reuse"]["cached_tokens"]) == hit for one in self.probe["trials"])

    def _kv_left(self, more: int) -> float | None:
        """Bytes that the bound on probe KV leaves on an engine after so many more prompts; None: not known."""
        bounds = self.bounds
        if bounds.kv_bytes_per_token is None or bounds.max_probe_bytes is None:
            return None
        sent = len(self.probe["trials"]) + 2 + more  # with warm-up and never-seen
        return bounds.max_probe_bytes - sent * self.probe["prompt"]["tokens"] * bounds.kv_bytes_per_token

    # ---- controls

    def _controls(self) -> None:
        """Never-seen, second recompute, and the reference where no knock-out worked."""
        trials = self.probe["trials"]
        if not trials or self._engine_gave_up() or all(one["reuse"] is None for one in trials):
            return
        unseen = prompts.with_other_prefix(self._last["pair"], self._build())
        self.probe["never_seen"] = self._ask("receiver", "never_seen", unseen, "never")
        knocked = [one["knockout"] for one in trials if one["knockout"] and not one["knockout"]["error"]]
        if any(not one["cached_tokens"] for one in knocked):
            self.probe["recompute"] = self._knockout("recompute", self._last, "recompute")
        elif self.probe["prompt"]["tokens"] <= REFERENCE_MOST_TOKENS:
            self.probe["reference"] = self._ask(
                "receiver",
                "reference",
                self._last["pair"].reuse,
                "reference",
                max_tokens=self._last["max_tokens"],
                extra={"prompt_logprobs": 1},
            )
        else:
            self._note(
                "receiver.reference",
                {
                    "kind": "http",
                    "status": None,
                    "text": f"no knock-out worked and the prompt is longer than {REFERENCE_MOST_TOKENS} tokens, so "
                    "there is no recompute to compare with; lower kv_reuse_chunks",
                },
            )

    # ---- other lengths, after the last metrics, so that their window holds the trials and controls alone

    def _lengths(self) -> None:
        """LENGTH of every length asked for, where the trials showed that there is a reuse to measure."""
        asked = self.settings.lengths
        if asked and any((one["reuse"] or {}).get("cached_tokens") for one in self.probe["trials"]):
            left = self._kv_left(0)
            probe = lengthprobe.LengthProbe(
                self.settings.run_id,
                self.settings.trials,
                self._longest_wait,
                self.deadline,
                self.bounds,
                self.material,
                self.clients,
                self.watch,
                left,
            )
            self.probe["lengths"] = [probe.measure(length) for length in asked]
        else:
            why = "no reuse was seen, so there was nothing to measure"
            self.probe["lengths"] = [lengthprobe.skipped(length, why) for length in asked]

    def _scrapes(self, when: str) -> list[Callable[[], None]]:
        def scrape(engine: Engine) -> None:
            engine.document["metrics"][when] = engine.scrape()

        return [lambda: scrape(self.holder), lambda: scrape(self.receiver)]

    def _finish(self) -> None:
        """The closing scrape; without any trial it is also the opening one."""
        if self.settings.wait_for_flush and self.probe["trials"]:
            pause = min(max(0.0, self._ended + FLUSH_S - time.monotonic()), max(0.0, self.deadline.left() - 2))
            time.sleep(pause)
            self.probe["settings"]["flush_waited_s"] = round(pause, 3)
        side_by_side(*self._scrapes("after"))
        for engine in (self.holder, self.receiver):
            pages = engine.document["metrics"]
            pages["before"] = pages["before"] or pages["after"]
            engine.close()
