"""`qcaan sweep`: search for options of `qcaan train` that score well, by Optuna."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from rich.table import Table

from qcaan.checks import check_seed, of_type, one_of, whole
from qcaan.commands.compare.cells import (
    cell_path,
    check_failures,
    check_folder,
    compute_cells,
    open_folder,
    read,
    records,
    report_lock,
)
from qcaan.data.images import ImageDataOptions, load_splits
from qcaan.files import parse_json, write_csv
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.metrics.classifier import load_classifier
from qcaan.metrics.images import ImageScorer, check_scorable
from qcaan.priors.make import make_prior
from qcaan.runs.associative import plan_run
from qcaan.runs.cluster import ClusterOptions, Record, Tell
from qcaan.runs.directory import RunError
from qcaan.runs.session import announce_data, console
from qcaan.runs.trials import TrialData, train_and_score
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.names import SamplerFactory

Least = Literal["fid", "kid", "pixel_frechet", "unread"]
Greatest = Literal["precision", "recall", "inception_score", "confidence", "agreement"]
Score = Literal[Least, Greatest]
# number of rounds without new values after which a search ends
_REPEATS = 10
# options that all trials have in common
_SHARED = (ImageDataOptions, DeviceOptions)
# number of trials in the table
_SHOWN = 10


def main(
    vary: tuple[str, ...],
    config: AssociativeConfig = AssociativeConfig(),
    score: Score = "fid",
    trials: int = 20,
    parallel: int = 1,
    images: int = 10_000,
    search_seed: int = 0,
    out: Path = Path("runs/sweep"),
    dry_run: bool = False,
    cluster: ClusterOptions = ClusterOptions(),
) -> None:
    """Search for options of qcaan train that score well, by Optuna.

    The search is that of tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011; Akiba
    et al., arXiv:1907.10902), with the extra sweep. One seed is one draw: train the best options
    again with other seeds before you believe them.

    Args:
        vary: Options to vary and their values, as in lr=3e-4..3e-3:log width=32,48,64
            refine=0..2 prompt=true,false. A range of whole numbers holds both ends; with :log,
            small values are tried as often as large ones. Options of the data, of devices and of
            the machine, and those of several values, are the same in all trials.
        config: configuration of the runs.
        score: Score to search by. fid, kid, pixel_frechet and unread are to be small, the others
            large.
        trials: Number of trials, those in the folder included.
        parallel: Number of trials that are chosen together, before their scores are known. On a Ray
            cluster they are computed side by side.
        images: Number of generated images to score in each trial, at least 2.
        search_seed: Seed of the search, from 0 to below 2**63.
        out: Folder of the results: sweep.csv and the runs, in cells/. It is new, or that of a sweep
            with the same options. Finished trials are kept, so the same command continues, and may
            ask for more.
        dry_run: Check everything, and write nothing.
        cluster: Where the trials are computed. On a device that costs nothing, the limits of
            jobs and shots are those of a trial.
    """
    whole("trials", trials)
    whole("parallel", parallel)
    whole("images", images, 2)
    check_seed(search_seed)
    space = parse_space(vary)
    optuna = _optuna()
    check_folder(out)
    corners = [replace(config, **values) for values in _corners(space)]
    factories = [SamplerFactory(corner) for corner in corners]
    # refuses values before anything is read or trained
    for corner, samplers in zip(corners, factories, strict=True):
        make_prior(corner, corner, seed=0, make_sampler=samplers, labels=corner.digits)
        samplers.check_free("sampler")
    everything, held_out = load_splits(config.data, config.data_root)
    check_scorable(everything, held_out, config.digits)
    train_set, test_set = everything.only(config.digits), held_out.only(config.digits)
    base, n_images = replace(config, data=everything.name), len(train_set.images)
    announce_data(train_set.provenance, stands_in=train_set.stands_in)
    for corner, samplers in zip(corners, factories, strict=True):
        plan = plan_run(corner.resolved(n_images), samplers, images)
        if plan is not None:
            plan.check(corner)
    if dry_run:
        console.print("dry run: nothing was written")
        return
    options = asdict(base.resolved(n_images))
    plain = {key: str(v) if isinstance(v, Path) else v for key, v in options.items()}
    open_folder(
        out, {"images": images, "fingerprint": train_set.fingerprint, "vary": vary, **plain}
    )
    classifier = load_classifier(everything, held_out)
    scorer = ImageScorer(train_set.images, test_set.images, classifier, classes=config.digits)
    shared = TrialData(train_set, scorer, images, config.device)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    least = score in get_args(Least)
    study = optuna.create_study(direction="minimize" if least else "maximize")
    known = _replay(study, out, space, score)
    # a search that goes on asks for other values than at its start
    seed = np.random.SeedSequence([search_seed, known]).generate_state(1)
    study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]))
    for values in _unfinished(out, space):
        study.enqueue_trial(values)
    missing: set[str] = set()  # trials of this process that failed, or that another one computes
    failed = repeats = 0
    while (left := trials - known - len(missing)) > 0 and repeats < _REPEATS:
        asked = [study.ask(_distributions(optuna, space)) for _ in range(min(parallel, left))]
        names = [_name(trial.params) for trial in asked]
        cells = {
            name: (trial.params, base)
            for name, trial in zip(names, asked, strict=True)
            if name not in missing and not cell_path(out, name).is_file()
        }
        failed += compute_cells(
            out, cells, _trial, shared, cluster, lambda record: f"{score} {_score(record, score)}"
        )
        new = {name for name in cells if cell_path(out, name).is_file()}
        missing |= cells.keys() - new
        # of few values, Optuna asks for the same ones again
        repeats = 0 if cells else repeats + 1
        for name, trial in zip(names, asked, strict=True):
            value = _score(read(cell_path(out, name)), score) if name in new else None
            new.discard(name)  # what is asked for again counts once
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)
        known = _replay(study, out, space, score)
    _report(out, space, score, least)
    if repeats == _REPEATS:
        console.print(f"the search ended after {known} trials: it finds no other values")
    check_failures(failed, len(missing) + known)


@dataclass(frozen=True)
class Values:
    """Values of an option: a list of choices, or a range.

    Attributes:
        choices: the choices; empty for a range.
        low, high: ends of the range, both in it.
        log: whether the range is searched by the logarithm.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or both ends of the range."""
        return self.choices or (self.low, self.high)


def parse_space(vary: tuple[str, ...]) -> dict[str, Values]:
    """Return the values of each option to vary, by its name in Python.

    Raises:
        ValueError: a word is not OPTION=VALUES, there is no such option, all trials have its value
            in common, or a value is of another type.
    """
    types = get_type_hints(AssociativeConfig)
    shared = {"device", *(f.name for part in _SHARED for f in fields(part))}
    names = [field.name for field in fields(AssociativeConfig)]
    known = [n for n in names if n not in shared and get_origin(types[n]) is not tuple]
    space: dict[str, Values] = {}
    for word in vary:
        option, equals, text = word.partition("=")
        name = option.strip().removeprefix("--").replace("-", "_")
        if not equals or not text:
            raise ValueError(
                f"`vary` takes words as lr=3e-4..3e-3:log or width=32,48, got {word!r}"
            )
        one_of("vary", name, known)
        if name in space:
            raise ValueError(f"`vary` must name an option once, got {name} twice")
        low, dots, rest = text.partition("..")
        if dots:
            high, colon, scale = rest.partition(":")
            if colon and scale != "log":
                raise ValueError(f"`vary` takes :log behind a range, got {word!r}")
            ends = _value(name, low, types[name]), _value(name, high, types[name])
            if not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:
                raise ValueError(f"`vary` takes ranges from low to high, got {word!r}")
            if colon and ends[0] <= 0:
                raise ValueError(f"`vary` takes :log behind a range above 0, got {word!r}")
            space[name] = Values(low=ends[0], high=ends[1], log=bool(colon))
        else:
            space[name] = Values(tuple(_value(name, part, types[name]) for part in text.split(",")))
    return space


def _value(name: str, text: str, kind: Any) -> Any:
    """Return the value of an option that a text stands for: JSON, or the text itself."""
    found = parse_json(text.strip().lower() if text.strip() in ("True", "False") else text.strip())
    return of_type(name, text.strip() if found is None else found, kind)


def _corners(space: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """Yield values at which each option is at each of its ends."""
    first = {name: values.ends[0] for name, values in space.items()}
    for name, values in space.items():
        for end in values.ends:
            yield {**first, name: end}


def _optuna() -> Any:
    try:
        return import_module("optuna")
    except ImportError:
        raise RunError("a sweep needs the extra `sweep`: pip install 'qcaan[sweep]'") from None


def _distributions(optuna: Any, space: Mapping[str, Values]) -> dict[str, Any]:
    """Return Optuna's distributions of the values."""
    of = optuna.distributions
    return {
        name: of.CategoricalDistribution(values.choices) if values.choices
        else of.IntDistribution(values.low, values.high, log=values.log)
        if isinstance(values.low, int) and isinstance(values.high, int)
        else of.FloatDistribution(values.low, values.high, log=values.log)
        for name, values in space.items()
    }  # fmt: skip


