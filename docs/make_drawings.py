"""Draws the layers of the library, as the contracts of pyproject.toml have them.

    python docs/make_drawings.py

It writes docs/architecture/layers.svg and kernels.svg, the way of an operation (launch.svg) and what a captured step
does (step.svg). A test checks that they are up to date.
"""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "architecture"
# What a layer is for; a layer without a line here is drawn with its name alone.
SAYS = {
    "_cli": "the command line, fastnn run, fastnn profile",
    "_debug": "the owner of each memory, for tests",
    "sklearn": "scikit-learn's estimators",
    "tabular": "models of tables, with their columns",
    "training": "fit, callbacks, profile",
    "report": "pages about a training",
    "capture": "recordings, guards, compile_step",
    "optim | special": "optimizers and schedules; special functions",
    "nn": "layers, losses, nn.functional",
    "linalg | autograd": "PyTorch's paths",
    "ops": "operations of tensors",
    "random": "generators",
    "_tensor": "the class Tensor",
    "_autograd": "the tape",
    "_core": "dtypes, errors, flat storage",
    "kernels": "Numba, arrays only",
    "self_check": "a small backward pass against NumPy",
    "matmul | loss": "products with bias and activation; losses with their gradients",
    "norm": "batch and layer norm",
    "activation": "activations, dropout",
    "reduce | rows | optim | classic": "sums, rows by index, updates, the textbook",
    "llvm": "vectors, maths, micro-kernel",
    "runtime": "compile, cache, launch, threads",
}
STYLE = """<style>
  .box { fill: #eef6f5; stroke: #00796b } .low { fill: #fdf3e3; stroke: #b26a00 }
  text { font: 14px sans-serif; fill: #1d2726 } .name { font-weight: bold } .line { stroke: #5c6b69; fill: none }
   @media (prefers-color-scheme: dark) {
    .box { fill: #12302d; stroke: #4db6ac } .low { fill: #38290f; stroke: #ffb74d }
    text { fill: #e6eeed } .line { stroke: #9fb0ae }
  }
</style>
<defs><marker id="end" markerWidth="9" markerHeight="9" refX="7" refY="4" orient="auto">
<path class="line" d="M0 0 L7 4 L0 8"/></marker></defs>"""


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" width="{width}">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, *parts, "</svg>"]) + "\n"


def _box(x: int, y: int, width: int, name: str, says: str, kind: str = "box", height: int = 30) -> str:
    middle = y + height // 2 + 5
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'
        f'<text class="name" x="{x + 12}" y="{middle}">{escape(name)}</text>'
        f'<text x="{x + 212}" y="{middle}">{escape(says)}</text>'
    )


def _arrow(*points: tuple[int, int]) -> str:
    path = " L".join(f"{x} {y}" for x, y in points)
    return f'<path class="line" d="M{path}" marker-end="url(#end)"/>'


def stack(layers: list[str], title: str) -> str:
    """Layers from the highest to the lowest: each may import those below it."""
    parts = []
    for number, layer in enumerate(layers):
        y = 10 + 44 * number
        last = number == len(layers) - 1
        name = " | ".join(part.strip().rpartition(".")[2] for part in layer.split("|"))
        parts.append(_box(10, y, 660, name, SAYS.get(name, ""), "low" if last else "box"))
        if not last:
            parts.append(_arrow((340, y + 30), (340, y + 42)))
    return _svg(680, 44 * len(layers) + 10, title, parts)


def step() -> str:
    """The life of a captured step."""
    rows = [
        ("call 1", "eager: each operation checks, launches, and is on the tape"),
        ("call 2", "traced: launches and the memory that they touch are recorded"),
        ("later calls", "guards compare what the recording has read with what is there"),
        ("guards hold", "replay: one call into compiled code launches every kernel"),
        ("guards differ", "eager again, and the recording starts over"),
    ]
    parts = [_box(10, 10 + 52 * i, 660, name, says, "low" if i == 3 else "box") for i, (name, says) in enumerate(rows)]
    parts += [_arrow((340, 40 + 52 * i), (340, 60 + 52 * i)) for i in range(3)]
    parts += [_arrow((670, 129), (690, 129), (690, 233), (672, 233))]
    return _svg(700, 264, "What a compiled step does at each call", parts)


def launch() -> str:
    """The way of an operation from a tensor to the threads."""
    rows = [
        ("operation", "fastnn.ops, nn.functional: shapes, dtypes, errors, a node of the tape"),
        ("kernel's function", "fastnn.kernels: checks every array, before anything is touched"),
        ("launch", "compiled: writes the block of arguments, cuts the work into parts"),
    ]
    parts = [_box(10, 10 + 52 * i, 660, name, says) for i, (name, says) in enumerate(rows)]
    parts += [_arrow((340, 40 + 52 * i), (340, 60 + 52 * i)) for i in range(2)]
    for i in range(4):
        x = 10 + 168 * i
        parts += [
            _arrow((340, 144), (340, 154), (x + 78, 154), (x + 78, 168)),
            f'<rect class="low" x="{x}" y="170" width="156" height="30" rx="5"/>',
            f'<text x="{x + 12}" y="190">part {i} of the output</text>',
        ]
    note = "Threads claim parts one after the other. Each number is computed in one order."
    parts.append(f'<text x="10" y="222">{note}</text>')
    return _svg(680, 234, "From an operation to the threads", parts)


def drawings() -> dict[Path, str]:
    """The text of each drawing."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = {contract["name"]: contract["layers"] for contract in contracts if contract["type"] == "layers"}
    return {
        FOLDER / "layers.svg": stack(layers["Arrows go down"], "The layers of fastnn; imports go down only"),
        FOLDER / "kernels.svg": stack(
            layers["Families of kernels, and their parts"], "The families of kernels; imports go down only"
        ),
        FOLDER / "launch.svg": launch(),
        FOLDER / "step.svg": step(),
    }


if __name__ == "__main__":
    for file, text in drawings().items():
        file.write_text(text, encoding="utf-8")
        print("wrote", file.relative_to(ROOT))
