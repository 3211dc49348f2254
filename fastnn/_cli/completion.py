"""``fastnn completion``: a script for the shell, by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from fastnn._cli.command import Command, Failure

_SHELLS = ("bash", "zsh", "tcsh")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "bash: fastnn completion bash > ~/.local/share/bash-completion/completions/fastnn\n"
        "zsh:  fastnn completion zsh > ~/.zfunc/_fastnn      (with fpath+=~/.zfunc before compinit in ~/.zshrc)\n\n"
        "Needs shtab: pip install 'fastnn[cli]'.\n"
    )
    parser.add_argument("shell", choices=_SHELLS)


def _completion(options: argparse.Namespace) -> int:
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise Failure("completion needs shtab: pip install 'fastnn[cli]'") from error
    from fastnn._cli.main import _parser

    parser = _parser()
    for action in _actions(parser):
        if action.metavar in ("FILE", "FILE.html", "FILE.onnx", "DATA", "MODEL", "PART") or action.dest == "script":
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it
    print(shtab.complete(parser, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action


COMMANDS = (Command("completion", "print the completion script of a shell", _arguments, _completion),)
