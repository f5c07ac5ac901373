import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from transformers import HfArgumentParser

from benchmarks.common import CODE, cell_path
from benchmarks.images import cell_of, cells_of, decoded_once, load
from benchmarks.images_arguments import RECIPES, ImagesArguments
from benchmarks.images_cell import Methods, run_methods, run_training
from benchmarks.images_figures import drawn_from, figures, planned, write_figures
from benchmarks.images_tables import ARMS, PAPER, search_tables, tables
from benchmarks.images_training import Cell, Images, build_model, trained_model
from benchmarks.publish import ROOT
from sgt_hf import SaliencyGuidedArguments
from sgt_hf.data.images import PixelDataset
from sgt_hf.data.pixels import PixelTensors
from sgt_hf.reporting.plots import to_png
from tests.test_readme import shell_lines

FAST = [
    *("--seeds", "0", "--epochs", "0.2", "--fine_tuning_epochs", "0.1", "--test_images", "40", "--train_images", "200"),
    *("--method_images", "8", "--ig_steps", "2", "--smooth_grad_samples", "2", "--shap_samples", "2"),
    *("--shap_baselines", "2"),
]
ROAR = ["--roar_levels", "0", "0.5", "--roar_epochs", "0.1"]
METHODS = ["gradient", "integrated_gradients", "deep_lift", "gradient_shap", "deep_shap", "smooth_grad", "random"]


