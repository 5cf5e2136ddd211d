"""Whether a value that was read has the type that a dataclass annotates, and what to say where it has not.

A value's type is asked of the annotations alone, so that a new field is checked as soon as it is there.
"""

import dataclasses
import difflib
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin

WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text", type(None): "null", Any: "a value"}
SEVERAL = {bool: "true or false", int: "integers", float: "numbers", str: "texts"}
LONGEST = 200
"""Characters of a value that a message shows."""


def problem(value: Any, hint: Any, place: str) -> str:
    """What is wrong with the value at `place`, named down to its innermost part; empty where it fits the annotation."""
    return next(_problems(value, hint, place), "")


def _problems(value: Any, hint: Any, place: str) -> Iterator[str]:
    if get_origin(hint) is list and isinstance(value, list):
        for item in value:
            yield from _problems(item, get_args(hint)[0], f"each of {place}")
    elif get_origin(hint) is dict and isinstance(value, dict):
        key, inner = get_args(hint)
        for name, item in value.items():
            yield from _problems(name, key, f"a key of {place}")
            yield from _problems(item, inner, f"{place}: {shown(name)}")
    elif not fits(value, hint):
        yield f"{place} must be {words(hint)}, got {shown(value)}"


def fits(value: Any, hint: Any) -> bool:
    """Whether the value has the annotated type; an integer is a number, true and false are none."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if isinstance(value, int) and not isinstance(value, bool) and hint is float:
        return abs(value) <= sys.float_info.max
    return type(value) is (hint if hint in WORDS else dict)


def words(hint: Any) -> str:
    """The annotation in words: `an integer or null`, `a list of integers`, `a mapping`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(words(one) for one in inner if not (one is int and float in inner))
    if origin is list:
        mappings = dataclasses.is_dataclass(inner[0]) or get_origin(inner[0]) is dict
        return f"a list of {'mappings' if mappings else SEVERAL.get(inner[0], 'values')}"
    return WORDS.get(hint, "a mapping")


def shown(value: Any) -> str:
    """The value as a message shows it: in one line, cut where it is long."""
    return cut(repr(value))


def nearest(value: Any, choices: Iterable[str]) -> str:
    """` (did you mean 'tiny'?)` where one of the choices looks like the value; else nothing."""
    near = difflib.get_close_matches(str(value)[:LONGEST], list(choices), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def cut(text: str) -> str:
    """The text, or its beginning and its length."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"
