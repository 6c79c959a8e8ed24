# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""POST /v1/completions in vLLM 0.32's shapes: what is refused and how, and what an answer looks like."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .model import Choice
from .scheduler import Request
from .settings import EngineOptions
from .tokenizer import Tokenizer

FINGERPRINT = "vllm-0.32.0-c5d5da39"
DEFAULT_MAX_TOKENS = 16


class Refusal(Exception):
    """A request vLLM answers with an error object."""

    def __init__(self, message: str, status: int = 400, kind: str = "BadRequestError", param: str | None = None):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def invalid(items: list[dict[str, Any]]) -> Refusal:
    """The error for a body that has the wrong types; items as pydantic reports them."""
    head = f"{len(items)} validation error{'s' if len(items) > 1 else ''}:"
    return Refusal("\n".join([head, *(f"  {item}" for item in items)]), kind="Bad Request", param=items[0]["loc"])


def missing(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"type": "missing", "loc": f"body.{name}", "msg": "Field required", "input": f"<dict of {len(body)} items>"}


def parameter(message: str, name: str, value: Any = None) -> Refusal:
    shown = f", value={value}" if value is not None else ""
    return Refusal(f"{message} (parameter={name}{shown})", param=name)


@dataclass
class Completion:
    """A request that was accepted: one Request per prompt and copy, and how to answer."""

    id: str
    created: int
    model: str
    requests: list[Request]
    copies: int  # answers wanted for each prompt
    texts: list[str]  # of the prompts, for echo
    stream: bool
    include_usage: bool
    logprobs: int | None
    prompt_logprobs: int | None
    echo: bool
    stop: list[str]


def check_model(body: dict[str, Any], options: EngineOptions) -> None:
    name = body.get("model")
    if name is not None and name not in options.served:
        aliases = ", ".join(options.served)
        raise Refusal(f"The model `{name}` does not exist. Valid aliases: {aliases}.", 404, "NotFoundError", "model")


