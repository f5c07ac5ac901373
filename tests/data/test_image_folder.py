import datasets
import pytest

from sgt_hf.data.image_folder import load_image_folder
from sgt_hf.data.images import PixelDataset
from tests.data.test_images import RGB, picture


def test_an_image_folder(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for name in ("crow", "heron"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                picture(seed=i).save(folder / f"{i}.png")
    (tmp_path / "train" / "crow" / "1.png").write_bytes(b"not a picture")
    found = load_image_folder(tmp_path)
    assert {name: len(split) for name, split in found.items()} == {"train": 6, "test": 4}
    assert found["train"].features["label"].names == ["crow", "heron"]
    assert PixelDataset(found["test"], RGB.transform())[3]["labels"] == 1
    with pytest.raises(ValueError, match=r"row 1 \(.*train/crow/1\.png\) is no readable image"):
        PixelDataset(found["train"], RGB.transform())[1]


def folders(root, *names, count=2):
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(seed=i).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("name", ["train", "bullet_train", "test_tube", "validation"])
def test_a_class_called_like_a_split_is_a_class(tmp_path, name):
    root = folders(tmp_path, *(f"{split}/{one}" for split in ("train", "test") for one in ("bus", name)))
    found = load_image_folder(root)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "test": 4}
    assert found["train"].features["label"].names == sorted(["bus", name])
    undecoded = found["test"].cast_column("image", datasets.Image(decode=False))
    assert all("/test/" in image["path"].removeprefix(str(tmp_path)) for image in undecoded["image"])
    alone = load_image_folder(folders(tmp_path / "alone", "bus", name))
    assert {split: rows.features["label"].names for split, rows in alone.items()} == {"train": sorted(["bus", name])}


def test_splits_without_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no classes: expected CLASS/NAME\.jpg"):
        load_image_folder(folders(tmp_path, "train", "test"))


def test_a_folder_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        load_image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no images that can be loaded"):
        load_image_folder(tmp_path)
    picture().save(tmp_path / "alone.png")
    with pytest.raises(ValueError, match=r"alone\.png is in no class folder: expected CLASS/NAME"):
        load_image_folder(tmp_path)


def test_images_without_a_class_are_named(tmp_path):
    """The folder above an image would be its class: `train`."""
    splits = ("train/x", "train/y", "test/x", "test/y")
    for place in ("train", "test"):
        root = folders(tmp_path / place.strip("."), *splits)
        (root / place).mkdir(exist_ok=True)
        picture().save(root / place / "stray.png")
        with pytest.raises(ValueError, match=r"stray\.png is in no class folder"):
            load_image_folder(root)
    root = folders(tmp_path / "beside", *splits)
    for place in ("preview.png", "train/._stray.png", "val/unlabelled.png"):  # nothing of which is loaded
        (root / place).parent.mkdir(exist_ok=True)
        picture().save(root / place)
    assert {split: len(rows) for split, rows in load_image_folder(root).items()} == {"train": 4, "test": 4}


def test_splits_in_capitals(tmp_path):
    found = load_image_folder(folders(tmp_path, "Train/x", "Train/y", "TEST/x", "TEST/y"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "test": 4}


def test_other_words_for_splits(tmp_path):
    root = folders(tmp_path / "a", *(f"{split}/{one}" for split in ("training", "valid", "testing") for one in "xy"))
    assert {split: len(rows) for split, rows in load_image_folder(root).items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }
    with pytest.raises(ValueError, match="holds a split twice"):
        load_image_folder(folders(root, "val/x", "val/y"))
    below = folders(tmp_path / "b", *(f"data/{split}/{one}" for split in ("train", "test") for one in "xy"))
    with pytest.raises(ValueError, match=r"holds splits one level down: pass .*data"):
        load_image_folder(below)


@pytest.mark.parametrize("split", ["train", ""])
@pytest.mark.parametrize(
    ("make", "file", "problem"),
    [
        (lambda path: path.write_text("file_name,foo\nx/0.png,1\n"), "metadata.csv", "holds labels of its own"),
        (lambda path: path.write_text(""), "x/metadata.jsonl", "holds labels of its own"),
        (lambda path: picture().save(path), "x/sub/0.png", "is in a folder within a class, .* of a class 'sub'"),
        (lambda path: path.symlink_to("/nowhere/0.png"), "x/9.PNG", "is a link to a file that is not there"),
    ],
)
def test_what_would_be_loaded_otherwise_than_it_looks_is_named(tmp_path, split, make, file, problem):
    root = folders(tmp_path, *(f"{split}/{name}".strip("/") for name in "xy"))
    path = root / split / file
    path.parent.mkdir(exist_ok=True)
    make(path)
    with pytest.raises(ValueError, match=rf"^{path} {problem}"):
        load_image_folder(root)


def test_a_linked_class_and_an_image_that_only_looks_hidden_are_named(tmp_path):
    """`datasets` leaves linked folders out, and takes images whose names begin with two underscores."""
    root = folders(tmp_path, "x", "y")
    (root / "z").symlink_to(root / "x")
    with pytest.raises(ValueError, match=rf"^{root / 'z'} is a link to a folder, which would be left out"):
        load_image_folder(root)
    (root / "z").unlink()
    picture().save(root / "__9.png")
    with pytest.raises(ValueError, match=rf"^{root / '__9.png'} is in no class folder"):
        load_image_folder(root)


def test_what_is_no_image_stays_out(tmp_path):
    root = folders(tmp_path, "x", "y")
    (root / "x" / "notes.txt").write_text("two birds")
    (root / "x" / "drawing.png").mkdir()
    (root / "x" / "linked.png").symlink_to(root / "y" / "0.png")
    (root / "x" / ".thumbnails").mkdir()
    picture().save(root / "x" / ".thumbnails" / "0.png")
    assert len(load_image_folder(root)["train"]) == 5
