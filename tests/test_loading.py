"""Runs of every system, loaded from their directories to draw from, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from qcaan import load_run
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN
from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan
from qcaan.gans.image.config import ImageConfig
from qcaan.gans.image.gan import ImageGAN
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.gans.wasserstein.gan import WassersteinGAN
from qcaan.runs import distribution, wasserstein
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.runs.loading import IMAGE_SYSTEMS

SYSTEMS = ("associative", "image", "wasserstein", "distribution")
DIGITS = {"name": "digits8x8", "image_shape": [1, 28, 28]}


def make_gan(system):
    """Return small networks of a system that were not trained, and the facts about their data."""
    small = {"device": "cpu", "epochs": 1, "batch_size": 4, "n_qubits": 2, "n_layers": 1}
    if system == "associative":
        circuit = {"sampler": "exact", "optimizer": "adam", "bank_shots": 50}
        config = AssociativeConfig(
            **small, **circuit, width=2, bases=("z", "o"), prompt=False
        ).resolved(40)
        return AssociativeGAN(config, (1, 28, 28)), DIGITS
    if system == "image":
        config = ImageConfig(**small, width=2).resolved(40)
        return ImageGAN(config, (1, 28, 28)), DIGITS
    if system == "wasserstein":
        config = WassersteinConfig(**small, critic_width=4)
        data = wasserstein.load_data(config)
        return WassersteinGAN(config, data.samples), wasserstein.data_facts(config, data)
    config = DistributionConfig(data="binomial", n_samples=200, batch_size=100, epochs=1)
    samples = configured_samples(config)
    return make_qgan(config, samples.values), distribution.data_facts(config, samples)


def config_of(system, gan):
    if system != "distribution":
        return gan.config
    return DistributionConfig(data="binomial", n_samples=200, batch_size=100, epochs=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of each system as (directory, networks). Tests must not change the former."""
    made = {}
    for system in SYSTEMS:
        gan, facts = make_gan(system)
        run = RunDirectory(tmp_path_factory.mktemp("runs") / system)
        run.begin(system, config_of(system, gan), facts)
        run.save_checkpoint(gan.training_state())
        made[system] = run.path, gan
    return made


@pytest.fixture
def copy(runs, tmp_path) -> Path:
    """Return a copy of the run of the system wasserstein."""
    return Path(shutil.copytree(runs["wasserstein"][0], tmp_path / "copy"))


def change_config(path: Path, **options: object) -> None:
    """Change options in the config.json of a run; the value "dropped" drops one."""
    record = json.loads((path / "config.json").read_text())
    config = record["config"] | options
    record["config"] = {name: value for name, value in config.items() if value != "dropped"}
    (path / "config.json").write_text(json.dumps(record))


def parts(drawn) -> list[torch.Tensor]:
    """Return what a run or its networks have drawn, images with inputs or samples, as tensors."""
    return [torch.as_tensor(part) for part in (drawn if isinstance(drawn, tuple) else (drawn,))]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_loaded_run_draws_what_its_networks_draw_with_the_same_seed(runs, system):
    path, gan = runs[system]
    run = load_run(path, seed=3, device="cpu")
    assert (run.system, run.directory.path) == (system, path)
    loaded = parts(run.generate(5))
    gan.reseed(3)
    for mine, theirs in zip(loaded, parts(gan.generate(5)), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("system", SYSTEMS)
def test_draws_follow_the_seed_and_are_not_repeated(runs, system):
    path, _ = runs[system]
    drawn = [parts(load_run(str(path), seed=seed, device="cpu").generate(200)) for seed in (0, 1)]
    default = load_run(path, device="cpu")
    first, second = (parts(default.generate(200)) for _ in range(2))
    assert torch.equal(first[0], drawn[0][0])
    assert not torch.equal(first[0], drawn[1][0])
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("system", IMAGE_SYSTEMS)
def test_runs_on_images_return_images_and_what_they_were_drawn_from(runs, system):
    run = load_run(runs[system][0], device="cpu")
    images, inputs = run.generate(5)
    assert (images.shape, images.dtype) == ((5, 1, 28, 28), torch.float32)
    assert images.abs().max() <= 1 and images.isfinite().all()
    width = {"associative": 4, "image": 2}[system]  # two qubits in two bases; an angle a qubit
    assert (inputs.shape, inputs.dtype) == ((5, width), torch.float32)
    assert (run.gan.drawn_from, bool((inputs * (1 - inputs) == 0).all())) == (
        ("bits", True) if system == "associative" else ("noise", False)
    )


def test_runs_on_real_numbers_return_a_tensor_of_samples_in_double_precision(runs):
    samples = load_run(runs["wasserstein"][0], device="cpu").generate(5)
    assert (samples.shape, samples.dtype) == ((5, 1), torch.float64)
    assert samples.abs().max() <= 1
    samples = load_run(runs["distribution"][0], device="cpu").generate(50)
    assert (samples.shape, samples.dtype) == ((50, 1), torch.float64)
    assert set(samples[:, 0].tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"`seed` must be at least 0 and below 2\*\*63, got -1"),
        ({"seed": 2**63}, r"`seed` must be at least 0 and below 2\*\*63, got"),
        ({"seed": 1.5}, "`seed` must be a whole number"),
        ({"seed": "x"}, "`seed` must be a whole number"),
        ({"device": "tpu"}, "unknown `device` 'tpu'"),
    ],
)
def test_a_wrong_seed_or_device_is_refused(runs, options, message):
    with pytest.raises(ValueError, match=message):
        load_run(runs["wasserstein"][0], **{"device": "cpu", **options})


