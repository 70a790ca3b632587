"""The arguments of a command: options in groups, and errors in one sentence."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import docstring_parser
import tyro

from qcaan.checks import of_type, shown


@dataclasses.dataclass(frozen=True, eq=False)
class Presets:
    """Mark of an option whose value decides the defaults of the options of `config`.

    `preset: Annotated[PresetName, Presets(PRESETS)] = "tuned"` is such an option.

    Attributes:
        configs: configuration that the defaults come from, for each value of the option.
    """

    configs: Mapping[Any, Any]


def call(command: Callable[..., None], arguments: Sequence[str], prog: str) -> None:
    """Call a command with the arguments of a command line.

    A parameter `config` that is a dataclass becomes one group of options for each class that it
    inherits from, in that order; the class's docstring is the text of the group. Help texts are
    the docstrings of fields, and the Args of the command. The defaults are those of the parameter,
    or of the configuration that an option marked by `Presets` names.

    Args:
        command: function whose parameters are the options.
        arguments: words of the command line after the command's name.
        prog: name of the command in its help text.

    Raises:
        ValueError: the arguments are not those of the command; the message is one sentence.
        SystemExit: help was asked for and printed.
    """
    _check_words(arguments)
    printed, errors = _Captured(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            options = tyro.cli(
                _options_class(command, arguments),
                args=list(arguments),
                prog=prog,
                description=_description(command),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as ended:
        if not ended.code:
            print(_with_wrapped_usage(printed.getvalue()), end="")
            raise
        raise ValueError(_sentence(errors.getvalue(), arguments)) from None
    sys.stderr.write(errors.getvalue())
    command(**_keyword_arguments(command, options, arguments))


class _Captured(io.TextIOWrapper):
    """Captures text that is formatted as for the console."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding=sys.stdout.encoding or "utf-8")
        self._is_console = sys.stdout.isatty()

    def isatty(self) -> bool:
        return self._is_console

    def getvalue(self) -> str:
        """Return the captured text."""
        self.flush()
        return self._bytes.getvalue().decode(self.encoding)


def _with_wrapped_usage(text: str) -> str:
    """Return a help page with its first line wrapped, which tyro leaves as long as it is."""
    usage, _, rest = text.partition("\n")
    width = shutil.get_terminal_size().columns
    lines = textwrap.wrap(usage, width, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines) + "\n" + rest


def option_groups(config_class: type[Any]) -> dict[str, type[Any]]:
    """Return the classes of a configuration's options by the names of their groups.

    The group of `AssociativeRunOptions` is named run.
    """
    names = [
        re.findall("[A-Z][a-z]+", group.__name__.removesuffix("Options"))[-1].lower()
        for group in config_class.__bases__
    ]
    return dict(zip(names, config_class.__bases__, strict=True))


def help_texts(command: Callable[..., None]) -> dict[str, str]:
    """Return the help text of every option of a command, by the option's name in Python."""
    texts = _help_texts(command)
    if (config := _parameters(command).get("config")) is not None:
        del texts["config"]
        for group in option_groups(config.annotation).values():
            texts |= _help_texts(group)
    return texts


def _options_class(command: Callable[..., None], arguments: Sequence[str]) -> type[Any]:
    """Return a dataclass of the command's own options and, one each, of its groups of options."""
    helps = _help_texts(command)
    fields: list[tuple[str, Any, Any]] = []
    parameters = _parameters(command)
    for name, parameter in parameters.items():
        if name != "config":
            default = parameter.default
            if default is inspect.Parameter.empty:
                default = dataclasses.MISSING
            fields.append(_option(name, parameter.annotation, default, helps))
    if (config := parameters.get("config")) is not None:
        defaults = _chosen_preset(parameters, arguments) or config.default
        for name, group in option_groups(config.annotation).items():
            values = _group_class(group, defaults)
            fields.append((name, values, dataclasses.field(default_factory=values)))
    return dataclasses.make_dataclass("Options", fields, kw_only=True)


def _chosen_preset(
    parameters: Mapping[str, inspect.Parameter], arguments: Sequence[str]
) -> Any | None:
    """Return the configuration that an option marked by `Presets` names; None if there is none."""
    for name, parameter in parameters.items():
        for mark in typing.get_args(parameter.annotation):
            if isinstance(mark, Presets):
                parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
                flag = f"--{name.replace('_', '-')}"
                parser.add_argument(flag, dest="chosen", nargs="?", default=parameter.default)
                # tyro refuses a value that is not among the choices
                return mark.configs.get(parser.parse_known_args(arguments)[0].chosen)
    return None


