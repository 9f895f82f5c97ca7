"""Several processes that train one model together, one per device: who they are, and what they exchange.

torch's launcher starts them (`python -m torch.distributed.run`). A process without it is alone: there is no process
group, and every function here gives back what it is given.

Each process computes the loss of the whole batch. What is derived is the sum of these losses, as the collectives have
it: a gradient that comes back through `gathered` is summed over the processes. DDP takes the mean of the gradients of
what all processes have, so that it is the gradient of the one loss.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from copytrace.errors import InputError, ProcessLost
from copytrace.sharding import shard_bounds

log = logging.getLogger("copytrace")


def join() -> None:
    """Meet the other processes of the training, if torch's launcher started this one; over NCCL, or gloo without GPUs.

    Only process 0 writes to the log from here on, but for warnings. This process ends with its launcher. InputError if
    there are fewer GPUs here than processes.
    """
    if not dist.is_torchelastic_launched():
        return
    device = None
    if torch.cuda.is_available():
        wanted, there = processes_here(), torch.cuda.device_count()
        if there < wanted:
            raise InputError(f"training.devices is {wanted}, but this job sees only {there} GPU(s)")
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device else "gloo", device_id=device)
    atexit.register(dist.destroy_process_group)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if rank() > 0:
        log.setLevel(logging.WARNING)


def _end_with(launcher: int) -> None:
    """End this process as soon as its launcher is gone: killed, that one can't end it."""
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(1)


@contextmanager
def together() -> Iterator[None]:
    """Turn what an exchange of the block says when another process is gone into ProcessLost."""
    try:
        yield
    except RuntimeError as error:
        if world() > 1 and (isinstance(error, dist.DistError) or "/gloo/" in str(error)):
            raise ProcessLost(
                f"process {rank()} of the training lost another one: which ended first, and how, torch's launcher says "
                "in this log as root cause"
            ) from error
        raise


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes_here() -> int:
    """How many of the processes are on this node."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def part(rows: int) -> slice:
    """Which of some rows are this process's: contiguous, their numbers differ by at most one between processes."""
    return slice(*shard_bounds(rows, rank(), world()))


class _Gather(torch.autograd.Function):
    """The rows of all processes; the gradient of each row goes back to its process, summed over all."""

    @staticmethod
    def forward(_: Any, own: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[part(len(total))]


def gathered(own: torch.Tensor) -> torch.Tensor:
    """[n, …] of each process → [world · n, …] of all, in the order of the processes, differentiable.

    Every process gives as many rows. Numbers of 16 bits become float32, so that no gradient is summed in them.
    """
    if world() == 1:
        return own
    return _Gather.apply(own.float() if own.is_floating_point() else own)


def summed(own: torch.Tensor) -> torch.Tensor:
    """The sum over all processes of a tensor of the same shape in each, differentiable."""
    return own if world() == 1 else gathered(own[None]).sum(0)


def whole(own: torch.Tensor, rows: int) -> torch.Tensor:
    """All `rows` rows of a tensor that is split as `part` says, for process 0 alone, in its main memory.

    The others get back their own. All processes call it together.
    """
    if world() == 1:
        return own
    parts = []
    for process in range(world()):
        start, stop = shard_bounds(rows, process, world())
        these = own.detach() if process == rank() else own.new_empty((stop - start, *own.shape[1:]))
        dist.broadcast(these, src=process)
        if rank() == 0:
            parts.append(these.cpu())
    return torch.cat(parts) if rank() == 0 else own


def agreed(value: Any) -> Any:
    """What process 0 says, for all: a shared file system may not show every node the same files."""
    if world() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
