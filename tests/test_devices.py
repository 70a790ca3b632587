"""The main job on a device: planned, killed and resumed against a server of IonQ's API."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, TOY, assert_same_checkpoint

import qcaan
from qcaan.samplers import names, vendors

# KILLS=50 for the trial, which takes an hour: it is left out otherwise
KILLS = int(os.environ.get("KILLS", "0"))
DEVICE = (
    *TOY,
    "--no-prompt",
    "--n-qubits",
    2,
    "--n-layers",
    2,
    "--shots",
    100,
    "--fit-evals",
    20,
    "--bank-shots",
    200,
    "--epochs",
    2,
)


# so many that each kill can find a new job
EPOCHS = ("--epochs", max(2, KILLS // 2))
TINY = (*EPOCHS, "--batch-size", 2, "--n-qubits", 1, "--n-layers", 1)
# a small run of each system, for which a device is asked in each step
KILLED = {
    "train_mnist.py": (*DEVICE, "--fit-evals", 8, *EPOCHS, "--eval-images", 0),
    "train_image_qgan.py": (
        *(*TINY, "--data", "digits8x8", "--decoder", "dense", "--shots", 30),
        *("--steps-per-epoch", 2, "--eval-images", 0),
    ),
    "train_gaussian.py": (
        *(*TINY, "--steps-per-epoch", 2, "--n-critic", 1, "--shots", 30, "--eval-samples", 20),
    ),
    "classify_digits.py": (
        *(*EPOCHS, "--batch-size", 100, "--n-qubits", 1, "--n-layers", 1),
        *("--uploads", 1, "--shots", 20, "--digits", 3),
    ),
    "train_qgan.py": (
        *("--data", "binomial", "--n-samples", 300, "--batch-size", 100, "--shots", 50),
        *EPOCHS,
    ),
}


def command(script, *arguments):
    return [sys.executable, "-W", "error", str(ROOT / "scripts" / script), *map(str, arguments)]


def everything_written(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def test_a_run_on_a_device_is_planned_to_the_job_and_keeps_credentials_to_itself(
    call_script, ionq, tmp_path
):
    run = (
        "train_mnist.py",
        *DEVICE,
        "--sampler",
        "ionq:simulator",
        "--out",
        tmp_path / "run",
        "--eval-images",
        60,
    )
    dry = call_script(*run, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not ionq.jobs and not (tmp_path / "run").exists()
    planned = [
        int(n)
        for n in re.findall(r"the run of 2 epochs: (\d+) jobs, (\d+) circuits", dry.stdout)[0]
    ]
    assert "an epoch on it" in dry.stdout and "1 two-qubit gates" in dry.stdout

    real = call_script(*run)
    assert real.returncode == 0, real.stderr
    assert len(ionq.jobs) == planned[0]
    assert sum(len(job["request"]["input"]["circuits"]) for job in ionq.jobs.values()) == planned[1]
    assert ionq.tokens == {"apiKey open-sesame"}
    assert "open-sesame" not in dry.stdout + dry.stderr + real.stdout + real.stderr
    assert b"open-sesame" not in everything_written(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["shots"], config["fit_loss"]) == (100, "kl")

    fewer = call_script(*run[:-4], "--out", tmp_path / "other", "--max-jobs", planned[0] - 1)
    assert fewer.returncode == 2
    assert re.search(
        rf"plans \d+ jobs on ionq:simulator, --max-jobs is {planned[0] - 1}", fewer.stderr
    )
    assert len(ionq.jobs) == planned[0]


def check_draws_are_planned(call_script, ionq, run):
    """Check that draws from a run are planned, obey limits, and use the shots in the bank first."""
    before = everything_written(run)
    n_jobs = len(ionq.jobs)
    for name in ("generate.py", "evaluate.py"):
        dry = call_script(name, run, "--n", 230, "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "200 of the 230 draws are shots that the run has measured already" in dry.stdout
        assert "the draws: 1 jobs, 2 circuits, 60 shots" in dry.stdout
        refused = call_script(name, run, "--n", 230, "--max-shots", 59)
        assert refused.returncode == 2
        assert "plans 60 shots on ionq:simulator, --max-shots is 59" in refused.stderr
    missing = call_script("generate.py", run, "--n", 230, "--sequence", 3, 5)
    assert (missing.returncode, len(ionq.jobs)) == (2, n_jobs)
    assert everything_written(run) == before
    drawn = call_script("generate.py", run, "--n", 200, "--npz", run.parent / "drawn.npz")
    assert drawn.returncode == 0, drawn.stderr
    assert "200 of the 200 draws" in drawn.stdout and "nothing is asked of it" in drawn.stdout
    scored = call_script("evaluate.py", run, "--n", 30, "--max-jobs", 1)
    assert scored.returncode == 0, scored.stderr
    assert len(ionq.jobs) == n_jobs
    with np.load(run.parent / "drawn.npz") as arrays:
        assert_same_rows(arrays["bits"], bank_of(run))


def bank_of(run):
    """Return the bank of shots in a run's checkpoint."""
    return torch.load(run / "checkpoint.pt", weights_only=True)["model"]["prior.bank"].numpy()


