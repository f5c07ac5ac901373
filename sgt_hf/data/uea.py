"""The `.ts` files of the UEA/UCR archive of time series, multivariate and of unequal length.

The reader is our own: `aeon`'s brings numba, excludes Python 3.10 and lower-cases the class names.

References:
    Bagnall et al. 2018, The UEA multivariate time series classification archive, https://www.timeseriesclassification.com.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from datasets import DatasetDict
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from sgt_hf.data.series_rows import fit_min_max, min_max_scale, series_dataset

Missing = Literal["refuse", "previous"]
Series = list[NDArray[np.float64]]


class TsFormatError(ValueError):
    """A file that is not in the `.ts` format; the message names file, line and what was expected."""


class TsFile(NamedTuple):
    """What a `.ts` file holds: N series of (T, C), T free, and (N,) indices into the K class names of its header."""

    series: Series
    labels: list[int]
    label_names: list[str]


class _Line(NamedTuple):
    file: Path
    number: int
    text: str

    def error(self, problem: str) -> TsFormatError:
        return TsFormatError(f"{self.file}, line {self.number}: {problem}")


def load_uea(
    folder: str | Path,
    *,
    scale: bool = True,
    validation_fraction: float = 0.0,
    seed: int = 0,
    missing: Missing = "refuse",
    allow_constant: bool = False,
) -> DatasetDict:
    """Load a set of the UEA/UCR archive, with train and test as released.

    Args:
        folder: Holds `NAME_TRAIN.ts` and `NAME_TEST.ts`, as the archive's zip files do.
        scale: Min-max scale each feature by its range over all steps of train; validation and test may leave [0, 1].
        validation_fraction: Share in [0, 1) of train, of each class alike, to set aside as `validation`. The scaling
            is fitted on what is left.
        seed: Of the choice of validation.
        missing: What becomes of missing values (`?`): `refuse` raises, `previous` takes the feature's last known value
            (its first known one at the start).
        allow_constant: Accept series in which every feature stays at one value.

    Returns:
        Splits of rows `input_values` (T, C), where T may differ between rows, and `labels`.

    Raises:
        FileNotFoundError: The folder lacks one of the files.
        TsFormatError: A file is malformed, see `read_ts`, or test has classes or features that train has not.
        ValueError: An argument is out of range, a class is too small to be split, or a series is constant.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie in [0, 1), got {validation_fraction}")
    train = read_ts(_find(Path(folder), "TRAIN"), missing=missing)
    test_path = _find(Path(folder), "TEST")
    test = _like_train(read_ts(test_path, missing=missing), train, test_path)
    parts = {"train": train}
    if validation_fraction:
        parts = _set_aside(train, validation_fraction, seed)
    parts["test"] = test
    limits = fit_min_max(parts["train"].series, per="feature")
    splits = DatasetDict()
    for split, part in parts.items():
        series = min_max_scale(part.series, limits) if scale else part.series
        splits[split] = series_dataset(
            series, part.labels, label_names=train.label_names, split=split, allow_constant=allow_constant
        )
    return splits


