"""Reading a YAML file that anyone may have written: plain values of limited size, or one line that says what is wrong.

PyYAML alone lets a key stand twice, follows aliases to 10^9 values from ten lines, and ends in a RecursionError.
"""

from pathlib import Path
from typing import Any

import yaml

from resnet_repro.config import ConfigError

BYTES = 2**20
VALUES = 100_000
"""Values of a file, those that its aliases repeat counted each time."""
DEPTH = 20
"""Lists and mappings within each other; an experiment has four."""


def read(path: Path) -> Any:
    """The plain values in a YAML file. Raises ConfigError."""
    try:
        content = path.read_bytes()
        if len(content) > BYTES:
            raise ConfigError(f"{path} has {len(content)} bytes; an experiment has at most {BYTES}: shorten it")
        return yaml.load(content.decode("utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_in_one_line(error)}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, a number of 5,000 digits, a day that no calendar has
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


def _in_one_line(error: yaml.YAMLError) -> str:
    """`line 3: could not find expected ':'`."""
    mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {what}" if mark and what else " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """Refuses, before anything is built, a key that stands twice in a mapping, and what is too large or too deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self._check_depth(self.depth, self.peek_event())
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        if parent is None and node is not None:
            self._weigh(node, {}, 1)
        return node

    def _check_depth(self, depth: int, where: Any) -> None:
        if depth > DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEPTH} deep", problem_mark=where.start_mark)

    def _weigh(self, node: yaml.Node, known: dict[int, int], depth: int) -> int:
        """The values in a node, an alias counted as what it stands for; one within itself is too deep."""
        self._check_depth(depth, node)
        if id(node) not in known:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            items = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
            known[id(node)] = 1 + sum(self._weigh(item, known, depth + 1) for item in items)
        if known[id(node)] > VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {VALUES} values", problem_mark=node.start_mark)
        return known[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if str(key.value) in seen:
            raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
        seen.add(str(key.value))
