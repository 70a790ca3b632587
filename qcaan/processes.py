"""The processes of one training, each of which computes its share of every batch.

`torchrun --nproc-per-node N -m qcaan train ...` starts them. All draw the same random numbers, and
so the same batch as one process alone, of which each takes its rows; the gradients are averaged by
`DistributedDataParallel` (Li et al., arXiv:2006.15704). What must happen once is up to the first
process: it fits the prior, asks devices, prints and writes files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
# the others wait this long while the first one fits on a device
_PATIENCE = timedelta(days=30)


class ProcessLost(ConnectionError):
    """Another process of the training has ended."""

    def __init__(self, *, stopped: bool = False) -> None:
        why = ", or torchrun was stopped" if stopped else ""
        super().__init__(f"another process of this training has ended{why}")


class Processes:
    """The processes of a training; `ALONE` stands for one that was started by itself.

    Args:
        rank: number of this process.
        count: number of all.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def rows(self, batch: Tensor) -> Tensor:
        """Return this process's rows of a batch [B, ...], one after the other."""
        return batch.tensor_split(self.count)[self.rank]

    def gathered(self, rows: Tensor, n: int) -> Tensor:
        """Return the rows [n, ...] of all processes, each of which has those of `rows`."""
        if self.count == 1:
            return rows
        sizes = [len(part) for part in torch.empty(n, device="meta").tensor_split(self.count)]
        parts = [
            rows.contiguous() if rank == self.rank else rows.new_empty(size, *rows.shape[1:])
            for rank, size in enumerate(sizes)
        ]
        for rank, part in enumerate(parts):
            dist.broadcast(part, rank)
        return torch.cat(parts)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes of a tensor without gradient."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def from_first(self, value: T) -> T:
        """Return what the first process gives; the others give anything."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module that computes as this one, and whose gradients are averaged.

        On CUDA, batch normalisation is by the statistics of the whole batch. Torch has no such
        layer for the CPU: there, each process normalises its own rows.
        """
        if self.count == 1:
            return module
        if next(module.parameters()).is_cuda:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return DistributedDataParallel(module)

    def average_buffers(self, module: nn.Module) -> None:
        """Average the running statistics of batch normalisation over the processes."""
        for buffer in module.buffers() if self.count > 1 else ():
            if buffer.is_floating_point():
                buffer.copy_(self.mean(buffer))

    def leave(self) -> None:
        """Leave the others at the end of the training: libraries of scores would wait for them."""
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


ALONE = Processes()


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun has started; `ALONE` if it has not.

    Args:
        device: name of the device of the networks.

    Raises:
        ValueError: there are more processes on this machine than GPUs.
        ProcessLost: another process has ended before this one.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    on_cuda = torch.cuda.is_available() and device != "cpu"
    if on_cuda:
        if (here := int(os.environ["LOCAL_RANK"])) >= (n_gpus := torch.cuda.device_count()):
            raise ValueError(
                f"this machine has {n_gpus} GPUs, and more processes; start fewer, or train by "
                "--device cpu"
            )
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if on_cuda else "gloo", timeout=_PATIENCE)
    before = signal.signal(signal.SIGTERM, _lost)
    processes = Processes(dist.get_rank(), count)
    try:
        yield processes
    except RuntimeError as error:
        if is_lost(error):
            _lost()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    processes.leave()


def is_lost(error: RuntimeError) -> bool:
    """Return whether an error of torch says that another process has ended."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _lost(number: int = 0, frame: FrameType | None = None) -> NoReturn:
    """End this process, since torchrun does so when another one has ended."""
    raise ProcessLost(stopped=number != 0)
