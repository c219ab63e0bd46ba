"""How prompts and texts are tokenized, under every backend of lm-eval.

What a tokenizer adds before a text (BOS) occurs once and is never scored. Stock lm-eval adds a BOS
before a text whose code length is measured *and* lets the tokenizer add its own, which is scored.
If a tokenizer appends an EOS, stock keeps it after the prompt, and the model has to continue after
the end of the text.
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
    """Mixin that replaces the encoding of a model class of lm-eval; list it before that class.

    A prompt that a chat template rendered is encoded as in training, without adding tokens: the
    template has written them. Any other prompt starts with what the tokenizer adds (BOS).
    """

    # Context and continuation together may be longer than ``max_length`` by this many tokens: the
    # last token is only predicted.
    beyond_window = 1

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._rendered: set[str] = set()

    def apply_chat_template(self, history: Any, add_generation_prompt: bool = True) -> str:
        """As stock, but remember that the text is rendered."""
        text: str = super().apply_chat_template(history, add_generation_prompt)  # type: ignore[misc]
        self._rendered.add(text)
        return text

    def expect(self, requests: Scored, tokens: bool = False) -> None:
        """Announce what will be scored next; a backend may score it while it generates.

        Args:
            requests: The requests.
            tokens: Whether the scores of single tokens will be asked for.
        """

    @cached_property
    def _added_before(self) -> list[int]:
        """Tokens that the tokenizer adds before every text."""
        bare, whole = (
            super(PromptEncoding, self).tok_encode("a", add_special_tokens=add)  # type: ignore[misc]
            for add in (False, True)
        )
        return list(whole[: whole.index(bare[0])])

    @property
    def text_start(self) -> list[int]:
        """Context of the first token of a text: what the tokenizer adds, or else BOS, or EOS."""
        return self._added_before or [self.prefix_token_id]  # type: ignore[attr-defined]

    def tok_encode(
        self, string: Any, add_special_tokens: bool | None = None, **keywords: Any
    ) -> Any:
        """As stock, but nothing is appended to a text, and BOS is not added to one that has it.

        Args:
            string: A text, or several.
            add_special_tokens: Whether to add BOS; None: as the model class is configured.
            keywords: As stock.
        """
        if not isinstance(string, str):
            return [self.tok_encode(text, add_special_tokens, **keywords) for text in string]
        ids = super().tok_encode(string, add_special_tokens=False, **keywords)  # type: ignore[misc]
        wanted = self.add_bos_token if add_special_tokens is None else add_special_tokens
        before = [] if wanted is False else self._added_before
        return ids if ids[: len(before)] == before else before + ids

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Σ log-likelihood of all tokens of each text, in nats; all windows in one call.

        As stock if the tokenizer adds nothing. The context of the first token is what the tokenizer
        adds before every text (or else BOS, or EOS), which is not scored.
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
        """Context and continuation ids of each window; the continuations add up to the text.

        A continuation is preceded by as many tokens as fit, at least one. Every window starts with
        BOS if the tokenizer adds it: many models predict badly without.
        """
        before = self.text_start
        ids = self.tok_encode(text, add_special_tokens=False)
        if ids[: len(before)] == before:  # the text has its own
            ids = ids[len(before) :]
        width = self.max_length + self.beyond_window  # type: ignore[attr-defined]
        end = min(len(ids), width - len(before))
        if ids:
            yield before, ids[:end]
        n_free = width - len(self._added_before)
        while end < len(ids):
            start, end = end, min(len(ids), end + n_free - 1)
            yield self._added_before + ids[end - n_free : start], ids[start:end]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """As stock, but separately for each group of requests with equal options and encoding."""
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
        """Answer requests that have the same options and encoding."""
        answers: list[str] = super().generate_until(requests, quiet)  # type: ignore[misc]
        return answers

    @contextmanager
    def _encoding(self, rendered: bool) -> Iterator[None]:
        """Switch to the encoding of rendered prompts, or of others."""
        stock = self.add_bos_token
        self.add_bos_token: bool | None = False if rendered else stock
        try:
            yield
        finally:
            self.add_bos_token = stock

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        with self._encoding(context in self._rendered):
            return super()._encode_pair(context, continuation)  # type: ignore[misc]