def run(output, *arguments):
    where = ["--output_dir", str(output), "--weights_dir", str(output / "weights")]
    command = [sys.executable, str(ROOT / "benchmarks" / "images.py"), *where, *FAST, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def cells(output):
    return {path.name: json.loads(path.read_text()) for path in sorted(Path(output).glob("*.json"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("images")
    result = run(output, *ROAR)
    assert result.returncode == 0, result.stderr
    return output, result


def test_the_arms_are_paired_and_everything_is_recorded(finished):
    output, result = finished
    trained = {c["settings"]["arm"]: c for c in cells(output).values() if c["settings"]["kind"] == "training"}
    assert set(trained) == {"plain", "guided", "fine_tuned"}
    plain, guided, tuned = (trained[arm]["settings"] for arm in ("plain", "guided", "fine_tuned"))
    assert {name for name in plain if plain[name] != guided[name]} == {"arm", "knobs"}
    assert plain["knobs"] == {"sgt_kl_weight": 0.0}
    assert guided["knobs"]["sgt_mask_fraction"] == 0.5
    assert tuned["start"] == {name: value for name, value in plain.items() if name != "kind"}
    assert tuned["epochs"] == 0.1
    for cell in trained.values():
        assert len(cell["drops"]["gradient"]["accuracies"]) == 10
        assert sum(cell["histogram"]) == pytest.approx(1, abs=1e-4)
        assert cell["test_images"] == 40
    measured = [c for c in cells(output).values() if c["settings"]["kind"] == "methods"]
    assert [list(cell["drops"]) for cell in measured] == [METHODS] * 3
    assert result.stdout.count("| fine_tuned |") >= 1
    assert (output / "table.md").read_text().strip() in result.stdout


def test_removal_kinds_start_alike(finished):
    (roar,) = (cell for cell in cells(finished[0]).values() if cell["settings"]["kind"] == "roar")
    assert roar["levels"] == [0.0, 0.5]
    assert roar["drops"]["IID"]["accuracies"][0] == roar["drops"]["OOD"]["accuracies"][0]
    assert set(roar["drops"]) == {"IID", "OOD", "ROAR"}


def test_figures_are_drawn(finished):
    names = {path.name for path in (finished[0] / "figures").glob("*.png")}
    assert {"digits-accuracy-drop-gradient.png", "digits-gradient-histogram.png", "digits-removal-kinds.png"} <= names


@pytest.mark.slow
def test_a_second_run_resumes_and_prints_the_same(finished):
    output, first = finished
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.json")}
    again = run(output, *ROAR)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("*.json")} == before


def test_a_network_trained_in_bfloat16_is_measured_alike_from_its_saved_weights(tmp_path):
    args = ImagesArguments(train_images=64, test_images=30, epochs=1, bf16=True)
    data = load(args)
    cell = cell_of(args, SaliencyGuidedArguments(), data, "plain", seed=0)
    methods = Methods(
        ("gradient",), 30, "constant", ig_steps=2, smooth_grad_samples=2, shap_samples=2, shap_baselines=2
    )
    first, loaded = (run_training(cell, data, tmp_path) for _ in range(2))
    assert "train_seconds" in first
    assert "loaded" in loaded
    exact = run_methods(cell, methods, data, tmp_path)  # in float32
    bfloat16, again, float32 = (measured["gini"]["gradient"] for measured in (first, loaded, exact))
    assert 1e-6 < abs(bfloat16 - float32) < 1e-2
    assert abs(bfloat16 - again) < abs(bfloat16 - float32) / 10


@pytest.mark.slow
def test_a_network_of_torchvisions_on_a_folder_of_photographs(tmp_path):
    """As `--dataset bird` runs, photographs of several sizes and classes by folder; VGG-16 would take minutes."""
    draws = np.random.default_rng(0)
    for split, species, number in itertools.product(("train", "test"), ("robin", "wren"), range(2)):
        path = tmp_path / "birds" / split / species / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (230 + 20 * number, 300, 3), dtype=np.uint8)).save(path)
    wanted = ["--dataset", "bird", "--data_dir", str(tmp_path / "birds"), "--network", "resnet18"]
    wanted += ["--arms", "plain", "guided"]
    result = run(tmp_path / "out", *wanted, "--epochs", "1", "--methods", "gradient", "random")
    assert result.returncode == 0, result.stderr
    trained = [cell for cell in cells(tmp_path / "out").values() if cell["settings"]["kind"] == "training"]
    assert [(cell["settings"]["network"], cell["settings"]["train_images"]) for cell in trained] == [
        ("resnet18", 4)
    ] * 2
    for cell in trained:
        assert cell["accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        assert len(cell["drops"]["gradient"]["accuracies"]) == 10
    assert "### bird: resnet18, 4 training images, 4 test images" in result.stdout


def test_validation_images_come_from_the_training_set_and_the_test_split_is_not_touched():
    whole = load(ImagesArguments())
    held_out = load(ImagesArguments(split="validation"))
    count = len(whole.test)
    assert (len(held_out.train), len(held_out.test)) == (len(whole.train) - count, count)
    images = [Counter(row.numpy().tobytes() for row in part.pixel_values) for part in (held_out.train, held_out.test)]
    assert images[0] + images[1] == Counter(row.numpy().tobytes() for row in whole.train.pixel_values)


@pytest.fixture
def small():
    """A training of a second, and its data."""
    args = ImagesArguments(train_images=32, test_images=8, epochs=1)
    data = load(args)
    return cell_of(args, SaliencyGuidedArguments(), data, "plain", seed=0), data


def measured_by(*methods):
    return Methods(methods, 8, "constant", ig_steps=2, smooth_grad_samples=2, shap_samples=2, shap_baselines=2)


def test_only_a_network_that_deep_lift_is_wrong_for_refuses_a_method(small, tmp_path, monkeypatch):
    cell, data = small
    model, facts = trained_model(cell, data, tmp_path)
    with torch.no_grad():
        model.network[-1].weight[0, 0] = torch.nan
    monkeypatch.setattr("benchmarks.images_cell.trained_model", lambda *_: (model, facts))
    with pytest.raises(ValueError, match=r"the gradient scores of sample \d are not finite"):
        run_methods(cell, measured_by("gradient"), data, tmp_path)
    with torch.no_grad():
        model.network[-1].weight[0, 0] = 0.0
    model.network[1] = torch.nn.GELU()
    found = run_methods(cell, measured_by("gradient", "deep_shap"), data, tmp_path)
    assert list(found["drops"]) == ["gradient"]
    assert "DeepLIFT has no rule for network.1 (GELU)" in found["refused"]["deep_shap"]


def test_saved_weights_belong_to_their_data_and_to_the_code_that_trained_them(small, tmp_path, monkeypatch):
    cell, data = small
    assert "train_seconds" in run_training(cell, data, tmp_path)
    assert "loaded" in run_training(cell, data, tmp_path)
    other = replace(data, train=PixelTensors(-data.train.pixel_values, data.train.labels))
    assert "train_seconds" in run_training(cell, other, tmp_path)  # under the same path, and so of the same settings
    assert "loaded" in run_training(cell, data, tmp_path)
    monkeypatch.setattr("benchmarks.common.CODE", "of tomorrow")
    found = run_methods(cell, measured_by("gradient"), data, tmp_path)  # those that the finished training was of
    assert found["trained_by"]["code"] == CODE
    again = run_training(cell, data, tmp_path)
    assert "train_seconds" in again
    assert again["trained_by"]["code"] == "of tomorrow"
    assert again["data"] == data.digest != other.digest


def test_weights_that_cannot_be_read_are_named(small, tmp_path):
    cell, data = small
    trained_model(cell, data, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"{path} holds no weights of this network \(.*\): remove it and run again"):
        run_methods(cell, measured_by("gradient"), data, tmp_path)


def test_the_digest_of_data_tells_changed_images(cropped):
    data = load(cropped)
    digests = {data.digest, replace(data, classes=[*data.classes, "more"]).digest}
    rows = data.train.rows.select(range(7))
    digests.add(replace(data, train=PixelDataset(rows, data.train.transform)).digest)
    assert len(digests) == 3
    assert load(cropped).digest == data.digest


@pytest.fixture
def cropped(tmp_path):
    """A data set in the files of CIFAR-10, whose training images are cropped and mirrored at random."""
    for split in ("train", "test"):
        pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
        rows = {"image": [Image.fromarray(one) for one in pixels], "label": list(range(8))}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    return ImagesArguments(
        "cifar10", str(tmp_path), ["plain"], [0], [], network="mnist_cnn", epochs=1, roar_levels=[0.0, 0.5],
        weights_dir=str(tmp_path),
    )  # fmt: skip


def test_roar_removes_the_pixels_that_were_scored(cropped):
    data = load(cropped)
    assert not torch.equal(data.train[0]["pixel_values"], data.train[0]["pixel_values"])
    decoded = decoded_once(cropped, data)
    expected = PixelDataset(data.train.rows, RECIPES["cifar10"].pixels.transform())
    assert [row["labels"] for row in decoded] == list(range(8))
    assert all(torch.equal(decoded[i]["pixel_values"], expected[i]["pixel_values"]) for i in range(8))
    training = cell_of(cropped, SaliencyGuidedArguments(), data, "plain", 0)
    (_, _, train), (name, _, roar) = cells_of(cropped, data, [training])
    assert name == "cifar10-plain-seed0-roar"
    train()
    data.train.transform = None  # nothing but training may read the crops
    assert len(roar()["drops"]["ROAR"]["accuracies"]) == 2
    digits = load(ImagesArguments())
    assert decoded_once(ImagesArguments(), digits) is digits.train


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["gradient", "foo"]}, r"unknown methods \['foo'\]: use \['deep_lift', "),
        ({"baseline": "foo"}, r"unknown baseline 'foo': use one of \['constant', "),
        ({"learning_rate": 0.0}, r"--learning_rate must be > 0, got 0\.0"),
        ({"learning_rate": float("nan")}, r"--learning_rate must be > 0, got nan"),
        ({"epochs": 0.0}, r"--epochs must be > 0, got 0\.0"),
        ({"fine_tuning_epochs": 0.0}, r"--fine_tuning_epochs must be > 0, got 0\.0"),
        ({"roar_epochs": -1.0}, r"--roar_epochs must be > 0, got -1\.0"),
        ({"batch_size": 0}, r"--batch_size must be ≥ 1, got 0"),
        ({"train_images": 0}, r"--train_images must be ≥ 1, got 0"),
        ({"gradient_images": 0}, r"--gradient_images must be ≥ 1, got 0"),
        ({"shap_baselines": 0}, r"--shap_baselines must be ≥ 1, got 0"),
        ({"seeds": []}, r"--seeds is empty: name at least one"),
        ({"arms": []}, r"--arms is empty: name at least one"),
        ({"seeds": [0, 1, 0]}, r"--seeds must differ, got \[0, 1, 0\]"),
        ({"arms": ["plain", "plain"]}, r"--arms must differ, got \['plain', 'plain'\]"),
        ({"roar_levels": [0.5, 0.1]}, r"levels must ascend in \[0, 1\], got \[0\.5, 0\.1\]"),
    ],
)
def test_settings_without_a_meaning_are_refused_before_anything_is_trained(settings, message):
    with pytest.raises(ValueError, match=message):
        ImagesArguments(**settings)


