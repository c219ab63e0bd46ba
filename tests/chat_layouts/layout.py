"""What distinguishes one family of chat models from another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layout:
    """One family × template.

    Args:
        family: Models that ship it.
        template: Jinja.
        learned: Text that is learned for the answer "ok", special tokens included.
        eos: The tokenizer's end of sequence.
        marks: Added tokens flagged as special, besides eos.
        unflagged: Added tokens without that flag.
        ends: Ends of text in the generation settings; None: there is no such file.
        sentencepiece: Words start with ▁; otherwise the alphabet is byte-level.
        strips: The marks include the white space after them.
        bos: Beginning of sequence.
        variables: Values of the template's variables.
        note: For the table.
    """

    family: str
    template: str
    learned: str
    eos: str
    marks: tuple[str, ...] = ()
    unflagged: tuple[str, ...] = ()
    ends: tuple[str, ...] | None = ()
    sentencepiece: bool = False
    strips: bool = False
    bos: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        """For test ids."""
        return "".join(c if c.isalnum() else "-" for c in self.family.lower()).strip("-")
