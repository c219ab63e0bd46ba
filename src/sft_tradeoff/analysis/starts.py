"""Where the θ0 of a model comes from, as its evaluation recorded it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sft_tradeoff.analysis.run_records import EvaluationRecord
from sft_tradeoff.system.files import damaged


class Start(NamedTuple):
    """A run that a θ0's weights come from.

    Args:
        run: Its name.
        model: The model that was trained.
        domain: Label of the domain that it was trained on.
    """

    run: str
    model: str
    domain: str


Starts = Mapping[str, Sequence[Start]]  # model -> runs, the first one first; none if pretrained
NO_STARTS: Starts = MappingProxyType({})


def starts_of(record: EvaluationRecord) -> list[Start]:
    """The runs that the weights of an evaluated θ0 come from, the first one first.

    Raises:
        DamagedFileError: If the record names them in another form.
    """
    try:
        return [Start(**{k: str(v) for k, v in s.items()}) for s in record.config.get("starts", ())]
    except (AttributeError, TypeError) as error:
        raise damaged(record.path, f"run_info.config.starts: {error}") from None
