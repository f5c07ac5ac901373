import io
import pickle

import datasets
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from sgt_hf import SaliencyGuidedTrainer
from sgt_hf.adapters import ImageAdapter
from sgt_hf.data.cifar10 import CLASSES, load_cifar10
from sgt_hf.data.digits import DIGITS, load_bundled_digits
from sgt_hf.data.image_folder import load_image_folder
from sgt_hf.data.images import (
    CIFAR10,
    MNIST,
    PixelDataset,
    PixelRecipe,
    decode_image,
)
from sgt_hf.data.pixels import PixelCollator, PixelError, PixelTensors
from sgt_hf.models.vision import MnistCnnConfig, MnistCnnForImageClassification
from tests.trainer.runs import arguments


def test_whatever_a_reader_raises_names_the_row(monkeypatch):
    """Pillow's of AVIF, DDS and IM raise other errors than its promise of OSError."""
    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "PNG")

    def fail(_):
        raise RuntimeError("Decoding of color planes failed")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ValueError, match=r"row 3 is no readable image \(Decoding of color planes failed\)"):
        decode_image({"bytes": content.getvalue(), "path": None}, "row 3")


SCALED = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
RGB = PixelRecipe(3, (0.5, 0.5, 0.5), (0.5, 0.25, 1.0))


def picture(shape=(4, 5, 3), *, seed=0, mode=None):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode=mode)


def rows_of(images, labels=None, split=None):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    labels = [0] * len(images) if labels is None else labels
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features, split=split)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_pixel_on_paper():
    image = Image.fromarray(np.array([[[0, 255, 51]]], dtype=np.uint8))
    found = RGB.transform()(image)
    assert found.shape == (3, 1, 1)
    assert found.flatten().tolist() == pytest.approx([(0 - 0.5) / 0.5, (1 - 0.5) / 0.25, (0.2 - 0.5) / 1.0])
    assert RGB.black == pytest.approx((-1, -2, -0.5))
    assert pytest.approx(-0.4242, abs=1e-4) == MNIST.black[0]


def test_a_black_image_is_all_black():
    for recipe in (MNIST, CIFAR10, RGB):
        found = recipe.transform()(Image.new("RGB", (3, 2)))
        assert found.shape == (recipe.channels, 2, 3)
        for channel, black in zip(found, recipe.black, strict=True):
            assert channel.unique().tolist() == pytest.approx([black])


def test_resizing_cropping_and_mirroring():
    assert PixelRecipe(1, (0.5,), (0.5,), size=(6, 7)).transform()(picture()).shape == (1, 6, 7)
    recipe = PixelRecipe(3, (0.0,) * 3, (1.0,) * 3, crop_padding=1, flip=True)
    image = picture()
    torch.manual_seed(0)
    drawn = [recipe.transform(training=True)(image) for _ in range(30)]
    assert {tuple(one.shape) for one in drawn} == {(3, 4, 5)}
    assert len({one.sum().item() for one in drawn}) > 3
    sent = pickle.loads(pickle.dumps(recipe.transform()))  # as to spawned workers
    plain = sent(image)  # nothing random in testing
    assert torch.equal(plain, recipe.transform()(image))
    assert torch.equal((255 * plain).round().to(torch.uint8), torch.from_numpy(np.array(image)).movedim(2, 0))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK"])
def test_other_modes_of_eight_bits_are_converted(mode):
    rows = PixelDataset(rows_of([picture().convert(mode)]), RGB.transform())
    assert rows[0]["pixel_values"].shape == (3, 4, 5)


def test_rows_decode_lazily_and_preloading_gives_the_same():
    images = [picture(seed=seed) for seed in range(5)]
    rows = PixelDataset(rows_of(images, [0, 1, 1, 0, 1]), RGB.transform())
    loaded = rows.preloaded()
    assert len(rows) == len(loaded) == 5
    for i in range(5):
        assert torch.equal(rows[i]["pixel_values"], loaded[i]["pixel_values"])
        assert rows[i]["labels"] == loaded[i]["labels"]
    batch = next(iter(DataLoader(loaded, 3, collate_fn=PixelCollator())))
    assert batch["pixel_values"].shape == (3, 3, 4, 5)
    assert batch["labels"].tolist() == [0, 1, 1]
    assert len(loaded.first(2)) == 2
    assert len(loaded.first(9)) == 5
    unlabelled = PixelDataset(rows.rows, RGB.transform(), label_column=None).preloaded()
    assert unlabelled.labels is None
    assert set(PixelCollator()([unlabelled[0]])) == {"pixel_values"}


