"""An lm-eval model class with the answers of stock HFLM, but less computation.

For every choice stock HFLM reads the context again, and it computes float32 logits at every
position. Here the continuations of a context share one forward pass, logits are computed only where
a token is scored, and batches are filled by number of tokens, not of requests.

Shapes: B rows, T positions per row, H hidden size, V vocabulary, N scored tokens, P positions that
score at least one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from sft_tradeoff.chat import decode_answer
from sft_tradeoff.evaluation.generation import Rows, forced_states, greedy_decode
from sft_tradeoff.evaluation.prefix_tree import PrefixTree, tree_batches, tree_layout
from sft_tradeoff.evaluation.prompt_encoding import PromptEncoding, Scored
from sft_tradeoff.evaluation.token_scores import TokenScores, entropy_and_rank
from sft_tradeoff.models.cache import has_plain_cache
from sft_tradeoff.models.decoding import is_plain_greedy, takes_padding
from sft_tradeoff.models.head import apply_head, float_logits
from sft_tradeoff.models.padding import padded_width
from sft_tradeoff.models.tokenizer import end_tokens
from sft_tradeoff.models.two_part import compute_dtype

CHUNK = 512  # positions whose logits are in memory at a time
SLICE = 8  # positions at a time in float32 on a CPU, so that they stay in its cache
# A row accepts further sequences up to this width, or up to twice its context. In wider rows
# attention would cost more than the shared prefix and the saved padding gain.
TREE_WIDTH = 128


class SharedPrefixLM(PromptEncoding, HFLM):
    """Causal LM for lm-eval.

    Args:
        batch_tokens: Tokens per forward pass, padding included.
        keywords: As of :class:`lm_eval.models.huggingface.HFLM`.
    """

    def __init__(self, *, batch_tokens: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.batch_tokens = batch_tokens
        self._shares = has_plain_cache(self.model)
        self._dtype = compute_dtype(self.model)
        self._expected: dict[tuple[int, ...], list[int]] = {}
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, bool]] = {}
        # By context and continuation; None: nobody asks for single tokens.
        self._tokens: dict[tuple[tuple[int, ...], tuple[int, ...]], TokenScores] | None = None

    def expect(self, requests: Scored, tokens: bool = False) -> None:
        """Announce answers to be scored next, so that generation can score them on the way.

        A domain needs both a generated answer and the loss of the gold answer to every prompt; this
        way the prompt is read once. Earlier announcements are dropped, because another domain may
        have the same prompts.

        Args:
            requests: The answers.
            tokens: Keep the scores of single tokens of all that is scored until the next call.
        """
        self._expected = {tuple(context): gold for _, context, gold in requests}
        self._known.clear()
        self._tokens = {} if tokens else None

    def token_scores(self, requests: Scored) -> list[TokenScores]:
        """Scores of the tokens of each continuation, all of which have been scored."""
        assert self._tokens is not None, "expect() was not told to keep them"
        return [self._tokens[tuple(context), tuple(answer)] for _, context, answer in requests]

    def _score(
        self, trees: list[PrefixTree], n_sequences: int, quiet: bool
    ) -> tuple[list[float], list[bool], dict[int, TokenScores]]:
        """Score all sequences: Σ log-likelihood, and whether every token is the greedy choice.

        Also the scores of each sequence's tokens, if they are to be kept.
        """
        tokens: dict[int, TokenScores] = {}
        total = torch.zeros(n_sequences, dtype=torch.double)
        misses = torch.zeros(n_sequences, dtype=torch.long)
        with tqdm(total=n_sequences, desc="log-likelihood", disable=quiet or None) as bar:
            for batch in tree_batches(filter(len, trees), self.batch_tokens, fill=self._shares):
                sequence, found = self._score_batch(batch)
                total.index_add_(0, sequence, found.log_likelihood)
                misses.index_add_(0, sequence, (~found.hit).long())
                if self._tokens is not None:  # of each sequence in the order of its text
                    tokens |= {int(s): found.rows(sequence == s) for s in sequence.unique()}
                bar.update(len(sequence.unique()))
        return total.tolist(), (misses == 0).tolist(), tokens

    @torch.inference_mode()
    def _score_batch(self, trees: list[PrefixTree]) -> tuple[torch.Tensor, TokenScores]:
        """Sequence [N] of every scored token, on the CPU, and its scores."""
        longest = max(len(tree) for tree in trees)
        # Padding needs positions too, and a position embedding has none beyond the window.
        width = min(padded_width(longest), max(longest, self.max_length))
        input_ids = torch.zeros(len(trees), width, dtype=torch.long)  # (B, T)
        for row, tree in enumerate(trees):
            input_ids[row, : len(tree)] = torch.tensor(tree.ids)
        layout = {}
        if any(tree.branches for tree in trees):
            layout = tree_layout(trees, width, self._dtype, self.device)
        states = self.model.base_model(
            input_ids=input_ids.to(self.device), use_cache=False, **layout
        ).last_hidden_state  # (B, T, H)
        targets = [(r * width + n, *rest) for r, t in enumerate(trees) for n, *rest in t.targets]
        position, label, sequence = torch.tensor(targets).T  # (N,), (N,), (N,)
        position, which = position.unique(return_inverse=True)  # (P,), (N,)
        hidden = states.flatten(0, 1)[position.to(self.device)]  # (B·T, H) -> (P, H)
        return sequence, self._score_hidden(hidden, which, label)

    def _score_hidden(
        self, hidden: torch.Tensor, which: torch.Tensor, label: torch.Tensor
    ) -> TokenScores:
        """Score labels at given hidden states.

        Args:
            hidden: [P, H].
            which: [N] row of ``hidden`` that predicts each label, on the CPU.
            label: [N] tokens, on the CPU.

        Returns:
            Scores of the labels, with entropy and rank if tokens are to be kept.
        """
        n_kept = 0 if self._tokens is None else len(label)
        found = TokenScores(
            torch.zeros(len(label), dtype=torch.double),
            torch.zeros(len(label), dtype=torch.bool),
            torch.zeros(n_kept),
            torch.zeros(n_kept, dtype=torch.long),
        )
        size = SLICE if self.device.type == "cpu" else CHUNK
        for start in range(0, len(hidden), CHUNK):
            chunk = apply_head(self.model, hidden[start : start + CHUNK])  # (CHUNK, V)
            for first in range(start, start + len(chunk), size):
                logits = float_logits(self.model, chunk[first - start : first - start + size])
                here = ((which >= first) & (which < first + size)).nonzero()[:, 0]
                place, wanted = (t[here].to(self.device) for t in (which - first, label))
                nats, hits = score_labels(logits, place, wanted)
                found.log_likelihood[here], found.hit[here] = nats.double().cpu(), hits.cpu()
                if n_kept:
                    entropy, rank = entropy_and_rank(logits, place, wanted)
                    found.entropy[here], found.rank[here] = entropy.cpu(), rank.cpu()
        return found

    def _loglikelihood_tokens(
        self, requests: Scored, disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """(Σ log-likelihood, is greedy) of every continuation; called by lm-eval."""
        known = {i: self._known.get((tuple(r[1]), tuple(r[2]))) for i, r in enumerate(requests)}
        trees = [PrefixTree()]
        previous: list[int] = []
        # Sorted by context, so that equal ones are neighbors and others share a prefix.
        unknown = [i for i, answer in known.items() if answer is None]
        for i in sorted(unknown, key=lambda i: requests[i][1]):
            _, context, continuation = requests[i]
            # As stock: an empty continuation would win every comparison, and a truncated one is
            # another text.
            assert 0 < len(continuation) <= self.max_length
            # As stock: if the window is too small, the start of the context is truncated.
            ids = (context + continuation)[-(self.max_length + 1) :]
            n_scored = min(len(continuation), len(ids) - 1)
            again = context == previous
            n_new = len(continuation) if again else len(ids)
            width = max(TREE_WIDTH, 2 * len(context)) if again else TREE_WIDTH
            if len(trees[-1]) + n_new > width or not self._shares:
                trees.append(PrefixTree())
            trees[-1].add(i, ids, range(len(ids) - n_scored, len(ids)))
            previous = context
        nats, greedy, tokens = self._score(trees, len(requests), disable_tqdm)
        scored = zip(nats, greedy, strict=True)
        answers = [known[i] or answer for i, answer in enumerate(scored)]
        if self._tokens is not None:
            for i, found in tokens.items():
                self._tokens[tuple(requests[i][1]), tuple(requests[i][2])] = found
        for (request, _, _), answer in zip(requests, answers, strict=True):
            if request is not None:  # None: part of a rolling request, recorded elsewhere
                self.cache_hook.add_partial("loglikelihood", request, answer)
        return answers

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """As stock, without a progress bar in log files."""
        return super().loglikelihood(requests, disable_tqdm or not sys.stderr.isatty())

    def tok_batch_encode(
        self,
        strings: Any,
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As stock, but every text is encoded by itself; the start of long ones is truncated.

        Returns:
            Token ids and mask, both [B, T].
        """
        rows = [torch.tensor(self._encode_prompt(text, left_truncate_len)) for text in strings]
        padding = int(self.tokenizer.pad_token_id)
        ids = pad_sequence(rows, True, padding, padding_side)
        mask = pad_sequence([torch.ones_like(row) for row in rows], True, 0, padding_side)
        return ids, mask

    def generate_alike(self, requests: Any, quiet: bool) -> list[str]:
        """As stock; greedy requests use :func:`greedy_decode`, where finished rows are replaced.

        A model whose answers padding would change gets one prompt at a time.
        """
        if self._is_plain_greedy(requests[0].args[1]):
            return self._greedy(requests, quiet)
        if not self._shares and not takes_padding(self.model):
            self.batch_size_per_gpu = 1
        return super().generate_alike(requests, quiet)

    def _is_plain_greedy(self, options: dict[str, Any]) -> bool:
        """Whether :meth:`_greedy` gives stock's answers; unusual options are left to stock."""
        wanted = normalize_gen_kwargs(options, self.max_gen_toks)
        return (
            self._shares
            and not isinstance(self.think_end_token, str)
            and not wanted["do_sample"]
            and wanted.keys() <= {"until", "max_gen_toks", "do_sample", "temperature"}
            and 0 < wanted["max_gen_toks"] < self.max_length
            and is_plain_greedy(self.model)
        )

    def _greedy(self, requests: Any, quiet: bool) -> list[str]:
        """Answer requests that have the same options."""
        wanted = normalize_gen_kwargs(requests[0].args[1], self.max_gen_toks)
        max_new = wanted["max_gen_toks"]
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(wanted["until"], eos=eos)
        finished = self._finished(until, max_new)
        prompts = [self._encode_prompt(r.args[0], self.max_length - max_new) for r in requests]
        widest = max(map(len, prompts)) + max_new
        with tqdm(total=len(prompts), desc="generation", disable=quiet or None) as bar:
            answers = greedy_decode(
                self.model,
                prompts,
                finished=finished,
                batch_size=max(self.batch_size, self.batch_tokens // widest),
                batch_tokens=self.batch_tokens,
                advance=bar.update,
                look=lambda rows, states: self._score_expected(prompts, rows, states),
            )
        texts = []
        for request, tokens in zip(requests, answers, strict=True):
            text = decode_answer(self.tokenizer, tokens, self.think_end_token)
            text = postprocess_generated_text(text, until, None)
            self.cache_hook.add_partial("generate_until", request.args, text)
            texts.append(text)
        return texts

    def _finished(self, until: list[str], max_new: int) -> Callable[[list[int]], bool]:
        """Return a function that tells whether new tokens are a complete answer."""
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stops = [stop for stop in until if stop != eos]
        ends = {self.eot_token_id, *end_tokens(self.model.generation_config)}
        # The model may write a stop string in other tokens than the tokenizer would; stock looks
        # equally far back.
        n_back = 2 + max((len(self._encode_stop(stop)) for stop in stops), default=0)

        def finished(tokens: list[int]) -> bool:
            if tokens[-1] in ends or len(tokens) == max_new:
                return True
            text = self.tok_decode(tokens[-n_back:], skip_special_tokens=False) if stops else ""
            return any(stop in text for stop in stops)

        return finished

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **keywords: Any
    ) -> torch.Tensor:
        """As stock, [B, T], but every row is padding after the end of its answer.

        In stock, finished rows continue until the whole batch is done. What follows a stop string
        is removed from the decoded text, in which a special token can no longer be found.
        """
        found: torch.Tensor = super()._model_generate(context, max_length, stop, **keywords)
        n_read = context.shape[1]
        finished = self._finished(stop, max_length - n_read)
        for row in found:
            new = row[n_read:].tolist()
            end = next((n for n in range(1, len(new)) if finished(new[:n])), len(new))
            row[n_read + end :] = self.tokenizer.pad_token_id
        return found

    def _score_expected(self, prompts: list[list[int]], rows: Rows, states: torch.Tensor) -> None:
        """Score the gold answers to prompts just read, if all were announced and fit a batch."""
        gold = [self._expected.get(tuple(prompts[row])) for row in rows.prompt]
        answers = [answer for answer in gold if answer]
        if len(answers) < len(gold) or len(answers) * max(map(len, answers)) > self.batch_tokens:
            return  # they are scored later, in batches that fit
        hidden = forced_states(self.model, rows, states, answers)  # (N, H)
        labels = torch.tensor([token for answer in answers for token in answer])
        scores = self._score_hidden(hidden, torch.arange(len(labels)), labels)
        places = torch.arange(len(labels)).split([len(answer) for answer in answers])
        for row, answer, place in zip(rows.prompt, answers, places, strict=True):
            key, found = (tuple(prompts[row]), tuple(answer)), scores.rows(place)
            self._known[key] = found.log_likelihood.sum().item(), bool(found.hit.all())
            if self._tokens is not None:
                self._tokens[key] = found

    def _encode_stop(self, stop: str) -> list[int]:
        return list(self.tokenizer.encode(stop, add_special_tokens=False))

    def _encode_prompt(self, prompt: str, max_tokens: int | None) -> list[int]:
        ids: list[int] = self.tok_encode(prompt) or [self.prefix_token_id]
        return ids[-max_tokens:] if max_tokens else ids


def score_labels(
    logits: torch.Tensor, place: torch.Tensor, label: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-likelihood of labels [N] in nats, and whether each is the greedy choice [N].

    By PyTorch's float32 log-softmax, as in stock, although on a CPU its sum over a large vocabulary
    is off by some 10⁻⁵ nats, with the same sign at every token.

    Args:
        logits: [P, V] float32.
        place: [N] row of ``logits`` for each label.
        label: [N] tokens.
    """
    log_probabilities = logits.log_softmax(-1)  # (P, V)
    nats = log_probabilities[place, label]
    hit = nats == log_probabilities.amax(-1)[place]
    # In a tie the first token is the greedy choice, as in stock. Finding it is slow, so it is done
    # only where the label has the largest value.
    hit[hit.clone()] = log_probabilities[place[hit]].max(-1).indices == label[hit]
    return nats, hit
