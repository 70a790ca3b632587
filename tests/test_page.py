"""The page of a model in a real browser: its numbers are those of qcaan, and its controls work."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare
from toy_runs import make_run

import qcaan
from qcaan.circuits.statevector import all_probabilities
from qcaan.runs.directory import RunError
from qcaan.runs.pages import PAGE, page_of, write_page
from qcaan.runs.pretrained import pretrained_of

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium")
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
TSC = HERE / "node_modules" / ".bin" / "tsc"
needs_npm = pytest.mark.skipif(
    not AXE.is_file(), reason="needs the packages of tests/package.json: npm install --prefix tests"
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tabs(browser):
    """Two tabs: a new one takes three times as long as its page."""
    tabs = [browser.new_page() for _ in range(2)]
    for tab in tabs:
        tab.set_default_timeout(20_000)
    return tabs


@pytest.fixture
def show(tabs):
    """A function that opens a page; at the end no page has complained or asked for anything."""
    free, addresses, complaints = list(tabs), [], []

    def asked(request):
        own = request.url.split("#")[0] in addresses
        if not (own or request.url.startswith(("data:", "blob:"))):
            complaints.append(request.url)

    listeners = {
        "console": lambda message: complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
        "request": asked,
    }

    def show(url: str | Path, *, width: int = 1280, scheme: str = "light"):
        address = url.as_uri() if isinstance(url, Path) else url
        addresses.append(address.split("#")[0])
        page = free.pop(0)
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.mouse.move(0, 0)
        for event, listener in listeners.items():
            page.on(event, listener)
        page.goto(address)
        wait_until(page, "Boolean(window.qcaan)")
        return page

    yield show
    for page in tabs:
        for event, listener in listeners.items():
            if page not in free:
                page.remove_listener(event, listener)
        # an address that differs only after # would not load the page again
        page.goto("about:blank")
    assert not complaints


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """The page of the model that ships."""
    model = qcaan.from_pretrained("mnist-379", device="cpu")
    return write_page(model, tmp_path_factory.mktemp("page") / "shipped")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A run of three qubits and one of the label, in all bases, and its page."""
    folder = tmp_path_factory.mktemp("toy")
    run = make_run(folder / "run", bases=("z", "o", "t"))
    return run, write_page(run, folder / "page")


def page_of_run(tmp_path: Path, **options):
    run = make_run(tmp_path / "run", **options)
    return run, write_page(run, tmp_path / "page")


