"""The notation of a table of expressions: lines, words, and the product of words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

# The dtypes that both libraries have, and those used in most probes.
DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
MAIN_DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")


def lines(text: str) -> list[str]:
    """The lines of a text that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def choices(text: str) -> list[str]:
    """The lines of a text, once for each combination of the choices in them, as in ``x.{{add(1) | mul(2)}}``."""
    found = lines(text)
    while any("{{" in line for line in found):
        found = [made for line in found for made in _chosen(line)]
    return found


def _chosen(line: str) -> list[str]:
    before, open_, rest = line.partition("{{")
    if not open_:
        return [line]
    inside, _, after = rest.partition("}}")
    return [before + part.strip() + after for part in inside.split("|")]


def product(template: str | Iterable[str], **choices: str | Iterable[str]) -> list[str]:
    """The template with the names replaced by each combination of the choices.

    A text of several lines is a list of lines, a text of one line a list of words. A name in the template is written
    between ``<`` and ``>``.
    """
    templates = [template] if isinstance(template, str) else list(template)
    tables = []
    for words in choices.values():
        if isinstance(words, str):
            tables.append(lines(words) if "\n" in words else words.split())
        else:
            tables.append(list(words))
    made = []
    for text in templates:
        for combination in itertools.product(*tables):
            line = text
            for name, word in zip(choices, combination, strict=True):
                line = line.replace(f"<{name}>", word)
            made.append(line)
    return made
