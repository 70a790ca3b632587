"""Ready-made models: what a finished run needs to draw, in a folder that can be given away.

A model holds the averaged generator and the prior with its angles and its bank of shots. It has no
discriminator and no optimisers, so it cannot be trained further. Weights are stored as safetensors,
which hold no code.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from qcaan.bits import pack_bits, unpack_bits
from qcaan.checks import check_images, check_seed, path_of, whole
from qcaan.files import (
    atomic_write,
    check_empty_folder,
    new_folder,
    parse_json,
    reason,
    write_json,
    write_text,
)
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN
from qcaan.priors.make import sampler_name
from qcaan.runs import associative
from qcaan.runs.cards import model_card
from qcaan.runs.directory import FORMAT, RunDirectory, RunError
from qcaan.runs.loading import Run
from qcaan.runs.restoring import make_networks, read_config
from qcaan.samplers.names import EXACT, ClosedSampler, is_ideal
from qcaan.training import pick_device

WEIGHTS, CARD, SCORES = "model.safetensors", "README.md", "scores.json"
# nothing else goes to the hub or comes from it
_FILES = [WEIGHTS, "config.json", CARD, SCORES]
# a name on the Hugging Face hub
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# bits are stored eight to a byte
_BANK, _PACKED, _LATENT = "prior.bank", "prior.bank.packed", "latent_bits.packed"


@dataclass(frozen=True)
class Pretrained:
    """A ready-made model.

    Attributes:
        directory: its folder.
        gan: the generator and the prior. Its discriminator is untrained.
        scores: the scores of the run that it comes from; empty if they were not made.
        latent_bits: bits uint8 [N, n_bits] of the training images, which the prior was fitted to;
            None if the run did not keep them.
    """

    directory: RunDirectory
    gan: AssociativeGAN
    scores: dict[str, Any]
    latent_bits: Tensor | None

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that images can be asked for; none if the run learned none."""
        return self.gan.prior.code.labels

    def generate(self, n: int, *, label: int | None = None) -> tuple[Tensor, Tensor]:
        """Draw n images.

        Samples of a circuit are drawn with replacement from the shots that the run measured last;
        those of a label from the exact distribution, if the run's engine had no noise. Nothing is
        asked of a device.

        Args:
            n: number of images.
            label: label of all images, one of `labels`.

        Returns:
            The images [n, C, H, W] in [-1, 1] and the samples [n, dim] that they were drawn from,
            both on the CPU.

        Raises:
            ValueError: n is not a whole number of at least 1, or the model has no such label.
        """
        n = whole("n", n)
        check_images(n, self.directory.fact("image_shape"))
        with self.gan.isolated():
            samples = self.gan.prior.sample(n, label)
            latents = self.gan.embed(samples)
        return self.gan.draw(latents), samples.cpu()


def check_pretrained(run: Run, path: str | Path) -> Path:
    """Check that a run can be saved as a ready-made model in a folder, and return the folder.

    Raises:
        RunError, ValueError, OSError: see `save_pretrained`.
    """
    folder = path_of("path", path)
    check_empty_folder(folder)
    pretrained_of(run)
    return folder


def pretrained_of(run: Run) -> Pretrained:
    """Return a QC-AAN's last checkpoint as a ready-made model that is saved nowhere.

    Raises:
        RunError: the run is of another system, or its scores are those of another epoch.
    """
    path, gan = run.directory.path, run.gan
    if run.system != "associative":
        raise RunError(
            f"{path} holds a run of the system {run.system}; models and pages are made of runs of "
            "`qcaan train`"
        )
    scores = _scores(path)
    scored = scores.get("epoch", gan.epoch)
    if scored != gan.epoch:
        raise RunError(
            f"{path}/{SCORES} is that of epoch {scored}, and the checkpoint is that of epoch "
            f"{gan.epoch}; score it by qcaan evaluate, or remove the file"
        )
    bits = associative.read_latent_bits(run.directory, gan.prior.dim) if gan.prior.n_bits else None
    return Pretrained(run.directory, gan, scores, bits)


