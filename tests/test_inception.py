"""FID in Inception features: random weights from a file, never a download."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import Inception3

from qcaan.metrics.classifier import Classifier, ClassifierNetwork
from qcaan.metrics.features import frechet, gaussian
from qcaan.metrics.images import ImageScorer, scores_table
from qcaan.metrics.inception import inception_features, load_inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights, with the names and shapes of the FID Inception network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    # the weights that others use are in the older format of files
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def test_features_are_those_of_the_weights_in_the_file(weights):
    network = load_inception(weights)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    grey = inception_features(network, images)
    assert grey.shape == (4, 2048) and grey.dtype == torch.float32 and grey.std() > 0
    torch.testing.assert_close(inception_features(network, images.expand(-1, 3, -1, -1)), grey)
    assert frechet(gaussian(grey), gaussian(grey)) == pytest.approx(0, abs=1e-9)
    assert frechet(gaussian(grey[:2]), gaussian(grey[2:])) > 0
    state = torch.load(weights, weights_only=True)
    state["Mixed_7c.branch1x1.bn.weight"] /= 2
    torch.save(state, weights.with_name("other.pth"))
    other = inception_features(load_inception(weights.with_name("other.pth")), images)
    assert not torch.allclose(other, grey)


def test_scores_have_the_column_if_a_network_is_given(weights):
    real = torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(0)) - 1
    classifier = Classifier(ClassifierNetwork(1, 2), (0, 1), accuracy=0.5)
    network = load_inception(weights)
    scorer = ImageScorer(real[:5], real[5:9], classifier, classes=(0, 1), inception=network)
    held_out = scorer.score_held_out()
    generated, _ = scorer.score(real[9:] + 1)
    assert generated["fid_inception"] > held_out["fid_inception"] > 0
    scores = {"fid_reliable": True, "generated": generated, "held_out_real": held_out}
    assert [row[0] for row in scores_table(scores)][3:5] == ["pixel_frechet", "fid_inception"]


@pytest.mark.parametrize("damage", ["another network", "no weights", "cut short", "text"])
def test_a_file_of_something_else_is_refused_in_one_sentence(weights, tmp_path, damage):
    path = tmp_path / "file.pth"
    match damage:
        case "another network":
            torch.save(torch.nn.Linear(2, 2).state_dict(), path)
        case "no weights":
            torch.save([1, 2], path)
        case "cut short":
            path.write_bytes(weights.read_bytes()[:100_000])
        case _:
            path.write_text("not weights")
    message = rf"`inception_weights` {path} does not hold the weights of the FID Inception network"
    with pytest.raises(ValueError, match=message):
        load_inception(path)


def test_without_the_extra_the_error_names_it(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match=r"needs the package torch-fidelity: pip install 'qcaan\["):
        load_inception(weights)


def test_commands_refuse_weights_before_anything_is_drawn(call_script, associative_run, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_text("not weights")
    for name, message in (
        (weights, "does not hold the weights"),
        (tmp_path / "no", "No such file"),
    ):
        result = call_script("evaluate.py", associative_run, "--inception-weights", name)
        assert result.returncode == 2 and message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (associative_run / "scores.json").exists()


def test_weights_without_scores_are_refused(call_script, tmp_path):
    options = ("--data", "digits8x8", "--eval-images", 0, "--inception-weights", tmp_path / "none")
    result = call_script("train_mnist.py", *options, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "`inception_weights` are for scores, and `eval_images` is 0" in result.stderr
    assert not (tmp_path / "run").exists()
