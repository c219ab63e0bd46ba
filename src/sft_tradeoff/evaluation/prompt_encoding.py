"""How the texts that a model is asked become tokens, under every backend of lm-eval.

What a tokenizer puts before a text (BOS) comes once, and is never scored. Stock puts a BOS before
the text of a code length *and* lets the tokenizer add its own, which it scores; an EOS that a
tokenizer adds stays behind a prompt, and the model is asked what follows the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sft_tradeoff.suite.chat_task import RENDERED

Scored = list[tuple[Any, list[int], list[int]]]  # (request, context ids, continuation ids)


class PromptEncoding:
    """Encoding of prompts and texts; goes before a class of lm-eval.

    What a chat template rendered is encoded as in training: it is complete, and a tokenizer that
    adds BOS would give it to every prompt but those that begin with it. Other prompts begin as the
    tokenizer lets every text begin.
    """

    # Tokens of context and continuation that are read at once, beyond ``max_length``: the last is
    # only predicted.
    beyond_window = 1

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._rendered: set[str] = set()

    def apply_chat_template(self, history: Any, add_generation_prompt: bool = True) -> str:
        """As stock; the text is known as rendered from now on."""
        text: str = super().apply_chat_template(history, add_generation_prompt)  # type: ignore[misc]
        self._rendered.add(text)
        return text

    def expect(self, requests: Scored) -> None:
        """Announce what will be scored next; a backend may do it while it reads the contexts."""

    @cached_property
    def _beginning(self) -> list[int]:
        """What the tokenizer puts before every text, by itself."""
        bare, whole = (
            super(PromptEncoding, self).tok_encode("a", add_special_tokens=add)  # type: ignore[misc]
            for add in (False, True)
        )
        return list(whole[: whole.index(bare[0])])

    def tok_encode(
        self, string: Any, add_special_tokens: bool | None = None, **keywords: Any
    ) -> Any:
        """As stock, but nothing is added behind the text, and BOS never to one that has it.

        Args:
            string: A text, or several.
            add_special_tokens: Whether the text gets a beginning; None: the model class decides.
            keywords: As stock.
        """
        if not isinstance(string, str):
            return [self.tok_encode(text, add_special_tokens, **keywords) for text in string]
        ids = super().tok_encode(string, add_special_tokens=False, **keywords)  # type: ignore[misc]
        wanted = self.add_bos_token if add_special_tokens is None else add_special_tokens
        beginning = [] if wanted is False else self._beginning
        return ids if ids[: len(beginning)] == beginning else beginning + ids

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Σ log-likelihood of all tokens of each text, in nats; all windows in one call.

        As stock where the tokenizer adds nothing. The first token follows what the tokenizer puts
        before every text (else BOS, else EOS), which is context only.
        """
        windows = [list(self._windows(*request.args)) for request in requests]
        flat = [(None, *window) for text in windows for window in text]
        quiet = disable_tqdm or not sys.stderr.isatty()
        scored = iter(self._loglikelihood_tokens(flat, disable_tqdm=quiet))  # type: ignore[attr-defined]
        sums = []
        for request, text in zip(requests, windows, strict=True):
            sums.append(float(sum(next(scored)[0] for _ in text)))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, sums[-1])  # type: ignore[attr-defined]
        return sums

    def _windows(self, text: str) -> Iterator[tuple[list[int], list[int]]]:
        """Context and continuation ids of each window; the continuations make up the text.

        As many tokens as fit come before a continuation, at least one. Later windows, too, begin as
        the tokenizer lets texts begin: many models read nothing well without their BOS.
        """
        before = self._beginning or [self.prefix_token_id]  # type: ignore[attr-defined]
        ids = self.tok_encode(text, add_special_tokens=False)
        if ids[: len(before)] == before:  # it has its own
            ids = ids[len(before) :]
        width = self.max_length + self.beyond_window  # type: ignore[attr-defined]
        end = min(len(ids), width - len(before))
        if ids:
            yield before, ids[:end]
        room = width - len(self._beginning)
        while end < len(ids):
            start, end = end, min(len(ids), end + room - 1)
            yield self._beginning + ids[end - room : start], ids[start:end]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """As stock, each group of requests with the same options and encoding on its own."""
        quiet = disable_tqdm or not sys.stderr.isatty()
        answers = [""] * len(requests)
        groups: dict[tuple[str, bool], list[int]] = {}
        for i, request in enumerate(requests):
            prompt, options = request.args
            rendered = bool(request.doc.get(RENDERED)) or prompt in self._rendered
            groups.setdefault((repr(options), rendered), []).append(i)
        for (_, rendered), rows in groups.items():
            group = [requests[i] for i in rows]
            with self._encoding(rendered):
                for i, text in zip(rows, self.generate_alike(group, quiet), strict=True):
                    answers[i] = text
        return answers

    def generate_alike(self, requests: Any, quiet: bool) -> list[str]:
        """Answers to requests that have the same options and encoding."""
        answers: list[str] = super().generate_until(requests, quiet)  # type: ignore[misc]
        return answers

    @contextmanager
    def _encoding(self, rendered: bool) -> Iterator[None]:
        """Encode as prompts must be that a chat template rendered, or did not."""
        stock = self.add_bos_token
        self.add_bos_token: bool | None = False if rendered else stock
        try:
            yield
        finally:
            self.add_bos_token = stock

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        with self._encoding(context in self._rendered):
            return super()._encode_pair(context, continuation)  # type: ignore[misc]
