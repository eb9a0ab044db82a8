"""How what somebody has written becomes values: the type of an option decides how its text is read.

YAML 1.1 takes 010 for eight, 1:30 for ninety, no for False, and 1e-3 for a text. So all that is read here of YAML are
lists, names and texts. Importing this module does not import torch.
"""

import contextlib
import re
import types
import typing
from collections import Counter
from collections.abc import Iterable
from typing import Any

import yaml

from cldf_core.options import AGENTS, FIELDS, Options, UserError

# Of the options that every run has, those of the training; the others say what all agents learn, and are judged by.
TRAINING = ("optimiser", "lr", "lr_decay", "momentum", "dampening", "weight_decay", "schedule", "epochs", "batch")
_NOTHING = ("", "none", "null", "~")
_BOOLEANS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}


class _SafeTexts(yaml.BaseLoader):
    """A loader to which every scalar is a text; it makes no objects, and repeats nothing."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses tags, which stand for objects, and aliases, with which a short text stands for an endless one."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.composer.ComposerError(None, None, "tags and aliases are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a name that is given twice, of which YAML keeps the last."""
        mapping = super().construct_mapping(node, deep)
        counts = Counter(key.value for key, _ in node.value)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"gives {twice[0]!r} twice; allowed: each name once")
        return mapping


def read_yaml(text: str) -> Any:
    """The lists and the names with values that a YAML text holds; every other value is the text that is written there.

    Raises:
        ValueError: what is wrong with the text, as the end of a sentence.
    """
    try:
        return yaml.load(text, Loader=_SafeTexts)
    except RecursionError:
        raise ValueError("is not readable YAML: too many brackets within brackets") from None
    except yaml.YAMLError as error:
        raise ValueError(f"is not readable YAML: {' '.join(str(error).split())}") from None


def whole_number(text: str) -> int:
    """The whole number that decimal digits say, 010 being ten; ValueError for everything else."""
    if not re.fullmatch(r"[+-]?[0-9]+", text.strip()):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def number(text: str) -> float:
    """The number that decimal digits say, with or without point and exponent; ValueError for everything else."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text.strip()):
        raise ValueError(f"{text!r} is no number")
    return float(text)


def from_text(name: str, text: str) -> Any:
    """The value that a text on the command line stands for, by the option's type; what it cannot be, it stays."""
    if not (kind := _container(name)) or text.strip().lower() in _NOTHING:
        return from_written(name, text)
    if kind is list and not text.lstrip().startswith("["):
        return from_written(name, [part.strip() for part in text.split(",")])
    with contextlib.suppress(ValueError):
        return from_written(name, read_yaml(text if text.lstrip()[0] in "[{" else f"{{{text}}}"))
    return text


def from_written(name: str, written: Any) -> Any:
    """The value of an option in a file, as `read_yaml` gives it, by the option's type; what it cannot be, it stays."""
    if name not in FIELDS:
        return written
    kind = FIELDS[name].annotation
    if (container := _container(name)) and isinstance(written, str):
        return container() if written.strip().lower() in _NOTHING else written
    if container is list and isinstance(written, list):
        return [_read(typing.get_args(kind)[0], part) for part in written]
    if container is dict and isinstance(written, dict):
        return {key: _read(int, value) for key, value in written.items()}
    return _read(kind, written)


def _container(name: str) -> type[list[Any]] | type[dict[str, Any]] | None:
    """What the values of an option are in: a list, names with numbers, or nothing."""
    origin = typing.get_origin(FIELDS[name].annotation) if name in FIELDS else None
    return origin if origin in (list, dict) else None


def _read(kind: Any, written: Any) -> Any:
    if not isinstance(written, str):
        return written
    word = written.strip().lower()
    if typing.get_origin(kind) in (types.UnionType, typing.Union):  # with None
        return None if word in _NOTHING else _read(typing.get_args(kind)[0], written)
    if kind is bool:
        return _BOOLEANS.get(word, written)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return whole_number(written) if kind is int else number(written)
    return written


def check_tried(agent: str, names: Iterable[str], where: str) -> None:
    """Refuses options that cannot be tried for an agent alone: of others, and those that are the same for all agents.

    Of the options that every run has, those in TRAINING can be tried. A UserError tells of the first that cannot.
    """
    own = AGENTS[agent].model_fields
    allowed = [name for name in own if name in TRAINING or name not in Options.model_fields]
    for name in names:
        if name in FIELDS and name not in allowed:
            why = "is the same for all agents" if name in own else f"is no option of {agent}"
            raise UserError(f"{where}: {name} {why}; allowed for {agent}: {', '.join(allowed)}")
