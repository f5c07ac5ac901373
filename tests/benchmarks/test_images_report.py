import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.common import markdown_table
from benchmarks.images_report import images_report, write_images_report
from benchmarks.images_tables import PAPER
from benchmarks.report_parts import tables_in, told_settings
from sgt_hf.metrics.accuracy_drop import LEVELS

ARMS = ("plain", "guided")
FACTS = {"versions": {"torch": "2"}, "machine": {"device": "cpu"}}


def example(row, arm):
    """A 2 × 2 image; the guided map has one pixel."""
    found = [[1.0, 0.5], [-0.5, 0.0]] if arm == "plain" else [[0.0, 1.0], [0.0, 0.0]]
    return {"row": row, "label": f"digit {row}", "picture": [[0, 255], [128, 0]], "map": found}


def training(arm, seed, *, rows=(3, 7), dataset="mnist"):
    """A finished training: half of the plain arm's pixels are near zero, three quarters of the guided arm's."""
    guided = arm == "guided"
    chosen = {
        "kind": "training", "dataset": dataset, "data_dir": None, "arm": arm, "seed": seed, "network": "mnist_cnn",
        "train_images": 60_000, "split": "test", "test_images": 10_000, "gradient_images": 10_000, "epochs": 5,
        "batch_size": 64, "optimizer": "adamw_torch", "learning_rate": 0.002, "scheduler": "linear", "bf16": False,
        "start": None, "knobs": {"sgt_kl_weight": 1.0, "sgt_mask_fraction": 0.5} if guided else {"sgt_kl_weight": 0.0},
    }  # fmt: skip
    near = 0.75 if guided else 0.5
    accuracies = [0.98 - 0.1 * guided * n - 0.01 * seed for n in range(len(LEVELS))]
    return FACTS | {
        "settings": chosen,
        "accuracy": accuracies[0],
        "drops": {"gradient": {"area": 1800.0 + 100 * seed if guided else 3000.0, "accuracies": accuracies}},
        "gini": {"gradient": (0.8 if guided else 0.7) + 0.1 * seed},
        "histogram": [(1 - near) / 40] * 20 + [near] + [(1 - near) / 40] * 20,
        "examples": [example(row, arm) for row in rows] if seed == 0 else [],
    }


def other(kind, **results):
    shown = training("plain", 0)["settings"]
    return FACTS | {"settings": {"kind": kind, "epochs": 1, "training": shown}} | results


def both(**options):
    return [training(arm, seed, **options) for arm in ARMS for seed in (0, 1)]


def test_the_page_on_paper():
    report = images_report(both(), command=["python", "x.py", "a b"])
    (table,) = report.tables
    assert table.title.startswith("mnist: mnist_cnn, 60,000 training images, 10,000 test images. Accuracy, and")
    paper = [f"{PAPER[name]['mnist']['guided']:g}" for name in ("table3", "table4")]
    expected = ["guided", "2", "97.50 ± 0.71", paper[0], "+0.00", "1850 ± 71", paper[1], "-1150"]
    expected += ["0.850 ± 0.071", "+0.100"]
    assert list(table.rows[1]) == expected
    assert any("± is the standard deviation over seeds" in note for note in table.notes)
    drop, singles, together = report.figures
    assert "0, 10, 20" in drop.alt
    assert "plain 97.5, 97.5" in drop.alt
    assert "Measured: gradient, first 10,000 test images, 2 seeds." in drop.caption
    assert "guided 97.5, 87.5, 77.5" in drop.alt
    assert "digit 3, digit 7" in singles.alt
    assert "plain 50.0 %, guided 75.0 %" in together.caption
    (maps,) = report.maps
    assert maps.alt == "A grid of maps. Columns: input, plain, guided. Rows: digit 3, digit 7."
    assert [axes.images[0].get_array().tolist() for axes in maps.image.axes[1:3]] == [
        example(3, arm)["map"] for arm in ARMS
    ]
    assert report.provenance["command"] == "python x.py 'a b'"
    assert report.provenance["mnist, knobs of guided"] == "sgt_kl_weight 1.0, sgt_mask_fraction 0.5"
    assert "seed 0 or 1" in report.provenance["settings of mnist"]
    assert report.missing == [
        "mnist: maps of other methods than the gradient",
        "mnist: the accuracy drop of other methods than the gradient",
        "mnist: IID, OOD and ROAR (option --roar_levels)",
    ]


def test_the_papers_numbers_stand_beside_the_papers_network_alone():
    cells = both()
    for one in cells:
        one["settings"]["network"] = "resnet18_32"
    (table,) = images_report(cells, command=[]).tables
    assert [row[3] for row in table.rows] == ["–", "–"]
    assert [row[6] for row in table.rows] == ["–", "–"]


