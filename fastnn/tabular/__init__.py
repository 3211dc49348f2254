"""Models of tables and pictures in one file: the network, how columns become numbers, and what the outputs mean.

``fastnn train --save model.pt`` writes such a file; :func:`load_model` reads it::

    from fastnn.tabular import load_model, read_table

    model = load_model("model.pt")
    model.predict(read_table("new.csv"))
    model.network                        # the fastnn.nn.Sequential

Tables need pandas and scikit-learn: ``pip install 'fastnn[cli]'``. The file has plain numbers and texts only; reading
it runs no code of the file.
"""

from fastnn.tabular.columns import Columns
from fastnn.tabular.model import Pixels, TabularModel, load_model
from fastnn.tabular.network import ACTIVATIONS, Plan
from fastnn.tabular.reading import Pictures, read, read_table
from fastnn.tabular.target import Target

__all__ = [
    "ACTIVATIONS",
    "Columns",
    "Pictures",
    "Pixels",
    "Plan",
    "TabularModel",
    "Target",
    "load_model",
    "read",
    "read_table",
]