def save_pretrained(run: Run, path: str | Path) -> Path:
    """Save a QC-AAN's last checkpoint as a ready-made model, and return its folder.

    Args:
        run: the run.
        path: a new folder, or an empty one.

    Raises:
        RunError: the run is of another system, or its scores are those of an earlier epoch.
        ValueError, OSError: the folder has something in it, or cannot be written; nothing is left
            in it then.
    """
    folder = check_pretrained(run, path)
    model = pretrained_of(run)
    gan, facts = model.gan, run.directory.config()["data"]
    name = Path(str(run.directory.fact("name"))).name
    run.directory.fact("n_images")
    # a model that is given away does not tell the folders of its maker
    scores = {k: v for k, v in model.scores.items() if k != "data"}
    config = {**run.directory.options(AssociativeConfig), "data": name, "data_root": None}
    # the format is that of runs, so that both are read by the same rules
    record = {
        "system": "associative",
        "format": FORMAT,
        "qcaan": version("qcaan"),
        "epoch": gan.epoch,
        "config": config,
        "data": {**{k: v for k, v in facts.items() if k != "provenance"}, "name": name},
    }
    with new_folder(folder):
        try:
            with atomic_write(folder / WEIGHTS) as buffer:
                buffer.write(save(_tensors(gan) | _packed_latent(model.latent_bits)))
            write_json(folder / "config.json", record)
            if scores:
                write_json(folder / SCORES, scores)
            write_text(folder / CARD, model_card(record, scores))
        except BaseException:
            for name in _FILES:
                (folder / name).unlink(missing_ok=True)
            raise
    return folder


def from_pretrained(
    name: str | Path, *, seed: int = 0, device: str = "auto", revision: str | None = None
) -> Pretrained:
    """Load a ready-made model.

    Args:
        name: the name of a model that ships with qcaan, see `shipped`; path of a folder; or
            ORGANISATION/NAME on the Hugging Face hub, from where it is downloaded and cached. The
            first of these that there is.
        seed: seed of the draws.
        device: device of the generator: auto, cpu, cuda or cuda:N.
        revision: branch, tag or commit on the hub. Default: the newest.

    Raises:
        RunError: there is no such model, or it is damaged.
        ValueError: the seed or the device is out of range.
    """
    check_seed(seed)
    where = pick_device(device)
    directory = RunDirectory(_folder(name, revision))
    config = replace(read_config(directory, AssociativeConfig, None), device=str(where))
    if directory.config()["system"] != "associative":
        raise RunError(f"{directory.path}/config.json is not that of a model")
    if is_ideal(sampler_name(config, config)):
        # the shots of all ideal engines follow the same distribution, and ours needs no other
        config = replace(
            config,
            sampler=EXACT,
            train_sampler=None,
            switch_after_epochs=None,
            optimizer="auto",
            device_steps=None,
            # of another optimiser they may be too few
            shots=None,
            fit_evals=None,
            fit_shots=None,
        )
    gan = make_networks(
        directory,
        associative,
        config,
        device=where,
        data_root=None,
        make_sampler=lambda name, rng: ClosedSampler(
            "a ready-made model draws from the shots that its run measured, and asks no sampler "
            "for more; for new shots use the run"
        ),
    )
    bits = _load_tensors(gan, directory.path / WEIGHTS)
    gan.reseed(seed)
    return Pretrained(directory, gan, _scores(directory.path), bits)


def shipped() -> tuple[str, ...]:
    """Return the names of the models that ship with qcaan."""
    folder = _shipped_folder()
    return tuple(sorted(p.name for p in folder.iterdir() if (p / "config.json").is_file()))


def check_push(repo_id: str) -> None:
    """Check, before a model is made, that it can be uploaded under a name.

    Raises:
        ValueError: the name is not ORGANISATION/NAME.
        RunError: the extra `hub` is missing.
    """
    if not _HUB_NAME.fullmatch(repo_id):
        raise ValueError(f"`repo_id` must be ORGANISATION/NAME on the hub, got {repo_id!r}")
    _hub()


def push_to_hub(folder: str | Path, repo_id: str, *, private: bool = False) -> str:
    """Upload the folder of a model to the Hugging Face hub, and return its address.

    The account is that of `hf auth login`, or of the variable HF_TOKEN.

    Args:
        folder: folder that `save_pretrained` made.
        repo_id: ORGANISATION/NAME on the hub; it is made if there is none.
        private: whether a new one is private.

    Raises:
        ValueError: the name is not ORGANISATION/NAME.
        RunError: the folder holds no model, the extra `hub` is missing, or the hub refuses it.
    """
    check_push(repo_id)
    path = path_of("folder", folder)
    if not (path / WEIGHTS).is_file():
        raise RunError(f"{path} holds no model: it has no {WEIGHTS}")
    hub = _hub()
    try:
        address = hub.HfApi().create_repo(repo_id, private=private, exist_ok=True)
        hub.HfApi().upload_folder(repo_id=repo_id, folder_path=path, allow_patterns=_FILES)
    # errors of its HTTP client are of no common type
    except Exception as error:
        raise RunError(
            f"the hub did not take {path}: {reason(error)}; the model stays there, and "
            f"qcaan.push_to_hub({str(path)!r}, {repo_id!r}) uploads it"
        ) from None
    return str(address)


