"""Runs a script as the ranks of a fit: forked, launched by the Trainer, or by torchrun.

A rank that waits for ever is told from one that takes its time: after `limit` seconds each prints where it is
and ends. The script is run by this module, which the Trainer also starts as the other ranks.
"""

import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from helpers.apart import started

TESTS = Path(__file__).parents[1]


def run_ranks(script, *arguments, machines=1, ranks=2, limit=120):
    """Run a script as `ranks` processes on each of some machines, and return what all printed, by lines."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), **_settings(script, limit)}
    shared["WORLD_SIZE"] = str(machines * ranks)
    with ExitStack() as stack:
        processes = []
        for rank in range(machines * ranks):
            where = {"RANK": rank, "NODE_RANK": rank // ranks, "LOCAL_RANK": rank % ranks}
            env = shared | {name: str(value) for name, value in where.items()}
            processes.append(stack.enter_context(started("helpers.ranks", *arguments, env=env, limit=limit)))
        done = [process.finish() for process in processes]
    for each in done:
        assert each.returncode == 0, each.stderr[-5000:]
    return [line for each in done for line in each.stdout.splitlines()]


def launch_script(script, *arguments, limit=120):
    """Run a script whose Trainer launches the ranks, and return what all of them printed, by lines."""
    with ExitStack() as stack:
        process = _start(
            [sys.executable, "-m", "helpers.ranks", *map(str, arguments)], stack, script=script, limit=limit
        )
        return _finish(process, limit).splitlines()


def fail_script(script, *arguments, limit=120):
    """Run a script that fails, within `limit` seconds, and return what it said."""
    with ExitStack() as stack:
        process = _start(
            [sys.executable, "-m", "helpers.ranks", *map(str, arguments)], stack, script=script, limit=limit
        )
        _, said = process.communicate(timeout=limit)
    assert process.returncode != 0
    return said


def run_on_machines(script, *arguments, machines=2, ranks=1, limit=120):
    """Run a script with one torchrun per machine, of `ranks` processes; all machines are this one."""
    rendezvous = [f"--nnodes={machines}", f"--nproc_per_node={ranks}", "--master_addr=127.0.0.1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *rendezvous, f"--master_port={_free_port()}"]
    with ExitStack() as stack:
        processes = [
            _start(
                [*torchrun, f"--node_rank={machine}", "-m", "helpers.ranks", *map(str, arguments)],
                stack,
                script,
                limit,
            )
            for machine in range(machines)
        ]
        for process in processes:
            _finish(process, limit)


def write_result(root, rank, result):
    (Path(root) / f"rank {rank}.json").write_text(json.dumps(result))


def results(root):
    """Return what every rank has written with `write_result`."""
    return [json.loads(path.read_text()) for path in sorted(Path(root).glob("rank *.json"))]


def _settings(script, limit):
    paths = os.pathsep.join(map(str, [TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return settings | {"RANKS_SCRIPT": str(script), "RANKS_LIMIT": str(limit)}


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(command, stack, script, limit):
    process = subprocess.Popen(
        command,
        env=os.environ | _settings(script, limit),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stack.callback(_kill, process)
    return process


def _finish(process, limit):
    # The ranks end by themselves before.
    said, complaints = process.communicate(timeout=limit + 30)
    assert process.returncode == 0, complaints[-5000:]
    return said


def _kill(process):
    # torchrun has to be asked: its ranks are in sessions of their own.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=40)
            break


def _be_a_rank():
    limit = int(os.environ["RANKS_LIMIT"])
    faulthandler.dump_traceback_later(limit, exit=True)
    # Also where the interpreter has ended already, and a thread of a library has not.
    signal.alarm(limit + 10)
    # Lightning reads it as it is imported, which has happened already in a fork.
    rank_zero_only.rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    script = os.environ["RANKS_SCRIPT"]
    # Not `runpy`, which changes `sys.argv`, by which the Trainer knows what to start as the other ranks.
    exec(compile(Path(script).read_text(), script, "exec"), {"__name__": "__main__"})
    if torch.distributed.is_initialized():
        # The first rank to end takes the others with it.
        torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    # Lightning leaves a group of gloo behind, whose threads race with the end of the interpreter.
    os._exit(0)


if __name__ == "__main__":
    _be_a_rank()
