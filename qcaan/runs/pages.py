"""A page on which one turns the circuit of a model and watches it draw: one file, no server.

The sources are in `qcaan/page`: a skeleton in HTML, its style, and a module of JavaScript that
simulates the circuit and runs the generator. Here a model becomes what they read.
"""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import re
from collections.abc import Mapping
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from qcaan.bits import pack_bits, target_probabilities
from qcaan.checks import path_of
from qcaan.circuits.ansatz import COUPLINGS, ROTATIONS, Ansatz, acted_on, fixed_pairs
from qcaan.data.images import ImageSet
from qcaan.data.opening import DataError
from qcaan.files import check_empty_folder, new_folder, reason, write_text
from qcaan.metrics.classifier import load_classifier
from qcaan.networks import Generator
from qcaan.priors.marginals import MARGINALS, angles_at_marginals
from qcaan.runs.cards import circuit_adds, images_of
from qcaan.runs.directory import RunError
from qcaan.runs.loading import Run
from qcaan.runs.pictures import epoch_pictures
from qcaan.runs.pretrained import Pretrained, pretrained_of
from qcaan.runs.restoring import load_data

PAGE = "index.html"
# qubits; 4,096 amplitudes are simulated within a few milliseconds at every turn of a knob
MAX_QUBITS = 12
# number of samples of a prior that is not simulated
_BANK = 2000
# pictures of epochs: number, and bytes of all of them
_EPOCHS, _EPOCH_BYTES = 24, 1_000_000

log = logging.getLogger(__name__)


def check_page(out: str | Path) -> Path:
    """Check that a page can be written into a folder, new or empty, and return the folder.

    Raises:
        ValueError, OSError: something is in it, or it cannot be written.
    """
    folder = path_of("out", out)
    check_empty_folder(folder)
    return folder


def write_page(model: Run | Pretrained, out: str | Path) -> Path:
    """Write the page of a QC-AAN into a folder, and return the path of its one file.

    The page needs no server and asks nothing of one. It simulates a QCBM of up to 12 qubits, those
    of the label included; for other priors it holds 2,000 samples. The prior's own random state is
    moved by the draws of these.

    Args:
        model: a run of `qcaan train`, or a ready-made model.
        out: a new folder, or an empty one.

    Raises:
        RunError: the run is of another system, or the model is not finite.
        ValueError, OSError: the folder has something in it, or cannot be written.
    """
    folder = check_page(out)
    text = page_of(model)
    with new_folder(folder):
        write_text(folder / PAGE, text)
    return folder / PAGE


def page_of(model: Run | Pretrained) -> str:
    """Return the page of a model as HTML; see `write_page`."""
    data = None
    if isinstance(model, Run):
        run, model = model, pretrained_of(model)
        if not model.labels:  # a classifier reads what the samples of the page draw
            try:
                data = load_data(run.directory, run.gan.config.data_root)
            except (DataError, RunError) as error:
                log.warning("the page cannot say what its images show: %s", reason(error))
    facts, tensors = _contents(model, data)
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise RunError(f"{model.directory.path} makes no page: its {name} is not finite")
    texts = _texts(model, facts)
    # a script ends at the first </script>, wherever it stands
    record = json.dumps(facts).replace("<", "\\u003c")
    raw = {
        "style": _source("page.css"),
        "script": _source("page.js"),
        "model": record,
        "weights": base64.b64encode(save(tensors)).decode(),
    }
    parts = {**texts, **raw}
    # in one pass, since a name of data may look like a place to fill
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], _source("index.html"))


def _source(name: str) -> str:
    return (files("qcaan") / "page" / name).read_text("utf-8").strip()


