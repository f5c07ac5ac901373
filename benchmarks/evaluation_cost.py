"""What an evaluation of faithfulness costs, as a ratio to the work that it cannot do without, in one run.

Over n tokens the five bins of one ranking leave 5 n tokens to read, (.99 + .95 + .9 + .8 + .5) n without its top words
and (.01 + .05 + .1 + .2 + .5) n with them alone, and the whole texts are read once: 6 n. So the whole comprehensiveness
and sufficiency pass (`evaluate_faithfulness` of one ranking, rows to report) is divided by six times a plain batched
forward over the same texts, sorted by length. Integrated gradients is divided by its own count of forward and backward
passes, each timed as a plain one over the same batches.

The parts take turns, repeat by repeat, so that a machine that slows down slows all of them; ratios are taken within a
repeat, and their median is reported.

    python benchmarks/evaluation_cost.py                                                   # planted texts
    python benchmarks/evaluation_cost.py --data-dir ../shared/data/eraser --limit 40       # Movies and e-SNLI
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from benchmarks.common import cell_path, markdown_table, run_cell
from benchmarks.cost_inside import now
from sgt_hf import TextAdapter, evaluate_faithfulness, load_eraser
from sgt_hf.attribution import ATTRIBUTIONS, AttributionSettings, Point
from sgt_hf.data.collators import DataCollatorWithWordIds
from sgt_hf.data.planted import write_planted
from sgt_hf.data.rationales import encode_words
from sgt_hf.data.vocabulary import build_word_tokenizer

# data set → tokens of a text, goal of the removal pass
DATASETS = {"movies": (256, 1.15), "esnli": (128, 1.3)}
IG_GOAL = 1.15
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class EvaluationCostArguments:
    """What to time."""

    datasets: list[str] = field(
        default_factory=lambda: ["movies", "esnli"], metadata={"help": "movies, esnli: their test sets."}
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "Folder of movies/ and esnli/; planted texts as long where it is not given."}
    )
    model: str | None = field(default=None, metadata={"help": "A folder; random weights of MiniLM's size without."})
    limit: int = field(default=24, metadata={"help": "Texts of each set, evenly spread over it; 0 for all."})
    ig_texts: int = field(default=4, metadata={"help": "Texts of integrated gradients, the longest."})
    ig_steps: int = field(default=10, metadata={"help": "Steps of integrated gradients."})
    batch_size: int = field(default=32, metadata={"help": "Texts of a plain forward."})
    repeats: int = field(default=3, metadata={"help": "Timed runs of each part; the median counts."})
    threads: int | None = field(default=None, metadata={"help": "torch's CPU threads."})
    output_dir: str = field(default="runs/evaluation_cost", metadata={"help": "Where the JSON goes."})


def main() -> None:
    """Time both sets and print the table."""
    (args,) = HfArgumentParser(EvaluationCostArguments).parse_args_into_dataclasses()
    unknown = sorted(set(args.datasets) - set(DATASETS))
    if unknown:
        raise ValueError(f"unknown datasets {unknown}: use {sorted(DATASETS)}")
    transformers_logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    cells, paths = [], []
    for name in args.datasets:
        settings = {key: value for key, value in asdict(args).items() if key not in ("output_dir", "datasets")}
        path = cell_path(Path(args.output_dir), f"evaluation-cost-{name}", settings | {"dataset": name})
        cells.append(run_cell(path, settings | {"dataset": name}, lambda name=name: measure(args, name)))
        paths.append(str(path.resolve()))
    print("\n" + table(cells) + "\n\n" + "\n".join(paths))


def measure(args: EvaluationCostArguments, name: str) -> dict[str, Any]:
    """Return seconds of every part and repeat, and the texts' facts."""
    words = read_words(args, name)
    tokenizer, model = make_model(args, words)
    model = model.to(DEVICE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="max_length=")
        rows = encode_words(words, tokenizer, max_length=DATASETS[name][0], use_query=False)
    lengths = sorted((len(ids) for ids in rows["input_ids"]), reverse=True)
    plain = batches(rows, tokenizer, args.batch_size)
    longest = batches(rows, tokenizer, args.batch_size, count=args.ig_texts)
    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: forward(model, plain),
        "removal": lambda: evaluate_faithfulness(
            model, rows, tokenizer, methods=[], random_draws=1, batch_size=args.batch_size, progress=False
        ),
        "forward and backward": lambda: forward_and_backward(model, longest),
        "integrated gradients": lambda: integrated_gradients(model, tokenizer, longest, args.ig_steps),
    }
    seconds: dict[str, list[float]] = {part: [] for part in parts}
    for repeat in tqdm(range(args.repeats + 1), desc=name, unit="repeat"):
        for part, work in parts.items():
            elapsed = timed(work)
            if repeat:  # the first is a warm-up
                seconds[part].append(elapsed)
    return {"seconds": seconds, "texts": len(rows), "tokens": sum(lengths), "longest": lengths[0]}


def read_words(args: EvaluationCostArguments, name: str) -> Dataset:
    """Return the texts as words: of the real test set, or planted ones of about its lengths."""
    if args.data_dir is not None:
        words = load_eraser(name, data_dir=args.data_dir)["test"]
    else:
        with tempfile.TemporaryDirectory() as folder:
            texts = load_eraser(str(write_planted(folder, sizes={"train": 2, "val": 2, "test": 600})))["test"]
            words = like(texts, name).with_format(None)
    count = len(words) if args.limit == 0 else min(args.limit, len(words))
    return words.select(np.linspace(0, len(words) - 1, count).astype(int))


