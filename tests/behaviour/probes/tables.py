"""How a table of expressions is written down: lines, words, and the product of words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

# Of every kind that tensors of both libraries have, and those that most probes are about.
DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
MAIN_DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")


def lines(text: str) -> list[str]:
    """The lines of a text that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def product(template: str | Iterable[str], **choices: str | Iterable[str]) -> list[str]:
    """The template with each combination of the choices in the place of their names.

    A text of several lines is a list of lines, one of one line a list of words. A name stands in the template between
    ``<`` and ``>``.
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