def test_a_whole_number_of_epochs_names_one_file_however_it_is_written():
    data = load(ImagesArguments())
    names = {
        cell_path(Path(), cell.name, asdict(cell)).name
        for epochs in (None, 20, 20.0)
        for cell in [cell_of(ImagesArguments(epochs=epochs), SaliencyGuidedArguments(), data, "fine_tuned", 0)]
    }
    assert len(names) == 1
    written = [ImagesArguments(roar_levels=[0.0, 0.5], roar_epochs=epochs) for epochs in (1, 1.0)]
    assert [json.dumps(args.roar_epochs) for args in written] == ["1", "1"]
    assert ImagesArguments(epochs=0.5).epochs == 0.5


@pytest.mark.parametrize("folder", ["images", "images_cifar10", "images_search"])
def test_committed_cells_are_found_by_the_code_of_today(folder):
    """Their settings, once more through the options and `Cell`, name the files that they lie in."""
    paths = sorted((ROOT / "benchmarks" / "results" / folder).glob("*.json"))
    assert paths
    for path in paths:
        settings = json.loads(path.read_text())["settings"]
        kind = settings.pop("kind")
        trained = settings if kind == "training" else settings.pop("training")
        cell = Cell(**trained | {"epochs": ImagesArguments(epochs=trained["epochs"]).epochs})
        name = cell.name if kind == "training" else f"{cell.name}-{kind}"
        found = asdict(cell) if kind == "training" else settings | {"training": asdict(cell)}
        assert cell_path(path.parent, name, {"kind": kind, **found}) == path


