"""The card of a ready-made model: README.md in the format of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qcaan.metrics.images import scores_table

# licences of the data sets that qcaan downloads; of other data only their owner knows
_DATA_LICENCES = {
    "mnist": "CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    "mnist-5k": "CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    "fashion-mnist": "MIT (Zalando SE)",
    "cifar10": "not stated (Alex Krizhevsky, 2009)",
    "digits8x8": "CC BY 4.0 (E. Alpaydin and C. Kaynak, UCI)",
}
_HEADER = """\
---
license: apache-2.0
library_name: qcaan
pipeline_tag: unconditional-image-generation
tags: [quantum-machine-learning, gan, born-machine, qiskit]
datasets: [{name}]
metrics: [fid, kid, precision, recall]
---
"""
_CIRCUITS = ("qcbm", "iqp", "shuffled")


def model_card(model: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """Return the text of a model's card.

    Args:
        model: the record in the model's config.json.
        scores: the scores of its run; empty if they were not made.
    """
    config, data = model["config"], model["data"]
    digits = " ".join(map(str, config["digits"]))
    labelled = config["prompt"]
    ask = ", label=" + str(config["digits"][0]) if labelled else ""
    drawn = "each of which can be asked for" if labelled else "as they come"
    sections = [
        # a string in JSON is one in YAML, whatever a folder of images is called
        _HEADER.format(name=json.dumps(data["name"])),
        f"# QC-AAN of {data['name']}, classes {digits}\n\n"
        f"A generator of {images_of(data)} images of the classes {digits}, {drawn}. Its inputs are "
        f"drawn from a prior: {_prior(config)}. Generator and prior were trained together by qcaan "
        f"{model['qcaan']}, as in Rudolph et al., [arXiv:2012.03924]"
        "(https://arxiv.org/abs/2012.03924).",
        "## Use\n\n```python\nimport qcaan\n\n"
        'model = qcaan.from_pretrained("PATH OR NAME")\n'
        f"images, samples = model.generate(16{ask})  # [16, C, H, W] in [-1, 1]\n```\n\n"
        "Samples of a circuit are drawn with replacement from the shots that its run measured "
        "last; those of a label from the exact distribution, if the run's engine had no noise. "
        "Nothing is asked of a device.",
        "## Data\n\n"
        f"{data['n_images']:,} training images of {data['name']}. Licence of the data: "
        f"{_DATA_LICENCES.get(data['name'], 'see their owner')}. The licence of this model is "
        "Apache 2.0; the terms of the data may bind what is done with it.",
        "## Scores\n\n" + _table(scores),
        "## What the circuit adds\n\n" + circuit_adds(config, scores),
        "## Limits\n\n"
        "It draws small images of these classes and nothing else. The scores are in the features "
        "of a small classifier of the same data set, and are not comparable with FID of Inception "
        "features. The model can be trained no further: the discriminator is not in it.",
    ]
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def images_of(data: Mapping[str, Any]) -> str:
    """Return the size and the kind of images of data, as in `28x28 grey`."""
    channels, height, width = data["image_shape"]
    return f"{height}x{width} {'grey' if channels == 1 else 'colour'}"


def _prior(config: Mapping[str, Any]) -> str:
    if config["prior"] not in _CIRCUITS:
        return f"`{config['prior']}`, which has no circuit"
    bases = "z" if config["prior"] == "iqp" else " and ".join(config["bases"])
    label = ", and those of the label" if config["prompt"] else ""
    return (
        f"`{config['prior']}`, a quantum circuit of {config['n_qubits']} qubits{label}, measured "
        f"in {bases} on {config['sampler'] or 'a simulator'}"
    )


def _table(scores: Mapping[str, Any]) -> str:
    if not scores:
        return "They were not made."
    rows = [("score", "generated", "held-out real"), ("---", "---", "---")]
    try:
        rows += scores_table(dict(scores))
    except LookupError:  # those of another version
        return "They are in scores.json."
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def circuit_adds(config: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """Return sentences on what the circuit of a model adds, beside the controls.

    Args:
        config: options of its run.
        scores: the scores of its run; empty if they were not made.
    """
    if config["prior"] not in _CIRCUITS:
        return "There is no circuit in this model: it is a control."
    if config["prior"] == "shuffled":
        return (
            "The bits of this model's circuit are shuffled after they are measured, so that no "
            "correlation is left: it is a control."
        )
    found = scores.get("prior", {})
    told = ""
    if found.get("kl") is not None and found.get("kl_product") is not None:
        told = (
            f"The prior is {found['kl']:.2f} nats from the bits that it learned; independent bits "
            f"with the same marginals are {found['kl_product']:.2f} nats away. "
        )
    return (
        f"{told}With qcaan's networks on MNIST 3, 7, 9 (two seeds, priors of 16 bits and labels), "
        "fair bits that are never fitted draw as well as the circuit, and so do a histogram and a "
        "tree of the bits. So nothing says that the circuit makes the images better. Nothing here "
        "needs a quantum computer. The documentation of qcaan (Priors and controls) has the "
        "comparison."
    )