def test_the_other_kinds_of_cells_have_their_tables_and_curves():
    curve = {"area": 4000.0, "accuracies": [0.9, 0.25]}
    names = {"images": 9, "baseline": "constant", "ig_steps": 5, "smooth_grad_samples": 2, "shap_samples": 2}
    methods = other("methods", drops={"random": training("plain", 0)["drops"]["gradient"]}, refused={"deep_lift": "no"})
    methods["settings"] |= {"shap_baselines": 5, **names}
    roar = other("roar", levels=[0.0, 0.5], drops=dict.fromkeys(("IID", "OOD", "ROAR"), curve))
    report = images_report([*both(), methods, roar], command=["x"])
    assert [table.title.rpartition(". ")[2] for table in report.tables[1:]] == [
        "Area of every saliency method",
        "Three kinds of removal",
    ]
    assert "deep_lift is not measured: no" in report.tables[1].notes
    drops = {one.title.partition("drop, ")[2]: one for one in report.figures}
    assert "Measured: random, first 9 test images, 1 seed." in drops["random"].caption
    assert "Measured: gradient, first 10,000 test images, 2 seeds." in drops["gradient"].caption
    assert list(report.tables[2].rows[0]) == ["IID", "90.0", "25.0", "4000"]
    (kinds,) = (figure for figure in report.figures if "three kinds" in figure.title)
    assert "0, 50 % of the pixels removed: IID 90, 25; OOD 90, 25; ROAR 90, 25" in kinds.alt
    assert report.missing == ["mnist: maps of other methods than the gradient"]


def test_what_cells_lack_is_said():
    report = images_report([training("plain", 1)], command=["x"])
    assert report.maps == []
    assert report.missing[:2] == [
        "mnist: the arm guided: there is no finished training",
        "mnist: maps of plain: they are kept for seed 0, of images classified right",
    ]
    apart = images_report([training("plain", 0, rows=(3,)), training("guided", 0, rows=(7,))], command=["x"])
    assert apart.maps == []
    assert "mnist: maps side by side: no image that is kept was classified right by every arm" in apart.missing
    unfinished = images_report([other("methods", drops={}, refused={})], command=["x"])
    assert unfinished.missing == ["mnist: a finished training, and so any table or figure"]


def test_of_many_arms_the_figures_show_those_that_can_be_told_apart():
    arms = ("plain", "guided", "guided_detach", "fine_tuned", "random_mask", "reversed_mask")
    report = images_report([training(arm, 0) for arm in arms], command=["x"])
    (maps,) = report.maps
    assert "Columns: input, plain, guided, fine_tuned, random_mask. " in maps.alt
    assert "mnist: figures of guided_detach, reversed_mask: so many arms could not be told apart" in report.missing
    singles = next(one for one in report.figures if one.title.endswith("single images"))
    assert singles.caption.endswith("in every panel the arms plain, guided, fine_tuned.")
    together = next(one for one in report.figures if one.title.endswith("all images together"))
    assert "detach" not in together.caption + "".join(one.alt for one in report.figures)


def test_the_page_is_written(tmp_path):
    write_images_report(tmp_path / "report.html", both(), command=["x"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "-1150" in page
    assert page.count("data:image/png;base64,") == 4


letters = st.characters(codec="ascii", exclude_characters="|", exclude_categories=["C"])
texts = st.text(letters, max_size=5).map(str.strip)


@settings(max_examples=30)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(texts, min_size=n, max_size=n), min_size=2, max_size=4)))
def test_a_printed_table_is_read_as_it_was(rows):
    header, *body = rows
    (table,) = tables_in(f"### toy\n\n{markdown_table(header, body)}\n\nIn percent.\n- and so on")
    assert (table.title, table.header, table.rows) == ("toy", header, body)
    assert table.notes == ["In percent.", "and so on"]


def test_two_tables_keep_their_own_notes():
    first, second = tables_in("| a |\n| - |\n| 1 |\n\nof a\n\n| b |\n| - |\n| 2 |\n\nof b")
    assert (first.notes, second.notes) == (["of a"], ["of b"])
    assert tables_in("no table") == []


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([], ""),
        ([{"k": 0.5, "bf16": True}], "k 0.5, bf16 true"),
        ([{"k": 1}, {"k": 2, "new": None}, {"k": 1}], "k 1 or 2, new null"),
    ],
)
def test_settings_in_words(cells, told):
    assert told_settings(cells) == told
