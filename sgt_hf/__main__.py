"""Command line: `python -m sgt_hf explain MODEL "a text" …`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from transformers.utils import logging as transformers_logging

from .attribution import ATTRIBUTIONS
from .explain import Explanation, explain
from .loading import load
from .reporting.html import Report, write_report
from .reporting.visible import visible

_EXPLAIN = """\
Marks the words of texts by how much a classifier's prediction hangs on them.

Texts are arguments, lines of --file, or lines of standard input where an argument is `-`. Blank lines are left out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The exit status: 0; 1 where nobody reads what is printed; 2 where something is wrong with what was asked for,
        which is then said on stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _commands().parse_args(arguments[:1])
    # Intermixed, so that texts may come after options too; argparse cannot do that below a subparser.
    options = _explain_parser().parse_intermixed_args(arguments[1:])
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot write a character gets its code instead
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            found = _explanations(options)
        for warning in caught:
            _complain(f"warning: {warning.message}")
        _hand_out(found, options)
        sys.stdout.flush()
    except BrokenPipeError:  # as of `… | head`; Python would complain once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as rich does
    except (ValueError, OSError) as error:
        _complain(str(error))
        return 2
    return 0


def read_texts(options: argparse.Namespace) -> list[str | tuple[str, str]]:
    """Collect the texts that a command line names.

    Args:
        options: With `texts`, `file`, `whole` and `pair`.

    Returns:
        Texts, or pairs of texts.

    Raises:
        ValueError: There is none, a file is no UTF-8, a pair lacks its other half, or a line holds more than a pair.
        OSError: A file cannot be read.
    """
    if not options.texts and options.file is None:
        raise ValueError("no text: give texts, --file FILE, or - for standard input")
    texts = [] if options.file is None else _read(options.file, options)
    for text in options.texts:
        texts += _read("-", options) if text == "-" else [text]
    if not texts:
        raise ValueError("no text: the input is empty")
    if not options.pair:
        return list(texts)
    return _paired(texts)


class _Parser(argparse.ArgumentParser):
    """Repeats what was typed without obeying it."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def _commands() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m sgt_hf", description="Saliency guided training for Hugging Face.")
    parser.add_argument("command", choices=["explain"], help="explain: mark salient words; explain --help says more")
    return parser


def _explain_parser() -> argparse.ArgumentParser:
    one = _Parser(
        prog="python -m sgt_hf explain", description=_EXPLAIN, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    one.add_argument("model", metavar="MODEL", help="folder or hub name of a text classifier")
    one.add_argument("texts", metavar="TEXT", nargs="*", help="a text; - for the lines of standard input")
    one.add_argument("--file", help="a file of texts in UTF-8, one a line")
    one.add_argument("--whole", action="store_true", help="take --file or standard input as one text")
    one.add_argument("--pair", action="store_true", help="texts are pairs: two by two, or a tab between on a line")
    one.add_argument("--method", default="gradient", choices=sorted(ATTRIBUTIONS), help="default: gradient")
    one.add_argument("--target", default="predicted", help="class to explain, by name or number; default: predicted")
    one.add_argument("--reduction", default="auto", help="from a token's attribution to its score; default: auto")
    one.add_argument("--batch-size", type=int, default=16, help="texts at once, at most; default: 16")
    one.add_argument("--json", action="store_true", help="print a JSON array of explanations instead of highlights")
    one.add_argument("--html", metavar="OUT", help="write a self-contained page instead of printing highlights")
    return one


def _explanations(options: argparse.Namespace) -> list[Explanation]:
    texts = read_texts(options)
    model, tokenizer = load(options.model)
    return explain(
        model,
        tokenizer,
        texts,
        method=options.method,
        target=options.target,
        reduction=options.reduction,
        batch_size=options.batch_size,
    )


def _hand_out(found: list[Explanation], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps([one.to_dict() for one in found], indent=1))  # ASCII alone: no control character gets out
    if options.html is not None:
        entries = [one.to_entry(f"text {n}") for n, one in enumerate(found)]
        facts = {"model": options.model, "method": options.method, "reduction": options.reduction}
        report = Report("Explained texts", texts=entries, provenance=facts)
        write_report(options.html, report, max_texts=len(entries))
        _complain(f"wrote {options.html}")
    if not options.json and options.html is None:
        console = Console(highlight=False, markup=False, emoji=False)
        for n, one in enumerate(found):
            console.print(*([""] if n else []), one, sep="\n", soft_wrap=True)


def _read(source: str, options: argparse.Namespace) -> list[str]:
    """The texts of a file, or of standard input."""
    name = "standard input" if source == "-" else source
    data: Any = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from error
    # Not `splitlines`, which ends a line at form feeds and U+2028 too: those are part of a text.
    texts = [text] if options.whole else re.split("\r\n|\r|\n", text)
    return [one for one in texts if one.strip()]


def _paired(texts: list[str]) -> list[str | tuple[str, str]]:
    parts: list[str] = []
    for text in texts:
        halves = text.split("\t")
        if len(halves) > 2 or len(halves) + len(parts) % 2 > 2:  # a second tab, or a pair where a half is missing
            raise ValueError(f"--pair takes texts two by two, or a pair on a line with a tab between; got {text!r:.80}")
        parts += halves
    if len(parts) % 2:
        raise ValueError(f"--pair takes texts two by two, or a pair on a line with a tab between; got {len(parts)}")
    return list(zip(parts[::2], parts[1::2], strict=True))


def _complain(message: str) -> None:
    print(f"sgt_hf: {visible(message)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
