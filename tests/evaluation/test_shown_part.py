"""Edits that show less than all of their photograph are measured against the part that they show, and nothing
else about them changes.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import config
from data.written import pixels, write_image
from evaluation.drawn import Drawn
from PIL import Image

from src import evaluate
from src.data.rows import EncodedImage
from src.evaluation.case_images import shown_crop
from src.evaluation.crop import WHOLE, Crop, crop
from src.evaluation.image_metrics import ImageMetrics
from src.images import centre_crop, framing_for, save_png
from src.records import Case, Triplet

SIZE = (91, 150)


def ramp(height: int, width: int) -> np.ndarray:
    """Brightness by place, so that an image that is squeezed or moved by a pixel is another one."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack(
        [40 + 200 * columns / width, 40 + 200 * rows / height, 128 + 100 * np.sin(columns / 4)], axis=2
    ).astype(np.uint8)


def as_the_editor_saw_it(photograph: Path, resize: str, multiple: int = 8) -> np.ndarray:
    """At the size of the framing, without the rim that a latent of so many pixels can't hold."""
    seen = EncodedImage(str(photograph)).decode(framing_for(resize, 64))
    return centre_crop(seen, *(side // multiple * multiple for side in seen.shape[:2]))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("photograph") / "a.png", ramp(*SIZE))


@pytest.mark.parametrize(
    "resize", ["keep", "trained", "60", "long_side_64:128", "long_side_64:100", "square:64", "area:3000"]
)
def test_the_part_is_where_the_edit_lies(photograph: Path, resize: str) -> None:
    framing, edited = framing_for(resize, 64), as_the_editor_saw_it(photograph, resize)
    part = shown_crop(
        Triplet(Case("a", EncodedImage(str(photograph)), "paint", "local", "a"), edited), framing
    )
    original = ramp(*SIZE)
    there = crop(original, part)
    squeezed = np.asarray(Image.fromarray(edited).resize(there.shape[1::-1], Image.Resampling.BICUBIC))
    assert np.abs(squeezed - there.astype(float))[4:-4, 4:-4, :2].mean() < 0.7
    assert (part == WHOLE) == (resize == "square:64")
    assert all(0 <= side <= 1 for side in part)
    # the middle is kept
    assert part.left + part.right == pytest.approx(1, abs=8 / min(SIZE))


def test_what_is_shown_whole_is_not_touched(photograph: Path) -> None:
    original, stored = ramp(*SIZE), EncodedImage(str(photograph))
    assert crop(original, WHOLE) is original
    for size in ((512, 512), (480, 640), (91, 150)):
        case = Case("a", stored if size == SIZE else ramp(*size), "paint", "local", "a")
        assert shown_crop(Triplet(case, ramp(*size)), framing_for("keep", 64)) == WHOLE
    assert shown_crop(Triplet(Case("a", stored, "paint", "local", "a"), ramp(32, 32)), None) == WHOLE
    for height, width in ((1024, 1024), (480, 640), (512, 768)):
        frame = framing_for("long_side_64:512", 64)(height, width)
        part = Crop(
            frame.part[0] / width, frame.part[1] / height, frame.part[2] / width, frame.part[3] / height
        )
        assert crop(image := np.zeros((height, width, 3), np.uint8), part) is image


def test_whole_pixels_are_cut_out_as_they_are() -> None:
    image, region = pixels(1, 40, 60), pixels(2, 40, 60)[..., 0] > 128
    part = Crop(6 / 60, 4 / 40, 54 / 60, 36 / 40)
    np.testing.assert_array_equal(crop(image, part), image[4:36, 6:54])
    np.testing.assert_array_equal(crop(region, part, Image.Resampling.NEAREST), region[4:36, 6:54])
    assert crop(region, Crop(0.1, 0.1, 0.5, 0.95), Image.Resampling.NEAREST).dtype == bool


def test_an_edit_larger_than_its_framing_is_refused(photograph: Path) -> None:
    triplet = Triplet(Case("a", EncodedImage(str(photograph)), "paint", "local", "a"), ramp(130, 128))
    with pytest.raises(
        ValueError, match="the edit of a has 128x130 pixels and was made of 192x128; make it again"
    ):
        shown_crop(triplet, framing_for("long_side_64:192", 64))


@pytest.mark.parametrize("resize", ["long_side_64:128", "60"])
def test_the_command_measures_what_the_editor_saw(
    tmp_path: Path, photograph: Path, resize: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unedited image at the editor's size is all but equal to its target; without what is known of the
    cut it is not, which is said.
    """
    mask = np.zeros(SIZE, np.uint8)
    mask[40:60, 60:80] = 255
    for name, image in (("a", ramp(*SIZE)), ("mask", mask)):
        write_image(tmp_path / f"data/{name}.png", image)
    (tmp_path / "data/metadata.jsonl").write_text(
        json.dumps({"file_name": "a.png", "instruction": "paint", "target": "a.png", "mask": "mask.png"})
        + "\n"
    )
    row = tmp_path / "run/evaluation/custom/row"
    save_png(as_the_editor_saw_it(photograph, resize), row / "edits/a-1.png")
    (row / "generation.json").write_text(json.dumps({"name": "row", "resize": resize}))
    shared = [
        f"benchmark.source={tmp_path}/data",
        "benchmark=custom",
        "image_metrics=pixels",
        "steps=[measure,report]",
    ]

    def measured(*more: str, output: Path) -> dict[str, float]:
        evaluate.main(config(*shared, *more, name="evaluate"))
        report = json.loads((output / "evaluation/custom/oracle/report.json").read_text())
        return {name: each["mean"] for name, each in report["rows"][0]["image_metrics"].items()}

    ours = measured(f"edits={row}/edits", output=tmp_path / "run")
    assert "another shape" not in capsys.readouterr().err
    (row / "edits").rename(tmp_path / "theirs")
    theirs = measured(
        f"edits={tmp_path}/theirs", f"output={tmp_path}/elsewhere", output=tmp_path / "elsewhere"
    )
    told = capsys.readouterr().err
    assert "1 of 1 edits in" in told
    for name in ("magicbrush/l1", "outside/l1"):
        assert ours[name] < 0.006
        assert theirs[name] > 2 * ours[name]
    assert ours["outside/ssim"] > theirs["outside/ssim"]


def test_metrics_of_a_part_have_keys_of_their_own() -> None:
    """So values measured against the whole are not reused, and those of uncut images are."""
    benchmark, metrics = Drawn(), ImageMetrics()
    triplet = Triplet(benchmark.cases()[0], pixels(3, 44, 44))
    whole, part = (
        metrics.measurable(benchmark, triplet, each).keys for each in (WHOLE, Crop(0.0, 0.1, 1.0, 0.9))
    )
    assert whole == ImageMetrics().measurable(benchmark, triplet).keys
    assert whole.keys() == part.keys()
    assert not set(whole.values()) & set(part.values())
