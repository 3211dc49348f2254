"""Write ``docs/torch-api.md``: which of PyTorch's public names fastnn has.

    python docs/make_torch_api.py              the page, from docs/torch_names.txt and fastnn itself
    python docs/make_torch_api.py --names      first the names, where PyTorch 2.13.0 is installed

A name is present if fastnn has an attribute of that name; one that raises whenever it is used is only a name.
Differences come from two sources: arguments that PyTorch's has and fastnn's does not, and the notes below.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
NAMES = FOLDER / "torch_names.txt"
PAGE = FOLDER / "torch-api.md"
TORCH_VERSION = "2.13.0"

SECTIONS = (
    "torch", "torch.Tensor", "torch.nn", "torch.nn.Module", "torch.nn.functional", "torch.nn.init", "torch.nn.utils",
    "torch.nn.utils.parametrize", "torch.nn.utils.parametrizations", "torch.optim", "torch.optim.Optimizer",
    "torch.optim.lr_scheduler", "torch.optim.swa_utils", "torch.utils.data", "torch.autograd",
    "torch.autograd.functional", "torch.distributions", "torch.linalg", "torch.special", "torch.random",
    "torch.serialization", "torch.cuda", "torch.jit", "torchvision.datasets", "torchvision.transforms",
    "torchvision.utils",
)  # fmt: skip

_STREAM = "reproducible by its seed, but another stream of random numbers than PyTorch's"
# Differences that a comparison of arguments does not find.
NOTES = {
    **dict.fromkeys(
        (
            "torch.bernoulli", "torch.binomial", "torch.manual_seed", "torch.multinomial", "torch.normal",
            "torch.poisson", "torch.rand", "torch.rand_like", "torch.randint", "torch.randint_like", "torch.randn",
            "torch.randn_like", "torch.randperm", "torch.seed", "torch.dropout", "torch.alpha_dropout", "torch.rrelu",
            "torch.Tensor.bernoulli", "torch.Tensor.bernoulli_", "torch.Tensor.cauchy_", "torch.Tensor.exponential_",
            "torch.Tensor.geometric_", "torch.Tensor.log_normal_", "torch.Tensor.multinomial", "torch.Tensor.normal_",
            "torch.Tensor.random_", "torch.Tensor.uniform_", "torch.nn.Dropout", "torch.nn.AlphaDropout",
            "torch.nn.RReLU", "torch.nn.functional.dropout", "torch.nn.functional.alpha_dropout",
            "torch.nn.functional.rrelu", "torch.nn.functional.gumbel_softmax", "torch.random.manual_seed",
            "torch.utils.data.random_split", "torch.utils.data.RandomSampler",
            "torch.utils.data.SubsetRandomSampler", "torch.utils.data.WeightedRandomSampler",
        ),
        _STREAM,
    ),
    "torch.Generator": f"on the CPU; {_STREAM}",
    "torch.bfloat16": "computed in float32, the results are rounded; see precision.md",
    "torch.autocast": "computed in float32, the results are rounded; see precision.md",
    "torch.complex64": "without gradients; with the operations that differences.md names",
    "torch.complex128": "without gradients; with the operations that differences.md names",
    "torch.compile": "gives the module back: its kernels are compiled already; see `fastnn.compile_step`",
    "torch.load": "a whole module saved by PyTorch is refused",
    "torch.save": "writes what `torch.load(weights_only=True)` reads; whole modules for fastnn only",
    "torch.set_num_threads": "the results are the same bits for any number",
    "torch.set_num_interop_threads": "accepted; operations run one after the other",
    "torch.use_deterministic_algorithms": "accepted; all results are deterministic",
    "torch.set_float32_matmul_precision": "accepted; products are computed in float32 (see precision.md)",
    "torch.Tensor.cuda": "raises, as PyTorch without CUDA does",
    "torch.nn.Module.compile": "accepted, without effect",
    "torch.nn.Module.cuda": "raises, as PyTorch without CUDA does",
    "torch.nn.Module.share_memory": "warns: there are no worker processes",
    "torch.nn.Embedding": "`sparse=True` gives a dense gradient",
    "torch.nn.DataParallel": "calls the module",
    "torch.utils.data.DataLoader": "workers are accepted; batches are made in the process itself",
    "torch.utils.data.get_worker_info": "None: there are no workers",
    "torch.distributions.Kumaraswamy": "`mode` is where the density is largest; PyTorch's is NaN",
    "torch.distributions.LKJCholesky": "draws have the density of `log_prob`; PyTorch's differ for `dim` above 2",
    "torch.cuda.is_available": "False",
    "torch.cuda.device_count": "0",
    "torch.jit.script": "gives the function or module back",
    "torch.jit.trace": "gives the function or module back",
}  # fmt: skip


# --------------------------------------------------------------------------------------------
# PyTorch's names


def _object(name: str, packages: dict[str, str] | None = None) -> Any:
    """The module or class called ``name``; ``packages`` maps its first part to a package."""
    first, _, rest = name.partition(".")
    found = importlib.import_module((packages or {}).get(first, first))
    for part in rest.split(".") if rest else ():
        found = getattr(found, part, None) or importlib.import_module(f"{found.__name__}.{part}")
    return found


# Parts of PyTorch's own machinery that no program calls.
_MACHINERY = re.compile(r"(cudnn|miopen|mkldnn|fbgemm|quantized|autocast|native|sym)_|.*_backward|.*torch_function")
_TYPES = {"Generator", "Size", "Tensor", "device", "dtype", "finfo", "iinfo", "layout", "memory_format"}


def public_names(owner: Any) -> dict[str, Any]:
    """The public names of a module or class of PyTorch, with their values."""
    found = {}
    listed = getattr(owner, "__all__", None)
    for name in dir(owner):
        value = getattr(owner, name, None)
        if name.startswith("_") or isinstance(value, types.ModuleType) or _MACHINERY.match(name):
            continue
        # Constants of Python's types, except numbers such as pi, are not meant for programs.
        plain = not callable(value) and not isinstance(value, float) and type(value).__module__ != "torch"
        if plain and not isinstance(owner, type):
            continue
        home = getattr(value, "__module__", None) or "torch"
        if isinstance(owner, types.ModuleType) and home.partition(".")[0] not in ("torch", "torchvision"):
            continue
        if owner.__name__ != "torch" and listed is not None and name not in listed:
            continue
        # Classes of the C++ side; those that programs use are named above, or are constructors such as FloatTensor.
        bare = isinstance(value, type) and not value.__doc__
        if bare and name not in _TYPES and not re.fullmatch(r"[A-Z][a-z0-9]+Tensor", name):
            continue
        found[name] = value
    return found


def arguments(name: str, value: Any) -> list[str]:
    """The names of its arguments, from its signature; empty if they are unknown.

    If there is only documentation, the arguments that are keyword-only or have a default: for the others it
    gives names, such as ``tensor2``, that PyTorch itself does not accept.
    """
    try:
        parameters = inspect.signature(value).parameters.values()
        names = [p.name for p in parameters if p.kind not in _VARIABLE]
        return [name for name in names if name != "self" and not name.startswith("_")]
    except (TypeError, ValueError):
        pass
    found: dict[str, None] = {}
    doc = getattr(value, "__doc__", None)
    for line in doc.splitlines() if isinstance(doc, str) else ():
        call = re.match(rf"(?:\.\. (?:function|method):: )?{re.escape(name)}\((.*)\)\s*(?:->|$)", line.strip())
        optional = False
        for part in re.sub(r"[\[(][^\])]*[\])]", "", call[1]).split(",") if call else ():
            argument, has_default, _ = part.strip().partition("=")
            optional = optional or argument == "*"
            if re.fullmatch(r"[a-z]\w*", argument) and (optional or has_default):
                found[argument] = None
    return list(found)


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def record_names() -> None:
    """Write the names that PyTorch has; if torchvision is missing, keep its names."""
    import torch

    version = torch.__version__.partition("+")[0]
    if version != TORCH_VERSION:
        sys.exit(f"the page is about PyTorch {TORCH_VERSION}, this is {version}")
    before = read_names() if NAMES.exists() else {}
    text = [f"# Public names of PyTorch {TORCH_VERSION} and their arguments, by docs/make_torch_api.py --names"]
    for section in SECTIONS:
        text.append(f"[{section}]")
        try:
            names = {name: arguments(name, value) for name, value in public_names(_object(section)).items()}
        except ImportError:
            names = before.get(section, {})
        text += [" ".join([name, *names[name]]) for name in sorted(names)]
    NAMES.write_text("\n".join(text) + "\n", encoding="utf-8")


def read_names() -> dict[str, dict[str, list[str]]]:
    """The sections, names and arguments that :func:`record_names` wrote."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            names = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, *rest = line.split()
            names[name] = rest
    return sections


