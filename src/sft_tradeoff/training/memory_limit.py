"""Refuse a training run that cannot fit into memory, before anything large is loaded.

The message names settings that would make it fit; each is first tried on the estimate. Because the
estimate may be wrong, a run is refused only if it clearly cannot fit; otherwise it gets a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.memory import MemoryEstimate, estimate, gib

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)
DOUBT = 0.2  # the estimate may be too high by this share
SHORTEST = 64  # tokens; the advice never truncates examples to fewer
N_PROCESSES = (2, 4, 8, 16)  # tried by the advice


def available_bytes(device: torch.device) -> int:
    """Memory that a training process on a device can have at most.

    On a GPU, its whole memory. On a CPU, the free memory of the machine (plus what this process
    already holds) or the limit of the control group, whichever is less, divided by the number of
    processes on the machine.
    """
    import psutil  # type: ignore[import-untyped]
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    free: int = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    limits = [free, *cgroup_limits()]
    return min(limits) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def cgroup_limits(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield the memory limits [bytes] of this process's control groups, versions 1 and 2.

    Limits of all ancestors count. In a container the group's path may be the host's, while its own
    limit is at the root; folders that do not exist are skipped.

    Args:
        membership: Lines ``id:controllers:path``; version 2 has no controllers.
        root: Where control groups are mounted.
    """
    if not membership.is_file():
        return
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            file = folder / name
            if file.is_file() and (limit := file.read_text().strip()) != "max":
                yield int(limit)


@dataclass(frozen=True)
class Plan:
    """A run as it is, or as it could be.

    Args:
        config: The resolved run.
        longest: Tokens of the longest example.
        n_shards: See :func:`estimate`.
        on_gpu: Whether it trains on GPUs.
    """

    config: RunConfig
    longest: int
    n_shards: int = 1
    on_gpu: bool = False

    def estimate(self, model: Path | PretrainedConfig) -> MemoryEstimate:
        """Estimate what one process needs."""
        return estimate(model, self.config, self.longest, self.n_shards, self.on_gpu)

    def changed(
        self, longest: int = 0, n_shards: int = 0, method: MethodSpec | None = None, **training: Any
    ) -> Plan:
        """Return a plan with these values changed."""
        updates: dict[str, Any] = {"training": self.config.training.model_copy(update=training)}
        if method:
            updates["method"] = method
        return Plan(
            config=self.config.model_copy(update=updates),
            longest=longest or self.longest,
            n_shards=n_shards or self.n_shards,
            on_gpu=self.on_gpu,
        )


Change = tuple[str, dict[str, Any]]  # as written in a study file; arguments of Plan.changed


def possible_changes(plan: Plan) -> Iterator[list[Change]]:
    """Yield every way to reduce memory as a list of changes, from mild to strong.

    Sharding helps on GPUs only: on a CPU all processes share the machine's memory. Pure bfloat16 is
    never advised, because it loses small updates.
    """
    training, longest = plan.config.training, plan.longest
    now = training.micro_batch_size
    sizes = [n for n in range(now - 1, 0, -1) if not training.batch_size % n]
    yield [(f"training.micro_batch_size: {n} (now {now})", {"micro_batch_size": n}) for n in sizes]
    yield [("training.gradient_checkpointing: true", {"gradient_checkpointing": True})]
    if training.precision == "fp32":
        yield [("training.precision: fp32_master", {"precision": "fp32_master"})]
    if plan.on_gpu:
        shards = [n for n in N_PROCESSES if plan.n_shards < n <= training.batch_size]
        yield [
            (f"training.sharding: fsdp, training.processes: {n}", {"n_shards": n}) for n in shards
        ]
    lengths = [n for n in (longest // 2, longest // 4, longest // 8) if n >= SHORTEST]
    yield [(f"training.max_length: {n} (longest now {longest})", {"longest": n}) for n in lengths]
    if not METHODS[plan.config.method.name].adapter:
        yield [("method: lora, which trains less", {"method": MethodSpec(name="lora")})]


def refuse_if_too_large(
    model: Path | PretrainedConfig, plan: Plan, available: int
) -> MemoryEstimate:
    """Refuse a run that cannot fit; warn if it may not fit.

    Args:
        model: See :func:`estimate`.
        plan: The run.
        available: Bytes that one process can have (:func:`available_bytes`).

    Returns:
        The estimate.

    Raises:
        UserError: If the run cannot fit, naming the changes that would help, with their totals.
    """
    need = plan.estimate(model)
    if need.total <= available:
        return need
    name, size = next(iter(need.parts.items()))
    problem = (
        f"run {plan.config.run!r}: training needs about {gib(need.total)} per process, but only "
        f"{gib(available)} are available; the largest part is {name.replace('_', ' ')} "
        f"({gib(size)}); "
        f"{_advice(model, plan, need.total, available)}"
    )
    if (1 - DOUBT) * need.total > available:
        raise UserError(problem)
    logger.warning("the run may be killed: %s", problem)
    return need


def _advice(model: Path | PretrainedConfig, plan: Plan, total: int, available: int) -> str:
    """Name the changes that suffice alone; if none does, say whether several together do."""
    enough: list[str] = []
    smaller: list[tuple[str, Change]] = []
    for changes in possible_changes(plan):
        found = [(plan.changed(**change[1]).estimate(model).total, change) for change in changes]
        found = [one for one in found if one[0] < total]
        fits = [one for one in found if one[0] <= available]
        if fits:
            enough.append(f"{fits[0][1][0]}: {gib(fits[0][0])}")
        elif found:
            smaller.append((f"{found[-1][1][0]}: {gib(found[-1][0])}", found[-1][1]))
    if enough:
        return f"any of these makes it fit: {'; '.join(enough)}"
    if not smaller:
        return "no setting makes it smaller: use a smaller model or a larger machine"
    alone = "; ".join(text for text, _ in smaller)
    together = _together(model, plan, [change for _, change in smaller], available)
    return f"no single change is enough ({alone}), {together}"


def _together(
    model: Path | PretrainedConfig, plan: Plan, changes: list[Change], available: int
) -> str:
    """Add changes one by one, as long as they help and are needed."""
    least = plan.estimate(model).total
    names: list[str] = []
    for name, change in changes:
        changed = plan.changed(**change)
        total = changed.estimate(model).total
        if total < least and least > available:
            plan, least, names = changed, total, [*names, name]
    if least > available:
        return f"nor are all together ({gib(least)}): use a smaller model or a larger machine"
    return f"but together these are: {', '.join(names)}: {gib(least)}"


def check_memory(base_model: Path, config: RunConfig, longest: int, n_shards: int = 1) -> None:
    """Log how much memory a run needs on this machine, and refuse it if it cannot fit.

    Args:
        base_model: Folder of θ0.
        config: The resolved run.
        longest: Tokens of the longest example.
        n_shards: See :func:`estimate`.

    Raises:
        UserError: See :func:`refuse_if_too_large`.
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = available_bytes(device)
    plan = Plan(config, longest, n_shards, on_gpu=device.type == "cuda")
    try:
        need = refuse_if_too_large(base_model, plan, available)
    except (AttributeError, TypeError) as error:  # an architecture without the usual sizes
        logger.warning("memory cannot be estimated for this architecture: %s", error)
        return
    logger.info("%s\n  %-14s%11s", need, "available", gib(available))
