"""pure: the words of a `qsit` command, parsed without running it: which of them are relative
paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray.models.hub import is_on_hub

# What verbs take as text because it may be an address or a name, too.
TEXTS = {
    "score": ("images", "source", "output", "model"),
    "ask": ("image", "model"),
    "describe": ("image", "model"),
    "compare": ("model",),
    "serve": ("model",),
    "data distort": ("source", "out"),
    "evaluate efficiency": ("model",),
}
# evaluate efficiency: shapes without weights.
SIZES = ("0.5b", "7b")
SETTINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Parsed:
    """A command: its verb, such as `train run`, and its values by the names of its parameters;
    `shown`: what each parameter is called on the command line, as `--out`."""

    verb: str
    values: dict[str, Any]
    shown: dict[str, str]

    @property
    def run(self) -> str | None:
        """The run folder that it works on, the first of several, or the folder, file or address
        that it writes."""
        for name in ("run", "runs", "out", "output", "to"):
            value = self.values.get(name)
            if value is not None:
                return str(value[0] if isinstance(value, list) else value)
        return None


def parsed(command: Any, words: Sequence[str]) -> Parsed:
    """The words after `qsit`, as the command line's `command` reads them.

    Raises its usage errors, and InputError where a value is refused by itself.
    """
    names: list[str] = []
    context = command.make_context("qsit", list(words))
    while hasattr(context.command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            context.fail("Missing command.")
        name, below, rest = context.command.resolve_command(context, rest)
        names.append(name)
        context = below.make_context(name, rest, parent=context)
    shown = {
        each.name: each.opts[0]
        if each.opts[0].startswith("-")
        else each.metavar or each.name.upper()
        for each in context.command.params
    }
    return Parsed(" ".join(names), dict(context.params), shown)


def relative_paths(command: Parsed, is_settings: Callable[[Path], bool]) -> list[str]:
    """The relative paths of a command with the options that have them.

    A YAML file for which `is_settings` may be relative: settings go along with the code.
    """
    return [
        f"{command.shown[name]} {path}"
        for name, path in _paths(command)
        if not (path.endswith(SETTINGS) and is_settings(Path(path)))
    ]


def _paths(command: Parsed) -> Iterator[tuple[str, str]]:
    """The names and texts of the paths that are relative. A leading ~ is expanded in texts, and is
    a folder's name in paths."""
    texts = TEXTS.get(command.verb, ())
    for name, value in command.values.items():
        values = value if isinstance(value, list) else [value]
        if any(isinstance(each, Path) for each in values):
            for each in values:
                if not each.is_absolute():
                    yield name, str(each)
        elif name in texts and not (name == "model" and _is_name(command, value)):
            for each in value if isinstance(value, list) else [value] if value else []:
                if each != "-" and "://" not in each and not each.startswith(("/", "~")):
                    yield name, each


def _is_name(command: Parsed, model: str) -> bool:
    """Whether a model is a name, on the Hub or of a server, or a size."""
    return is_on_hub(model) or model in SIZES or command.values.get("backend") == "vllm"