def test_the_documented_commands_name_the_committed_cells():
    """All of `images` and `images_cifar10`; of the search, whose rows are other knobs each, those of its command."""
    made: dict[str, set[Path]] = {}
    for words in shell_lines((ROOT / "benchmarks" / "images.md").read_text(), "python benchmarks/images.py"):
        args, knobs = HfArgumentParser((ImagesArguments, SaliencyGuidedArguments)).parse_args_into_dataclasses(
            words[2:]
        )
        if not args.output_dir.startswith("benchmarks/results/"):
            continue
        train, test = {"mnist": (60_000, 10_000), "cifar10": (50_000, 10_000)}[args.dataset]
        train -= test if args.split == "validation" else 0
        counts = min(train, args.train_images or train), min(test, args.test_images or test)
        data = Images(*map(range, counts), classes=[], channels=1, size=1, mean=(0.0,), std=(1.0,))
        trainings = [cell_of(args, knobs, data, arm, seed) for seed in args.seeds for arm in args.arms]
        folder = ROOT / args.output_dir
        named = {cell_path(folder, name, settings) for name, settings, _ in cells_of(args, data, trainings)}
        made.setdefault(folder.name, set()).update(named)
    committed = {name: set((ROOT / "benchmarks" / "results" / name).glob("*.json")) for name in made}
    assert set(made) == {"images", "images_cifar10", "images_search"}
    assert made["images_search"] <= committed.pop("images_search")
    assert committed == {name: made[name] for name in committed}


