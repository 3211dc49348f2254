"""Update rules of optimizers, one in each file; ``RULES`` are the files."""

from pathlib import Path

RULES = sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - {"__init__", "optimizers"})