def _group_class(group: type[Any], defaults: Any) -> type[Any]:
    """Return a dataclass of a group's fields, unchecked, with help texts that tyro can wrap."""
    helps, hints = _help_texts(group), typing.get_type_hints(group, include_extras=True)
    fields = [
        _option(field.name, hints[field.name], getattr(defaults, field.name), helps)
        for field in dataclasses.fields(group)
    ]
    namespace = {"__doc__": docstring_parser.parse(group.__doc__ or "").short_description}
    return dataclasses.make_dataclass(group.__name__, fields, namespace=namespace, kw_only=True)


def _option(name: str, kind: Any, default: Any, helps: dict[str, str]) -> tuple[str, Any, Any]:
    # a default of None is told by the help text
    hint = "" if default is None else None
    marks: list[Any] = [tyro.conf.arg(help=helps[name], help_behavior_hint=hint)]
    if default is False:  # a --no-... would say nothing
        marks.append(tyro.conf.FlagCreatePairsOff)
    return name, Annotated[kind, *marks], dataclasses.field(default=default)


def _description(command: Callable[..., None]) -> str:
    """Return the first line of a command's docstring."""
    return docstring_parser.parse(command.__doc__ or "").short_description or ""


def _help_texts(documented: Any) -> dict[str, str]:
    """Return the texts of a function's arguments, or of a class's fields, each on one line."""
    texts: dict[str, str] = {}
    for part in inspect.getmro(documented)[-2::-1] if inspect.isclass(documented) else [documented]:
        for parameter in docstring_parser.parse_from_object(part).params:
            texts[parameter.arg_name] = " ".join((parameter.description or "").split())
    return texts


def _parameters(command: Callable[..., None]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(command, eval_str=True).parameters


def _check_words(words: Sequence[str]) -> None:
    """Check that no word is empty, and that no option's value is.

    Raises:
        ValueError: one is.
    """
    for before, word in itertools.pairwise(["", *words]):
        option, equals, value = (
            word.partition("=") if word.startswith("--") else (before, "=", word)
        )
        if equals and not value.strip():
            name = _name(option.removeprefix("--")) if option.startswith("--") else "argument"
            raise ValueError(f"`{name}` must not be empty")


def _keyword_arguments(
    command: Callable[..., None], options: Any, words: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments of a command for the values of its options.

    Raises:
        ValueError: an option that takes several values was given none, or a value is out of range.
    """
    parameters = _parameters(command)
    arguments = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    config, values = parameters.get("config"), dict[str, Any]()
    if config is not None:
        for name in option_groups(config.annotation):
            values |= vars(arguments.pop(name))
    for name, value in {**arguments, **values}.items():
        if value == () and f"--{name.replace('_', '-')}" in words:
            raise ValueError(f"`{name}` needs one or more values")
    arguments = {
        name: of_type(name, value, parameters[name].annotation) for name, value in arguments.items()
    }
    return arguments if config is None else {**arguments, "config": config.annotation(**values)}


def _sentence(box: str, words: Sequence[str]) -> str:
    """Return tyro's error, a box of lines in Unicode or ASCII, as one sentence about the words."""
    lines = [re.sub("[│╭╮╰╯─]", " ", line).strip() for line in box.splitlines()]
    # the first line is a title; empty lines and rules separate what follows
    sections = re.split(r"\n(?:-{3,})?(?=\n|$)", "\n".join(lines[1:]).strip("-\n") + "\n")
    first, *others = [" ".join(section.split()) for section in sections if section.strip()]
    if choice := re.search(r"invalid choice '(.*)' for argument '--(.*)'.*one of \((.*)\)", first):
        value, option, allowed = choice.groups()
        return f"unknown `{_name(option)}` {value!r}; choose from {allowed.replace(chr(39), '')}"
    if wrong := re.search(r"Error parsing --(\S+):", first):
        given = _values_of(f"--{wrong[1]}", words)
        return f"`{_name(wrong[1])}` cannot be read from {shown(' '.join(given))}"
    if missing := re.search(r"Missing value for argument '(?:--)?(\S+)'", first):
        return f"`{_name(missing[1])}` needs a value"
    if missing := re.search(r"Missing from .*?: (\S+) (.*?) ?\(required\)", first):
        return f"{missing[1]} is missing: {missing[2]}"
    if guess := re.search(r"Perhaps you meant: (--\S+)", " ".join(others)):
        first += f"; perhaps you meant {guess[1]}"
    return first


def _values_of(flag: str, words: Sequence[str]) -> list[str]:
    """Return the values that a command line gives an option the last time that it is named."""
    last = max(i for i, word in enumerate(words) if word.partition("=")[0] == flag)
    _, equals, value = words[last].partition("=")
    following = itertools.takewhile(lambda word: not word.startswith("--"), words[last + 1 :])
    return [value] if equals else list(following)


def _name(option: str) -> str:
    return option.replace("-", "_")