def _folder(name: str | Path, revision: str | None) -> Path:
    """Return the folder of a model: one that ships with qcaan, one here, or one from the hub."""
    if str(name) in shipped():
        return _shipped_folder() / name
    if (path := path_of("name", name)).is_dir():
        if not (path / WEIGHTS).is_file():
            raise RunError(f"{path} holds no model: it has no {WEIGHTS}")
        return path
    if not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
        raise RunError(
            f"there is no model {name}: it is no folder, and those that ship with qcaan are "
            f"{', '.join(shipped())}"
        )
    hub = _hub()
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except Exception as error:
        raise RunError(f"no model {name} came from the hub: {reason(error)}") from None


def _shipped_folder() -> Path:
    return Path(str(files("qcaan"))) / "models"


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise RunError(
            "models on the Hugging Face hub need the extra `hub`: pip install 'qcaan[hub]'"
        ) from None
    return huggingface_hub


def _tensors(gan: AssociativeGAN) -> dict[str, Tensor]:
    """Return the tensors of the averaged generator and of the prior by their names."""
    parts = {"generator": gan.average.module.state_dict(), "prior": gan.prior.state_dict()}
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, state in parts.items()
        for name, value in state.items()
        if isinstance(value, Tensor)  # a random state is no part of a model
    }
    if _BANK in tensors:
        tensors[_PACKED] = pack_bits(tensors.pop(_BANK))
    return tensors


def _packed_latent(bits: Tensor | None) -> dict[str, Tensor]:
    """Return the bits [N, n_bits] of the training images, packed, by their name."""
    return {} if bits is None else {_LATENT: pack_bits(bits)}


def _load_tensors(gan: AssociativeGAN, path: Path) -> Tensor | None:
    """Load what `_tensors` returned, and return the bits of the training images, if they are there.

    Raises:
        RunError: the file is missing or damaged, or holds other networks.
    """
    if not path.is_file():
        raise RunError(f"{path.parent} holds no model: it has no {path.name}")
    try:
        found = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise RunError(f"{path} is damaged: {reason(error)}") from None
    latent = found.pop(_LATENT, None)
    expected = _tensors(gan)
    if differing := sorted(found.keys() ^ expected.keys()):
        raise RunError(f"{path} does not hold the networks of config.json: {differing[0]} differs")
    for name, value in expected.items():
        if found[name].shape != value.shape or found[name].dtype != value.dtype:
            raise RunError(
                f"{path} does not hold the networks of config.json: {name} is {found[name].dtype} "
                f"{list(found[name].shape)}, and not {value.dtype} {list(value.shape)}"
            )
        if value.is_floating_point() and not found[name].isfinite().all():
            raise RunError(f"{path} is damaged: {name} is not finite")
    if _PACKED in found:
        found[_BANK] = unpack_bits(found.pop(_PACKED), gan.prior.dim)
    for part, module in {"generator": gan.average.module, "prior": gan.prior}.items():
        prefix = f"{part}."
        state = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        own = {k: v for k, v in module.state_dict().items() if not isinstance(v, Tensor)}
        module.load_state_dict({**own, **state})
    kept = deepcopy(gan.prior.state_dict())  # draws may move it
    try:
        for label in (None, *gan.prior.code.labels):
            gan.draw(gan.embed(gan.prior.sample(1, label)))
        gan.prior.load_state_dict(kept)
    # tables of a prior that do not fit each other are of many kinds
    except (ValueError, RuntimeError, LookupError) as error:
        raise RunError(
            f"{path} is damaged: nothing can be drawn from it: {reason(error)}"
        ) from None
    if latent is None:
        return None
    if gan.prior.n_bits is None or latent.dtype != torch.uint8:
        raise RunError(f"{path} is damaged: {_LATENT} holds no bits of this model")
    try:
        return unpack_bits(latent, gan.prior.dim)
    except ValueError as error:
        raise RunError(f"{path} is damaged: {_LATENT}: {reason(error)}") from None


def _scores(folder: Path) -> dict[str, Any]:
    """Return scores.json of a folder; empty if there is none.

    Raises:
        RunError: it is damaged.
    """
    path = folder / SCORES
    if not path.is_file():
        return {}
    scores = parse_json(path.read_bytes())
    parts = [scores.get(k, {}) for k in ("generated", "prior")] if isinstance(scores, dict) else []
    if not parts or not all(isinstance(part, dict) for part in parts):
        raise RunError(f"{path} is damaged: it does not hold scores")
    generated, prior = parts
    agreement = generated.get("agreement", 0)
    if not isinstance(agreement, int | float) or not 0 <= agreement <= 1:
        raise RunError(f"{path} is damaged: its agreement is no share")
    for name, value in prior.items():
        if value is not None and not isinstance(value, int | float):
            raise RunError(f"{path} is damaged: its {name} of the prior is no number")
    return dict(scores)