def wait_until(page, condition: str) -> None:
    """Wait for an expression; the page's policy forbids what `wait_for_function` does."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{condition} did not come true")


def text(page, name: str) -> str:
    return page.locator(f"#{name}").text_content()


def pixels(page, name: str) -> np.ndarray:
    """The pixels uint8 [height, width, 4] of a canvas."""
    address = page.evaluate("name => document.getElementById(name).toDataURL()", name)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGBA"))


def differ(*pictures: np.ndarray) -> bool:
    return all(not np.array_equal(one, other) for one, other in combinations(pictures, 2))


def shown_bits(page) -> list[int]:
    return page.evaluate("Array.from(document.querySelectorAll('.bit'), (n) => +n.dataset.bit)")


class TestNumbers:
    @pytest.mark.parametrize(
        ("ansatz", "n_layers"), [("ion-trap", 4), ("ion-trap", 3), ("seed", 2), ("ry-rx", 2),
                                 ("hardware-efficient", 1)]
    )  # fmt: skip
    def test_probabilities_are_those_of_the_exact_engine(self, show, tmp_path, ansatz, n_layers):
        run, path = page_of_run(
            tmp_path, bases=("z", "o", "t"), ansatz=ansatz, n_layers=n_layers, fit_evals=80
        )
        page, born = show(path), run.gan.prior.born
        theta = np.random.default_rng(0).uniform(-7, 7, (50, born.n_params))
        wanted = all_probabilities(born.ansatz, theta, born.bases, born.z_qubits)
        found = page.evaluate(
            "([angles, bases]) => angles.map((theta) => bases.map("
            "(basis) => Array.from(qcaan.probabilities(theta, basis))))",
            [theta.tolist(), list(born.bases)],
        )
        np.testing.assert_allclose(found, wanted, atol=1e-9)

    def test_the_circuit_that_ships_is_as_near_to_its_target_as_recorded(self, show, shipped):
        page = show(shipped)
        scores = qcaan.from_pretrained("mnist-379").scores["prior"]
        assert float(text(page, "kl")) == pytest.approx(scores["kl"], abs=6e-4)
        assert float(text(page, "kl-product")) == pytest.approx(scores["kl_product"], abs=6e-4)

    def test_images_are_those_of_torch(self, show, shipped):
        gan, page = qcaan.from_pretrained("mnist-379", device="cpu").gan, show(shipped)
        bits = np.random.default_rng(0).integers(0, 2, (50, gan.prior.dim))
        wanted = gan.draw(torch.from_numpy(2 * bits - 1))
        found = page.evaluate("codes => codes.map((bits) => qcaan.draw(bits))", bits.tolist())
        np.testing.assert_allclose(found, wanted.flatten(1), atol=2e-3)

    @pytest.mark.parametrize("bases", [("z",), ("z", "o")])
    def test_images_in_colour_are_those_of_torch(self, show, tmp_path, bases):
        run, path = page_of_run(tmp_path, image_shape=(3, 32, 32), bases=bases)
        page, gan = show(path), run.gan
        bits = np.random.default_rng(0).integers(0, 2, (5, gan.prior.dim))
        wanted = gan.draw(torch.from_numpy(2 * bits - 1))
        found = page.evaluate("codes => codes.map((bits) => qcaan.draw(bits))", bits.tolist())
        np.testing.assert_allclose(found, wanted.flatten(1), atol=2e-3)

    def test_shots_follow_the_distribution(self, show, toy):
        run, path = toy
        page = show(f"{path.as_uri()}#seed=5")
        n, prior = 3000, run.gan.prior
        shots = page.evaluate(
            """(n) => Array.from({ length: n }, () => {
              document.getElementById("measure").click();
              const label = document.querySelector("#labels input:checked").value;
              const bits = document.querySelectorAll(".bit");
              return [Number(label), ...Array.from(bits, (node) => Number(node.dataset.bit))];
            })""",
            n,
        )
        bits = torch.tensor(shots)
        for b, probs in enumerate(prior.all_probabilities()):
            columns = bits[:, [0, *range(1 + 3 * b, 4 + 3 * b)]]
            counts = torch.bincount((columns << torch.arange(4)).sum(1), minlength=16).numpy()
            given = probs.view(8, 2)
            # the label is that of the first basis, and the rest is drawn beside it
            shares = prior.all_probabilities()[0].view(8, 2).sum(0)
            wanted = (given / given.sum(0) * shares).flatten().numpy() * n
            many = wanted > 5
            found, expected = (
                np.append(values[many], values[~many].sum()) for values in (counts, wanted)
            )
            kept = expected > 0
            assert found[~kept].sum() == 0
            assert chisquare(found[kept], expected[kept]).pvalue > 1e-3
        assert text(page, "shots") == "3000 shots measured"


class TestControls:
    def test_a_toggle_flips_its_bit_and_the_image(self, show, shipped):
        page = show(f"{shipped.as_uri()}#dither=0&bits={'0' * 18}")
        assert page.locator(".bit").count() == 16 and page.locator(".row").count() == 2
        before = pixels(page, "digit")
        toggle = page.get_by_role("button", name="qubit 3, basis o")
        toggle.press("Enter")
        assert toggle.get_attribute("aria-pressed") == "true"
        assert shown_bits(page) == [*[0] * 11, 1, *[0] * 4]
        after = pixels(page, "digit")
        assert differ(before, after)
        drawn = page.evaluate("qcaan.draw([...Array(13).fill(0), 1, 0, 0, 0, 0])")
        np.testing.assert_allclose(after[..., 0].flatten(), 127.5 * (1 + np.array(drawn)), atol=1)
        page.get_by_label("7", exact=True).check()
        assert differ(before, after, pixels(page, "digit"))

    def test_dither_and_new_noise_change_the_image(self, show, shipped):
        page = show(shipped)
        images = [pixels(page, "digit")]
        page.locator("#noise").click()
        images.append(pixels(page, "digit"))
        page.locator("#dither").fill("0")
        assert text(page, "dither-value") == "0.00"
        images.append(pixels(page, "digit"))
        page.locator("#noise").click()
        assert np.array_equal(pixels(page, "digit"), images[2])
        assert differ(*images)

    def test_the_circuit_is_turned(self, show, shipped):
        page = show(shipped)
        trained = float(text(page, "kl"))
        page.get_by_role("button", name="Product of marginals").click()
        product = float(text(page, "kl"))
        assert product == pytest.approx(float(text(page, "kl-product")), abs=0.02)
        page.locator("#mixture").fill("0.8")
        assert trained < float(text(page, "kl")) != product
        page.locator("#mixture").fill("1")
        assert float(text(page, "kl")) == pytest.approx(trained, abs=1e-3)
        for name in ("Uniform", "Random"):
            page.get_by_role("button", name=name).click()
            assert float(text(page, "kl")) > product
        probs = page.evaluate(
            "(document.getElementById('uniform').click(), qcaan.model.circuit.bases.map("
            "(basis) => document.querySelector('#given').textContent))"
        )
        assert "33" in probs[0] or "25" in probs[0]
        page.get_by_role("button", name="Trained").click()
        assert float(text(page, "kl")) == trained

    def test_a_knob_is_turned_by_the_keyboard_and_by_dragging(self, show, shipped):
        page = show(shipped)
        knobs = page.locator(".knob")
        assert knobs.count() == page.evaluate("qcaan.model.circuit.nParams")
        # one stop of the tab key for each layer
        assert page.locator(".knob[tabindex='0']").count() == 7
        knobs.first.focus()
        page.keyboard.press("ArrowDown")
        assert text(page, "angle-name") == "RX, label 1, layer 1"
        before = text(page, "angle-value"), text(page, "kl")
        page.locator("#angle").press("ArrowRight")
        assert text(page, "angle-value") != before[0]
        second = knobs.nth(1)
        label, kl = second.get_attribute("aria-label"), text(page, "kl")
        box = second.bounding_box()
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.down()
        page.mouse.move(box["x"] + 10, box["y"] - 30, steps=4)
        page.mouse.up()
        assert second.get_attribute("aria-label") != label and text(page, "kl") != kl

    def test_measuring_and_asking_for_a_digit(self, show, shipped):
        page = show(shipped)
        page.get_by_role("button", name="Draw a 7").click()
        assert page.get_by_label("7", exact=True).is_checked()
        assert text(page, "shots") == "1 shot measured"
        measure = page.locator("#measure").bounding_box()
        page.mouse.move(measure["x"] + 5, measure["y"] + 5)
        page.mouse.down()
        wait_until(page, "parseInt(document.getElementById('shots').textContent) > 4")
        page.mouse.up()
        shots = text(page, "shots")
        page.wait_for_timeout(300)
        assert text(page, "shots") == shots
        wait_until(page, "!document.querySelector('.drop')")

    def test_the_grid_shows_fresh_samples_and_follows_the_circuit(self, show, shipped):
        page = show(shipped)

        def settled() -> np.ndarray:
            last, now = None, pixels(page, "grid")
            while last is None or differ(last, now):
                page.wait_for_timeout(600)
                last, now = now, pixels(page, "grid")
            return now

        first = settled()
        page.locator("#refresh").click()
        second = settled()
        page.get_by_role("button", name="Random").click()
        third = settled()
        page.locator("#prior").select_option("codes")
        fourth = settled()
        assert differ(first, second, third, fourth)

    def test_digits_are_written_and_saved(self, show, shipped, tmp_path):
        page = show(shipped)
        page.locator("#text").fill("3 7 9 9")
        page.locator("#text").press("Enter")
        assert "4 samples, each asked for by its label" in text(page, "written")
        assert 11 <= int(re.search(r"about (\d+) shots", text(page, "written"))[1]) <= 14
        strip = pixels(page, "strip")
        assert strip.shape == (28, 112, 4)
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "digits.png")
        with Image.open(tmp_path / "digits.png") as picture:
            assert np.array_equal(np.asarray(picture.convert("RGBA")), strip)
        page.locator("#prior").select_option("codes")
        page.get_by_role("button", name="Write them").click()
        assert text(page, "written") == "4 samples, each asked for by its label."
        page.locator("#text").fill("38")
        page.locator("#text").press("Enter")
        assert text(page, "written") == "Type some of 3, 7, 9."

    def test_the_epochs_are_watched(self, show, toy):
        _, path = toy
        page = show(path)
        assert text(page, "epoch-value") == "1"
        assert page.evaluate("document.getElementById('epoch-picture').naturalWidth") > 100

    def test_a_link_shows_the_same(self, show, shipped):
        page = show(shipped)
        page.get_by_role("button", name="Draw a 3").click()
        page.get_by_role("button", name="Random").click()
        page.locator("#dither").fill("0.5")
        wait_until(page, "location.hash.includes('angles')")
        page.wait_for_timeout(500)
        other = show(page.url)
        assert shown_bits(other) == shown_bits(page)
        assert np.array_equal(pixels(other, "digit"), pixels(page, "digit"))
        assert float(text(other, "kl")) == pytest.approx(float(text(page, "kl")), abs=0.01)

    @pytest.mark.parametrize(
        "address", ["#bits=12&dither=9&seed=-3&prior=x&angles=%%%", "#angles=AAAA&row=1e9&bits"]
    )
    def test_a_malformed_link_shows_the_page_as_it_is(self, show, shipped, address):
        page = show(shipped.as_uri() + address)
        assert text(page, "dither-value") == "1.40"
        page.get_by_role("button", name="Measure a shot").click()


class TestOtherModels:
    @pytest.mark.parametrize(
        "options",
        [
            {"prior": "gaussian", "latent_dim": 5},
            {"prior": "rbm", "latent_dim": 4},
            {"prior": "iqp", "n_qubits": 5, "reach": 2, "fit_evals": 5},
            {"prior": "product", "noise_dims": 2, "dither": 0.1},
        ],
    )
    def test_a_prior_without_a_circuit_is_drawn_from_its_samples(self, show, tmp_path, options):
        run = make_run(tmp_path / "run", **options)
        run.gan.average.module.net[-2].weight.mul_(1000)  # untrained, it would draw grey
        page = show(write_page(run, tmp_path / "page"))
        assert page.locator("#circuit-view").is_hidden()
        assert run.gan.config.prior in text(page, "no-circuit")
        seen = set()
        for _ in range(6):
            page.get_by_role("button", name="Draw a 7").click()
            seen.add(pixels(page, "digit").tobytes())
        assert len(seen) > 1
        page.locator("#text").fill("37")
        page.locator("#text").press("Enter")
        assert text(page, "written") == "2 samples, each asked for by its label."

    def test_a_run_without_labels_chooses_among_shots(
        self, show, tmp_path, cache_home, monkeypatch
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
        # what an untrained generator draws is read as an 8
        run = make_run(tmp_path / "run", data_root=None, prompt=False, digits=(3, 8))
        run.gan.average.module.net[-2].weight.mul_(1000)
        page = show(write_page(run, tmp_path / "page"))
        assert page.locator("#labels").is_hidden()
        assert page.evaluate("qcaan.model.classes") == [8]
        page.locator("#text").fill("8")
        page.locator("#text").press("Enter")
        assert "1 sample, chosen among 2000 shots by what a classifier reads" in text(
            page, "written"
        )
        page.get_by_role("button", name="Measure a shot").click()
        assert text(page, "shots") == "1 shot measured"

    def test_a_run_without_labels_writes_nothing_if_its_data_are_away(self, show, tmp_path):
        _, path = page_of_run(tmp_path, data="mnist", prompt=False)
        page = show(path)
        assert page.locator("#write-view").is_hidden()

    def test_a_run_of_too_many_qubits_shows_no_circuit(self, show, tmp_path):
        _, path = page_of_run(tmp_path, n_qubits=12, n_layers=1, fit_evals=20)
        page = show(path)
        assert "of up to 12 qubits" in text(page, "no-circuit")
        page.locator("#measure").click()


class TestPage:
    def test_it_is_one_small_file_that_a_host_serves_too(self, show, shipped, httpserver):
        assert [path.name for path in shipped.parent.iterdir()] == [PAGE]
        assert shipped.stat().st_size < 3_000_000
        served = httpserver.expect_request("/p/")
        served.respond_with_data(shipped.read_text(), content_type="text/html")
        page = show(httpserver.url_for("/p/"))
        page.get_by_role("button", name="Measure a shot").click()
        assert [request.path for request, _ in httpserver.log] == ["/p/"]

    @needs_npm
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 768, 1280])
    def test_it_is_accessible(self, show, toy, width, scheme):
        page = show(toy[1], width=width, scheme=scheme)
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run().then((result) => result.violations)")
        serious = [
            (one["id"], one["nodes"][0]["html"])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert not serious
        # nothing is wider than the screen
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_it_works_with_the_keyboard_alone_and_nothing_jumps(self, show, shipped):
        page = show(shipped)
        # on a slow machine the page is painted before its script has built it
        slow = page.context.new_cdp_session(page)
        slow.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        try:
            page.reload()
            wait_until(page, "Boolean(window.qcaan)")
        finally:
            slow.send("Emulation.setCPUThrottlingRate", {"rate": 1})
            slow.detach()
        page.evaluate(
            "window.shifts = 0; new PerformanceObserver((list) => { for (const entry of "
            "list.getEntries()) window.shifts += entry.value; })"
            ".observe({ type: 'layout-shift', buffered: true })"
        )
        names = []
        for _ in range(60):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate("(({ id, className }) => id || className)(document.activeElement)")
            )
        wanted = "bit dither prior measure refresh trained mixture angle diagram knob text"
        assert set(wanted.split()) <= set(names)
        page.locator("#measure").press("Enter")
        page.get_by_role("button", name="Random").press("Enter")
        page.locator("#text").press("Enter")
        page.wait_for_timeout(300)
        assert page.evaluate("window.shifts") < 0.02

    @needs_npm
    def test_the_types_of_the_source_are_right(self):
        result = subprocess.run(
            [TSC, "--project", HERE / "tsconfig.json"], capture_output=True, text=True, timeout=120
        )
        assert (result.returncode, result.stdout) == (0, "")


class TestHostileRuns:
    def test_a_name_is_text(self, show, tmp_path):
        run = make_run(tmp_path / "run")
        path = run.directory.path / "config.json"
        record = json.loads(path.read_text())
        name = "<script>document.title='owned'</script><img src=x onerror=alert(1)>{{model}}"
        record["data"]["name"] = name
        path.write_text(json.dumps(record))
        page = show(write_page(qcaan.load_run(run.directory.path), tmp_path / "page"))
        assert page.title() != "owned" and page.locator("img").count() == 1
        assert "{{model}}" in page.locator("h1").text_content()

    def test_huge_angles_are_angles(self, show, tmp_path):
        run = make_run(tmp_path / "run")
        run.gan.prior.theta += 2e4 * np.pi
        page = show(write_page(run, tmp_path / "page"))
        kl = run.gan.prior.distances(pretrained_of(run).latent_bits)["kl"]
        assert float(text(page, "kl")) == pytest.approx(kl, abs=0.01)

    def test_pictures_that_are_none_of_epochs_are_left_out(self, tmp_path, caplog):
        run = make_run(tmp_path / "run")
        samples = run.directory.path / "samples"
        (samples / "epoch_final.png").write_text("")
        (samples / "epoch_0002.png").write_bytes((samples / "epoch_0001.png").read_bytes()[:99])
        page = page_of(run)
        assert page.count('"picture":') == 1 and "the page leaves out" in caplog.text

    @pytest.mark.parametrize("part", ["average.module.net.0.weight", "prior.theta"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_not_finite_is_refused(self, tmp_path, part, value):
        run = make_run(tmp_path / "run")
        run.gan.state_dict()[part].view(-1)[0] = value
        with pytest.raises(RunError, match="is not finite"):
            page_of(run)
        assert not (tmp_path / "page").exists()


class TestCommand:
    def test_it_writes_the_page_of_a_run_and_of_a_model(self, call_script, toy, tmp_path):
        run, _ = toy
        made = call_script("page.py", run.directory.path, "--out", tmp_path / "run")
        assert made.returncode == 0 and "open it in a browser" in made.stdout, made.stderr
        made = call_script("page.py", "--pretrained", "mnist-379", "--out", tmp_path / "model")
        assert made.returncode == 0 and (tmp_path / "model" / PAGE).is_file()
        dry = ("--pretrained", "mnist-379", "--out", tmp_path / "none", "--dry-run")
        assert call_script("page.py", *dry).returncode == 0 and not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--out", "page"), "name either the directory of a run, or a model by --pretrained"),
            (("--out", ".", "--pretrained", "mnist-379"), "has something in it; name a new folder"),
            (("nowhere", "--out", "page"), "nowhere"),
            (("--out", "mine.txt", "--pretrained", "mnist-379"), "is not a folder to write into"),
        ],
    )
    def test_mistakes_are_one_sentence(self, call_script, tmp_path, monkeypatch, options, message):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.txt").write_text("years of work")
        result = call_script("page.py", *options)
        assert result.returncode == 2 and message in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
