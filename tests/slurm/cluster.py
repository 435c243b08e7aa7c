"""A SLURM cluster of one node on this machine, on the loopback interface, gone when it is left.

Nothing outside one temporary folder is read or written, apart from the programs themselves: keys,
configuration, state and logs are in it, and no system service is used.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
"""Debian's packages that hold the programs."""

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
# Neither control groups nor a database of jobs: squeue remembers finished ones for MinJobAge.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=86400
MpiDefault=none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=1,sched_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class ClusterError(Exception):
    """The cluster cannot be started; the message says why and what to do."""


def install() -> None:
    """Install SLURM's programs from Debian's packages, without starting the system's services."""
    # Without a run level, Debian's invoke-rc.d leaves services alone.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    subprocess.run(command, env=environment, check=True)


@contextlib.contextmanager
def started(folder: Path, *, cpus: int, memory: int) -> Iterator[dict[str, str]]:
    """Start the daemons and stop them in the end, whatever happens.

    Args:
        folder: empty, for all that the daemons read and write.
        cpus: of the node.
        memory: of the node, in MB.

    Yields:
        The environment in which SLURM's commands speak to this cluster.

    Raises:
        ClusterError: programs are missing, this user is not root, or a daemon does not come up.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise ClusterError(
            f"{', '.join(missing)} not found: give --install, or install {' '.join(PACKAGES)}"
        )
    if os.geteuid() != 0:
        raise ClusterError("SLURM's daemons are started here as root, which this user is not")
    host = socket.gethostname().partition(".")[0]
    controller_port, node_port = _free_ports(2)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder, host=host, cpus=cpus, memory=memory,
            controller_port=controller_port, node_port=node_port,
        )
    )  # fmt: skip
    environment = os.environ | {
        "SLURM_CONF": str(configuration),
        "PATH": f"{_srun(folder / 'bin', configuration)}:{os.environ['PATH']}",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_daemon(_munged(folder / "munge"), environment, folder / "munge.log"))
        _wait(lambda: (folder / "munge" / "socket").exists(), folder / "munge.log")
        for program, options in (("slurmctld", ["-D", "-i"]), ("slurmd", ["-D", "-N", host])):
            log = folder / f"{program}.log"
            stack.enter_context(_daemon([program, *options], environment, log))
        stack.callback(_cancel_all, environment)
        _wait(lambda: _idle(environment), folder / "slurmctld.log")
        yield environment


def _srun(folder: Path, configuration: Path) -> Path:
    """An ``srun`` that finds the configuration; returns its folder.

    Snakemake's job steps pass on no variable of SLURM's, and the default place is not ours.
    """
    folder.mkdir()
    script = folder / "srun"
    script.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which("srun")} "$@"\n')
    script.chmod(0o755)
    return folder


def _munged(folder: Path) -> list[str]:
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = {"key-file": key, "socket": folder / "socket", "pid-file": folder / "pid"}
    files |= {"log-file": folder / "log", "seed-file": folder / "seed"}
    options = [f"--{name}={path}" for name, path in files.items()]
    # It would rather not run as root from a folder that only root may enter.
    return ["munged", "--foreground", "--force", *options]


@contextlib.contextmanager
def _daemon(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _idle(environment: dict[str, str]) -> bool:
    told = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env=environment, text=True, capture_output=True
    )
    return told.stdout.strip() == "idle"


def _wait(ready, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            last = log.read_text()[-2000:] if log.exists() else ""
            raise ClusterError(f"the cluster did not come up in {seconds:.0f} s:\n{last}")
        time.sleep(0.5)


def _cancel_all(environment: dict[str, str]) -> None:
    """Cancel what is left in the queue and wait until it has ended."""
    subprocess.run(["scancel", "--me"], env=environment, check=False)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        queue = subprocess.run(
            ["squeue", "--noheader"], env=environment, text=True, capture_output=True, check=False
        )
        if not queue.stdout.strip():
            break
        time.sleep(1)
