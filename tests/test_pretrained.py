"""Ready-made models: saved from a run, drawn from without it, shipped, and on the hub."""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pytest_httpserver import HTTPServer
from safetensors.torch import load_file, save_file
from toy_runs import DIGITS, make_run

import qcaan
from qcaan.runs import pretrained
from qcaan.runs.cards import model_card
from qcaan.runs.directory import RunDirectory, RunError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "37")


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    return run.save_pretrained(tmp_path_factory.mktemp("models") / "toy")


def test_a_model_draws_what_its_run_would_draw_from_the_same_samples(run, model):
    loaded = qcaan.from_pretrained(model, seed=3)
    images, samples = loaded.generate(40)
    assert images.shape == (40, 1, 28, 28) and samples.shape == (40, run.gan.prior.dim)
    assert torch.equal(run.gan.prior.bank, loaded.gan.prior.bank)
    assert torch.equal(run.gan.prior.theta, loaded.gan.prior.theta)
    data = qcaan.load_images("digits8x8", classes=DIGITS)
    bits = run.gan.prior_bits(data.images, data.labels)
    assert torch.equal(loaded.latent_bits, bits)
    banked = set(map(tuple, run.gan.prior.bank.tolist()))
    assert {tuple(row) for row in samples.long().tolist()} <= banked
    signs = 2 * samples - 1
    torch.testing.assert_close(loaded.gan.draw(signs), run.gan.draw(signs), rtol=0, atol=0)
    again = qcaan.from_pretrained(str(model), seed=3).generate(40)
    assert torch.equal(again[0], images)
    assert not torch.equal(qcaan.from_pretrained(model, seed=4).generate(40)[1], samples)


def test_a_model_is_asked_for_a_label(model):
    loaded = qcaan.from_pretrained(model)
    assert loaded.labels == DIGITS
    _, samples = loaded.generate(30, label=7)
    assert (loaded.gan.labels_of(samples) == 7).all()
    with pytest.raises(ValueError, match="`label` must be one of 3, 7, got 5"):
        loaded.generate(1, label=5)
    with pytest.raises(ValueError, match="`n` must be at least 1"):
        loaded.generate(0)


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "gaussian", "latent_dim": 5},
        {"prior": "product", "noise_dims": 2},
        {"prior": "rbm", "latent_dim": 4},
        {"prior": "tree", "prompt": False, "latent_dim": 9},
        {"prior": "iqp", "n_qubits": 5, "reach": 2, "fit_evals": 5},
        {"prior": "shuffled", "sampler": "exact", "optimizer": "adam"},
        # too few evaluations for COBYLA
        {"sampler": "exact", "optimizer": "adam", "fit_evals": 10},
    ],
)
def test_every_prior_makes_a_model(options, tmp_path):
    run = make_run(tmp_path / "run", **options)
    loaded = qcaan.from_pretrained(run.save_pretrained(tmp_path / "model"))
    for name, value in run.gan.prior.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, loaded.gan.prior.state_dict()[name]), name
    assert loaded.generate(5)[0].shape == (5, 1, 28, 28)


def test_a_model_of_a_device_asks_nothing_of_it(tmp_path, monkeypatch):
    options = {"sampler": "ibm:fake_manila", "n_qubits": 2, "shots": 50, "bank_shots": 100}
    run = make_run(tmp_path / "run", **options, n_layers=1, fit_evals=10)
    folder = run.save_pretrained(tmp_path / "model")
    monkeypatch.setattr("qcaan.samplers.vendors.make_vendor", lambda *_: pytest.fail("opened"))
    loaded = qcaan.from_pretrained(folder)
    _, samples = loaded.generate(500)
    banked = set(map(tuple, run.gan.prior.bank.tolist()))
    assert {tuple(row) for row in samples.long().tolist()} <= banked
    assert (loaded.gan.labels_of(loaded.generate(20, label=3)[1]) == 3).all()
    with pytest.raises(ValueError, match="asks no sampler for more"):
        loaded.gan.prior.measure(5)


def test_a_run_that_was_fitted_with_noise_and_draws_without_makes_a_model(tmp_path):
    options = {"sampler": "aer", "train_sampler": "aer-noise:fake_manila", "device_steps": 4}
    run = make_run(tmp_path / "run", **options, n_qubits=2, n_layers=1)
    loaded = qcaan.from_pretrained(run.save_pretrained(tmp_path / "model"))
    assert torch.equal(loaded.gan.prior.theta, run.gan.prior.theta)
    assert (loaded.gan.labels_of(loaded.generate(20, label=3)[1]) == 3).all()


