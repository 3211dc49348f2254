"""Hooks of mkdocs: pages from files outside ``docs/``, links to them, and the API reference.

The README, CONTRIBUTING.md, CHANGELOG.md and the programs of ``examples/`` become pages. So a link that is right in
a checkout is right on the site. A link to another file of the checkout becomes plain text: the site does not have it.
"""

import atexit
import functools
import importlib
import importlib.util
import inspect
import posixpath
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import griffe
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Files outside `docs/`, and their pages.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
for _file in sorted((ROOT / "examples").rglob("*")):
    _name = _file.relative_to(ROOT).as_posix()
    if _file.name == "README.md":
        PAGES[_name] = _name.replace("README.md", "index.md")
    elif _file.suffix == ".py" and "__pycache__" not in _name:
        PAGES[_name] = _name.removesuffix(".py") + ".md"
ORIGINS = {page: file for file, page in PAGES.items()}

# Public modules by the section of the reference.
MODULES = {
    "Tensors": "fastnn.Tensor fastnn fastnn.linalg fastnn.special fastnn.random fastnn.fft fastnn.return_types",
    "Gradients": "fastnn.autograd fastnn.autograd.functional fastnn.autograd.graph fastnn.func",
    "Networks": "fastnn.nn fastnn.nn.functional fastnn.nn.init fastnn.nn.utils fastnn.nn.utils.parametrize "
    "fastnn.nn.utils.parametrizations fastnn.nn.utils.prune fastnn.nn.utils.rnn fastnn.nn.attention fastnn.nn.parallel",
    "Training": "fastnn.optim fastnn.optim.lr_scheduler fastnn.optim.swa_utils fastnn.callbacks fastnn.report "
    "fastnn.profiler fastnn.amp fastnn.sklearn fastnn.tabular",
    "Data": "fastnn.utils.data fastnn.datasets fastnn.torchvision.datasets fastnn.torchvision.transforms "
    "fastnn.torchvision.transforms.v2 fastnn.torchvision.transforms.functional fastnn.torchvision.utils",
    "Files": "fastnn.serialization fastnn.safetensors fastnn.onnx fastnn.convert fastnn.export fastnn.storage",
    "Random variables": "fastnn.distributions fastnn.distributions.constraints fastnn.distributions.transforms "
    "fastnn.distributions.kl fastnn.quasirandom",
    "Arrays": "fastnn.kernels fastnn.classic",
    "Tools": "fastnn.utils fastnn.utils.benchmark fastnn.utils.checkpoint fastnn.utils.collect_env fastnn.utils.dlpack "
    "fastnn.utils.flop_counter fastnn.utils.hooks fastnn.utils.tensorboard fastnn.testing fastnn.overrides fastnn.fx "
    "fastnn.types fastnn.version",
    "As on a machine without them": "fastnn.accelerator fastnn.backends fastnn.compiler fastnn.cpu fastnn.cuda "
    "fastnn.distributed fastnn.futures fastnn.hub fastnn.jit fastnn.library fastnn.masked fastnn.mps "
    "fastnn.multiprocessing fastnn.sparse fastnn.xpu",
}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)|!\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)(```+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)


def _page_of(target: str) -> str | None:
    """The page of a file of the checkout; None if the site does not have it."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/") if (ROOT / target).is_file() else None
    return PAGES.get(target) or PAGES.get(f"{target.rstrip('/')}/README.md")


def _relinked(text: str, page: str) -> str:
    """The text of a page whose links lead to pages of the site."""
    origin = ORIGINS.get(page, f"docs/{page}")

    def replace(match: re.Match[str]) -> str:
        image = match[4] is not None
        words, link = (match[3], match[4]) if image else (match[1], match[2])
        target, hash_, anchor = link.partition("#")
        if not target or re.match(r"[a-z]+:", link):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        if not (ROOT / file).exists():
            # mkdocs says so.
            return match[0]
        found = _page_of(file)
        if found is None:
            return words
        found = posixpath.relpath(found, posixpath.dirname(page) or ".")
        return f"{'!' if image else ''}[{words}]({found}{hash_}{anchor})"

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(replace, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join(parts) + _LINK.sub(replace, text[end:])


def _program(name: str, source: str) -> str:
    return f"# {name}\n\n````python\n{source}````\n"


def _names(module: ModuleType) -> list[str]:
    """The public names of a module: ``__all__``, or what is defined in it and in what is below it."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        shown = [name for name in vars(module) if not name.startswith("_")]
        everything = module.__name__ in ("fastnn", "fastnn.nn.functional")
        listed = [
            name for name in shown
            if everything or str(getattr(getattr(module, name), "__module__", "")).startswith(module.__name__)
        ]
    return sorted(set(listed), key=str.lower)


def _path_of(thing: Any) -> str | None:
    """Where fastnn defines a class or function; None for modules, values, names only, and what others define."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not (inspect.isclass(thing) or callable(thing)) or not isinstance(module, str) or not name:
        return None
    if not module.startswith("fastnn") or module.startswith("fastnn._core.absent") or "<locals>" in name:
        return None
    if getattr(sys.modules.get(module), name, None) is not thing or not thing.__doc__:
        return None
    # The reference reads the sources, and has no function that is made by another one.
    return f"{module}.{name}" if name in _defined(str(sys.modules[module].__file__)) else None


@functools.cache
def _defined(file: str) -> set[str]:
    return set(re.findall(r"^(?:def|class) (\w+)", Path(file).read_text(encoding="utf-8"), flags=re.MULTILINE))


def _reference(path: str, documented: dict[str, str]) -> str:
    """The page of a public module. What an earlier page has is a link."""
    if path == "fastnn.Tensor":
        documented["fastnn._tensor.tensor.Tensor"] = path
        return f"# fastnn.Tensor\n\n{_entry('fastnn._tensor.tensor.Tensor', path)}"
    module = importlib.import_module(path)
    text = [f"# {path}", _fenced(inspect.getdoc(module) or "")]
    entries: dict[str, list[str]] = {}
    links, values = [], []
    for name in _names(module):
        thing = getattr(module, name, None)
        where = _path_of(thing)
        if where in documented:
            links.append(f"[`{name}`][{where}]")
        elif where is not None:
            documented[where] = path
            # The functions of `fastnn` by family.
            family = where.split(".")[2] if path == "fastnn" and where.startswith("fastnn.ops.") else ""
            entries.setdefault(family, []).append(_entry(where, f"{path}.{name}"))
        elif not inspect.ismodule(thing) and hasattr(module, "__all__") and not _is_absent(thing):
            values.append(f"`{name}`")
    for family, found in sorted(entries.items()):
        if family:
            text.append(f"## {family.replace('_', ' ').capitalize()}")
        text += found
    if links:
        text.append(f"Described elsewhere: {', '.join(links)}.")
    if values:
        text.append(f"Values, and what needs no description: {', '.join(values)}.")
    return "\n\n".join(text) + "\n"


def _is_absent(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("fastnn._core.absent")


def _entry(path: str, heading: str) -> str:
    return f"::: {path}\n    options:\n      heading: {heading}\n      toc_label: {heading.rpartition('.')[2]}"


def _fenced(docstring: str) -> str:
    """A docstring in Markdown: examples are blocks of code, roles are names."""
    docstring = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring)
    return re.sub(r"^( *)>>> (?:.*\n?)(?:\1.*\S.*\n?)*", _fence_example, docstring, flags=re.MULTILINE)


def _fence_example(match: re.Match[str]) -> str:
    return f"\n{match[1]}```pycon\n{match[0].rstrip()}\n{match[1]}```\n"


class Docstrings(griffe.Extension):
    """Docstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _fenced(inspect.cleandoc(obj.docstring.value))


@event_priority(100)
def on_config(config: Any) -> Any:
    """Read the sources from a tree as it is installed, with the kernels in it."""
    tree = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, tree, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.gz")
    shutil.copytree(ROOT / "fastnn", tree / "fastnn", ignore=ignored)
    shutil.copytree(ROOT / "kernels", tree / "fastnn" / "kernels", ignore=ignored)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(tree)]
    config.nav = [_expanded(entry) for entry in config.nav]
    return config


def _expanded(entry: Any) -> Any:
    """An entry of the navigation. A folder of pages that are made here (`api/`) becomes the list of its pages."""
    if not isinstance(entry, dict):
        return entry
    [(title, inside)] = entry.items()
    if isinstance(inside, list):
        return {title: [_expanded(other) for other in inside]}
    if inside == "api/":
        sections = [{part: [f"api/{path}.md" for path in _existing(paths)]} for part, paths in MODULES.items()]
        return {title: sections}
    if inside.endswith("/"):
        pages = sorted(page for page in PAGES.values() if posixpath.dirname(page) == inside.rstrip("/"))
        return {title: sorted(pages, key=lambda page: not page.endswith("/index.md"))}
    return entry


def _existing(paths: str) -> list[str]:
    return [path for path in paths.split() if path == "fastnn.Tensor" or importlib.util.find_spec(path) is not None]


def on_files(files: Files, config: Any) -> Files:
    for file, page in PAGES.items():
        source = (ROOT / file).read_text(encoding="utf-8")
        text = source if file.endswith(".md") else _program(file, source)
        files.append(File.generated(config, page, content=text))
    documented: dict[str, str] = {}
    section = ["# API reference", "The public modules, from their docstrings."]
    with warnings.catch_warnings():
        # Modules that PyTorch has deprecated.
        warnings.simplefilter("ignore")
        for title, paths in MODULES.items():
            section += [f"## {title}", ""]
            rows = []
            for path in _existing(paths):
                files.append(File.generated(config, f"api/{path}.md", content=_reference(path, documented)))
                rows.append(f"- [{path}]({path}.md)")
            section.append("\n".join(rows))
    files.append(File.generated(config, "api/index.md", content="\n\n".join(section) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    return _relinked(markdown, page.file.src_uri)