def test_the_controls_differ_from_guided_in_one_thing():
    args = ImagesArguments(epochs=5)
    data = Images(*map(range, (10, 10)), classes=[], channels=1, size=1, mean=(0.0,), std=(1.0,))
    cells = {
        arm: cell_of(args, SaliencyGuidedArguments(sgt_mask_fraction=0.7), data, arm, 0)
        for arm in ("plain", "guided", "random_mask", "reversed_mask", "rdrop", "plain_equal_compute")
    }
    assert {arm: cell.epochs for arm, cell in cells.items() if cell.epochs != 5} == {"plain_equal_compute": 12}
    assert cells["plain"].knobs == cells["plain_equal_compute"].knobs == {"sgt_kl_weight": 0.0}
    guided = cells["guided"].knobs
    assert cells["random_mask"].knobs == guided | {"sgt_drops": "random"}
    assert cells["reversed_mask"].knobs == guided | {"sgt_drops": "highest"}
    assert cells["rdrop"].knobs == guided | {"sgt_mask_fraction": 0.0}
    short = cell_of(ImagesArguments(epochs=0.3), SaliencyGuidedArguments(), data, "plain_equal_compute", 0)
    assert short.epochs == pytest.approx(0.7)  # and not none


@pytest.mark.parametrize("network", ["mnist_cnn", "resnet18_32"])
def test_pretrained_weights_of_networks_without_are_refused(network):
    args = ImagesArguments(network=network, pretrained="IMAGENET1K_V1")
    data = load(args)
    with pytest.raises(ValueError, match=f"there are no weights 'IMAGENET1K_V1' of {network}: leave --pretrained out"):
        build_model(cell_of(args, SaliencyGuidedArguments(), data, "plain", 0), data)


def test_roar_needs_the_plain_arm():
    with pytest.raises(ValueError, match=r"explains the plain model and --arms is \['guided'\]: add plain to it"):
        ImagesArguments(arms=["guided"], roar_levels=[0.0, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "sparse"], "unknown arms ['sparse']: use ['plain', 'guided'"),
        (["--dataset", "imagenet"], "unknown data set 'imagenet': use one of ['digits', 'mnist', 'cifar10', 'bird']"),
        (["--split", "train"], "unknown split 'train': use one of ['test', 'validation']"),
        (["--dataset", "cifar10"], "CIFAR-10 is read from a folder: pass --data-dir"),
    ],
)
@pytest.mark.slow
def test_what_cannot_run_is_refused(tmp_path, arguments, message):
    result = run(tmp_path, *arguments)
    assert result.returncode != 0
    assert message in result.stderr


def cell(arm, seed, area, *, accuracy=0.99, kind="training", dataset="mnist", method="gradient"):
    knobs = {"sgt_kl_weight": 0.0} if arm == "plain" else {"sgt_kl_weight": 1.0, "sgt_mask_fraction": 0.5}
    training = {"dataset": dataset, "arm": arm, "seed": seed, "network": "mnist_cnn", "train_images": 60_000} | {
        "split": "test", "test_images": 10_000, "gradient_images": 10_000, "epochs": 5, "batch_size": 64,
        "optimizer": "adamw_torch", "learning_rate": 0.002, "scheduler": "linear", "bf16": True, "knobs": knobs,
    }  # fmt: skip
    drops = {method: {"area": area, "accuracies": [accuracy] * 10}}
    if kind == "training":
        settings = {"kind": kind, **training}
        return {"settings": settings, "accuracy": accuracy, "drops": drops, "histogram": [0.5, 0.5], "examples": []}
    names = {"images": 1000, "baseline": "constant", "ig_steps": 50, "smooth_grad_samples": 25, "shap_samples": 25}
    settings = {"kind": kind, "training": training, "shap_baselines": 5, **names}
    return {"settings": settings, "drops": drops, "refused": {}}