@pytest.mark.parametrize(
    "scores",
    [
        [],
        {"generated": []},
        {"generated": {"agreement": "x"}},
        {"generated": {"agreement": 2}},
        {"prior": []},
        {"prior": {"kl": "x"}},
    ],
)
def test_scores_that_are_none_are_refused(model, tmp_path, scores):
    folder = shutil.copytree(model, tmp_path / "damaged")
    (folder / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(RunError, match=r"scores\.json is damaged: "):
        qcaan.from_pretrained(folder)


def test_a_model_tells_what_it_is_and_no_folder_of_its_maker(model):
    assert {path.name for path in model.iterdir()} == {
        "model.safetensors", "config.json", "scores.json", "README.md"
    }  # fmt: skip
    text = "".join((model / name).read_text() for name in ("config.json", "scores.json"))
    card = (model / "README.md").read_text()
    assert "/secret" not in text + card
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert yaml.safe_load(card.split("---")[1])["datasets"] == ["digits8x8"]
    assert "CC BY 4.0" in card
    assert "Nothing here needs a quantum computer" in card
    assert json.loads((model / "config.json").read_text())["config"]["data_root"] is None


def damage_config(folder, **changes):
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**record, **changes}))


def damage_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def with_options(folder, **options):
    record = json.loads((folder / "config.json").read_text())
    damage_config(folder, config={**record["config"], **options})


