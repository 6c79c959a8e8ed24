# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment for in-process P2P: fresh prompts, their reuse, and the controls that make it proof.

Per trial: seed on the holder, wait until its KV is visible, reuse on the receiver, and a knock-out (the same
prompt, made to miss and not stored), the two timed requests in alternating order.  Once per pair: repeat, a
never-seen prompt, a second recompute.
"""

from __future__ import annotations

import secrets
from typing import Any

from ..stack.settings import DEFAULTS
from ..transport.http import RequestFailed
from . import prompts
from .completions import REFUSED
from .document import empty_trial
from .experiment import FEW_TOKENS, WARMUP_TOKENS, Experiment

REFERENCE_MOST_TOKENS = 2048  # prompt_logprobs makes logits of the whole prompt
VAIN_WAIT_S = 1.0  # a store that did not show within the full wait, and did not lead to a hit, gets no more
BLIND_WAIT_S = 0.25  # one that did not show and led to a hit all the same: a full pool evicts, so the count stays
WARMUP_WAIT_S = 1.0
MISSES_ENOUGH = 2  # plain misses after which no lost trial is made again


def knockout_fields() -> dict[str, Any]:
    """Makes a prompt miss and leave nothing: a tag enters LMCache's key, a salt vLLM's own.  Values are strings:
    LMCache 0.5.6 stalls on a JSON true."""
    nonce = secrets.token_hex(16)
    return {
        "kv_transfer_params": {"lmcache.tag.kvproof": nonce, "lmcache.skip_save": "true"},
        "cache_salt": nonce,
    }


class InProcessP2P(Experiment):
    """The experiment of a prefill and a decode node whose LMCache runs in the engines and fetches from peers."""

    _knockout_refused = False
    knockout_fields = staticmethod(knockout_fields)

    def warm_up(self) -> int | None:
        """Takes the first `logprobs` and the peers' first contact out of the trials.

        Returns the status with which an engine refused the prompt, None when both took it.
        Raises RequestFailed where an engine gave no answer at all.
        """
        pair = self.build(
            max(1, self.bounds.min_retrieve_tokens // self.bounds.chunk_size + 1) * self.bounds.chunk_size
            + prompts.SLACK_TOKENS
        )
        mark = self.watch.before()
        label = "warmup" if self.material.source != "text" else "warmup-text"
        for engine, prompt in (("holder", pair.seed), ("receiver", pair.reuse)):
            request = self.ask(engine, "warmup", prompt, f"{label}-{engine}", max_tokens=WARMUP_TOKENS)
            self.probe["warmup"].append(request)
            error = request["error"]
            if error and error["status"] in REFUSED:
                return error["status"]
            if error:
                raise RequestFailed(
                    error["kind"], f"the warm-up of the {engine} failed, so no trial was made", error["status"]
                )
            if engine == "holder" and self.watch.sees:
                self.longest_wait = min(WARMUP_WAIT_S, self.settings.wait_s)
                shown = self.wait_for(mark, request, pair)["reached"]
                self.longest_wait = self.settings.wait_s
            elif self.watch.sees and not shown and request["cached_tokens"]:
                self.longest_wait = min(BLIND_WAIT_S, self.settings.wait_s)
        return None

    # ---- trials

    def trials(self) -> None:
        """The trials; one that looks lost to a lookup time-out is made again with a fresh prompt."""
        ahead = []
        anywhere = self.settings.source == "any"
        if anywhere or not self.watch.sees:  # no witness: all seeds first, so that one wait serves them all
            ahead = [self._seed(index, 0) for index in range(self.settings.trials)]
        if anywhere:
            self.seeded()
        for index in range(self.settings.trials):
            for attempt in range(self.settings.extra_attempts + 1):
                if self.deadline.passed():
                    raise self.holder.http.deadline_error()
                begun = ahead[index] if ahead and attempt == 0 else self._seed(index, attempt)
                if anywhere and attempt:
                    self.settle()
                trial = self._trial(begun)
                if self.gave_up():
                    return
                if not self._timed_out(trial["reuse"]) or not self._another_helps(index):
                    break

    def _another_helps(self, index: int) -> bool:
        """Whether a fresh prompt for a lost one can still lead to a proof, which takes half of all attempts."""
        trials = self.probe["trials"]
        hits = sum(bool(trial["reuse"] and trial["reuse"]["cached_tokens"]) for trial in trials)
        lost = sum(self._timed_out(trial["reuse"]) for trial in trials)
        plain = len(trials) - hits - lost
        controller = (self.probe["controller"] or {}).get("http", {}).get("state", "ok")
        return (
            plain < MISSES_ENOUGH
            and hits + self.settings.trials - index >= lost
            and controller == "ok"
            and (self.kv_left(1) or 0) >= 0
        )

    def _seed(self, index: int, attempt: int) -> dict[str, Any]:
        """Sends a fresh prompt to the holder; all that the rest of the trial needs."""
        pair, mark = self.build(), self.watch.before()
        name = str(index) if attempt == 0 else f"{index}.{attempt}"
        tokens = self.settings.max_tokens if (index, attempt) == (0, 0) else FEW_TOKENS
        seed = self.ask("holder", "seed", pair.seed, f"{name}-seed", max_tokens=tokens)
        anywhere = self.settings.source == "any" and self.watch.sees and not seed["error"]
        return {
            "index": index,
            "attempt": attempt,
            "name": name,
            "pair": pair,
            "mark": mark,
            "seed": seed,
            "max_tokens": tokens,
            "ended": self.ended,
            "visible": self.wait_for(mark, seed, pair) if anywhere else None,
        }

    def _trial(self, begun: dict[str, Any]) -> dict[str, Any]:
        pair, seed = begun["pair"], begun["seed"]
        knockout_first = begun["index"] % 2 == 1 and begun["attempt"] == 0
        order = "knockout-first" if knockout_first else "reuse-first"
        trial = empty_trial(
            begun["index"], begun["attempt"], order, seed=seed, pair=pair, chunk_size=self.bounds.chunk_size
        )
        self.probe["trials"].append(trial)
        if seed["error"]:
            return trial
        trial["visible"] = begun["visible"] or self.wait_for(begun["mark"], seed, pair, begun["ended"])
        if knockout_first:
            self._knock(trial, begun)
        self._reuse(trial, begun)
        if not knockout_first and not (self._timed_out(trial["reuse"]) and begun["attempt"]):
            self._knock(trial, begun)  # a second lost attempt has nothing to compare
        if self._repeat_tells(trial):
            trial["repeat"] = self.ask("receiver", "repeat", pair.reuse, f"{begun['name']}-repeat")
        if self.watch.sees and not trial["visible"]["reached"] and trial["reuse"]["cached_tokens"] is not None:
            enough = BLIND_WAIT_S if trial["reuse"]["cached_tokens"] else VAIN_WAIT_S
            self.longest_wait = min(enough, self.longest_wait)
        self._last = begun
        return trial

    def _reuse(self, trial: dict[str, Any], begun: dict[str, Any]) -> None:
        trial["reuse"] = self.ask(
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
        return self.ask(
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
        cold = min((trial["seed"]["ttft_s"] for trial in self.probe["trials"] if trial["seed"]["ttft_s"]), default=0.0)
        waited = reuse["ttft_s"] if reuse["ttft_s"] is not None else reuse["total_s"]
        return waited is not None and waited >= 0.95 * limit + 0.5 * cold

    def _repeat_tells(self, trial: dict[str, Any]) -> bool:
        """A repeat is asked once after a hit and once after a time-out: there it shows where KV is now."""
        if trial["reuse"]["error"] or not (trial["reuse"]["cached_tokens"] or self._timed_out(trial["reuse"])):
            return False
        hit = bool(trial["reuse"]["cached_tokens"])
        repeated = [other["reuse"] for other in self.probe["trials"] if other["repeat"]]
        return not any(bool(reuse["cached_tokens"]) == hit for reuse in repeated)

    # ---- controls

    def controls(self) -> None:
        """Never-seen, second recompute, and the reference where no knock-out worked."""
        trials = self.probe["trials"]
        if not trials or self.gave_up() or all(trial["reuse"] is None for trial in trials):
            return
        unseen = prompts.with_other_prefix(self._last["pair"], self.build())
        self.probe["never_seen"] = self.ask("receiver", "never_seen", unseen, "never")
        knocked = [trial["knockout"] for trial in trials if trial["knockout"] and not trial["knockout"]["error"]]
        if any(not request["cached_tokens"] for request in knocked):
            self.probe["recompute"] = self._knockout("recompute", self._last, "recompute")
        elif self.probe["prompt"]["tokens"] <= REFERENCE_MOST_TOKENS:
            self.probe["reference"] = self.ask(
                "receiver",
                "reference",
                self._last["pair"].reuse,
                "reference",
                max_tokens=self._last["max_tokens"],
                extra={"prompt_logprobs": 1},
            )
        else:
            self.note(
                "receiver.reference",
                {
                    "kind": "http",
                    "status": None,
                    "text": f"no knock-out worked and the prompt is longer than {REFERENCE_MOST_TOKENS} tokens, so "
                    "there is no recompute to compare with; lower kv_reuse_chunks",
                },
            )
