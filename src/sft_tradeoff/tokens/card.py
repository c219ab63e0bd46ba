"""What a model's tokenizer makes of one split of a domain, as a card beside the tokens."""

from __future__ import annotations

from sft_tradeoff.models.tokenized import TokenizedData


def token_card(tokens: TokenizedData, title: str, max_length: int) -> str:
    """Markdown card: how many examples and tokens, and how many responses lost their end.

    Args:
        tokens: All examples of the split.
        title: Model, domain and split.
        max_length: Tokens at which examples were cut.
    """
    if not len(tokens):
        return f"# Tokens: {title}\n\nNo examples.\n"
    n_cut = int(tokens.truncated.sum())
    cut = f"{n_cut} of {len(tokens)} ({n_cut / len(tokens):.1%})"
    if n_cut:
        cut = f"**{cut}**: their ends are neither learned nor scored; raise training.max_length"
    return f"""# Tokens: {title}

- **Examples:** {len(tokens)}
- **Tokens, mean:** {tokens.lengths.mean():.0f}, of which response: {tokens.n_supervised.mean():.0f}
- **Tokens, longest:** {tokens.lengths.max()}, longest response: {tokens.n_supervised.max()}
- **Responses cut at {max_length} tokens:** {cut}
"""