def assert_same_rows(one, other):
    """Check that two arrays hold the same rows, in any order."""
    one, other = (rows[np.lexsort(rows.T)] for rows in (one, other))
    np.testing.assert_array_equal(one, other)


def check_draws_of_a_loaded_run(ionq, run):
    """Check that draws from Python are planned together, and that no shot is drawn twice."""
    n_jobs = len(ionq.jobs)
    loaded = qcaan.load_run(run, device="cpu", max_shots=60)
    state = torch.get_rng_state()
    assert loaded.plan(200).run.jobs == 0
    assert (loaded.plan(230).run.jobs, loaded.plan(230).run.shots) == (1, 60)
    assert torch.equal(torch.get_rng_state(), state)
    bits = np.concatenate([loaded.generate(n)[1].numpy() for n in (150, 50)])
    assert_same_rows(bits, bank_of(run))
    assert (loaded.n_banked, len(ionq.jobs)) == (0, n_jobs)
    with pytest.raises(ValueError, match="plans 62 shots on ionq:simulator, --max-shots is 60"):
        loaded.generate(31)
    assert len(ionq.jobs) == n_jobs
    assert len(loaded.generate(20)[1]) == 20
    with pytest.raises(ValueError, match=r"plans 80 shots \(40 of them done\) on ionq:simulator"):
        loaded.generate(20)
    assert len(ionq.jobs) == n_jobs + 1