def row(shape=(3, 4, 4), dtype=torch.float32, value=0.5):
    return {"pixel_values": torch.full(shape, value).to(dtype), "label": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row((1, 4, 4))], "image 1: has 1 channels instead of 3: convert it"),
        ([row(dtype=torch.uint8, value=7)], "image 0: is torch.uint8: scale it to floats"),
        ([row(), row(), row(value=float("nan"))], "image 2: holds NaN or infinity"),
        ([row(), row(value=float("inf"))], "image 1: holds NaN or infinity"),
        ([row(), row((3, 5, 4))], r"image 1: has \(5, 4\) pixels instead of \(4, 4\): resize them"),
        ([row((4, 4))], r"image 0: has shape \(4, 4\) instead of \(C, H, W\)"),
    ],
)
def test_a_bad_batch_names_its_image(rows, message):
    with pytest.raises(PixelError, match=message):
        PixelCollator()(rows)


def test_a_data_set_with_transforms_of_its_own():
    def pixels(rows):
        return {"pixel_values": [RGB.transform()(image) for image in rows["image"]], "labels": rows["label"]}

    rows = rows_of([picture(), picture(seed=1)], [1, 0])
    batch = PixelCollator()([rows.with_transform(pixels)[i] for i in range(2)])
    assert torch.equal(batch["pixel_values"], PixelDataset(rows, RGB.transform()).preloaded().pixel_values)
    assert batch["labels"].tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"no 'pixel_values', only \['image', 'label'\]: wrap the data set"):
        PixelCollator()(list(rows))


def test_the_collator_knows_the_models_channels():
    assert PixelCollator(3)([row()])["labels"].tolist() == [1]
    with pytest.raises(PixelError, match="image 0: has 3 channels instead of 1"):
        PixelCollator(1)([row()])
    many = PixelCollator()([row() | {"label": [0.0, 1.0]}, row() | {"label": [1.0, 1.0]}])
    assert many["labels"].tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_an_unreadable_image_is_named():
    rows = rows_of([{"bytes": png(picture()), "path": None}, {"bytes": b"no picture", "path": "cat/7.png"}])
    broken = PixelDataset(rows, RGB.transform())
    assert broken[0]["pixel_values"].shape == (3, 4, 5)
    with pytest.raises(ValueError, match=r"row 1 \(cat/7\.png\) is no readable image .*: repair or remove it"):
        broken[1]
    with pytest.raises(ValueError, match=r"row 1 \(cat/7\.png\) is no readable image"):
        broken.preloaded()
    without = rows_of([{"bytes": b"no picture", "path": None}], split="test")  # as a parquet file may hold it
    with pytest.raises(ValueError, match=r"^row 0 \(split 'test'\) is no readable image \(of no format that Pillow"):
        PixelDataset(without, RGB.transform())[0]
    cut = {"bytes": png(picture((40, 40, 3)))[:300], "path": None}
    with pytest.raises(ValueError, match=r"^row 3 is no readable image"):
        decode_image(cut, "row 3")
    with pytest.raises(ValueError, match=r"row 3 \(gone\.png\): there is no such file"):
        decode_image({"bytes": None, "path": "gone.png"}, "row 3")
    deep = {"bytes": png(Image.fromarray(np.zeros((2, 2), np.uint16))), "path": None}
    with pytest.raises(ValueError, match=r"row 0 has mode 'I;16', not 8 bits a channel"):
        decode_image(deep, "row 0")


def test_null_entries_and_bombs_name_row_and_file(tmp_path, monkeypatch):
    rows = PixelDataset(rows_of([picture(), None]), RGB.transform())
    with pytest.raises(ValueError, match=r"^row 1 has no image: leave such rows out"):
        rows[1]
    with pytest.raises(ValueError, match=r"^row 2 has no image"):
        decode_image({"bytes": None, "path": None}, "row 2")
    path = tmp_path / "big.png"
    picture().save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(
        ValueError, match=r"row 0 \(.*big\.png\) is too large \(Image size .*PIL\.Image\.MAX_IMAGE_PIXELS"
    ):
        PixelDataset(rows_of([str(path)]), RGB.transform())[0]


