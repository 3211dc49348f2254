"""Names of PyTorch's that exist and raise when they are used.

Programs import a name that they never call, or test for a class that no object of theirs has. Such a name exists
here; calling it raises NotImplementedError with one sentence.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any, NoReturn

LIST = "docs/torch-api.md"


class NotComputedError(NotImplementedError):
    """A program called something of PyTorch's that is only a name in fastnn.

    Args:
        name: PyTorch's full name, as ``torch.nn.Conv2d``.
        sentence: the message; by default that fastnn does not compute it.
    """

    def __init__(self, name: str, sentence: str | None = None) -> None:
        super().__init__(sentence or f"fastnn does not compute {name}; {LIST} lists what it computes")
        self.name = name


def absent_function(name: str, sentence: str | None = None) -> Any:
    """A function that raises NotComputedError.

    >>> absent_function("torch.fx.wrap")()
    Traceback (most recent call last):
        ...
    fastnn._core.absent.NotComputedError: fastnn does not compute torch.fx.wrap; ...
    """

    def absent(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotComputedError(name, sentence)

    absent.__name__ = absent.__qualname__ = name.rpartition(".")[2]
    absent.__doc__ = "Raises: NotImplementedError; fastnn has only the name."
    absent.is_only_a_name = True  # type: ignore[attr-defined]  # a mark for docs/make_torch_api.py
    return absent


def absent_class(name: str, bases: tuple[type, ...] = (), sentence: str | None = None, module: str = "") -> Any:
    """A class for ``isinstance``, annotations and class statements; making an object raises NotComputedError.

    Args:
        name: PyTorch's full name.
        bases: its base classes, ``object`` if there are none.
        sentence: the message of the error.
        module: fastnn's module that has the class, by default the one of PyTorch's name.

    >>> Graph = absent_class("torch.fx.Graph")
    >>> isinstance(1, Graph), Graph.__module__
    (False, 'fastnn.fx')
    """

    def __init__(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotComputedError(name, sentence)

    home, _, last = name.rpartition(".")
    members = {
        "__init__": __init__,
        "__doc__": "Only a name. Raises: NotImplementedError when an object is made.",
        "__module__": module or home.replace("torch", "fastnn", 1),
        "is_only_a_name": True,
    }
    return type(last, bases or (object,), members)


def is_only_a_name(value: Any) -> bool:
    """Whether it is a function or class of this file; a subclass is not."""
    members = getattr(value, "__dict__", {})
    return bool(members.get("is_only_a_name", False))


def _torch_name(name: str) -> str:
    """PyTorch's name for one of fastnn's modules; torchvision is a package of its own."""
    rest = name.removeprefix("fastnn.")
    return rest if rest.partition(".")[0] == "torchvision" else f"torch.{rest}"


class AbsentModule(ModuleType):
    """A module whose classes and functions are only names, made when they are looked up.

    Args:
        name: fastnn's full name.
        names: its names; one that begins with a capital letter is a class.
        sentence: the message of the errors, with ``{}`` for the name.
        made: the objects that were made already, by name; modules that share it have the same objects.
        home: the module that its names belong to, by default itself.
    """

    def __init__(
        self, name: str, names: tuple[str, ...], sentence: str, made: dict[str, Any], home: str = ""
    ) -> None:  # fmt: skip
        super().__init__(name, f"``{_torch_name(name)}`` as names only; using one raises.")
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        # So that modules below it are found.
        self.__path__: list[str] = []
        self.__all__ = list(names)
        self.__dict__["_source"] = sentence, made, _torch_name(home or name)

    def __getattr__(self, name: str) -> Any:
        if name not in self.__all__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        sentence, made, home = self.__dict__["_source"]
        if name not in made:
            full = f"{home}.{name}"
            make: Any = absent_class if name.lstrip("_")[0].isupper() else absent_function
            options = {"module": self.__name__} if make is absent_class else {}
            made[name] = make(full, sentence=sentence.format(full), **options)
        return made[name]

    def __dir__(self) -> list[str]:
        return self.__all__


def absent_modules(parent: ModuleType, table: dict[str, str], sentence: str, made: dict[str, Any]) -> None:
    """Add modules of names below ``parent``, which can then be imported.

    Args:
        parent: fastnn's module.
        table: by path below the parent, the names in it, or ``= path`` for those of another one.
        sentence: the message of the errors, with ``{}`` for PyTorch's full name.
        made: what there is of these names already.
    """
    for path, text in table.items():
        home = text[2:] if text.startswith("= ") else path
        names = tuple(table[home].split())
        module = AbsentModule(f"{parent.__name__}.{path}", names, sentence, made, f"{parent.__name__}.{home}")
        sys.modules[module.__name__] = module
        above, _, last = module.__name__.rpartition(".")
        setattr(sys.modules[above], last, module)