def like(texts: Dataset, name: str) -> Dataset:
    """Make planted texts as long as the set's: Movies' all pass the limit, e-SNLI's are pairs of 14 and 8 words."""
    documents = texts["document"][:]
    rows = []
    for start in range(0, len(documents) - 8, 8):
        if name == "movies":
            words, lengths = list(chain(*documents[start : start + 8])), None
        else:
            first, second = documents[start][: 8 + start % 13], documents[start + 1][: 4 + start % 9]
            words, lengths = first + second, [len(first), len(second)]
        rows.append({"document": words, "query": [], "label": start % 2, "doc_lengths": lengths or [len(words)]})
    return Dataset.from_list(rows)


def make_model(args: EvaluationCostArguments, words: Dataset) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Build a model of MiniLM's size with random weights and a tokenizer of whole words, or load a folder."""
    if args.model is not None:
        tokenizer = AutoTokenizer.from_pretrained(args.model)
        return tokenizer, AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=3).eval()
    torch.manual_seed(0)
    layers = {"num_hidden_layers": 6, "num_attention_heads": 12}
    config = BertConfig(hidden_size=384, intermediate_size=1536, num_labels=3, **layers)
    return build_word_tokenizer(words["document"][:], max_size=30_000), BertForSequenceClassification(config).eval()


def batches(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, batch_size: int, count: int | None = None
) -> list[dict[str, torch.Tensor]]:
    """Collate the texts, or the `count` longest of them, longest first."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["input_ids"]))[:count]
    collate = DataCollatorWithWordIds(tokenizer)
    columns = [*tokenizer.model_input_names, "word_ids", "segment_ids"]
    kept = rows.select_columns([name for name in columns if name in rows.column_names])
    parts = [collate([kept[i] for i in order[at : at + batch_size]]) for at in range(0, len(order), batch_size)]
    return [{name: column.to(DEVICE) for name, column in part.items()} for part in parts]


def forward(model: PreTrainedModel, parts: Sequence[dict[str, torch.Tensor]]) -> None:
    """Read all texts once."""
    with torch.no_grad():
        for part in parts:
            model(**inputs_of(part))


def forward_and_backward(model: PreTrainedModel, parts: Sequence[dict[str, torch.Tensor]]) -> None:
    """Read all texts once, and differentiate by the word embeddings alone, as a saliency method does."""
    embedding = model.get_input_embeddings()
    for part in parts:
        found: list[torch.Tensor] = []

        def keep(_module: Any, _inputs: Any, output: torch.Tensor, found: list[torch.Tensor] = found) -> torch.Tensor:
            found.append(output.detach().requires_grad_())
            return found[0]

        handle = embedding.register_forward_hook(keep)
        try:
            torch.autograd.grad(model(**inputs_of(part)).logits[:, 0].sum(), found[0])
        finally:
            handle.remove()


def inputs_of(part: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out the columns that models do not read."""
    return {name: column for name, column in part.items() if name not in TextAdapter.extra_columns}


def integrated_gradients(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parts: Sequence[dict[str, torch.Tensor]], steps: int
) -> None:
    """Attribute all texts."""
    adapter = TextAdapter(tokenizer)
    settings = AttributionSettings(steps=steps)
    for part in parts:
        with torch.no_grad(), adapter.capture(model, part) as captured:
            targets = model(**captured.batch).logits.argmax(-1)
        index = list(range(len(targets)))
        point = Point(captured.require(adapter).detach(), adapter.eligible(part), targets, index)
        ATTRIBUTIONS["integrated_gradients"](model, adapter, part, point, settings)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of one call, the device waited for."""
    started = now()
    work()
    return now() - started


def ratios(cell: dict[str, Any]) -> dict[str, tuple[np.ndarray, float]]:
    """Return by part the ratios to the least possible, within each repeat, and the goal.

    Integrated gradients needs its steps' passes and three forwards: the prediction, and two for the delta.
    """
    seconds = {part: np.array(values) for part, values in cell["seconds"].items()}
    settings = cell["settings"]
    share = 3 * seconds["forward"] * cell_share(cell)
    least = settings["ig_steps"] * seconds["forward and backward"] + share
    return {
        "removal, by 6 forwards": (seconds["removal"] / (6 * seconds["forward"]), DATASETS[settings["dataset"]][1]),
        "integrated gradients, by its passes": (seconds["integrated gradients"] / least, IG_GOAL),
    }


def cell_share(cell: dict[str, Any]) -> float:
    """Return the share of all tokens that integrated gradients reads in one forward."""
    return min(1.0, cell["settings"]["ig_texts"] * cell["longest"] / cell["tokens"])


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Lay out the ratios: median over repeats of the ratio within a repeat, and the range."""
    rows = []
    for cell in cells:
        for part, (values, goal) in ratios(cell).items():
            spread = f"{values.min():.2f} – {values.max():.2f}"
            texts = f"{cell['texts']} × {cell['tokens'] / cell['texts']:.0f}"
            rows.append([cell["settings"]["dataset"], texts, part, f"{np.median(values):.2f}", spread, f"{goal:.2f}"])
    settings, hardware = cells[0]["settings"], cells[0]["machine"]
    title = (
        f"{Path(settings['model'] or 'random weights of MiniLM').name}, {hardware['device']}, "
        f"{hardware['torch_threads']} threads, {settings['repeats']} repeats"
    )
    return f"{title}\n\n{markdown_table(['set', 'texts × tokens', 'part', 'ratio', 'range', 'goal'], rows)}"


if __name__ == "__main__":
    main()
