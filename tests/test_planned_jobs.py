"""Plans of runs that use a device in each step: what they announce is what they submit."""

from __future__ import annotations

import json
import re

import pytest

TINY_IMAGE = (
    *("--data", "digits8x8", "--decoder", "dense", "--n-layers", 1),
    *("--batch-size", 2, "--shots", 30),
)


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (
            "train_image_qgan.py",
            (*TINY_IMAGE, "--steps-per-epoch", 1, "--n-qubits", 1, "--eval-images", 0),
        ),
        (
            "train_image_qgan.py",
            (
                *(*TINY_IMAGE, "--steps-per-epoch", 2, "--n-qubits", 2, "--eval-images", 20),
                *("--switch-after-epochs", 1),
            ),
        ),
        (
            "train_gaussian.py",
            (
                *("--steps-per-epoch", 2, "--switch-after-epochs", 1, "--batch-size", 2),
                *("--n-critic", 1, "--shots", 30, "--n-layers", 1, "--eval-samples", 20),
            ),
        ),
        (
            "classify_digits.py",
            (
                *("--digits", 3, "--n-qubits", 1, "--n-layers", 1, "--uploads", 1),
                *("--batch-size", 100, "--shots", 20),
            ),
        ),
        (
            "train_qgan.py",
            ("--data", "binomial", "--n-samples", 200, "--batch-size", 100, "--shots", 50),
        ),
    ],
)
def test_a_run_on_a_device_is_planned_to_the_job(
    call_script, ionq, tmp_path, monkeypatch, script, options
):
    monkeypatch.setattr("qcaan.gans.wasserstein.gan.FIXED_LATENTS", 10)
    device = ("--sampler", "ionq:simulator", "--epochs", 2)
    run = (script, *options, *device, "--out", tmp_path / "run")
    dry = call_script(*run, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not ionq.jobs and not (tmp_path / "run").exists()
    counts = re.findall(r"the run of 2 epochs: ([\d,]+) jobs, ([\d,]+) circuits", dry.stdout)[0]
    planned = [int(count.replace(",", "")) for count in counts]
    real = call_script(*run)
    assert real.returncode == 0, real.stderr
    assert len(ionq.jobs) == planned[0]
    assert sum(len(job["request"]["input"]["circuits"]) for job in ionq.jobs.values()) == planned[1]
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "jobs.jsonl").read_text().splitlines()
    ]
    assert sum("fingerprint" in line for line in lines) == planned[0]
