# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every experiment of a pair has: two engines under one deadline, fresh prompts that fit them, their metrics
before and after, and the document PROBE that all ends in.

An architecture's experiment is a class in a file of its own (inprocess_p2p.py) that says who is asked what: the
warm-up, the trials, the controls, and what makes a request miss.  A bad cluster never raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..transport.http import Deadline, RequestFailed
from . import metrics, prompts, sizing
from .completions import CompletionClient
from .controller import controller_client, read_controller
from .document import empty_probe, skipped_length
from .engine import Engine, EngineSettings, side_by_side
from .lengths import LengthProbe
from .options import Settings
from .store_watch import StoreWatch

FEW_TOKENS = 8  # what every request generates but those of the first trial; the first token tells most
WARMUP_TOKENS = 2
LAST_LOOK_S = 3.0  # beyond the deadline
FLUSH_S = 11.0  # LMCache flushes its counters every 10 s


class TokenizerError(ValueError):
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
        self.holder = Engine(holder, self.deadline, self.note)
        self.receiver = Engine(receiver, self.deadline, self.note)
        self.probe["engines"] = {"holder": self.holder.document, "receiver": self.receiver.document}
        self.controller = controller_client(controller_url, self.deadline, settings.controller_ssh)
        self.longest_wait = settings.wait_s  # less once waiting has proved to be of no use
        self.ended = time.monotonic()  # of the last request

    def run(
        self, withheld: str | None = None, unbearable: Callable[[Engine], str | None] | None = None
    ) -> dict[str, Any]:
        """PROBE.

        withheld: why no prompt may be sent, None where one may as far as is known.  unbearable: the same of one engine
        that has been greeted.
        """
        started = time.monotonic()
        self._contact()
        try:
            ready = not (self.holder.lacks() or self.receiver.lacks())
            if ready and unbearable and not withheld:
                withheld = unbearable(self.holder) or unbearable(self.receiver)
            if ready and not withheld:
                withheld = self.unready(self.holder) or self.unready(self.receiver)
            self.probe["withheld"] = withheld
            if ready and not withheld and self._prepare():
                side_by_side(*self._scrapes("before"))
                self.watch.learn_gauge()
                self.trials()
                self.controls()
        except RequestFailed as exc:
            self.note("experiment", exc.error)
        self._finish()
        self._lengths()
        self.probe["duration_s"] = round(time.monotonic() - started, 3)
        return self.probe

    # ---- what an architecture's experiment says

    no_lengths: str | None = None  # why it measures no other lengths

    def warm_up(self) -> int | None:
        """Takes first times out of the trials; PROBE.warmup.

        Returns the status with which an engine refused the prompt, None when both took it.
        Raises RequestFailed where an engine gave no answer at all.
        """
        raise NotImplementedError

    def trial(self, index: int) -> None:
        """The next of PROBE.trials."""
        raise NotImplementedError

    def trials(self) -> None:
        """PROBE.trials, one after the other until nothing more can be learned."""
        for index in range(self.settings.trials):
            if self.deadline.passed():
                raise self.holder.http.deadline_error()
            self.trial(index)
            if self.gave_up():
                return

    def controls(self) -> None:
        """PROBE.never_seen, recompute and reference."""
        raise NotImplementedError

    @staticmethod
    def knockout_fields() -> dict[str, Any]:
        """What makes a request miss and leave nothing, beside its prompt."""
        raise NotImplementedError

    def contact(self) -> None:
        """First contact with whatever else the architecture has beside the engines, which were greeted."""

    def unready(self, engine: Engine) -> str | None:
        """Why an engine must not be sent anything yet, of what contact() showed; None where it may."""
        return None

    def closing(self) -> None:
        """A last look at whatever contact() met."""

    def sizes(self) -> tuple[sizing.Bounds, str]:
        """What the prompts have to keep to, and PROMPT.chunk_size_source."""
        return sizing.bounds(self.settings, (self.holder, self.receiver), max(self.settings.max_tokens, FEW_TOKENS))

    def store_watch(self) -> Any:
        """Who sees a seed stored."""
        return StoreWatch(
            self.holder,
            self.receiver,
            self.bounds.chunk_size,
            controller=self.controller,
            workers=(self.probe["controller"] or {}).get("workers"),
        )

    # ---- what it has to say it with

    def note(self, where: str, error: dict[str, Any]) -> None:
        self.probe["errors"].append({"where": where, **error})

    def ask(
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
        self.ended = time.monotonic()
        if request["error"]:
            self.note(f"{engine}.{role}", request["error"])
        return request

    def build(self, prefix_tokens: int | None = None) -> prompts.PromptPair:
        return prompts.build(self.material, prefix_tokens or self.bounds.prefix_tokens())

    def wait_for(
        self, mark: dict[str, Any], seed: dict[str, Any], pair: prompts.PromptPair, since: float | None = None
    ) -> dict[str, Any]:
        limit = max(0.0, min(self.longest_wait, self.deadline.left()))
        return self.watch.wait(
            mark,
            seed["response_id"] or seed["request_id"],
            pair.seed_tokens // self.bounds.chunk_size,
            limit=limit,
            since=self.ended if since is None else since,
        )

    def settle(self) -> None:
        """Gives a store that nobody sees its full time after a seed."""
        time.sleep(max(0.0, min(self.ended + self.settings.wait_s - time.monotonic(), self.deadline.left())))

    def seeded(self) -> None:
        """Reads the metrics that tell what the seeds alone made each engine compute; twice, since behind a router each
        page may be another engine's."""
        self.settle()
        for _try in range(2):
            before = [engine.document["metrics"].get("seeded") for engine in (self.holder, self.receiver)]
            side_by_side(*self._scrapes("seeded"))
        for engine, first in zip((self.holder, self.receiver), before):
            page = engine.document["metrics"]["seeded"]
            if first and first["values"] != page["values"]:
                text = "two pages in a row do not agree: others use the engine, or a router answers"
                page.update(state="error", values={}, error={"kind": "stream", "status": None, "text": text})

    def gave_up(self) -> bool:
        """After a request that hung or found nobody, or two failed trials in a row, nothing more can be learned."""
        trials = self.probe["trials"][-2:]
        errors = [(trial["seed"]["error"] or (trial["reuse"] or {}).get("error")) for trial in trials]
        gone = errors[-1] is not None and errors[-1]["kind"] in ("timeout", "deadline", "connect")
        return gone or (len(errors) == 2 and all(errors))

    def kv_left(self, more: int) -> float | None:
        """Bytes that the bound on probe KV leaves on an engine after so many more prompts; None: not known."""
        bounds = self.bounds
        if bounds.kv_bytes_per_token is None or bounds.max_probe_bytes is None:
            return None
        sent = len(self.probe["trials"]) + 2 + self.settings.routed + more  # with warm-up and never-seen
        return bounds.max_probe_bytes - sent * self.probe["prompt"]["tokens"] * bounds.kv_bytes_per_token

    # ---- before the trials

    def _contact(self) -> None:
        def controller() -> None:
            self.probe["controller"] = read_controller(self.controller)

        side_by_side(self.holder.contact, self.receiver.contact, controller)
        self.clients = {
            engine.settings.role: CompletionClient(engine.http, engine.settings.role, engine.document["model"] or "")
            for engine in (self.holder, self.receiver)
        }
        self.contact()

    def _prepare(self) -> bool:
        """Material, sizes, warm-up; False where no trial can be made."""
        self.material = self._tokenize()
        self.bounds, self.chunk_source = self.sizes()
        self.watch = self.store_watch()
        if not self._size_up():
            return False
        refused = self.warm_up()
        if refused and self.material.source != "text":
            self.note(
                "prompt",
                {
                    "kind": "http",
                    "status": refused,
                    "text": "prompts as token ids are refused, so text is sent and counts are estimates",
                },
            )
            self.material = prompts.Material("text")
            return self._size_up() and not self.warm_up()
        return not refused

    def _tokenize(self) -> prompts.Material:
        """Token ids by the server, else by a tokenizer given, else text."""
        materials = []
        for engine in (self.holder, self.receiver):
            try:
                materials.append(prompts.tokenize_with_server(engine.http, engine.document["model"]))
                engine.document["tokenize"] = True
            except RequestFailed as exc:
                self.note(f"{engine.settings.role}.tokenize", exc.error)
        if materials:
            return materials[0]
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
        prompt: dict[str, Any] = {
            "source": self.material.source,
            "estimated": self.material.source == "text",
            "tokens": None,
            "prefix_tokens": None,
            "chunk_size": self.bounds.chunk_size,
            "chunk_size_source": self.chunk_source,
            "expected_hit": None,
            "shortened": None,
            "refused": sizing.beyond_any_model(self.bounds),
        }
        self.probe["prompt"] = prompt
        if prompt["refused"]:
            return False
        pair = self.build()
        while fewer := sizing.with_fewer_chunks(self.bounds, pair):
            self.bounds, pair = fewer, prompts.build(self.material, fewer.prefix_tokens())
        prompt.update(
            tokens=pair.tokens,
            prefix_tokens=pair.prefix_tokens,
            expected_hit=prompts.expected_hit(pair.prefix_tokens, self.bounds.chunk_size),
            shortened=sizing.shortened(self.bounds),
            refused=sizing.refusal(self.bounds, pair),
        )
        return prompt["refused"] is None

    # ---- after them

    def _finish(self) -> None:
        """The closing scrape; without any trial it is also the opening one."""
        if self.settings.wait_for_flush and self.probe["trials"]:
            pause = min(max(0.0, self.ended + FLUSH_S - time.monotonic()), max(0.0, self.deadline.left() - 2))
            time.sleep(pause)
            self.probe["settings"]["flush_waited_s"] = round(pause, 3)
        if self.deadline.passed():  # an engine that hangs is told from a slow one by a last look
            self.deadline.grant(LAST_LOOK_S)
        side_by_side(*self._scrapes("after", timeout=LAST_LOOK_S - 1))
        self.closing()
        for engine in (self.holder, self.receiver):
            pages = engine.document["metrics"]
            pages["before"] = pages["before"] or pages["after"]
            engine.close()

    def _scrapes(self, when: str, timeout: float = metrics.TIMEOUT_S) -> list[Callable[[], None]]:
        def scrape(engine: Engine) -> None:
            engine.document["metrics"][when] = engine.scrape(timeout)

        return [lambda: scrape(self.holder), lambda: scrape(self.receiver)]

    def _lengths(self) -> None:
        """LENGTH of every length asked for, where the trials showed that there is a reuse to measure."""
        lengths = self.settings.lengths
        if self.no_lengths:
            self.probe["lengths"] = [skipped_length(length, self.no_lengths) for length in lengths]
        elif lengths and any((trial["reuse"] or {}).get("cached_tokens") for trial in self.probe["trials"]):
            left = self.kv_left(0)
            probe = LengthProbe(
                self.settings.run_id,
                self.settings.trials,
                self.longest_wait,
                self.deadline,
                self.bounds,
                self.material,
                self.clients,
                self.watch,
                self.knockout_fields,
                left,
            )
            self.probe["lengths"] = [probe.measure(length) for length in lengths]
        else:
            why = "no reuse was seen, so there was nothing to measure"
            self.probe["lengths"] = [skipped_length(length, why) for length in lengths]