def parse(body: dict[str, Any], request_id: str | None, options: EngineOptions, tokenizer: Tokenizer,
          vocabulary: int) -> Completion:  # fmt: skip
    """The request in a body.  Raises Refusal as vLLM would refuse it."""
    _check_types(body)
    check_model(body, options)
    stream = bool(body.get("stream"))
    if body.get("stream_options") and not stream:
        raise parameter("Stream options can only be defined when `stream=True`.", "stream_options")
    if body.get("prompt_logprobs") is not None and stream:
        raise parameter("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")
    if body.get("cache_salt") == "":
        raise parameter("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
    if body.get("prompt") in (None, ""):
        raise parameter("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    prompts = [_tokens(one, options, tokenizer, vocabulary) for one in _prompts(body["prompt"])]
    most = DEFAULT_MAX_TOKENS if body.get("max_tokens") is None else int(body["max_tokens"])
    if most < 1:
        raise parameter(f"max_tokens must be at least 1, got {most}.", "max_tokens", most)
    if most > options.max_model_len:
        raise parameter(f"max_tokens={most} cannot be greater than max_model_len={options.max_model_len}. "
                        "Please request fewer output tokens.", "max_tokens", most)  # fmt: skip
    for tokens in prompts:
        if len(tokens) >= options.max_model_len:
            raise _too_long(str(len(tokens)), len(tokens), options)
    temperature = float(body.get("temperature", 1.0) or 0.0)
    if temperature < 0:
        raise parameter(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)
    logprobs, of_prompt = body.get("logprobs"), body.get("prompt_logprobs")
    for name, given in (("logprobs", logprobs), ("prompt_logprobs", of_prompt)):
        wanted = vocabulary if given == -1 else given
        if wanted is not None and wanted > options.max_logprobs:
            word = "sample" if name == "logprobs" else "prompt"
            raise parameter(f"Requested {word} logprobs of {wanted}, which is greater than max allowed: "
                            f"{options.max_logprobs}", name, wanted)  # fmt: skip
    copies = body.get("n") or 1
    return Completion(
        copies=copies, id="cmpl-" + (request_id or secrets.token_hex(8)), created=int(time.time()),
        model=body.get("model") or options.name, stream=stream,
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        logprobs=logprobs, prompt_logprobs=of_prompt, echo=bool(body.get("echo")),
        stop=[body["stop"]] if isinstance(body.get("stop"), str) else list(body.get("stop") or []),
        texts=[tokenizer.decode(tokens) for tokens in prompts],
        requests=[
            Request(id="", tokens=tokens, max_tokens=min(most, options.max_model_len - len(tokens)),
                    temperature=temperature, seed=body.get("seed"), prompt_logprobs=of_prompt,
                    logprobs=logprobs is not None or of_prompt is not None,
                    salt=body.get("cache_salt"), params=body.get("kv_transfer_params"))
            for tokens in prompts for _copy in range(copies)])  # fmt: skip


def name_requests(completion: Completion) -> None:
    """Gives every Request the id that the engine's log shows: the prompt's number and eight random digits."""
    for index, request in enumerate(completion.requests):
        request.id = f"{completion.id}-{index}-{secrets.token_hex(4)}"


def _check_types(body: dict[str, Any]) -> None:
    items = []
    for name in ("max_tokens", "logprobs", "prompt_logprobs", "n", "seed"):
        value = body.get(name)
        if isinstance(value, str):
            try:
                body[name] = int(value)
            except ValueError:
                items.append({"type": "int_parsing", "loc": f"body.{name}", "msg": "Input should be a valid integer, "
                              "unable to parse string as an integer", "input": value})  # fmt: skip
    params = body.get("kv_transfer_params")
    if params is not None and not isinstance(params, dict):
        items.append({"type": "dict_type", "loc": "body.kv_transfer_params",
                      "msg": "Input should be a valid dictionary", "input": params})  # fmt: skip
    if items:
        raise invalid(items)


def _prompts(prompt: Any) -> list[Any]:
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise Refusal("You must pass at least one prompt")
    return [prompt] if isinstance(prompt[0], int) else list(prompt)


def _tokens(prompt: Any, options: EngineOptions, tokenizer: Tokenizer, vocabulary: int) -> list[int]:
    if isinstance(prompt, str):
        tokens = tokenizer.encode(prompt)
        if len(tokens) > options.max_model_len:
            raise _too_long(f"at least {options.max_model_len + 1}", options.max_model_len + 1, options)
        return tokens
    for token in prompt:
        if not 0 <= token < vocabulary:
            raise Refusal(f"Token id {token} is out of vocabulary")
    return list(prompt)


def _too_long(shown: str, value: int, options: EngineOptions) -> Refusal:
    return parameter(
        f"This model's maximum context length is {options.max_model_len} tokens. However, your prompt contains "
        f"{shown} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of "
        "the input prompt.", "input_tokens", value)  # fmt: skip


# ---- answers


class Answer:
    """One choice as it grows."""

    def __init__(self, completion: Completion, index: int, tokenizer: Tokenizer):
        self._completion, self._index, self._tokenizer = completion, index, tokenizer
        self.text = completion.texts[index // completion.copies] if completion.echo else ""
        self.choices: list[Choice] = []
        self.finish: str | None = None
        self._shown = 0
        self._offset = 0

    def take(self, choice: Choice, request: Request) -> None:
        self.choices.append(choice)
        self.text += self._tokenizer.decode([choice.token])
        if any(stop in self.text for stop in self._completion.stop):
            self.text = min((self.text.split(stop)[0] for stop in self._completion.stop), key=len)
            request.stopped, self.finish = True, "stop"
        elif len(self.choices) == request.max_tokens:
            self.finish = "length"

    def delta(self) -> dict[str, Any]:
        """The choice object of the event for the token taken last."""
        text, self._shown = self.text[self._shown :], len(self.text)
        return {"index": self._index, "text": text, "logprobs": self._logprobs(self.choices[-1:]),
                "finish_reason": self.finish, "stop_reason": None, "prompt_token_ids": None,
                "token_ids": None}  # fmt: skip

    def whole(self, request: Request) -> dict[str, Any]:
        """The choice object of an answer in one piece."""
        return {"index": self._index, "text": self.text, "logprobs": self._logprobs(self.choices),
                "finish_reason": self.finish, "stop_reason": None, "token_ids": None,
                "prompt_logprobs": self._of_prompt(request), "prompt_token_ids": None,
                "routed_experts": None}  # fmt: skip

    def _logprobs(self, choices: Iterable[Choice]) -> dict[str, Any] | None:
        if self._completion.logprobs is None:
            return None
        found: dict[str, list] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for choice in choices:
            text = self._tokenizer.decode([choice.token])
            top = choice.top[: max(1, self._completion.logprobs)]
            shown = {self._tokenizer.decode([token]): value for token, value in top}
            shown.setdefault(text, choice.logprob)
            found["text_offset"].append(self._offset)
            found["token_logprobs"].append(choice.logprob)
            found["tokens"].append(text)
            found["top_logprobs"].append(shown)
            self._offset += len(text)
        return found

    def _of_prompt(self, request: Request) -> list[Any] | None:
        if self._completion.prompt_logprobs is None:
            return None
        found: list[Any] = [None]
        for choice, token in zip(request.prompt_choices, request.tokens[1:]):
            known = {one: (rank, value) for rank, (one, value) in enumerate(choice.top, 1)}
            shown = {token, *(one for one, _value in choice.top[: self._completion.prompt_logprobs])}
            found.append({str(one): self._entry(one, *known.get(one, (1000, -10.0))) for one in shown})
        return found

    def _entry(self, token: int, rank: int, logprob: float) -> dict[str, Any]:
        return {"logprob": logprob, "rank": rank, "decoded_token": self._tokenizer.decode([token])}


def usage(completion: Completion, answers: list[Answer], options: EngineOptions, streamed: bool) -> dict[str, Any]:
    prompts = completion.requests[:: completion.copies]
    prompt = sum(len(request.tokens) for request in prompts)
    made = sum(len(answer.choices) for answer in answers)
    found: dict[str, Any] = {"prompt_tokens": prompt, "total_tokens": prompt + made, "completion_tokens": made}
    cached = sum(request.cached for request in prompts)
    if streamed:
        if options.tokens_details:
            found["prompt_tokens_details"] = {"cached_tokens": cached}
        return found
    details = {"cached_tokens": cached, "created_cache_tokens": None, "multimodal_tokens": None}
    return {**found, "prompt_tokens_details": details if options.tokens_details else None,
            "completion_tokens_details": None}  # fmt: skip


def envelope(completion: Completion, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": completion.id, "object": "text_completion", "created": completion.created,
            "model": completion.model, "choices": choices, **more}  # fmt: skip


def whole(completion: Completion, answers: list[Answer], options: EngineOptions) -> dict[str, Any]:
    """The answer in one piece."""
    choices = [answer.whole(request) for answer, request in zip(answers, completion.requests)]
    return envelope(completion, choices, service_tier=None, system_fingerprint=FINGERPRINT,
                    usage=usage(completion, answers, options, False),
                    kv_transfer_params=completion.requests[0].answered,
                    ec_transfer_params=None, metrics=None)  # fmt: skip