def test_the_tables_stand_beside_the_papers_numbers():
    made = [cell("plain", 0, 2000.0), cell("plain", 1, 2200.0), cell("guided", 1, 1700.0, accuracy=0.98)]
    made += [cell("guided", 0, 2100.0, accuracy=0.97)]
    made += [cell(arm, 0, 900.0, kind="methods", method="deep_lift") for arm in ("plain", "guided")]
    text = tables(made)["mnist"]
    (plain,) = (line for line in text.splitlines() if line.startswith("| plain "))
    (guided,) = (line for line in text.splitlines() if line.startswith("| guided "))
    cut = [part.strip() for part in plain.split("|")[1:-1]]
    assert cut == ["plain", "2", "99.00 ± 0.00", "99.4", "", "2100 ± 141", "3360.4", "", "–", ""]
    cut = [part.strip() for part in guided.split("|")[1:-1]]
    assert cut[:5] == ["guided", "2", "97.50 ± 0.71", "99.3", "-1.50"]
    assert cut[5:] == ["1900 ± 283", "1817.6", "-200", "–", ""]  # +100, −500
    assert "| deep_lift | 900   | 900    | +0 " in text
    assert "60,000 training images, 10,000 test images" in text


def test_three_seeds_have_an_interval():
    made = [cell("plain", seed, 2000.0) for seed in range(3)]
    made += [cell("guided", seed, 1800.0 + 10 * seed, accuracy=0.98 + 0.01 * seed) for seed in range(3)]
    (guided,) = (line for line in tables(made)["mnist"].splitlines() if line.startswith("| guided "))
    assert "| +0.00 {-2.48, +2.48} |" in guided  # −1, 0, 1: 0 ± 4.303 · 1 / √3
    assert "| -190 {-215, -165}* |" in guided


def test_each_guided_arm_stands_beside_its_own_controls():
    areas = {"plain": 2500.0, "guided": 1700.0, "guided_detach": 1600.0, "random_mask": 1900.0, "random_detach": 1650.0}
    made = [cell(arm, seed, area + seed) for arm, area in areas.items() for seed in range(3)]
    for one in made:
        one["gini"] = {"guided": {"gradient": 0.8}, "random_mask": {"gradient": 0.7}}.get(one["settings"]["arm"], {})
    made += [cell(arm, seed, area + 2 * seed, kind="methods") for arm, area in areas.items() for seed in range(2)]
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in tables(made)["mnist"].splitlines()]
    start = lines.index(["area ↓ beside the controls", "guided − random_mask", "guided_detach − random_detach"])
    assert lines[start + 2 : start + 6] == [
        ["accuracy %", "+0.00 {+0.00, +0.00}", "+0.00 {+0.00, +0.00}"],
        ["gradient, 10,000 images", "-200 {-200, -200}*", "-50 {-50, -50}*"],
        ["Gini, gradient ↑", "+0.100 {+0.100, +0.100}*", ""],
        ["gradient", "-200", "-50"],  # two seeds have no interval
    ]
    alone = [one for one in made if one["settings"].get("arm") == "guided"]
    assert "beside the controls" not in tables(alone)["mnist"]


def test_every_method_stands_beside_its_networks_own_random_ranking():
    areas = {"plain": (2000.0, 6000.0), "guided": (1800.0, 6100.0), "random_mask": (1900.0, 5500.0)}
    made = [cell(arm, seed, 0.0) for arm in areas for seed in range(2)]
    for arm, (own, chance) in areas.items():
        measured = [cell(arm, seed, own + seed, kind="methods") for seed in range(2)]
        measured[0]["drops"]["random"] = {"area": chance, "accuracies": [0.1] * 10}  # the other seed has none
        made += measured
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in tables(made)["mnist"].splitlines()]
    assert [line for line in lines if line[:1] == ["gradient − random"]] == [
        ["gradient − random", "-4000", "-4300", "-3600", "-300", "+400"],
        ["gradient − random", "-700"],  # guided − random_mask
    ]
    assert ["random − random"] not in [line[:1] for line in lines]


def test_data_sets_without_a_training_have_no_table_and_the_papers_come_first():
    made = [cell("plain", 0, 2000.0, dataset="digits"), cell("plain", 0, 2000.0, dataset="cifar10")]
    assert list(tables([*made, cell("plain", 0, 1.0, kind="methods", dataset="bird")])) == ["cifar10", "digits"]
    assert tables([]) == {}


