"""Writes docs/torch-api.md: PyTorch's names, and for each whether fastnn has it.

    python docs/make_torch_api.py            writes the page from the recorded names
    python docs/make_torch_api.py --record   records PyTorch's names first, where PyTorch 2.13.0 is installed

The names are recorded in docs/torch_names.txt, one module a line. What fastnn has is looked up in fastnn
itself; how it differs is said here, in DIFFERS.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE, NAMES = FOLDER / "torch-api.md", FOLDER / "torch_names.txt"
VERSION = "2.13.0"
# A module, or a class whose attributes are listed.
MODULES = (
    "torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils",
    "torch.nn.Module", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "torch.autograd",
    "torch.distributions", "torch.linalg", "torch.random", "torch.cuda",
)  # fmt: skip
# torchvision is not installed where the names are recorded: these are the ones that MNIST scripts use.
TORCHVISION = {
    "torchvision.datasets": "EMNIST FakeData FashionMNIST ImageFolder KMNIST MNIST VisionDataset",
    "torchvision.transforms": (
        "CenterCrop Compose ConvertImageDtype GaussianBlur Grayscale Lambda Normalize PILToTensor Pad RandomAffine "
        "RandomApply RandomCrop RandomErasing RandomHorizontalFlip RandomRotation RandomVerticalFlip Resize "
        "ToPILImage ToTensor"
    ),
    "torchvision.utils": "draw_bounding_boxes make_grid save_image",
}

DIFFERS = {
    "torch.manual_seed": "the numbers are reproducible, and not PyTorch's",
    "torch.Generator": "on the CPU; its numbers are not PyTorch's",
    "torch.compile": "returns what it is given; see `fastnn.compile_step`",
    "torch.load": "runs no code of the file's choosing, with `weights_only=False` neither",
    "torch.save": "writes what `torch.load(weights_only=True)` reads; modules only for fastnn",
    "torch.set_num_threads": "the results are the same bits for any number",
    "torch.use_deterministic_algorithms": "accepted; fastnn is deterministic",
    "torch.Tensor.cuda": "raises: there is the CPU only",
    "torch.Tensor.view": "of memory in another order a copy that cannot be written",
    "torch.nn.Module.cuda": "raises: there is the CPU only",
    "torch.nn.Module.compile": "accepted, without effect",
    "torch.nn.Module.share_memory": "warns: there are no worker processes",
    "torch.nn.Embedding": "`sparse=True` gives a dense gradient",
    "torch.nn.DataParallel": "calls the module",
    "torch.utils.data.DataLoader": "`num_workers` starts no processes",
    "torch.utils.data.get_worker_info": "None: there are no workers",
    "torch.distributions.Gamma": "`rsample` has no gradient",
    "torch.distributions.Beta": "`rsample` has no gradient",
    "torch.distributions.Dirichlet": "`rsample` has no gradient",
    "torch.cuda.is_available": "False",
    "torch.cuda.device_count": "0",
}


def public_names(owner: Any) -> list[str]:
    """The public names of a module or class that are its own: no modules, and nothing of typing."""
    found = []
    for name in dir(owner):
        value = getattr(owner, name, None)
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        if getattr(value, "__module__", "torch") in ("typing", "collections", "types", "abc", "functools", "enum"):
            continue
        found.append(name)
    return found


def record() -> None:
    """Write PyTorch's names."""
    import torch

    if torch.__version__.split("+")[0] != VERSION:
        sys.exit(f"the names are those of PyTorch {VERSION}, this is {torch.__version__}")
    lines = [f"{module}: {' '.join(public_names(resolve(module, 'torch')))}\n" for module in MODULES]
    lines += [f"{module}: {names}\n" for module, names in TORCHVISION.items()]
    NAMES.write_text("".join(lines), encoding="utf-8")


def resolve(path: str, package: str) -> Any:
    """What stands at a dotted path whose first word is replaced by ``package``; None for nothing."""
    first, *rest = path.split(".")
    module = f"{package}.torchvision" if first == "torchvision" else package
    owner: Any = importlib.import_module(module)
    for name in rest:
        found = getattr(owner, name, None)
        if found is None:
            try:
                found = importlib.import_module(f"{owner.__name__}.{name}")
            except (ImportError, AttributeError):
                return None
        owner = found
    return owner


def page() -> str:
    """The text of the page."""
    text = [
        "# PyTorch's names in fastnn\n\n",
        "Written by `docs/make_torch_api.py` from the names of PyTorch ", VERSION, " and from fastnn itself.\n",
        "What concerns other devices, sparse, quantized and complex tensors, convolution, recurrence, attention and\n",
        "exporting is not there. Random numbers are reproducible, and not PyTorch's.\n",
    ]  # fmt: skip
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        module, _, names = line.partition(": ")
        owner = resolve(module, "fastnn")
        has = [name for name in names.split() if owner is not None and hasattr(owner, name)]
        lacks = [name for name in names.split() if name not in has]
        text.append(f"\n## {module}\n\n{len(has)} of {len(has) + len(lacks)} names.\n")
        differs = [name for name in has if f"{module}.{name}" in DIFFERS]
        yes = [name for name in has if name not in differs]
        text.append(f"\n**Yes**: {', '.join(f'`{name}`' for name in yes) or 'none'}\n")
        if differs:
            text.append("\n**Differs**:\n\n")
            text += [f"- `{name}`: {DIFFERS[f'{module}.{name}']}\n" for name in differs]
        if lacks:
            text.append(f"\n**No**: {', '.join(f'`{name}`' for name in lacks)}\n")
    return "".join(text)


if __name__ == "__main__":
    if "--record" in sys.argv[1:]:
        record()
    sys.path.insert(0, str(FOLDER.parent))
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
