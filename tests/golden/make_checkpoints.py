"""Write, with PyTorch 2.13.0, the checkpoints that ``training/test_serialization.py`` reads without it.

    python tests/golden/make_checkpoints.py
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path


def main() -> None:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    base = torch.arange(12.0).view(3, 4)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "base": base,
        "transposed": base.t(),
        "part": base[1:, ::2],
        "parameter": torch.nn.Parameter(torch.tensor([1.0, 2.0])),
        "kinds": [torch.tensor([1, 0]).to(kind) for kind in (
            torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "needs_grad": torch.ones(2, requires_grad=True),
        "others": [None, True, 1, -(2**70), 2.5, "text", b"bytes", (1, 2), {1, 2}, 1 + 2j, torch.Size([1, 2]),
                   torch.float32, torch.device("cpu"), OrderedDict(a=1)],
    }  # fmt: skip
    for name, zipped in (("checkpoint", True), ("checkpoint_legacy", False)):
        path = Path(__file__).with_name(f"{name}.pt")
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
