"""Cells of a comparison on a Ray cluster of two nodes, one of which is lost."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace

import pytest

import qcaan
from qcaan.data.images import load_splits
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.metrics.classifier import load_classifier
from qcaan.metrics.images import ImageScorer
from qcaan.runs import cluster
from qcaan.runs.cluster import ClusterOptions, Failed, compute
from qcaan.runs.directory import RunError
from qcaan.runs.trials import TrialData, train_and_score

DIGITS = (3, 7)
BASE = AssociativeConfig(
    digits=DIGITS, data="digits8x8", epochs=3, steps_per_epoch=20, batch_size=16, width=4,
    device="cpu", prior="product",
)  # fmt: skip
CELLS = {f"seed {seed}": replace(BASE, seed=seed) for seed in range(3)}


@pytest.fixture(scope="module")
def shared(cache_home) -> TrialData:
    splits = load_splits("digits8x8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        classifier = load_classifier(*splits)
    train, test = (part.only(DIGITS) for part in splits)
    scorer = ImageScorer(train.images, test.images, classifier, classes=DIGITS)
    return TrialData(train, scorer, 50, "cpu")


def without_seconds(record):
    return {key: value for key, value in record.items() if not key.endswith("seconds")}


@pytest.fixture(scope="module")
def serial(shared, tmp_path_factory):
    """The records of all cells, computed here one after the other."""
    told = []
    found = dict(
        compute(
            train_and_score, shared, CELLS.items(), tmp_path_factory.mktemp("serial"),
            ClusterOptions(), lambda *note: told.append(note),
        )
    )  # fmt: skip
    assert ("seed 2", "epoch 3 of 3") in told
    return {name: without_seconds(record) for name, record in found.items()}


@pytest.fixture
def nodes(monkeypatch):
    """A cluster whose head computes nothing, and two nodes of one CPU."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "4")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    two = [found.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=found.address, log_to_driver=False, logging_level="error")
    yield found, two
    ray.shutdown()
    found.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")
class TestRay:
    def test_a_node_is_lost_a_cell_fails_and_all_others_arrive_as_they_would_here(
        self, nodes, shared, serial, tmp_path
    ):
        found, two = nodes
        for too_much in ({"cpus_per_run": 2}, {"gpus_per_run": 0.5}):
            options = ClusterOptions(ray=found.address, **too_much)
            with pytest.raises(RunError, match="no node of the Ray cluster has"):
                list(compute(train_and_score, shared, {}, tmp_path, options, lambda *_: None))
        (tmp_path / "lost").mkdir()
        (tmp_path / "lost" / "mine.txt").write_text("years of work")
        cells = {"lost": BASE, **CELLS}
        records = {}

        def tell(name: str, text: str) -> None:
            if name in CELLS and len(found.list_all_nodes()) == 3:
                found.remove_node(two[0], allow_graceful=False)

        options = ClusterOptions(ray=found.address)
        for name, record in compute(
            train_and_score, shared, cells.items(), tmp_path, options, tell
        ):
            assert name not in records
            records[name] = record
        assert len(found.list_all_nodes()) == 2
        lost = records.pop("lost")
        assert isinstance(lost, Failed) and "holds something else than a run" in lost.why
        assert {name: without_seconds(record) for name, record in records.items()} == serial
        for name in CELLS:
            log = (tmp_path / name / "log.jsonl").read_text().splitlines()
            assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3]


def test_a_worker_that_does_not_see_the_folder_sends_its_files(
    shared, serial, tmp_path, monkeypatch
):
    class Notes:
        class tell:
            remote = staticmethod(lambda *_: None)

    pytest.importorskip("ray")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    token = "mark", "qcaan-own"
    arguments = (CELLS["seed 0"], shared, tmp_path / "out", "seed 0", token, Notes, 1)
    record, files = cluster._remote_cell(train_and_score, *arguments)
    assert without_seconds(record) == serial["seed 0"]
    assert {"config.json", "checkpoint.pt", "log.jsonl", "samples/drawn.png"} <= set(files)
    assert not list(tmp_path.rglob("*.*")) and not list((tmp_path / "temporary").iterdir())
    for path, content in files.items():
        cluster._write(tmp_path / "out" / path, content)
    assert qcaan.load_run(tmp_path / "out").gan.epoch == 3


def test_a_cell_goes_on_after_its_last_epoch(shared, serial, tmp_path):
    config = CELLS["seed 0"]
    train_and_score(replace(config, epochs=2), shared, tmp_path / "run", lambda _: None)
    told = []
    record = train_and_score(config, shared, tmp_path / "run", told.append)
    assert told == ["epoch 3 of 3", "scoring"]
    assert without_seconds(record) == serial["seed 0"]


def test_a_cell_that_fails_here_does_not_end_the_others(shared, serial, tmp_path):
    cells = {"seed 0": replace(BASE, seed=0, lr=0.99999), "seed 1": CELLS["seed 1"]}
    (tmp_path / "seed 0").write_text("in the way")
    found = dict(
        compute(train_and_score, shared, cells.items(), tmp_path, ClusterOptions(), lambda *_: None)
    )
    assert isinstance(found["seed 0"], Failed) and "seed 0" in found["seed 0"].why
    assert without_seconds(found["seed 1"]) == serial["seed 1"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "nowhere.invalid:6379"])
def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path, address):
    pytest.importorskip("ray")
    with pytest.raises(RunError, match=f"no Ray cluster answers at {address}: "):
        list(compute(train_and_score, None, {}, tmp_path, ClusterOptions(ray=address), print))


def test_without_the_extra_a_sentence_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        RunError, match=r"needs the extra `cluster`: pip install 'qcaan\[cluster\]'"
    ):
        list(compute(train_and_score, None, {}, tmp_path, ClusterOptions(ray="auto"), print))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus_per_run": 0}, "`cpus_per_run` must be at least 1"),
        ({"gpus_per_run": -1.0}, "`gpus_per_run` must be"),
        ({"gpus_per_run": 0.1}, "`gpus_per_run` is for cells on a cluster, and needs `ray`"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClusterOptions(**options)
