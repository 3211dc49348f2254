"""The network of a model: hidden layers of one kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastnn import nn

ACTIVATIONS: dict[str, type[nn.Module] | None] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "mish": nn.Mish, "softplus": nn.Softplus, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "identity": None,
}  # fmt: skip

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Plan:
    """What a network is made of.

    Args:
        inputs, outputs: numbers of each.
        hidden: widths of the hidden layers.
        activation: a name of :data:`ACTIVATIONS`.
        dropout: probability, after each activation.
        batch_norm: normalise before each activation.
        precision: of the parameters, "float32" or "float64".

    >>> Plan(4, 3, (8,), dropout=0.5).build()
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
      (2): Dropout(p=0.5, inplace=False)
      (3): Linear(in_features=8, out_features=3, bias=True)
    )
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    precision: str = "float32"

    @property
    def dtype(self) -> np.dtype:
        """Of the inputs and outputs."""
        return np.dtype(self.precision)

    def build(self) -> nn.Sequential:
        """A network with new weights from the default generator, whose draws do not depend on the precision."""
        layers: list[nn.Module] = []
        width, kind = self.inputs, ACTIVATIONS[self.activation]
        for units in self.hidden:
            layers.append(nn.Linear(width, units))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(units))
            if kind is not None:
                layers.append(kind())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = units
        network = nn.Sequential(*layers, nn.Linear(width, self.outputs))
        return network.double() if self.precision == "float64" else network

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a file."""
        data = {**asdict(self), "hidden": list(self.hidden)}
        if self.precision == "float32":
            # As versions without other precisions write and read it.
            del data["precision"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """The plan of :meth:`to_dict`.

        Raises: ValueError, TypeError or KeyError for other data.
        """
        plan = cls(**{**data, "hidden": tuple(data["hidden"])})
        if type(plan.dropout) not in (int, float) or not 0 <= plan.dropout < 1 or type(plan.batch_norm) is not bool:
            raise ValueError(f"not the plan of a network: {data}")
        if plan.precision not in PRECISIONS:
            raise ValueError(f"the precision must be one of {', '.join(PRECISIONS)}, found {plan.precision!r}")
        sizes = (plan.inputs, plan.outputs, *plan.hidden)
        if not all(type(size) is int and size > 0 for size in sizes) or plan.activation not in ACTIVATIONS:
            raise ValueError(f"not the plan of a network: {data}")
        return plan
