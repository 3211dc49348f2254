"""Probes of one or several statements, from the text files in ``statements``: a group a file, lines with choices."""

from __future__ import annotations

from pathlib import Path

from probes.tables import choices

FOLDER = Path(__file__).parent / "statements"
GROUPS = {file.stem.replace("_", " "): choices(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.txt"))}
