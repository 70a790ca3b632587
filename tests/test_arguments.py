"""Arguments of commands: groups of options, help texts, presets, and errors in one sentence."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Literal

import pytest

from qcaan.commands.arguments import Presets, call, help_texts, option_groups
from qcaan.commands.main import COMMANDS
from qcaan.gans.associative.config import AssociativeConfig


@dataclass(frozen=True, kw_only=True)
class ToyRunOptions:
    """Options of the run."""

    epochs: int = 2
    """Number of epochs, which
    two lines describe."""


@dataclass(frozen=True, kw_only=True)
class ToyDataOptions:
    """Options of the data."""

    labels: tuple[int, ...] = (3, 7)
    """Labels to learn."""
    loss: Literal["bce", "wgan-gp"] = "bce"
    """Loss of the discriminator."""


@dataclass(frozen=True, kw_only=True)
class ToyConfig(ToyRunOptions, ToyDataOptions):
    """Configuration of a toy."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"`epochs` must be at least 1, got {self.epochs}")


TOYS = {"short": ToyConfig(), "long": ToyConfig(epochs=50, loss="wgan-gp")}
CALLS: list[dict[str, object]] = []


def command(
    config: ToyConfig = TOYS["short"],
    preset: Annotated[Literal["short", "long"], Presets(TOYS)] = "short",
    dry_run: bool = False,
) -> None:
    """Train a toy.

    This line is not in the help.

    Args:
        config: configuration of the toy.
        preset: Configuration that the defaults
            come from.
        dry_run: Check everything, and
            write nothing.
    """
    CALLS.append({"config": config, "preset": preset, "dry_run": dry_run})


# tyro draws its boxes in the characters of the console
on_any_console = pytest.mark.parametrize("encoding", ["utf-8", "ascii"])


def console_of(encoding: str) -> redirect_stdout[io.TextIOWrapper]:
    """Return a context in which the console has an encoding."""
    return redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding=encoding))


def called(*words: object) -> dict[str, object]:
    """Return the arguments that a command line of `command` gives."""
    CALLS.clear()
    call(command, [str(word) for word in words], "toy")
    (arguments,) = CALLS
    return arguments


def test_groups_have_the_names_of_their_classes_in_the_order_of_inheritance():
    assert list(option_groups(ToyConfig).items()) == [
        ("run", ToyRunOptions),
        ("data", ToyDataOptions),
    ]
    names = ["run", "data", "networks", "prior", "circuit", "device"]
    assert list(option_groups(AssociativeConfig)) == names


def test_help_texts_are_joined_to_one_line():
    assert help_texts(command) == {
        "preset": "Configuration that the defaults come from.",
        "dry_run": "Check everything, and write nothing.",
        "epochs": "Number of epochs, which two lines describe.",
        "labels": "Labels to learn.",
        "loss": "Loss of the discriminator.",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_are_phrases_with_a_full_stop(name):
    texts = help_texts(import_module(f"qcaan.commands.{COMMANDS[name][0]}").main)
    assert texts
    for option, text in texts.items():
        assert text and text[0].isupper() and text[-1] == ".", f"{option}: {text}"
        assert text.split()[0] not in ("Of", "What", "Whether"), f"{option}: {text}"


def test_options_of_every_group_make_the_configuration():
    assert called() == {"config": ToyConfig(), "preset": "short", "dry_run": False}
    words = ("--epochs", 3, "--labels", 1, 2, 5, "--loss", "wgan-gp", "--dry-run")
    config = ToyConfig(epochs=3, labels=(1, 2, 5), loss="wgan-gp")
    assert called(*words) == {"config": config, "preset": "short", "dry_run": True}


def test_a_preset_decides_the_defaults_and_options_replace_them():
    assert called("--preset", "long") == {
        "config": TOYS["long"],
        "preset": "long",
        "dry_run": False,
    }
    config = ToyConfig(epochs=7, loss="wgan-gp")
    for words in (("--preset", "long", "--epochs", 7), ("--epochs", 7, "--preset=long")):
        assert called(*words)["config"] == config


@on_any_console
def test_help_shows_the_groups_with_their_texts_and_the_defaults_of_the_preset(encoding):
    with console_of(encoding) as console, pytest.raises(SystemExit) as ended:
        call(command, ["--preset", "long", "--help"], "toy")
    assert ended.value.code == 0
    console.seek(0)
    printed = console.read()
    assert printed.startswith("usage: toy [-h] [OPTIONS]\n\nTrain a toy.\n")
    assert "This line" not in printed and "Configuration of a toy" not in printed
    places = [
        printed.index(text)
        for text in ("Options of the run.", "default: 50", "Options of the data.", "{bce,wgan-gp}")
    ]
    assert places == sorted(places)
    assert ("╭─ run options ─" in printed) == (encoding == "utf-8")
    assert printed.isascii() == (encoding == "ascii")


@on_any_console
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss", "hinge"], "unknown `loss` 'hinge'; choose from bce, wgan-gp"),
        (["--preset", "tall"], "unknown `preset` 'tall'; choose from short, long"),
        (["--epochs", "x"], "`epochs` cannot be read from 'x'"),
        (["--epochz", "3"], "Unrecognized options: --epochz, 3; perhaps you meant --epochs"),
        (["--epochs"], "`epochs` needs a value"),
        (["--labels"], "`labels` needs one or more values"),
        (["--labels", "--epochs", "3"], "`labels` needs one or more values"),
        (["--loss", ""], "`loss` must not be empty"),
        (["--batch-size="], "`batch_size` must not be empty"),
        ([""], "`argument` must not be empty"),
        (["digits"], "Unrecognized options: digits"),
        (["--epochs", "0"], "`epochs` must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_one_sentence_on_any_console(encoding, words, message):
    CALLS.clear()
    with console_of(encoding), pytest.raises(ValueError) as caught:
        call(command, words, "toy")
    assert str(caught.value) == message
    assert not CALLS


@on_any_console
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--bases", "z", "q"], "unknown `bases` 'q'; choose from z, o, t"),
        (["train", "--epochs", "x"], "`epochs` cannot be read from 'x'"),
        (["train", "--digits", "1", "x"], "`digits` cannot be read from '1 x'"),
        (["train", "--epochz", "3"], "--epochz, 3; perhaps you meant --epochs"),
        (["evaluate"], "path"),
    ],
)
def test_wrong_arguments_of_commands_are_one_sentence(encoding, words, message):
    place, _ = COMMANDS[words[0]]
    main = import_module(f"qcaan.commands.{place}").main
    with console_of(encoding), pytest.raises(ValueError) as caught:
        call(main, words[1:], f"qcaan {words[0]}")
    assert message.lower() in str(caught.value).lower()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--out", ""], "out"),
        (["--out", "   "], "out"),
        (["--out="], "out"),
        (["--epochs", "2", "--loss", "\t"], "loss"),
        ([""], "argument"),
    ],
)
def test_empty_values_are_refused(words, option):
    """An empty path would be the current folder."""
    with pytest.raises(ValueError, match=f"`{option}` must not be empty"):
        call(command, words, "toy")
