"""`qcaan samplers`: what is available, and why the rest is not."""

from __future__ import annotations

NAMES = (
    "exact",
    "aer-gpu",
    "aer-noise:ionq-aria",
    "aqt:noisy",
    "ionq:simulator",
    "ibm:fake_manila",
    "ionq:qpu.warp",
)


def test_it_tells_what_is_available_and_why_the_rest_is_not(call_script, ionq):
    result = call_script("samplers.py", "--names", *NAMES)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "needs a CUDA GPU" in text or "aer-gpu" in text
    assert "ionq:qpu.warp: ionq:qpu.warp is not available: " in text
    assert "2000" in text and "fake_guadalupe" in text and "open-sesame" not in text
    assert not ionq.jobs


def test_all_of_it_fits_80_columns_and_no_name_is_cut_off(call_script, ionq, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = call_script("samplers.py")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in result.stdout
    row = next(line for line in lines if "aer-noise:fake_guadalupe" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "aer-noise:fake_guadalupe", "16", "any", "any", "runs here"
    ]  # fmt: skip
    assert any("native gates" in line for line in lines)
    assert "aqt:ideal: r rxx rz" in result.stdout


def test_an_unknown_name_is_a_row_with_its_reason(call_script):
    result = call_script("samplers.py", "--names", "warp", "aer-noise:warp")
    assert result.returncode == 0
    text = " ".join(result.stdout.split())
    assert "warp: unknown `sampler` 'warp'; choose from exact, aer" in text
    assert "aer-noise:warp: unknown device 'warp'; choose from ionq-aria" in text
    assert "warp: unknown kind of sampler" in text
