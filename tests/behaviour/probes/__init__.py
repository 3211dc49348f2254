"""Probes: small expressions with the same result in fastnn and PyTorch.

The modules of this package build them as products of small tables, in groups; those of ``statements`` are text files. A
probe is a line of Python, an expression or statements before one, over ``torch``, ``nn``, ``F``, ``np``, the inputs of
``inputs.py`` (made from the same NumPy arrays for both libraries) and the helpers of ``helpers.py``.
``outcome`` evaluates one and describes the value, or the error and the warnings, in a
line of text; ``agrees`` compares two such lines. ``test_probes.py`` compares fastnn with PyTorch's recorded results
(``golden/probes.json.gz``, written by ``golden/make_probes.py``) and with PyTorch live. ``differences.py`` lists the
remaining differences with their reasons.

``tests/expressions`` compares printed text, character by character.
"""

from __future__ import annotations

from probes import (
    complex_numbers,
    elementwise,
    gradients,
    indexing,
    networks,
    programs,
    reductions,
    statements,
    tensors,
    training,
)
from probes.outcome import agrees, outcome

MODULES = (elementwise, reductions, indexing, tensors, gradients, networks, training, programs, complex_numbers, statements)
GROUPS: dict[str, list[str]] = {}
# A probe made by two tables is kept once.
_seen: set[str] = set()
for _module in MODULES:
    for _name, _probes in _module.GROUPS.items():
        assert _name not in GROUPS, _name
        GROUPS[_name] = [p for p in dict.fromkeys(_probes) if p not in _seen]
        _seen.update(_probes)

__all__ = ["GROUPS", "agrees", "outcome"]