# --------------------------------------------------------------------------------------------
# fastnn's


def missing_arguments(value: Any, expected: list[str]) -> list[str]:
    """The arguments that it does not accept."""
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return []
    kinds = {p.kind for p in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return []
    code = getattr(value, "__code__", None)
    if code is not None and code.co_filename.endswith("torch_function.py"):
        # Operations have other code once the process has a subclass of Tensor.
        value = value.__wrapped__
    # `*dims` accepts arguments that PyTorch gives several names, and the decorator of most functions accepts `out`.
    wrapper = inspect.signature(value, follow_wrapped=False).parameters.values()
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return []
    decorated = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in wrapper)
    return [name for name in expected if name not in parameters and not (decorated and name == "out")]


def compare() -> dict[str, dict[str, str]]:
    """By section, each name with "yes", "no", "name", or its difference."""
    from fastnn._cli.run import PACKAGES
    from fastnn._core.absent import is_only_a_name

    found: dict[str, dict[str, str]] = {}
    for section, names in read_names().items():
        owner = _object(section, PACKAGES)
        row = found[section] = {}
        for name, expected in names.items():
            if not hasattr(owner, name):
                row[name] = "no"
                continue
            value = getattr(owner, name)
            if is_only_a_name(value):
                row[name] = "name"
                continue
            lacking = missing_arguments(value, expected) if callable(value) else []
            differs = [f"without {', '.join(f'`{a}`' for a in lacking)}"] if lacking else []
            if note := NOTES.get(f"{section}.{name}"):
                differs.append(note)
            row[name] = "; ".join(differs) or "yes"
    return found


