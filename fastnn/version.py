"""``torch.version``: fastnn's own version, and which libraries it was built with: none. Imports nothing else."""

__version__ = "0.1.0"
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version = "Unknown"
debug = False
