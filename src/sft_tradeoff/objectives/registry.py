"""The methods that a study can name. To add one, write a file and add it here."""

from __future__ import annotations

from sft_tradeoff.objectives import (
    asft,
    dft,
    eaft,
    flow,
    kl_reg,
    l2_reg,
    lora,
    psft,
    sft,
    stm,
    talr,
    token_subset,
    wise_ft,
)
from sft_tradeoff.objectives.base import Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        sft,
        talr,
        flow,
        l2_reg,
        lora,
        wise_ft,
        kl_reg,
        dft,
        eaft,
        asft,
        stm,
        psft,
        token_subset,
    )
}