LAYER = "generator.net.0.weight"
DAMAGES = {
    "is damaged": cut_short,
    "has no model.safetensors": lambda folder: (folder / "model.safetensors").unlink(),
    "has no config.json": lambda folder: (folder / "config.json").unlink(),
    "its format is 99": lambda folder: damage_config(folder, format=99),
    "is not that of a model": lambda folder: damage_config(folder, system="image"),
    "this version has no option magic": lambda folder: with_options(folder, magic=1),
    "cannot be made": lambda folder: damage_config(folder, data={"image_shape": [1, 30, 30]}),
    "generator.net.0.weight is not finite": lambda folder: damage_weights(
        folder, lambda tensors: tensors[LAYER].fill_(float("nan"))
    ),
    "generator.net.0.weight differs": lambda folder: damage_weights(
        folder, lambda tensors: tensors.pop(LAYER)
    ),
    "generator.net.0.weight is torch.float32 [1, 1], and not": lambda folder: damage_weights(
        folder, lambda tensors: tensors.update({LAYER: torch.ones(1, 1)})
    ),
    "the generator draws pixels that are not finite": lambda folder: damage_weights(
        folder, lambda tensors: tensors["generator.net.3.running_var"].fill_(-1)
    ),
    "latent_bits.packed: rows of": lambda folder: damage_weights(
        folder, lambda tensors: tensors.update({"latent_bits.packed": torch.zeros(0, 1).byte()})
    ),
    "does not hold the networks of config.json": lambda folder: with_options(folder, width=5),
    "scores.json is damaged": lambda folder: (folder / "scores.json").write_text("[1"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_named_in_a_sentence(model, tmp_path, message):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    DAMAGES[message](folder)
    with pytest.raises(RunError) as caught:
        qcaan.from_pretrained(folder)
    assert message in str(caught.value) and "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_no_model(tmp_path):
    with pytest.raises(RunError, match=r"holds no model: it has no model\.safetensors"):
        qcaan.from_pretrained(tmp_path)


def test_a_folder_does_not_hide_a_model_that_ships(tmp_path, monkeypatch):
    (tmp_path / "mnist-379").mkdir()
    monkeypatch.chdir(tmp_path)
    assert qcaan.from_pretrained("mnist-379").labels == (3, 7, 9)
    with pytest.raises(RunError, match="holds no model"):
        qcaan.from_pretrained("./mnist-379")


@pytest.mark.parametrize("name", ['my "digits"', "a: b, [c]", "null", "Zürich #1"])
def test_the_header_of_a_card_holds_any_name_of_data(model, name):
    record = json.loads((model / "config.json").read_text())
    card = model_card({**record, "data": {**record["data"], "name": name}}, {})
    assert yaml.safe_load(card.split("---\n")[1])["datasets"] == [name]


def test_a_control_is_called_one(model):
    record = json.loads((model / "config.json").read_text())
    for prior in ("shuffled", "gaussian"):
        card = model_card({**record, "config": {**record["config"], "prior": prior}}, {})
        assert "it is a control" in card


def test_scores_of_another_epoch_are_not_given_away(run, tmp_path):
    copy = RunDirectory(shutil.copytree(run.directory.path, tmp_path / "run"))
    copy.save_scores({"generated": {"agreement": 0.97}}, 7)
    with pytest.raises(RunError, match="is that of epoch 7, and the checkpoint is that of epoch 1"):
        qcaan.load_run(copy.path).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("made", [True, False])
def test_a_full_disk_leaves_no_half_model(run, tmp_path, monkeypatch, made):
    """The files are written in an order that has the card last."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pretrained, "write_text", full)
    if made:
        (tmp_path / "model").mkdir()
    with pytest.raises(OSError, match="No space left"):
        run.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model").exists() == made
    assert not made or not list((tmp_path / "model").iterdir())


def test_other_runs_and_full_folders_are_refused(run, tmp_path):
    (tmp_path / "mine.txt").write_text("years of work")
    with pytest.raises(ValueError, match="has something in it; name a new folder"):
        run.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(RunError, match=r"there is no model \.\./x: it is no folder"):
        qcaan.from_pretrained("../x")


def test_the_model_that_ships_is_small_and_draws_the_digits_it_is_asked_for():
    (name,) = pretrained.shipped()
    folder = Path(str(files("qcaan"))) / "models" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000
    loaded = qcaan.from_pretrained(name, seed=0)
    assert loaded.labels == (3, 7, 9)
    assert loaded.scores["generated"]["agreement"] > 0.95
    # the means of real digits tell nine of ten of them apart
    real = qcaan.load_images("mnist-5k", classes=loaded.labels)
    means = torch.stack([real.images[real.labels == k].mean(0).flatten() for k in loaded.labels])
    for place, label in enumerate(loaded.labels):
        images, _ = loaded.generate(100, label=label)
        assert (torch.cdist(images.flatten(1), means).argmin(1) == place).double().mean() > 0.75
        assert len(np.unique(images.numpy(), axis=0)) == 100


def test_a_model_is_drawn_from_and_made_by_the_command_line(call_script, run, tmp_path):
    made = call_script("export.py", run.directory.path, "--out", tmp_path / "model")
    assert made.returncode == 0 and "MB); draw from it with --pretrained" in made.stdout
    options = ("--pretrained", tmp_path / "model", "--out", tmp_path / "strip.png")
    strip = call_script("generate.py", *options, "--sequence", 3, 7, 7)
    assert strip.returncode == 0, strip.stderr
    assert "recorded with the model: a classifier agrees with the label of 97.0%" in strip.stdout
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.width > 2.5 * picture.height
    arrays = ("--n", 20, "--npz", tmp_path / "images.npz")
    assert call_script("generate.py", *options[:2], *arrays).returncode == 0
    again = call_script("generate.py", *options[:2], "--dry-run", "--sequence", 3, 5)
    assert again.returncode == 2 and "must hold digits of the run, 3 7" in again.stderr
    with np.load(tmp_path / "images.npz") as saved:
        assert saved["images"].shape == (20, 28, 28) and saved["bits"].shape == (20, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name either the directory of a run, or a model by --pretrained"),
        (("runs/x", "--pretrained", "mnist-379"), "name either the directory of a run, or"),
        (("--pretrained", "mnist"), "those that ship with qcaan are mnist-379"),
        (("--pretrained", "mnist-379", "--sequence", 3, 5), "must hold digits of the run, 3 7 9"),
        (("--pretrained", "mnist-379", "--max-jobs", 5), "`max_jobs` is for runs; a ready-made"),
        (
            ("--pretrained", "mnist-379", "--sequence", 3, "--n", 5),
            "a model draws the digits alone",
        ),
        (("--pretrained", "mnist-379", "--data-root", "."), "`data_root` is for runs; a ready-m"),
    ],
)
def test_bad_names_are_one_sentence(call_script, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = call_script("generate.py", *options)
    assert result.returncode == 2
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_no_picture_of_a_model_overwrites_another(call_script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.png").write_text("mine")
    result = call_script("generate.py", "--pretrained", "mnist-379")
    assert result.returncode == 2
    assert "grid.png is there already; name the picture by --out" in result.stderr
    assert (tmp_path / "grid.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--push", "digits"), "must be ORGANISATION/NAME on the hub, got 'digits'"),
        (("--private",), "`private` is for an upload; name one by --push"),
    ],
)
def test_an_upload_is_checked_before_a_model_is_made(call_script, run, tmp_path, options, message):
    out = tmp_path / "model"
    result = call_script("export.py", run.directory.path, "--out", out, *options)
    assert result.returncode == 2 and message in result.stderr and not out.exists()


class TestHub:
    @pytest.fixture
    def hub(self, tmp_path, monkeypatch):
        """A cache of the hub that holds one model, without a network."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_a_model_comes_from_the_cache(self, hub, model):
        commit = "0" * 40
        repository = hub / "models--someone--digits"
        shutil.copytree(model, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        images, _ = qcaan.from_pretrained("someone/digits", seed=3).generate(4)
        assert torch.equal(images, qcaan.from_pretrained(model, seed=3).generate(4)[0])

    def test_a_model_that_does_not_come_is_one_sentence(self, hub):
        with pytest.raises(RunError, match="no model someone/nothing came from the hub: ") as told:
            qcaan.from_pretrained("someone/nothing")
        assert "\n" not in str(told.value)

    def test_a_model_is_not_uploaded_without_a_network(self, hub, model, tmp_path):
        with pytest.raises(RunError, match="the hub did not take"):
            qcaan.push_to_hub(model, "someone/digits")
        with pytest.raises(RunError, match=r"holds no model: it has no model\.safetensors"):
            qcaan.push_to_hub(tmp_path, "someone/digits")

    def test_a_hub_that_does_not_answer_is_one_sentence(
        self, call_script, run, tmp_path, monkeypatch
    ):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        out = tmp_path / "model"
        words = ("export.py", run.directory.path, "--out", out, "--push", "someone/digits")
        result = call_script(*words)
        assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
        assert f"qcaan.push_to_hub('{out}', 'someone/digits') uploads it" in result.stderr
        assert (out / "model.safetensors").is_file()

    def test_a_model_is_uploaded(self, model, tmp_path, monkeypatch):
        """A server that speaks the hub's API takes the four files of a model and no other."""
        from huggingface_hub import constants

        folder = shutil.copytree(model, tmp_path / "model")
        (folder / "notes.txt").write_text("private")
        with HTTPServer(host="127.0.0.1") as server:
            monkeypatch.setattr(constants, "ENDPOINT", server.url_for("").rstrip("/"))
            monkeypatch.setenv("HF_TOKEN", "hf_test")
            url = server.url_for("/someone/digits")
            made = server.expect_request("/api/repos/create", method="POST")
            made.respond_with_json({"url": url})
            names = sorted(path.name for path in model.iterdir())
            uploads = [
                {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names
            ]
            server.expect_request("/api/models/someone/digits/preupload/main").respond_with_json(
                {"files": uploads}
            )
            server.expect_request("/api/models/someone/digits/commit/main").respond_with_json(
                {"commitUrl": f"{url}/commit/1", "commitOid": "1"}
            )
            server.expect_request("/api/validate-yaml").respond_with_json({})
            assert qcaan.push_to_hub(folder, "someone/digits", private=True) == url
            server.check_assertions()
            requests = {request.path: request for request, _ in server.log}
        created = requests["/api/repos/create"].get_json()
        assert created["name"] == "digits"
        # its name in older and in newer versions of the hub's library
        assert created.get("private") is True or created.get("visibility") == "private"
        lines = requests["/api/models/someone/digits/commit/main"].data.splitlines()
        sent = [line["value"] for line in map(json.loads, lines) if line["key"] == "file"]
        assert sorted(file["path"] for file in sent) == names
        for file in sent:
            content = base64.b64decode(file["content"])
            assert content == (model / file["path"]).read_bytes()

    def test_without_the_extra_a_sentence_names_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(RunError, match="need the extra `hub`: pip install"):
            qcaan.from_pretrained("someone/digits")
        with pytest.raises(RunError, match="need the extra `hub`: pip install"):
            pretrained.check_push("someone/digits")
