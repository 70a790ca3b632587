"""One training on two processes, which torchrun starts on the CPU."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CIRCUIT, ROOT, TOY, assert_same_checkpoint, tensors
from torch import nn
from torch.multiprocessing import start_processes

import qcaan
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, train
from qcaan.processes import Processes, joined
from qcaan.training import StepRecord

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
RUN = ("-m", "qcaan", "train", *TOY, *CIRCUIT, "--eval-images", 0)


@pytest.fixture
def environment(cache_home):
    return {
        **os.environ, "XDG_CACHE_HOME": str(cache_home), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def launch(environment, *words, **options):
    command = [*TORCHRUN, *map(str, words)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, **options
    )


def train_frozen(rank: int, count: int, port: int, folder: Path) -> None:
    """Train one of some processes, without batch statistics, and save what it has at the end."""
    group = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    data = qcaan.load_images("digits8x8", classes=(3, 7))
    config = AssociativeConfig(
        digits=(3, 7), data="digits8x8", epochs=1, steps_per_epoch=6, batch_size=128, width=4,
        n_qubits=2, n_layers=2, fit_evals=30, bank_shots=200, device="cpu",
    )  # fmt: skip
    with joined() as processes:
        gan = AssociativeGAN(config, (1, 28, 28))
        for layer in gan.generator.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train = lambda mode=True, layer=layer: nn.Module.train(layer, False)
        records = train(gan, data.images, data.labels, processes)
        losses = [(r.loss_d, r.loss_g) for r in records if isinstance(r, StepRecord)]
        state = {"losses": losses, "model": gan.state_dict(), "random": gan.random.state_dict()}
        torch.save(state, folder / f"{rank} of {count}.pt")


def test_two_processes_train_as_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for count in (1, 2):  # copies of this process, which need not import anything again
        start_processes(train_frozen, (count, port, tmp_path), nprocs=count, start_method="fork")
    first, second, single = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for name in ("0 of 2", "1 of 2", "0 of 1")
    )
    # weights, statistics, averages, angles, bank and random states are equal to the last bit
    for part in ("losses", "model", "random"):
        one, other = tensors({"part": first[part]}), tensors({"part": second[part]})
        assert one.keys() == other.keys()
        for key, value in one.items():
            same = torch.equal(value, other[key]) if torch.is_tensor(value) else value == other[key]
            assert same, key
    # 2 x 64 images are 1 x 128
    found, wanted = (torch.tensor(state["losses"]) for state in (first, single))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.skipif(
    "KILLS" not in os.environ, reason="a trial that takes long: KILLS=2 pytest -k killed"
)
def test_a_killed_process_ends_the_run_in_a_sentence_and_it_goes_on(environment, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = (*RUN, "--epochs", 2, "--steps-per-epoch", 100)
    assert launch(environment, *options, "--out", whole).returncode == 0
    command = [*TORCHRUN, *map(str, options), "--out", cut]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (cut / "checkpoint.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    (second,) = (
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and is_second(path, process.pid)
    )
    os.kill(second, signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode != 0
    sentence = r"error: another process of this training has ended.*; 1 epochs are saved, and "
    assert re.search(sentence + "--resume continues from there", told), told
    resumed = launch(environment, *options, "--out", cut, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoint(whole, cut)


def is_second(path: Path, launcher: int) -> bool:
    """Whether a process is the second one that a launcher has started."""
    try:
        status = (path / "stat").read_text().rpartition(")")[2].split()
        return int(status[1]) == launcher and b"\0RANK=1\0" in (path / "environ").read_bytes()
    except OSError:
        return False


def test_a_run_goes_on_with_another_number_of_processes(environment, call_script, tmp_path):
    run = tmp_path / "run"
    options = (*TOY, *CIRCUIT, "--eval-images", 0, "--out", run)
    assert call_script("train_mnist.py", *options, "--epochs", 1).returncode == 0
    result = launch(environment, *RUN, "--out", run, "--epochs", 2, "--resume")
    assert result.returncode == 0, result.stderr
    assert "2 processes" in result.stdout


def test_batches_that_cannot_be_shared_are_refused():
    config = AssociativeConfig(digits=(3, 7), epochs=1, steps_per_epoch=1, batch_size=9, width=4)
    for batch_size in (9, 2):
        gan = AssociativeGAN(replace(config, batch_size=batch_size), (1, 28, 28))
        with pytest.raises(
            ValueError, match=f"`batch_size` {batch_size} must be a multiple of the 2"
        ):
            next(train(gan, torch.zeros(9, 1, 28, 28), torch.full((9,), 3), Processes(0, 2)))


def test_rows_are_shared_and_one_process_needs_no_other():
    batch = torch.arange(14).view(7, 2)
    parts = [Processes(rank, 3).rows(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts), batch) and [len(part) for part in parts] == [3, 2, 2]
    alone = Processes()
    assert torch.equal(alone.gathered(batch, 7), batch) and alone.from_first("x") == "x"
