"""Run a command with exclusive GPUs, so that jobs on one machine never share a device.

A device is held by a socket that is bound to a name containing its UUID. The kernel gives such a
name to one process at a time, across users and Snakemake runs (within one network namespace, so not
across containers), and releases it when the last descriptor of the socket is closed. A killed job
leaves nothing behind, and there is no lock file to clean up or to lose on a network disk.

The command replaces this process and inherits the descriptors. Processes that it forks, such as
data loaders, inherit them too and hold the device after their parent's death, because they may
still use its memory. Programs that it executes do not; the ranks of a launcher end with it.

Devices are chosen from ``CUDA_VISIBLE_DEVICES``, whether the user or a batch system has set it, and
numbered as by ``nvidia-smi``. Without a GPU the command simply runs.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sft_tradeoff.system.console import UserError, run_main

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
LISTED = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[\w-]+)\)$", re.MULTILINE)
POLL_S = 1.0
DRIVER_TIMEOUT_S = 60


class LeaseError(UserError):
    """There are fewer GPUs than the command needs."""


class Device(NamedTuple):
    """A GPU.

    Args:
        name: Its name in ``CUDA_VISIBLE_DEVICES``.
        identity: The same in every process of the machine, whatever devices it sees.
    """

    name: str
    identity: str


def n_visible(environment: Mapping[str, str], nodes: Path = Path("/dev")) -> int:
    """Count the visible GPUs without asking the driver, to plan jobs.

    Args:
        environment: Variables of this process.
        nodes: Folder of the device nodes.
    """
    n_nodes = len(_numbered(nodes))
    if VISIBLE not in environment or not n_nodes:
        return n_nodes
    return len(_entries(environment[VISIBLE]))


def visible_devices(
    environment: Mapping[str, str], listing: str, nodes: Path = Path("/dev")
) -> list[Device]:
    """Return the GPUs that a CUDA program would see, in its order.

    Args:
        environment: Variables of this process.
        listing: Output of ``nvidia-smi -L``; if it is empty, device nodes are counted.
        nodes: Folder of the device nodes.
    """
    found = [Device(*match) for match in LISTED.findall(listing)]
    present = found or [Device(number, number) for number in _numbered(nodes)]
    if VISIBLE not in environment:
        return present
    by_name = {device.name: device for device in present}
    chosen: list[Device] = []
    for entry in _entries(environment[VISIBLE]):
        if not entry.isdigit():  # a UUID, or a unique prefix of one
            whole = [d.identity for d in present if d.identity.startswith(entry)]
            chosen.append(Device(entry, whole[0] if len(whole) == 1 else entry))
        elif entry in by_name:
            chosen.append(by_name[entry])
        else:
            break
    return list(dict.fromkeys(chosen))


def _entries(visible: str) -> list[str]:
    """Return the devices of a list; as in CUDA, the first invalid one (empty, −1) ends it."""
    entries: list[str] = []
    for entry in map(str.strip, visible.split(",")):
        if not re.match(r"\d+$|GPU-|MIG-", entry):
            break
        entries.append(entry)
    return entries


def _numbered(nodes: Path) -> list[str]:
    """Return the numbers of the device nodes ``nvidia0``, ``nvidia1``, ..., in order."""
    names = (node.name.removeprefix("nvidia") for node in nodes.glob("nvidia[0-9]*"))
    return sorted((name for name in names if name.isdigit()), key=int)


def driver_listing() -> str:
    """Return the output of ``nvidia-smi -L``; empty without a driver or a program one may run.

    Raises:
        LeaseError: If it does not answer. One job would know a device by its number and another by
            its UUID, and both could hold it.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeaseError(
            f"{program} -L does not answer ({error}); run it by hand, and run the same "
            f"command again when it lists the GPUs, or set {VISIBLE} to an empty value to compute "
            "without them"
        ) from error
    return done.stdout if done.returncode == 0 else ""


def take(devices: Sequence[Device], n_gpus: int) -> dict[Device, socket.socket] | None:
    """Hold the first free devices until the returned sockets are closed.

    Returns:
        Sockets by device; None if fewer than ``n_gpus`` are free, and then none is held.
    """
    held: dict[Device, socket.socket] = {}
    for device in devices:
        if len(held) < n_gpus and (holder := _hold(device.identity)):
            held[device] = holder
    if len(held) == n_gpus:
        return held
    for holder in held.values():
        holder.close()
    return None


def _hold(identity: str) -> socket.socket | None:
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0sft-tradeoff-gpu-{identity}")
    except OSError as error:
        holder.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return holder


def wait_for(devices: Sequence[Device], n_gpus: int) -> dict[Device, socket.socket]:
    """Hold devices as soon as enough of them are free; see :func:`take`.

    Raises:
        LeaseError: If there are too few devices.
    """
    if len(devices) < n_gpus:
        raise LeaseError(
            f"the job needs {n_gpus} GPUs and sees {len(devices)}; lower training.processes, name "
            f"more in {VISIBLE}, or set it to an empty value to compute without GPUs"
        )
    held = take(devices, n_gpus)
    if held is None:
        logger.info("fewer than %d of %d GPUs are free; waiting", n_gpus, len(devices))
    while held is None:
        # At random times, so that two jobs that each need what the other holds do not stay in step.
        time.sleep(POLL_S * random.uniform(0.5, 1.5))
        held = take(devices, n_gpus)
    return held


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff lease``."""
    parser.add_argument("--gpus", type=int, default=1, help="number of GPUs to lease (default: 1)")
    parser.add_argument("command", nargs="+", help="command to run, after --")


def main(args: argparse.Namespace) -> None:
    """Become the command, with exclusive GPUs."""
    with run_main("lease"):
        hidden = VISIBLE in os.environ and not _entries(os.environ[VISIBLE])
        devices = [] if hidden else visible_devices(os.environ, driver_listing())
        # A device that is named but absent is an error, not a slow run on the CPU.
        if devices or n_visible(os.environ):
            held = wait_for(devices, args.gpus)
            for holder in held.values():
                holder.set_inheritable(True)
            names = ",".join(device.name for device in held)
            os.environ.update({VISIBLE: names, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
            logger.info("on GPU %s", names)
        try:
            os.execvp(args.command[0], args.command)
        except FileNotFoundError as error:
            raise LeaseError(f"no such command: {args.command[0]}") from error
