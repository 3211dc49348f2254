"""The libraries: versions, dependencies, programs. One row each, sorted by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

# What all environments share: fastnn's dependencies, what libraries commonly need, and what installs fastnn.
BASE = (
    "numpy==2.4.6", "ml_dtypes==0.6.0", "numba==0.68.1", "llvmlite==0.50.0", "scipy==1.17.1", "tqdm==4.70.1",
    "scikit-learn==1.9.1", "joblib==1.6.0", "cloudpickle==3.1.3", "narwhals==2.29.0", "threadpoolctl==3.8.0",
    "packaging==26.4", "typing_extensions==4.16.0", "pyyaml==6.0.4", "setuptools==84.2.1", "pip==26.3",
)  # fmt: skip
TORCH = "torch==2.13.0"

# Dependencies of several libraries.
PANDAS = ("pandas==3.1.1", "python-dateutil==4.0.0", "six==1.17.0")
MATPLOTLIB = (
    "matplotlib==3.11.2", "pillow==13.0.0", "contourpy==1.3.3", "cycler==0.12.1", "fonttools==4.68.0",
    "kiwisolver==1.5.1", "pyparsing==3.3.3", "python-dateutil==4.0.0", "six==1.17.0",
)  # fmt: skip
HUB = (
    "huggingface_hub==2.4.0", "anyio==4.16.0", "click==8.5.1", "filelock==4.3.1", "fsspec==2026.9.0", "h11==0.16.0",
    "hf-xet==1.8.0", "httpcore2==2.16.2", "httpx2==2.16.2", "idna==3.20", "truststore==0.10.5",
)  # fmt: skip
LIGHTNING = (
    "torchmetrics==1.9.0", "lightning-utilities==0.15.3", "fsspec==2026.9.0", "aiohttp==3.14.5",
    "aiohappyeyeballs==2.7.1", "aiosignal==1.4.0", "attrs==26.1.0", "frozenlist==1.8.0", "idna==3.20",
    "multidict==7.2.1", "propcache==0.5.4", "yarl==1.25.1",
)  # fmt: skip


@dataclass(frozen=True)
class Library:
    """A library on top of PyTorch.

    Args:
        name: its name for pip.
        version: the version that is installed.
        trains: what its program does, in a few words.
        dependencies: what else is installed, with versions; everything is installed with ``--no-deps``, so that
            pip never installs PyTorch, and BASE is there already.
        promised: whether fastnn promises that it runs.
        missing: what of the library fastnn cannot run, a sentence for the page.
        program: the file in ``programs/``, by default the name with ``_`` for ``-``.
    """

    name: str
    version: str
    trains: str
    dependencies: tuple[str, ...] = ()
    promised: bool = True
    missing: str = ""
    program: str = ""

    @property
    def path(self) -> Path:
        """The program."""
        return FOLDER / "programs" / (self.program or f"{re.sub('[-.]', '_', self.name)}.py")

    @property
    def recorded(self) -> Path:
        """The file with the results of the last comparison with PyTorch."""
        return FOLDER / "recorded" / f"{self.name}.json"


LIBRARIES = (
    Library(
        name="accelerate",
        version="1.15.0",
        trains="an MLP on the digits with accumulated gradients, a schedule, clipping, saved and resumed",
        dependencies=(*HUB, "psutil==7.2.2", "safetensors==0.8.0"),
        missing="several processes; mixed precision was not tried; models on the device meta",
    ),
    Library(
        name="captum",
        version="0.9.0",
        trains="MLPs on a regression and the digits; attributions of inputs, layers and neurons",
        dependencies=MATPLOTLIB,
    ),
    Library(
        name="deepxde",
        version="1.15.0",
        trains="Poisson's and Burgers' equations, a system of equations, an inverse problem, an operator",
        dependencies=(*MATPLOTLIB, *PANDAS, "scikit-optimize==0.10.2", "pyaml==26.7.0"),
    ),
    Library(
        name="einops",
        version="0.8.2",
        trains="an MLP-Mixer of einops layers on the digits",
    ),
    Library(
        name="gpytorch",
        version="1.15.2",
        trains="exact Gaussian processes with many kernels, variational ones, several tasks, a deep kernel",
        missing="training with GridInterpolationKernel, whose Fourier transforms have no derivatives",
        dependencies=("jaxtyping==0.3.11", "linear_operator==0.6.1", "mpmath==1.4.1", "wadler_lindig==0.1.8"),
    ),
    Library(
        name="gymnasium",
        version="1.4.0",
        trains="PPO, DQN and SAC, each in a single file as CleanRL's",
        dependencies=("Farama-Notifications==0.0.6",),
    ),
    Library(
        name="hummingbird-ml",
        version="0.4.12",
        trains="forests, boosted trees and linear models of scikit-learn, converted to tensors",
        dependencies=(
            "dill==0.4.1", "onnx==1.16.1", "onnxconverter-common==1.16.0", "protobuf==7.36.2", "psutil==7.2.2",
        ),
        missing="TorchScript gives the model itself; the backends of ONNX and TVM",
    ),
    Library(
        name="lightning",
        version="2.6.6",
        trains="an MLP on the digits with Fabric, and an autoencoder with the Trainer and a CSV logger",
        dependencies=LIGHTNING,
        missing="several processes; bfloat16-true was not tried; layers called in init_module()",
    ),
    Library(
        name="nflows",
        version="0.14",
        trains="five flows: autoregressive, coupling, splines, one that is conditional",
        dependencies=(*MATPLOTLIB, "UMNN==1.71"),
    ),
    Library(
        name="optuna",
        version="5.0.0",
        trains="a search of the layers, optimizer and learning rate of an MLP on the digits, with pruning",
        dependencies=("Mako==1.4.3", "MarkupSafe==3.0.4", "SQLAlchemy==2.1.9", "alembic==1.20.1", "colorlog==6.12.0"),
    ),
    Library(
        name="pyro-ppl",
        version="1.9.2",
        trains="a regression by four guides, NUTS and HMC, a mixture, a VAE, a Bayesian network, three flows",
        dependencies=("opt_einsum==3.4.0", "pyro-api==0.1.2"),
    ),
    Library(
        name="pytorch-ignite",
        version="0.5.5",
        trains="an MLP on the digits with metrics, checkpoints, early stopping and schedules",
        missing="several processes; models of images in metrics",
    ),
    Library(
        name="pytorch-lightning",
        version="2.6.6",
        trains="an MLP on the digits: Trainer with checkpoints, early stopping, clipping, accumulation and resuming",
        dependencies=LIGHTNING,
        missing="several processes; bfloat16-true was not tried; mixed precision was not tried",
    ),
    Library(
        name="pytorch-tabnet",
        version="4.1.0",
        trains="a classifier, a regressor with categories, pretraining, and several tasks",
        dependencies=PANDAS,
    ),
    Library(
        name="rtdl",
        version="0.0.13",
        trains="an MLP, a ResNet and an FT-Transformer on the digits",
    ),
    Library(
        name="rtdl_num_embeddings",
        version="0.0.12",
        trains="MLPs after six embeddings of numbers",
    ),
    Library(
        name="rtdl_revisiting_models",
        version="0.0.2",
        trains="an MLP, a ResNet and an FT-Transformer on a regression",
    ),
    Library(
        name="sbi",
        version="0.27.0",
        trains="posteriors, likelihoods and ratios of a simulator, with flows of nflows and zuko",
        dependencies=(
            *MATPLOTLIB, *PANDAS, "UMNN==1.71", "absl-py==2.5.1", "nflows==0.14", "protobuf==7.36.2",
            "tensorboard==2.21.0", "zuko==1.6.0",
        ),
    ),
    Library(
        name="skorch",
        version="1.4.0",
        trains="classifiers and a regressor in pipelines and a grid search, with callbacks and checkpoints",
        dependencies=("tabulate==0.10.0", *PANDAS),
        missing="DistributedHistory; models of transformers and GPyTorch",
    ),
    Library(
        name="stable_baselines3",
        version="2.9.2",
        trains="PPO, A2C, DQN, DQN with hindsight, SAC and TD3, with callbacks, saved and loaded",
        dependencies=(*MATPLOTLIB, *PANDAS, "Farama-Notifications==0.0.6", "gymnasium==1.4.0"),
    ),
    Library(
        name="tabm",
        version="0.0.3",
        trains="ensembles of three architectures, with embeddings and categories",
        dependencies=("rtdl_num_embeddings==0.0.12",),
    ),
    Library(
        name="torchdiffeq",
        version="0.2.5",
        trains="a neural differential equation on a spiral, by three solvers and the adjoint method",
    ),
    Library(
        name="torchinfo",
        version="1.8.0",
        trains="summaries of models of many layers, one of which is trained",
    ),
    Library(
        name="torchmetrics",
        version="1.9.0",
        trains="an MLP with metrics of classification and regression after each epoch",
        dependencies=("lightning-utilities==0.15.3",),
        missing="metrics of clustering (sparse tensors); metrics of images and audio",
    ),
    Library(
        name="torchsummary",
        version="1.5.1",
        trains="summaries of MLPs, one of which is trained",
    ),
)


def find(names: list[str]) -> list[Library]:
    """The rows of these names, all if there are none.

    Raises: KeyError with the first name that is not in the table.
    """
    by_name = {library.name: library for library in LIBRARIES}
    return [by_name[name] for name in names] if names else list(LIBRARIES)