def test_the_log_of_the_search_is_of_validation_images_alone():
    compared = [cell("guided", 0, 1700.0, accuracy=0.98), cell("plain", 0, 2500.0)]
    with pytest.raises(ValueError, match="never on test: the cells are of"):
        search_tables(compared)
    for one in compared:
        one["settings"]["split"] = "validation"
    compared[0]["settings"]["knobs"] = {"sgt_mask_fraction": 0.5, "sgt_every_n_steps": 2}  # what is set is told
    rows = search_tables(compared)["mnist"].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["kl_weight 0.0", "mask_fraction 0.5, every_n_steps 2"]
    assert [part.strip() for part in rows[1].split("|")[2:-1]] == ["5", "0", "98.00", "1700"]


def test_a_refused_method_says_why():
    refusing = cell("plain", 0, 900.0, kind="methods") | {"refused": {"deep_lift": "it has no rule"}}
    text = tables([cell("plain", 0, 900.0), refusing])["mnist"]
    assert "- deep_lift is not measured: it has no rule" in text


def test_figures_of_cells(tmp_path):
    made = [cell("plain", 0, 2000.0), cell("guided", 0, 2000.0)]
    assert set(figures(made)) == {"accuracy-drop-gradient", "gradient-histogram"}
    (first, second) = write_figures(made, tmp_path / "figures")
    assert first.read_bytes().startswith(b"\x89PNG")
    assert second.name == "mnist-gradient-histogram.png"


def test_a_figure_is_drawn_anew_when_its_own_numbers_have_changed(tmp_path):
    made = [cell("plain", 0, 2000.0), cell("guided", 0, 2000.0)]
    drop, histogram = write_figures(made, tmp_path)
    assert drawn_from(drop) == planned(made)["mnist-accuracy-drop-gradient.png"].digest
    assert write_figures(made, tmp_path) == []
    made[1]["drops"]["gradient"]["accuracies"][3] = 0.5
    assert drawn_from(drop) != planned(made)["mnist-accuracy-drop-gradient.png"].digest
    assert write_figures(made, tmp_path) == [drop]
    histogram.write_bytes(to_png(Figure()))  # by someone else
    assert drawn_from(histogram) is None
    assert write_figures(made, tmp_path) == [histogram]


def test_the_gradients_figure_is_of_the_images_of_the_first_table():
    made = [cell(arm, seed, 2000.0, kind=kind) for arm in ARMS for seed in (0, 1) for kind in ("training", "methods")]
    drop = figures(made)["accuracy-drop-gradient"]
    assert drop.axes[0].get_title() == "gradient, first 10,000 test images, 2 seeds"
    shown = ["plain", "guided", "guided_preset", "fine_tuned", "random_mask"]
    assert [text.get_text() for text in drop.legends[0].texts] == shown


def test_the_papers_numbers_are_typed_once_with_their_source():
    assert "NeurIPS 2021" in PAPER["source"]
    numbers = [*PAPER["table4"]["mnist"].values()]
    sources = [path.read_text() for path in (ROOT / "benchmarks").glob("*.py")]
    assert not [value for value in numbers if any(str(value) in text for text in sources)]


@pytest.mark.slow
@pytest.mark.realdata
def test_real_mnist_to_the_table(tmp_path, shared_data):
    result = run(tmp_path, "--dataset", "mnist", "--data_dir", str(shared_data / "mnist"))
    assert result.returncode == 0, result.stderr
    assert "### mnist: mnist_cnn, 200 training images, 40 test images" in result.stdout


@pytest.mark.slow
@pytest.mark.realdata
def test_real_cifar_to_the_table(tmp_path, shared_data):
    where = ["--dataset", "cifar10", "--data_dir", str(shared_data / "cifar10"), "--train_images", "16"]
    arms = ["--arms", "plain", "guided", "--methods", "gradient", "deep_lift"]
    result = run(tmp_path, *where, *arms, "--test_images", "8", "--batch_size", "8")
    assert result.returncode == 0, result.stderr
    assert "is not measured" not in result.stdout  # each block's activations are modules of their own
    assert "deep_lift" in result.stdout