def _name(values: Mapping[str, Any]) -> str:
    """Return the name of a trial's cell."""
    return " ".join(f"{name}={str(values[name]).replace('/', '_')}" for name in sorted(values))


def _trial(
    cell: tuple[dict[str, Any], AssociativeConfig], shared: TrialData, folder: Path, tell: Tell
) -> Record:
    """Train and score a trial, the values of its options and the configuration without them."""
    values, base = cell
    config = replace(base, **values).resolved(len(shared.train_set.images))
    return {"values": values, **train_and_score(config, shared, folder, tell)}


def _words(name: str, value: Any) -> str:
    """Return the words by which `qcaan train` takes the value of an option."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {shlex.quote(str(value))}"


def _score(record: Record, score: str) -> float | None:
    """Return the score of a trial; None if its training collapsed or it has no such score."""
    value = record.get(score)
    return None if value is None else float(value)


def _unfinished(out: Path, space: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """Yield the values of trials that were begun and not finished."""
    for path in sorted((out / "cells").glob("*/config.json")):
        record = parse_json(path.read_bytes())
        config = record.get("config") if isinstance(record, dict) else None
        if isinstance(config, dict) and not cell_path(out, path.parent.name).is_file():
            values = {name: config.get(name) for name in space}
            if None not in values.values() and _name(values) == path.parent.name:
                yield values


def _finished(out: Path, space: Mapping[str, Values]) -> Iterator[Record]:
    """Yield the records of finished trials.

    Raises:
        RunError: one of them is damaged.
    """
    for record in records(out):
        values = record.get("values")
        if not isinstance(values, dict) or values.keys() != space.keys():
            raise RunError(f"{out} is damaged: a record in it is not that of a trial")
        yield record


def _replay(study: Any, out: Path, space: Mapping[str, Values], score: str) -> int:
    """Tell a study the finished trials that it does not know, and return their number in all."""
    optuna = _optuna()
    known = [trial.params for trial in study.get_trials(deepcopy=False)]
    found = list(_finished(out, space))
    for record in found:
        value = _score(record, score)
        if record["values"] not in known and value is not None:
            study.add_trial(
                optuna.trial.create_trial(
                    params=record["values"],
                    distributions=_distributions(optuna, space),
                    value=value,
                )
            )
    return len(found)


def _report(out: Path, space: Mapping[str, Values], score: str, least: bool) -> None:
    """Write sweep.csv from all trials, the best first, and print the best."""
    with report_lock(out):
        found = [one for one in _finished(out, space) if _score(one, score) is not None]
        found.sort(key=lambda record: record[score], reverse=not least)
        scores = (*get_args(Least), *get_args(Greatest), "seconds")
        rows = [
            [*(record["values"][name] for name in space), *(record.get(name) for name in scores)]
            for record in found
        ]
        write_csv(out / "sweep.csv", [*space, *scores], rows)
    table = Table(*space, score, "seconds")
    for record in found[:_SHOWN]:
        shown = [f"{record['values'][name]:.4g}" if isinstance(record["values"][name], float)
                 else str(record["values"][name]) for name in space]  # fmt: skip
        table.add_row(*shown, f"{record[score]:.4g}", f"{record['seconds']:.0f}")
    console.print(table)
    if found:
        best = found[0]["values"]
        console.print(f"best: {' '.join(_words(name, best[name]) for name in space)}", markup=False)
    console.print(f"wrote {out / 'sweep.csv'}")
