"""A Slurm of one node that touches nothing outside its folder: daemons, key, ports, logs, commands.

Debian's packages are unpacked, not installed, so neither root nor a clean machine is needed, and a
Slurm that the machine already has goes on undisturbed.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge")
COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")
DAEMONS = ("munged", "slurmctld", "slurmd", "slurmstepd")
NODE = socket.gethostname().split(".")[0]

# Memory limits are enforced by polling, since control groups are rarely a test's to write; the
# node claims more memory than any job asks for, so that jobs wait for CPUs and GPUs only. No job is
# requeued that has not asked for it.
SLURM_CONF = """\
ClusterName=private
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MinJobAge=3600
KillWait=3
ReturnToService=2
JobRequeue=0
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000000 Gres=gpu:2
PartitionName=short Nodes=ALL
PartitionName=gpu Nodes=ALL
"""
# Scheduled like GPUs; on a machine with real ones these stay hidden, since jobs compute on CPUs.
GRES_CONF = """\
Name=gpu File=/dev/null Flags=no_gpu_env
Name=gpu File=/dev/zero Flags=no_gpu_env
"""


class Unavailable(Exception):
    """Slurm cannot run here; the message says why."""


class PrivateSlurm:
    """The cluster, running; see :meth:`start` and :meth:`stop`.

    Attributes:
        bin: Folder of its commands; first in PATH, they reach this cluster and no other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.daemon_programs = folder / "sbin"
        self.root = installed() or unpacked(folder / "packages")
        self.environment = dict(os.environ, SLURM_CONF=str(folder / "etc/slurm.conf"))
        self.daemons: list[subprocess.Popen[bytes]] = []
        libraries = next(self.root.glob("usr/lib/*/slurm-wlm"), None)
        self.plugins = f"PluginDir={libraries}\n" if libraries else ""
        if libraries:
            self.environment["LD_LIBRARY_PATH"] = f"{libraries.parent}:{libraries}"

    def start(self) -> None:
        """Start the daemons and wait for the node.

        Raises:
            RuntimeError: If the node does not come up, with the daemons' last words.
        """
        self._configure()
        self._daemon("munged", "--foreground", "--force", *self._munge_files())
        self._wait((self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-d", str(self.daemon_programs / "slurmstepd"))
        self._wait(self._runs_jobs)

    def stop(self) -> None:
        """End all jobs, then the daemons; nothing of the cluster is left running."""
        try:
            if len(self.daemons) == 3:
                self.run("scancel", f"--user={getpass.getuser()}", check=False)
                active = ("squeue", "--noheader", "--states=running,completing,configuring")
                self._wait(lambda: not self.run(*active, check=False))
        finally:
            for daemon in reversed(self.daemons):
                end(daemon)

    @contextlib.contextmanager
    def controller_away(self) -> Iterator[None]:
        """Stop the controller meanwhile; commands get no answer."""
        _, controller, _ = self.daemons
        controller.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            controller.send_signal(signal.SIGCONT)

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        """Return what one of the cluster's commands prints."""
        done = subprocess.run(
            [self.bin / command, *arguments], capture_output=True, text=True, timeout=30
        )
        if check and done.returncode:
            raise AssertionError(f"{command} {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job so far, oldest first, as ``scontrol show job`` describes it."""
        lines = self.run("scontrol", "--oneliner", "show", "job", check=False).splitlines()
        found = [dict(w.split("=", 1) for w in line.split() if "=" in w) for line in lines]
        return [job for job in found if "JobId" in job]

    def _configure(self) -> None:
        for name in ("bin", "sbin", "etc", "state", "spool"):
            (self.folder / name).mkdir()
        ports = free_ports(2)
        (self.folder / "etc/slurm.conf").write_text(
            SLURM_CONF.format(
                node=NODE,
                user=getpass.getuser(),
                folder=self.folder,
                controller_port=ports[0],
                node_port=ports[1],
            )
            + self.plugins
        )
        (self.folder / "etc/gres.conf").write_text(GRES_CONF)
        key = self.folder / "etc/munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        # Wrappers, because Snakemake's job steps drop SLURM_CONF from the environment.
        names = ("SLURM_CONF", "LD_LIBRARY_PATH")
        settings = " ".join(f"{n}='{self.environment[n]}'" for n in names if n in self.environment)
        for daemon in DAEMONS:  # under the names by which they know themselves
            (self.daemon_programs / daemon).symlink_to(self._program(daemon))
        for command in COMMANDS:
            wrapper = self.bin / command
            wrapper.write_text(f'#!/bin/sh\n{settings} exec "{self._program(command)}" "$@"\n')
            wrapper.chmod(0o755)

    def _runs_jobs(self) -> bool:
        trial = ("--partition=gpu", "--gpus=2", "--mem=10", "--immediate=5", "echo", "runs")
        return bool(self.run("srun", *trial, check=False))

    def _munge_files(self) -> list[str]:
        names = {"key": "etc/munge.key", "pid": "munged.pid", "seed": "seed", "log": "munged.log"}
        files = [f"--{name}-file={self.folder / file}" for name, file in names.items()]
        return [*files, f"--socket={self.folder}/munge.socket"]

    def _program(self, name: str) -> str:
        candidates = [
            self.root / "usr" / place / (name + suffix)
            for place in ("sbin", "bin")
            for suffix in ("", "-wlm")
        ]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise Unavailable(f"{name} is not among Slurm's programs here")
        return str(found)

    def _daemon(self, name: str, *arguments: str) -> None:
        """Start a daemon in the foreground that ends with this process, even after a kill."""
        log = (self.folder / f"{name}.stderr.log").open("wb")
        command = ["setpriv", "--pdeathsig", "TERM", self.daemon_programs / name, *arguments]
        self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=self.environment))

    def _wait(self, ready: Callable[[], object], timeout_s: float = 20) -> None:
        end = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end or any(d.poll() is not None for d in self.daemons):
                logs = [path.read_text()[-2000:] for path in self.folder.glob("*.log")]
                raise RuntimeError("Slurm does not start or end:\n" + "\n".join(logs))
            time.sleep(0.2)


def end(daemon: subprocess.Popen[bytes]) -> None:
    """Terminate it; kill it if it does not end."""
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()


def free_ports(n: int) -> list[int]:
    """Ports that are free at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports: list[int] = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def installed() -> Path | None:
    """The machine's own Slurm, if it has all of one; its programs serve, its files stay alone."""
    path = "/usr/sbin:/usr/bin"
    complete = all(shutil.which(p, path=path) for p in ("slurmctld", "slurmd", "munged", "sbatch"))
    return Path("/") if complete else None


def unpacked(folder: Path) -> Path:
    """Fetch Debian's packages with all they need that is not here, and unpack them.

    Raises:
        Unavailable: If this is no Debian, or its packages cannot be fetched.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("Slurm is not installed, and there is no apt-get to fetch it")
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    places = {"Dir::State::Lists": folder / "lists", "Dir::Cache": folder}
    places |= {"Dir::State::extended_states": folder / "extended_states"}
    options = [f"--option={name}={place}" for name, place in places.items()]
    options += ["--option=Debug::NoLocking=1", "--option=APT::Sandbox::User=", "-qq"]
    fetch = ["install", "--yes", "--no-install-recommends", "--reinstall", "--download-only"]
    for action in (["update"], [*fetch, *PACKAGES]):
        done = subprocess.run(
            ["timeout", "120", "apt-get", *options, *action], capture_output=True, text=True
        )
        if done.returncode:
            raise Unavailable(f"Debian's packages cannot be fetched: {done.stderr.strip()[-500:]}")
    for package in folder.glob("archives/*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, folder / "root"], check=True)
    return folder / "root"