def _contents(
    model: Pretrained, data: tuple[ImageSet, ImageSet] | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what page.js calls a model, and its tensors by name.

    Args:
        model: the model.
        data: training and held-out images, if a classifier can read what a model without labels
            draws.
    """
    gan = model.gan
    prior: Any = gan.prior
    config, labels = gan.config, prior.code.labels
    codes = model.latent_bits
    layers, tensors = generator_layers(gan.average.module)
    circuit, classes = None, list(labels)
    priors = {"bank": f"{_BANK:,} samples of the prior {config.prior}"}
    if config.prior == "qcbm" and prior.born.n_qubits <= MAX_QUBITS and codes is not None:
        circuit, angles = _circuit(prior, codes)
        tensors |= angles
        priors = {"circuit": "the circuit, as it is turned"}
    if codes is not None:
        tensors["codes"] = pack_bits(codes)
        priors["codes"] = "a histogram: the bits of a training image"
    if circuit is None or not labels:
        with gan.isolated():
            samples = prior.sample(_BANK)
            latents = gan.embed(samples)
        places: Tensor | None = None
        if labels:
            places = prior.code.places_of(samples.long())
        elif data is not None:
            read = load_classifier(*data, device=gan.device).classify(gan.draw(latents))
            classes = [label for label in config.digits if (read == label).any()]
            # the number of a class, or one beyond them
            known = {label: place for place, label in enumerate(classes)}
            places = torch.tensor([known.get(label, len(classes)) for label in read.tolist()])
        if places is not None:
            tensors["bank.labels"] = places.to(torch.uint8).cpu()
        if prior.n_bits is None:
            tensors["latents"] = latents.half().cpu()
            tensors.setdefault("bank.labels", torch.zeros(_BANK, dtype=torch.uint8))
        else:
            tensors["bank"] = pack_bits(samples)
    facts = {
        "labels": list(labels),
        "labelBits": prior.code.n_bits,
        "classes": classes,
        "dim": prior.dim,
        "circuit": circuit,
        "priors": priors,
        "dither": getattr(prior, "dither", 0.0),
        "spread": config.draw_spread,
        "noiseDims": getattr(prior, "noise_dims", 0),
        "latentDim": prior.latent_dim,
        "imageShape": list(model.directory.fact("image_shape")),
        "generator": layers,
        "epochs": _epochs(model.directory.path / "samples"),
    }
    return facts, {name: value.contiguous() for name, value in tensors.items()}


def generator_layers(generator: nn.Module) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Return the layers of a generator as page.js reads them, and their tensors by name.

    Batch normalisation and the layer that mixes the bits become part of their neighbours. Feature
    maps are channels-last. Weights are float16, and biases float32.
    """
    assert isinstance(generator, Generator)
    parts = list(generator.net)
    norms: list[Any] = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    scales = [norm.weight / (norm.running_var + norm.eps).sqrt() for norm in norms]
    shifts = [
        norm.bias - norm.running_mean * scale for norm, scale in zip(norms, scales, strict=True)
    ]
    first, *rest = (part for part in parts if isinstance(part, nn.Linear))
    weight: Tensor = first.weight.T  # (inputs, outputs)
    bias: Tensor = first.bias
    for linear in rest:
        weight, bias = weight @ linear.weight.T, linear(bias)
    shape = next(part for part in parts if isinstance(part, nn.Unflatten)).unflattened_size
    scale, shift = (values[:, None, None] for values in (scales[0], shifts[0]))
    weight = (weight.unflatten(1, shape) * scale).permute(0, 2, 3, 1).flatten(1)
    bias = (bias.unflatten(0, shape) * scale + shift).permute(1, 2, 0).flatten()
    found = [("linear", weight, bias)]
    convolutions: list[Any] = [part for part in parts if isinstance(part, nn.ConvTranspose2d)]
    for k, convolution in enumerate(convolutions):
        weight, bias = convolution.weight, convolution.bias  # (inputs, outputs, 4, 4)
        if k + 1 < len(norms):
            weight = weight * scales[k + 1][:, None, None]
            bias = bias * scales[k + 1] + shifts[k + 1]
        found.append(("upsampling", weight.permute(2, 3, 0, 1), bias))
    layers, tensors = [], {}
    for k, (kind, weight, bias) in enumerate(found):
        names = {"weight": f"generator.{k}.weight", "bias": f"generator.{k}.bias"}
        tensors[names["weight"]] = weight.detach().cpu().half()
        tensors[names["bias"]] = bias.detach().cpu().float()
        last = k + 1 == len(found)
        layers.append({"kind": kind, **names, "shape": list(weight.shape), "relu": not last})
    return layers, tensors


def circuit_layers(ansatz: Ansatz) -> list[dict[str, Any]]:
    """Return the layers of an ansatz as page.js reads them: gates, qubits, places of angles."""
    layers, place = [], 0
    for name, size in zip(ansatz.layers, ansatz.layer_sizes, strict=True):
        gate, qubits = acted_on(name, ansatz.n_qubits)
        if gate in COUPLINGS:
            on = [list(pair) for pair in combinations(qubits, 2)]
        elif gate in ROTATIONS or gate == "h":
            on = [[qubit] for qubit in qubits]
        else:
            on = [list(pair) for pair in fixed_pairs(name, ansatz.n_qubits)]
        plain = gate if gate in (*COUPLINGS, *ROTATIONS, "h") else gate[:2]
        layers.append({"gate": plain, "qubits": on, "first": place if size else -1})
        place += size
    return layers


def _circuit(prior: Any, codes: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a circuit as page.js reads it, with its starts and its target."""
    born, bits = prior.born, prior.by_basis(codes)
    start, product = angles_at_marginals(born, bits, np.random.default_rng(0))
    _, uniform = angles_at_marginals(born, None, np.random.default_rng(0))
    angles = {"trained": prior.theta, "product": product, "uniform": uniform}
    circuit = {
        "nQubits": born.n_qubits,
        "zQubits": born.z_qubits,
        "bases": list(born.bases),
        "layers": circuit_layers(born.ansatz),
        "nParams": born.n_params,
        "product": "Product of marginals" if start == MARGINALS else "Nearest to a product",
    }
    tensors = {
        # equal angles, and small enough for single precision
        f"theta.{name}": torch.remainder(values.cpu() + np.pi, 2 * np.pi).sub(np.pi).float()
        for name, values in angles.items()
    }
    tensors["target"] = target_probabilities(bits.cpu(), prior.n_bases).float()
    return circuit, tensors


def _epochs(folder: Path) -> list[dict[str, Any]]:
    """Return pictures of epochs in a run's folder, evenly spread, as WebP in base64."""
    pictures = epoch_pictures(folder)
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), _EPOCHS)).round().astype(int)
    found, size = [], 0
    for number, path in (pictures[k] for k in chosen):
        picture = io.BytesIO()
        try:
            with Image.open(path) as image:
                image.convert("RGB").save(picture, "WEBP", quality=80)
        except (OSError, ValueError) as error:
            log.warning("the page leaves out %s: %s", path, reason(error))
            continue
        size += len(picture.getvalue())
        text = base64.b64encode(picture.getvalue()).decode()
        found.append({"number": number, "picture": text})
    return found if size <= _EPOCH_BYTES else found[:: 1 + size // _EPOCH_BYTES]


def _texts(model: Pretrained, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the page, as HTML."""
    config, data = model.gan.config, model.directory.config()["data"]
    options = model.directory.config()["config"]
    name = Path(str(model.directory.fact("name"))).name
    digits = " ".join(map(str, config.digits))
    circuit = facts["circuit"]
    bits = "Bits" if model.gan.prior.n_bits else "Numbers"
    if circuit:
        n = circuit["nQubits"] - facts["labelBits"]
        source = f"measured on a quantum circuit of {n} qubits"
        source += f" and {facts['labelBits']} of the label" if facts["labelBits"] else ""
    else:
        source = f"drawn from the prior {config.prior}"
    no_circuit = (
        f"No circuit is shown. Pages simulate the prior qcbm of up to {MAX_QUBITS} qubits, if the "
        f"run has kept the bits of its training images. This one holds {_BANK:,} samples of its "
        f"prior, {config.prior}."
    )
    engine = config.sampler or "a simulator"
    paragraphs = [
        "A small neural network, the generator, draws each image from a row of numbers. While it "
        "was trained, a second network looked at real images, and its last hidden layer was turned "
        "into bits: a code for each image. The prior learned which codes occur. What is measured "
        "on it is a new code, and the generator draws it.",
        *(
            [
                "The rows of bits are the same qubits, measured in different bases. A knob is the "
                "angle of a gate. With all gates on pairs at zero the qubits are independent: the "
                "product of marginals. The way from there to the trained angles shows what "
                "correlations do. The page simulates the circuit without noise; the run drew its "
                f"shots on {engine}.",
            ]
            if circuit
            else []
        ),
        circuit_adds(options, model.scores),
        *(
            [
                "Noise on the bits (dither) makes different images of equal bits. The slider is a "
                "factor on the noise of training; the scores of the model were made at "
                f"{facts['spread']:g}.",
            ]
            if facts["dither"]
            else []
        ),
    ]
    about = "".join(f"<p>{html.escape(text)}</p>\n" for text in paragraphs)
    about += (
        '<p>Method: Rudolph et al., <a href="https://arxiv.org/abs/2012.03924">arXiv:2012.03924</a>'
        ". Nothing leaves this page: it is one file, and computes everything here.</p>"
    )
    plain = {
        "title": f"{name}, {digits}: a GAN whose prior is measured" if circuit
        else f"{name}, {digits}: a GAN and its prior",
        "lead": f"{bits} {source} become {images_of(data)} images of the classes {digits}. "
        "Everything runs in this page.",
        "no_circuit": no_circuit,
        "product": circuit["product"] if circuit else "",
        "example": " ".join(map(str, [*facts["classes"], *facts["classes"][-1:]])),
    }  # fmt: skip
    return {**{name: html.escape(text) for name, text in plain.items()}, "about": about}