def page() -> str:
    """The text of ``docs/torch-api.md``."""
    found = compare()
    counts = dict.fromkeys(("yes", "differs", "name", "no"), 0)
    summary, body = [], []
    for section, names in found.items():
        groups: dict[str, list[str]] = {"yes": [], "differs": [], "name": [], "no": []}
        for name, answer in names.items():
            groups[answer if answer in ("yes", "name", "no") else "differs"].append(name)
        for kind, group in groups.items():
            counts[kind] += len(group)
        numbers = " | ".join(str(len(group)) for group in groups.values())
        summary.append(f"| [{section}](#{section.lower().replace('.', '')}) | {numbers} |")
        body.append(f"\n## {section}\n")
        if groups["differs"]:
            body += ["| differs | how |", "| --- | --- |"]
            body += [f"| {_list(alike)} | {text} |" for text, alike in _by_difference(names, groups["differs"])]
            body.append("")
        if groups["name"]:
            body += [f"Only names: {_list(groups['name'])}.", ""]
        body += ["| | fastnn has | fastnn does not have |", "| --- | --- | --- |"]
        body += [f"| {letter} | {_list(yes)} | {_list(no)} |" for letter, yes, no in _by_letter(groups)]
    head = f"""# PyTorch's names in fastnn

This page lists each public name of PyTorch {TORCH_VERSION} in the modules below, and says whether fastnn has it.
fastnn has {counts["yes"]} of them, another {counts["differs"]} with a difference, and does not have {counts["no"]}:
above all sparse and quantised tensors, gradients of complex numbers, and devices other than the CPU. A missing name
raises AttributeError or ImportError, as any unknown name does. Another {counts["name"]} are only names, above all
convolutions and recurrent layers: programs may import them, derive from them and test for them by `isinstance`; making
or calling one raises NotImplementedError.

`python docs/make_torch_api.py` writes this page from the code; do not edit it. "Without `out`" means that fastnn's
function does not take that argument. These rules hold everywhere:

- Random numbers are reproducible by `manual_seed`, but are not PyTorch's stream.
- Tensors are float64, float32, float16, integers, bool, or complex without gradients. They are dense, and in the memory
  of the CPU.
- `torch.__version__` is fastnn's; under `fastnn run` it begins with {TORCH_VERSION}.

Beside the modules below, and described in [files.md](files.md), fastnn has

- `torch.onnx.export`, `ONNXProgram`, `TrainingMode` and `is_in_onnx_export`; `fastnn.onnx.load` reads such files;
- `safetensors.torch` as `fastnn.safetensors`: `save_file`, `load_file`, `save`, `load`, `save_model`, `load_model`,
  `safe_open`;
- `torch.export.Dim`, for the `dynamic_shapes` of `torch.onnx.export`.

Values and errors that differ although the name is there are in [differences.md](differences.md).

| module or class | the same | with a difference | only a name | missing |
| --- | ---: | ---: | ---: | ---: |
"""
    return head + "\n".join([*summary, *body]).rstrip() + "\n"


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _by_letter(groups: dict[str, list[str]]) -> list[tuple[str, list[str], list[str]]]:
    """The names that are present without a difference, and those that are missing, by their first letter."""
    letters = sorted({name[0].upper() for kind in ("yes", "no") for name in groups[kind]})
    return [
        (letter, *[[name for name in groups[kind] if name[0].upper() == letter] for kind in ("yes", "no")])
        for letter in letters
    ]


def _by_difference(answers: dict[str, str], names: list[str]) -> list[tuple[str, list[str]]]:
    """Each difference, with all names that have it."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(answers[name], []).append(name)
    return list(alike.items())


def main() -> None:
    # The fastnn of this checkout.
    sys.path.insert(0, str(FOLDER.parent))
    if sys.argv[1:] == ["--names"]:
        record_names()
    elif sys.argv[1:]:
        sys.exit(__doc__)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
