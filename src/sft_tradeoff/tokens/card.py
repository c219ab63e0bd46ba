"""A Markdown card for the tokens of one split: counts, lengths and truncated responses."""

from __future__ import annotations

from sft_tradeoff.models.tokenized import TokenizedData


def token_card(tokens: TokenizedData, title: str, max_length: int) -> str:
    """Return a Markdown card: numbers of examples, tokens and truncated responses.

    Args:
        tokens: All examples of the split.
        title: Model, domain and split.
        max_length: Tokens at which examples were truncated.
    """
    if not len(tokens):
        return f"# Tokens: {title}\n\nNo examples.\n"
    n_truncated = int(tokens.truncated.sum())
    truncated = f"{n_truncated} of {len(tokens)} ({n_truncated / len(tokens):.1%})"
    if n_truncated:
        truncated = f"**{truncated}**: their ends are neither learned nor scored; "
        truncated += "raise training.max_length"
    return f"""# Tokens: {title}

- **Examples:** {len(tokens)}
- **Tokens, mean:** {tokens.lengths.mean():.0f}, of which response: {tokens.n_supervised.mean():.0f}
- **Tokens, longest:** {tokens.lengths.max()}, longest response: {tokens.n_supervised.max()}
- **Responses truncated at {max_length} tokens:** {truncated}
"""