def test_a_run_without_a_checkpoint_is_refused(copy):
    (copy / "checkpoint.pt").unlink()
    with pytest.raises(RunError, match="has no checkpoint yet: its first epoch has not ended"):
        load_run(copy, device="cpu")


def test_a_damaged_checkpoint_is_refused(copy):
    os.truncate(copy / "checkpoint.pt", 1000)
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged"):
        load_run(copy, device="cpu")


@pytest.mark.parametrize("options", [{"critic_width": 5}, {"n_qubits": 3}])
def test_a_checkpoint_of_other_networks_is_refused(copy, options):
    change_config(copy, **options)
    message = r"checkpoint\.pt does not hold the networks of config\.json \("
    with pytest.raises(RunError, match=message):
        load_run(copy, device="cpu")


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json"])
def test_what_is_not_a_run_is_refused(copy, tmp_path, name):
    with pytest.raises(RunError, match=r"is not a run directory: it has no config\.json"):
        load_run(tmp_path)
    with pytest.raises(RunError, match=rf"{name} is a file; name the directory of a run"):
        load_run(copy / name)
    with pytest.raises(RunError, match=r"nosuch does not exist; name the directory of a run"):
        load_run(tmp_path / "nosuch")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "its format is 2,"),
        ({"format": None}, "its format is None,"),
        ({"system": "warp"}, "its system is 'warp',"),
    ],
)
def test_a_configuration_of_another_version_is_refused(copy, changes, message):
    record = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**record, **changes}))
    with pytest.raises(RunError, match=rf"config\.json is of another version of qcaan: {message}"):
        load_run(copy, device="cpu")


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_option_that_this_version_does_not_know_is_refused_by_name(runs, tmp_path, system):
    path = Path(shutil.copytree(runs[system][0], tmp_path / "copy"))
    change_config(path, warp=9, copies="dropped")
    message = r"config\.json is of another version of qcaan: this version has no option warp"
    with pytest.raises(RunError, match=message):
        load_run(path, device="cpu")


@pytest.mark.parametrize("system", SYSTEMS)
def test_options_that_an_earlier_version_did_not_have_take_their_defaults(
    runs, tmp_path, system, caplog
):
    path = Path(shutil.copytree(runs[system][0], tmp_path / "copy"))
    change_config(path, max_cost="dropped", copies="dropped")
    before = (path / "config.json").read_bytes()
    run = load_run(path, device="cpu")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}/config.json is of an earlier version of qcaan; the options that it lacks take "
        "their defaults: max_cost is None, copies is 1"
    ]
    assert run.limits.copies == 1
    drawn = parts(load_run(runs[system][0], device="cpu").generate(5))
    assert all(map(torch.equal, parts(run.generate(5)), drawn))
    assert (path / "config.json").read_bytes() == before


def test_a_run_that_draws_nothing_is_refused(copy):
    record = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**record, "system": "classify"}))
    with pytest.raises(RunError, match="a run of the system classify, which draws nothing"):
        load_run(copy)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, r"config\.json is damaged: `epochs` must be at least 1, got -1"),
        ({"epochs": "x"}, r"config\.json is damaged: `epochs`"),
        ({"seed": "x"}, r"config\.json is damaged: `seed` must be a whole number"),
        ({"batch_size": {}}, r"config\.json is damaged: `batch_size`"),
        (
            {"sampler": "bogus"},
            r"networks of .*config\.json cannot be made: unknown `sampler` 'bogus'",
        ),
    ],
)
def test_edited_options_are_refused_with_the_name_of_the_file(
    runs, tmp_path, system, options, message
):
    path = Path(shutil.copytree(runs[system][0], tmp_path / "copy"))
    change_config(path, **options)
    with pytest.raises(RunError, match=message):
        load_run(path, device="cpu")


@pytest.mark.parametrize(
    ("system", "facts"),
    [
        *(("associative", {"image_shape": shape}) for shape in ([1, 2], "abc", None, [1, -28, 28])),
        *(("image", {"image_shape": shape}) for shape in (7, [1, 28.5, 28], [])),
        *(("wasserstein", {"range": span}) for span in (5, [[1], [2, 3]], ["a", "b"], [[], []])),
    ],
)
def test_edited_facts_about_the_data_are_refused(runs, tmp_path, system, facts):
    path = Path(shutil.copytree(runs[system][0], tmp_path / "copy"))
    record = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**record, "data": {**record["data"], **facts}}))
    with pytest.raises(RunError, match=r"config\.json"):
        load_run(path, device="cpu")


@pytest.mark.parametrize("system", SYSTEMS)
def test_foreign_checkpoints_are_refused_by_name(runs, tmp_path, system):
    path = Path(shutil.copytree(runs[system][0], tmp_path / "copy"))
    state = torch.load(path / "checkpoint.pt", weights_only=True)
    other = SYSTEMS[SYSTEMS.index(system) - 1]
    foreign = [torch.load(runs[other][0] / "checkpoint.pt", weights_only=True), {"epoch": 1}]
    foreign += [{name: value for name, value in state.items() if name != key} for key in state]
    foreign += [{**state, key: 5} for key in state if key not in ("epoch", "step", "finished")]
    for edited in foreign:
        torch.save(edited, path / "checkpoint.pt")
        if "finished" in edited and edited.keys() | {"finished"} == state.keys():
            continue
        with pytest.raises(
            RunError, match=r"checkpoint\.pt (does not hold the networks|is not the)"
        ):
            load_run(path, device="cpu")