def test_images_are_what_datasets_decodes():
    """Upright by their EXIF orientation, and in the column's mode."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    picture((8, 16, 3)).save(buffer, format="PNG", exif=exif)
    palette = png(picture((8, 16, 3)).quantize(8))
    for content, mode, shape in ((buffer.getvalue(), None, (3, 16, 8)), (palette, "RGB", (3, 8, 16))):
        features = datasets.Features({"image": datasets.Image(mode=mode)})
        rows = datasets.Dataset.from_dict({"image": [{"bytes": content, "path": None}]}, features=features)
        found = PixelDataset(rows, SCALED, label_column=None)
        assert found[0]["pixel_values"].shape == shape
        assert torch.equal(found[0]["pixel_values"], SCALED(rows[0]["image"]))
        again = PixelDataset(found.rows, SCALED, label_column=None)
        assert torch.equal(again[0]["pixel_values"], found[0]["pixel_values"])


@pytest.fixture
def folder(tmp_path):
    """Seven images of one size, and one, the fourth, of another."""
    for i in range(8):
        path = tmp_path / "aabb"[i // 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        picture((4, 6 if i == 3 else 5, 3), seed=i).save(path)
    return load_image_folder(tmp_path)["train"]


@pytest.mark.parametrize(("order", "workers"), [([0, 1, 3], 0), ([3, 5, 6], 0), ([3, 5, 6], 1)])
def test_a_batch_names_row_and_file_of_the_odd_image(folder, order, workers):
    rows = PixelDataset(folder, RGB.transform())
    loader = DataLoader(rows, batch_sampler=[order], collate_fn=PixelCollator(), num_workers=workers)
    with pytest.raises(PixelError, match=r"row 3 \(.*a/3\.png\): has \(4, 6\) pixels instead of \(4, 5\): resize them"):
        next(iter(loader))


def test_preloading_names_row_and_file_of_the_odd_image(folder):
    with pytest.raises(PixelError, match=r"row 3 \(.*a/3\.png\): has \(4, 6\) pixels instead of \(4, 5\)"):
        PixelDataset(folder, RGB.transform()).preloaded()
    far = folder.select([0] * 1000 + [3] + [1] * 3)  # the odd one is first in its chunk
    with pytest.raises(PixelError, match=r"row 1000 \(.*a/3\.png\): has \(4, 6\) pixels instead of \(4, 5\)"):
        PixelDataset(far, RGB.transform()).preloaded()


def test_a_transform_that_makes_nan_or_another_shape_names_row_and_file(folder):
    def spoilt(image):
        pixels = RGB.transform()(image)
        return pixels.log() if image.size == (6, 4) else pixels

    with pytest.raises(PixelError, match=r"row 3 \(.*a/3\.png\): holds NaN or infinity"):
        PixelDataset(folder, spoilt)[3]
    with pytest.raises(PixelError, match=r"row 3 \(.*a/3\.png\): has shape \(4, 6\) instead of \(C, H, W\)"):
        PixelDataset(folder, lambda image: RGB.transform()(image)[0])[3]


def test_a_transform_that_fails_names_row_and_file(folder, tmp_path):
    def spoilt(image):
        if image.size == (6, 4):
            raise ZeroDivisionError("no width")
        return RGB.transform()(image)

    message = (
        r"row 3 \(.*a/3\.png\): the transform fails on it, .*'RGB' and size \(6, 4\) \(ZeroDivisionError\('no width"
    )
    rows = PixelDataset(folder, spoilt)
    for fail in (lambda: rows[3], rows.preloaded):
        with pytest.raises(PixelError, match=message) as caught:
            fail()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_transform_to_an_array_and_to_no_tensor(folder):
    arrays = PixelDataset(folder, lambda image: RGB.transform()(image).numpy())
    batch = PixelCollator()([arrays[0], arrays[1]])
    assert torch.equal(batch["pixel_values"][1], PixelDataset(folder, RGB.transform())[1]["pixel_values"])
    with pytest.raises(
        PixelError, match=r"row 3 \(.*a/3\.png\): is no \(C, H, W\) tensor .*: let the transform end in one"
    ):
        PixelDataset(folder, lambda image: image)[3]


def test_the_trainer_names_row_and_file(folder, tmp_path):
    trainer = SaliencyGuidedTrainer(
        model=MnistCnnForImageClassification(MnistCnnConfig(image_size=8, num_channels=3, channels=[2, 2])),
        args=arguments(tmp_path, per_device_train_batch_size=8),
        train_dataset=PixelDataset(folder, RGB.transform()),
        adapter=ImageAdapter(),
    )
    with pytest.raises(PixelError, match=r"row 3 \(.*a/3\.png\): has \(4, 6\) pixels instead of \(4, 5\)"):
        trainer.train()


def test_columns_that_are_no_images():
    rows = datasets.Dataset.from_dict({"image": [1], "label": [0]})
    with pytest.raises(ValueError, match=r"column 'image' is Value\('int64'\), no images: cast it"):
        PixelDataset(rows, RGB.transform())
    with pytest.raises(ValueError, match=r"no columns \['img'\], only \['image', 'label'\]"):
        PixelDataset(rows, RGB.transform(), image_column="img")
    with pytest.raises(ValueError, match="there are 2 images and 3 labels"):
        PixelTensors(torch.zeros(2, 1, 2, 2), torch.zeros(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelRecipe(2, (0.0, 0.0), (1.0, 1.0)), r"channels must be one of \[1, 3\], got 2"),
        (lambda: PixelRecipe(3, (0.0,), (1.0,)), "expected 3 means and as many std > 0"),
        (lambda: PixelRecipe(1, (0.0,), (0.0,)), "expected 1 means and as many std > 0"),
    ],
)
def test_a_recipe_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_image_without_a_label_is_named():
    rows = rows_of([picture(), picture(seed=1)], [1, None])
    with pytest.raises(ValueError, match="row 1 has no 'label': leave such rows out"):
        PixelDataset(rows, RGB.transform())[1]


def test_the_bundled_digits():
    found = load_bundled_digits()
    assert {name: len(split) for name, split in found.items()} == {"train": 1437, "test": 360}
    assert set(found["test"]["label"]) == set(range(10))
    pixels = np.stack([np.asarray(image) for image in found["train"]["image"]]) / 255
    assert pixels.shape[1:] == (8, 8)
    assert DIGITS.mean == pytest.approx((pixels.mean(),), abs=1e-4)
    assert DIGITS.std == pytest.approx((pixels.std(),), abs=1e-4)
    assert found["train"]["label"][:5] == load_bundled_digits()["train"]["label"][:5]


def test_cifar_from_parquet(tmp_path):
    for split in ("train", "test"):
        encoded = [{"bytes": png(picture((32, 32, 3), seed=i)), "path": None} for i in range(2)]
        plain = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
        rows = datasets.Dataset.from_dict({"image": encoded}, features=plain).add_column("label", [3, 9])
        rows.to_parquet(tmp_path / f"{split}.parquet")
    found = load_cifar10(tmp_path)
    assert found["test"].features["label"].names == CLASSES
    assert PixelDataset(found["train"], CIFAR10.transform())[1]["pixel_values"].shape == (3, 32, 32)
    (tmp_path / "test.parquet").write_bytes(b"PAR?")
    with pytest.raises(ValueError, match=r"test\.parquet is no parquet file of images and labels from 0 to 9 \(.+\)"):
        load_cifar10(tmp_path)
    for label, message in ((12, "row 1: the label is 12"), (-1, r"row 1: the label is -1"), (None, "label is None")):
        labels = datasets.Dataset.from_dict({"image": encoded}, features=plain).add_column("label", [3, label])
        labels.to_parquet(tmp_path / "test.parquet")
        with pytest.raises(ValueError, match=rf"test\.parquet.*{message}"):
            load_cifar10(tmp_path)
    rows.select([]).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(ValueError, match=r"test\.parquet is no parquet file of images .* \(.*no data"):
        load_cifar10(tmp_path)
    datasets.Dataset.from_dict({"image": [{"bytes": b"?", "path": None}], "label": [0]}).to_parquet(
        tmp_path / "test.parquet"
    )
    with pytest.raises(ValueError, match=r"^row 0 \(split 'test'\) is no readable image"):
        PixelDataset(load_cifar10(tmp_path)["test"], CIFAR10.transform())[0]
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.parquet does not exist"):
        load_cifar10(tmp_path)


@pytest.mark.slow
@pytest.mark.realdata
def test_the_real_cifar(shared_data):
    found = load_cifar10(shared_data / "cifar10")
    assert {name: len(split) for name, split in found.items()} == {"train": 50_000, "test": 10_000}
    assert PixelDataset(found["test"], CIFAR10.transform())[0]["pixel_values"].shape == (3, 32, 32)