def read_ts(path: str | Path, *, missing: Missing = "refuse") -> TsFile:
    """Read one `.ts` file of a classification problem.

    Args:
        path: The file, in UTF-8.
        missing: As for `load_uea`.

    Returns:
        The series in float64, their labels and the header's class names.

    Raises:
        ValueError: `missing` is unknown.
        TsFormatError: No class names or `@data` line in the header; time stamps or a regression target; a value that is
            no finite number; features of one series that differ in length; series that differ in their number of
            features, or from the length or number that the header states; an unknown class; no series at all.
    """
    if missing not in get_args(Missing):
        raise ValueError(f"missing={missing!r} is unknown; choose one of {get_args(Missing)}")
    lines = _lines(Path(path))
    header, label_names = _header(lines, Path(path))
    series: Series = []
    labels = []
    for line in lines:
        *features, label = line.text.split(":")
        if label.strip() not in label_names:
            raise line.error(f"ends in {label[:40]!r} instead of ':' and one of the classes {label_names}")
        values = np.stack(_features(line, features, missing), axis=1)
        _check_shape(line, values, header, series[0].shape[1] if series else None)
        series.append(values)
        labels.append(label_names.index(label.strip()))
    if not series:
        raise TsFormatError(f"{path} holds no series after '@data'. Fetch it again")
    return TsFile(series, labels, label_names)


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the lines that are neither empty nor a comment."""
    with path.open("rb") as file:  # bytes: text mode cannot say in which line the encoding is broken
        for number, content in enumerate(file, start=1):
            try:
                text = content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise _Line(path, number, "").error(f"invalid UTF-8 ({error}). Convert the file") from error
            if text and not text.startswith(("#", "%")):
                yield _Line(path, number, text)


def _header(lines: Iterator[_Line], path: Path) -> tuple[dict[str, int], list[str]]:
    """Read up to `@data`: the numbers that series must agree with, and the class names."""
    numbers: dict[str, int] = {}
    label_names: list[str] = []
    unequal = False
    for line in lines:
        tag, *values = line.text.split()
        tag = tag.lower()
        flag = values[0].lower() if values else ""
        if tag == "@data":
            if not label_names:
                raise line.error("the header has no '@classLabel true' with the names of the classes")
            if unequal:  # some files state the longest
                numbers.pop("steps", None)
            return numbers, label_names
        if not tag.startswith("@"):
            raise line.error(f"expected a header line such as '@classLabel true a b', got {line.text[:40]!r}")
        if (tag, flag) in (("@timestamps", "true"), ("@targetlabel", "true")):
            raise line.error(f"'{line.text[:40]}' is not supported: series of plain values with a class each are")
        if tag == "@classlabel" and flag == "true":
            label_names = values[1:]
        unequal = unequal or (tag, flag) == ("@equallength", "false")
        if (tag, flag) == ("@univariate", "true"):
            numbers["features"] = 1
        if tag in ("@dimensions", "@dimension", "@serieslength"):
            if not flag.isdecimal():
                raise line.error(f"expected a number after {tag}, got {flag!r}")
            numbers["steps" if tag == "@serieslength" else "features"] = int(flag)
    raise TsFormatError(f"{path} has no line '@data'. Fetch it again")


def _features(line: _Line, texts: list[str], missing: Missing) -> Series:
    """Read the features of one series; they must be equally long."""
    if not texts:
        raise line.error("expected values, separated by commas, before ':' and the class")
    features = [_numbers(line, text, index, missing) for index, text in enumerate(texts)]
    lengths = [len(values) for values in features]
    if len(set(lengths)) > 1:
        odd = next(index for index, length in enumerate(lengths) if length != lengths[0])
        raise line.error(f"expected {lengths[0]} values of feature {odd}, as many as of feature 0, got {lengths[odd]}")
    return features


def _numbers(line: _Line, text: str, feature: int, missing: Missing) -> NDArray[np.float64]:
    """Read the values of one feature, and fill in the missing ones."""
    words = [word.strip() for word in text.split(",")]
    values = np.empty(len(words))
    for step, word in enumerate(words):
        try:
            values[step] = np.nan if word == "?" else float(word)
        except ValueError as error:
            raise line.error(f"expected a number at step {step} of feature {feature}, got {word[:40]!r}") from error
    if np.isinf(values).any():
        step = int(np.isinf(values).argmax())
        raise line.error(f"expected a finite number at step {step} of feature {feature}, got {words[step]!r}")
    known = np.flatnonzero(~np.isnan(values))
    if len(known) == len(values):
        return values
    if missing == "refuse" or not len(known):
        seen = f"step {int(np.isnan(values).argmax())}" if len(known) else "every step"
        raise line.error(f"a value is missing at {seen} of feature {feature}; missing='previous' takes the one before")
    # The last known step at or before each step; before the first known one, that one.
    last = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return values[known[np.maximum(last, 0)]]


def _check_shape(line: _Line, values: NDArray[np.float64], header: dict[str, int], width: int | None) -> None:
    """Refuse a series whose shape is not what the header, or the series before it, say."""
    seen = dict(zip(("steps", "features"), values.shape, strict=True))
    for axis, expected in header.items():
        if seen[axis] != expected:
            raise line.error(f"the series has {seen[axis]} {axis}, but the header says {expected}")
    if width is not None and seen["features"] != width:
        raise line.error(f"the series has {seen['features']} features, but those before it have {width}")


def _find(folder: Path, part: str) -> Path:
    found = sorted(folder.glob(f"*_{part}.ts"))
    if len(found) != 1:
        names = [path.name for path in found] if found else sorted(path.name for path in folder.glob("*"))[:8]
        raise FileNotFoundError(f"expected one file '*_{part}.ts' in {folder}, found {names}")
    return found[0]


def _like_train(test: TsFile, train: TsFile, path: Path) -> TsFile:
    """Number the classes of test as train does; refuse classes or a number of features that train has not."""
    unknown = sorted(set(test.label_names) - set(train.label_names))
    if unknown:
        raise TsFormatError(f"{path}: the header names the classes {unknown}, which train has not: {train.label_names}")
    widths = [part.series[0].shape[1] for part in (test, train)]
    if widths[0] != widths[1]:
        raise TsFormatError(f"{path}: the series have {widths[0]} features, and those of train {widths[1]}")
    labels = [train.label_names.index(test.label_names[label]) for label in test.labels]
    return TsFile(test.series, labels, train.label_names)


def _set_aside(train: TsFile, fraction: float, seed: int) -> dict[str, TsFile]:
    """Split train into train and validation, each class alike."""
    try:
        kept, aside = train_test_split(
            np.arange(len(train.labels)), test_size=fraction, stratify=train.labels, random_state=seed
        )
    except ValueError as error:
        raise ValueError(f"train cannot be split at validation_fraction={fraction}: {error}") from error
    return {
        split: TsFile([train.series[i] for i in rows], [train.labels[i] for i in rows], train.label_names)
        for split, rows in (("train", np.sort(kept)), ("validation", np.sort(aside)))
    }