def test_fitted_on_the_exact_engine_and_drawn_from_a_device(call_script, ionq, tmp_path):
    run = (
        "train_mnist.py",
        *DEVICE,
        "--sampler",
        "ionq:simulator",
        "--train-sampler",
        "exact",
        "--eval-images",
        0,
    )
    result = call_script(*run, "--shots", 0, "--fit-loss", "kl", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert len(ionq.jobs) == 3  # the banks before the first epoch and after each
    switched = call_script(
        *run,
        "--shots",
        0,
        "--fit-loss",
        "kl",
        "--switch-after-epochs",
        2,
        "--out",
        tmp_path / "switched",
    )
    assert switched.returncode == 0, switched.stderr
    assert len(ionq.jobs) == 4  # the bank after the second epoch
    check_draws_are_planned(call_script, ionq, tmp_path / "run")
    check_draws_of_a_loaded_run(ionq, tmp_path / "run")


def test_a_failed_job_is_one_sentence_and_the_run_goes_on_from_the_epochs_start(
    call_script, ionq, tmp_path
):
    run = (
        "train_mnist.py",
        *DEVICE,
        "--sampler",
        "ionq:simulator",
        "--out",
        tmp_path / "run",
        "--eval-images",
        0,
    )
    ionq.ending = "failed"
    failed = call_script(*run)
    assert failed.returncode == 2
    assert re.search(r"error: job \S+ on ionq:simulator failed: .*an ion was lost", failed.stderr)
    assert len(failed.stderr.splitlines()) == 1
    ionq.ending = "completed"
    assert call_script(*run, "--resume").returncode == 0


@pytest.mark.skipif(not KILLS, reason="a trial that takes long: KILLS=2 pytest -k killed")
@pytest.mark.parametrize("script", KILLED)
def test_killed_at_random_moments_nothing_is_lost_or_paid_twice(run_script, ionq, tmp_path, script):
    options = (*KILLED[script], "--sampler", "ionq:simulator")
    patience = {"timeout": 300 + 60 * KILLS}  # of as many epochs on a busy machine
    whole = run_script(script, *options, "--out", tmp_path / "whole", **patience)
    assert whole.returncode == 0, whole.stderr
    paid = len(ionq.jobs)
    ionq.jobs.clear()

    ionq.latency = 0.15  # so that a wait for a job is where most moments fall
    chance = random.Random(0)
    run = tmp_path / "run"
    for _ in range(KILLS):
        resume = ["--resume"] if (run / "config.json").exists() else []
        process = subprocess.Popen(
            [*command(script, *options, "--out", run), *resume],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen, deadline = len(ionq.jobs), time.monotonic() + 120
        while len(ionq.jobs) == seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)  # until it has asked for something new
        time.sleep(chance.uniform(0, 0.15 * paid / KILLS))
        assert process.poll() is None, (
            f"ended with status {process.returncode} before it was killed"
        )
        process.kill()
        process.wait()
    ionq.latency = 0
    resumed = run_script(script, *options, "--out", run, "--resume", **patience)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoint(tmp_path / "whole", run)
    assert len(ionq.jobs) == paid


@pytest.mark.parametrize("sampler", ["aqt:ideal", "ibm:fake_manila", "aer-noise:ionq-aria"])
def test_one_flag_points_the_run_at_a_device(call_script, tmp_path, monkeypatch, sampler):
    opened = []

    def make_vendor(name, options=None):
        opened.append(name)
        return vendors.make_vendor(name, options)

    monkeypatch.setattr(names, "make_vendor", make_vendor)
    flags = (
        "--sampler",
        sampler,
        "--mitigate-readout",
        "--out",
        tmp_path / "run",
        "--eval-images",
        0,
        "--epochs",
        1,
    )
    result = call_script("train_mnist.py", *DEVICE, *flags)
    assert result.returncode == 0, result.stderr
    assert "epoch 1/1" in result.stdout
    records = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert records[0]["fit"]["tvd"] is not None
    # a vendor is opened once, for the plan and the training
    assert opened == ([] if sampler.startswith("aer") else [sampler])
    assert (f"plan for {sampler}" in result.stdout) == bool(opened)


def test_interrupted_while_waiting_for_a_job_the_run_can_be_resumed(
    start_script, call_script, ionq, tmp_path
):
    options = ("--sampler", "ionq:simulator", "--eval-images", 0, "--out", tmp_path / "run")
    ionq.latency = 600
    script = start_script("train_mnist.py", *DEVICE, *options)
    deadline = time.monotonic() + 120
    while not ionq.jobs and script.process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    ended = script.end(signal.SIGINT)
    assert ended.returncode == 130, ended.stderr
    assert "Continue with the same command and --resume" in ended.stdout
    ionq.latency = 0
    (asked,) = ionq.jobs
    assert call_script("train_mnist.py", *DEVICE, *options, "--resume").returncode == 0
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "jobs.jsonl").read_text().splitlines()
    ]
    assert sum(line.get("job_id") == asked for line in lines) == 1
    assert len(ionq.jobs) == len({line["tag"] for line in lines})
