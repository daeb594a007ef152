"""Reason-Edit in its release's layout: cases, masks and labels, its metrics against an independent
computation, and what is wrong with a folder.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, config, small_editor
from data.written import pixels, write_image
from evaluation.folders import SCENES, write_reason_edit
from evaluation.tiny_encoders import write_clip
from omegaconf import OmegaConf
from PIL import Image
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from src import checkpoint, evaluate
from src.evaluation.encoders import ClipEncoder
from src.evaluation.image_metrics import ImageMetrics
from src.evaluation.masked import masked_mse, masked_psnr, masked_rectangle, masked_ssim
from src.evaluation.measuring import measure_row, read_values
from src.evaluation.metrics import METRICS, metric_means
from src.evaluation.pixels import CLIP_MEAN, CLIP_STD, resize_bicubic
from src.evaluation.reason_edit import ReasonEdit
from src.records import Triplet

CPU = torch.device("cpu")
NAMES = [name for name in METRICS if name.startswith("reason_edit/")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reason_edit(tmp_path / "data")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip(tmp_path_factory.mktemp("encoders") / "clip")


def test_cases_in_the_order_of_the_lines(folder: Path) -> None:
    benchmark = ReasonEdit(folder)
    cases = benchmark.cases()
    assert [case.id for case in cases] == [
        f"{scene}/{number}" for scene in SCENES for number in ("001", "002")
    ]
    assert list(dict.fromkeys(case.edit_type for case in cases)) == [
        *("left right", "relative size", "mirror", "color", "multiple objects", "reasoning"),
    ]
    second = cases[1]
    assert (second.instruction, benchmark.captions(second)) == (
        "Make the left one red.",
        {"label": "a red thing 2"},
    )
    np.testing.assert_array_equal(second.original, pixels(102, 40, 56))
    region, mask = benchmark.edit_region(second), benchmark.mask(second)
    assert region is not None
    assert mask is not None
    # the black of a JPEG is not quite black; where it is nearer to white is known all the same
    assert np.array_equal(region, np.pad(np.ones((16, 20), bool), ((4, 20), (10, 26))))
    assert np.array_equal(mask >= 128, region)
    assert len(np.unique(mask)) > 2
    assert [reference.name for reference in benchmark.references()] == ["copy input"]


def test_parts_old_names_and_equal_photographs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "6-Reasoning").rename(folder / "Reasoning-231115")
    write_image(folder / "7-Add-supp/001.png", pixels(1))
    (folder / "3-Mirror/001.png").write_bytes((folder / "3-Mirror/002.png").read_bytes())
    whole, reasoning = ReasonEdit(folder), ReasonEdit(folder, part="reasoning")
    assert [case.id for case in reasoning.cases()] == ["6-Reasoning/001", "6-Reasoning/002"]
    assert len(ReasonEdit(folder, part="understanding").cases()) == 10
    assert (whole.name, reasoning.name) == ("reason_edit", "reason_edit_reasoning")
    capsys.readouterr()
    assert len({case.photograph for case in whole.cases()}) == 11
    assert capsys.readouterr().err.startswith(
        f"note: {folder} also holds 7-Add-supp, which is no part of Reason-Edit's protocol"
    )


def lines(change: Callable[[str], str]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "1-Left-Right/Left_Right_text.txt"
        path.write_text(change(path.read_text()))

    return write


def unpadded(folder: Path) -> None:
    for name, stem in (("001", "2"), ("002", "10")):
        for ending in (".png", "_mask.jpg"):
            (folder / f"4-Color/{name}{ending}").rename(folder / f"4-Color/{stem}{ending}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "2-Relative-Size/002_mask.jpg").unlink(),
            r"2-Relative-Size has 1 photographs without a mask \(002\.png\)",
        ),
        (
            lambda folder: (folder / "3-Mirror/002.png").unlink(),
            r"3-Mirror has 1 images that are neither a \.png nor the mask of one \(002_mask\.jpg\), "
            r"2 lines for 1 photographs \(001\.png\)",
        ),
        (
            lambda folder: write_image(folder / "3-Mirror/003.jpg", pixels(1)),
            r"1 images that are neither .* \(003\.jpg\)",
        ),
        (
            lambda folder: Image.new("L", (8, 8)).save(folder / "4-Color/001_mask.jpg"),
            r"1 masks that are black all over \(001_mask\.jpg\)",
        ),
        (lines(lambda text: text.splitlines()[0]), r"1 lines for 2 photographs \(001\.png, 002\.png\)"),
        (lines(lambda text: text + "one more  CLIP: a dog"), "3 lines for 2 photographs"),
        (lines(lambda text: "\n" + text), r"1 lines that are not .* \(line 1: ''\), 3 lines for 2"),
        (
            lines(lambda text: text.replace("CLIP:", "clip", 1)),
            r"1 lines that are not .* \(line 1: 'Make the left one red\.  clip a red th",
        ),
        (lines(lambda text: text.replace("CLIP: a red thing 1", "CLIP: ")), "1 lines that are not"),
        (lines(lambda text: " \n"), r"an empty text file \(Left_Right_text\.txt\)"),
        (
            lambda folder: (folder / "4-Color/more.txt").write_text("x"),
            r"2 text files \(Color_text\.txt, more\.txt\)",
        ),
        (lambda folder: (folder / "4-Color/Color_text.txt").unlink(), "no text file"),
        (
            lambda folder: (folder / "4-Color/Color_text.txt").write_bytes(b"caf\xe9  CLIP: x\n"),
            r"not UTF-8 \(Color_text\.txt: .* at byte 3\)",
        ),
        (unpadded, r"order as text is not that of their numbers \(10\.png, 2\.png\)"),
        (
            lambda folder: (folder / "my-Reasoning-231115").mkdir(),
            "has 6-Reasoning twice, as 6-Reasoning and my-Reasoning-231115; keep one",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=message) as raised:
        ReasonEdit(folder).cases()
    assert "\n" not in str(raised.value)


def test_folders_that_are_not_there(folder: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no folder /nowhere; benchmark\.folder is the unpacked Reason-Edit"
    ):
        ReasonEdit("/nowhere").cases()
    (folder / "6-Reasoning").rename(folder / "reasoning")
    with pytest.raises(FileNotFoundError, match=r"lacks 6-Reasoning; benchmark\.part=understanding"):
        ReasonEdit(folder).cases()
    with pytest.raises(ValueError, match=r"benchmark\.part=half: say one of all, understanding, reasoning"):
        ReasonEdit(folder, part="half")


def test_all_metrics_equal_an_independent_computation(folder: Path, clip: str) -> None:
    """By torchmetrics, and by the image processor of transformers, on squares made here."""
    benchmark = ReasonEdit(folder)
    network, words = CLIPModel.from_pretrained(clip), CLIPTokenizer.from_pretrained(clip)
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size=32, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )
    metrics = ImageMetrics(clip_large=ClipEncoder(clip, protocol="reason_edit"), metrics=NAMES)
    triplets = [Triplet(case, pixels(7 * index, 32, 48)) for index, case in enumerate(benchmark.cases()[:4])]
    found = metrics.measure(
        [metrics.measurable(benchmark, triplet) for triplet in triplets], metrics.names, CPU
    )
    for triplet, values in zip(triplets, found, strict=True):
        with Image.open(folder / f"{triplet.case.id}_mask.jpg") as opened:
            mask = np.asarray(opened.convert("L").resize((256, 256), Image.Resampling.NEAREST), dtype=float)
        squares = [
            Image.fromarray(image).resize((256, 256), Image.Resampling.BICUBIC)
            for image in (triplet.edited, triplet.case.original)
        ]
        weight = (1 - mask / 255)[..., None]
        outside = [
            torch.tensor(np.asarray(square) / 255 * weight, dtype=torch.float64).permute(2, 0, 1)[None]
            for square in squares
        ]
        _, similarity = structural_similarity_index_measure(*outside, data_range=1.0, return_full_image=True)
        rows, columns = np.where(mask)
        box = squares[0].crop((columns.min(), rows.min(), columns.max(), rows.max()))
        with torch.no_grad():
            out = network(
                **processor(box, return_tensors="pt"),
                **words([benchmark.captions(triplet.case)["label"]], return_tensors="pt"),
            )
        expected = {
            "reason_edit/psnr": peak_signal_noise_ratio(*outside, data_range=1.0).item(),
            "reason_edit/ssim": similarity[..., 5:-5, 5:-5].mean().item(),
            "reason_edit/mse": (outside[0] - outside[1]).square().mean().item(),
            "reason_edit/clip_inside": max(
                100 * torch.cosine_similarity(out.image_embeds, out.text_embeds).item(), 0
            ),
        }
        assert values == pytest.approx(expected, abs=1e-5)
    assert len({round(values["reason_edit/psnr"], 6) for values in found}) == 4


def test_identities() -> None:
    image, other = pixels(1, 64, 64), pixels(2, 64, 64)
    mask = np.zeros((128, 128), np.uint8)
    mask[20:61, 40:101] = 255
    assert (masked_mse(image, image, mask), masked_psnr(image, image, mask)) == (0.0, math.inf)
    assert masked_ssim(image, image, mask) == pytest.approx(1.0, abs=1e-12)
    # what is inside has no part in it
    changed = resize_bicubic(image, 256, 256).copy()
    changed[40:120, 80:200] = 0
    assert masked_mse(changed, image, mask) == 0.0
    # a mask that is half grey everywhere halves every difference
    grey = np.full((4, 4), 51, np.uint8)
    black = np.zeros((4, 4), np.uint8)
    assert masked_mse(image, other, grey) == pytest.approx(
        0.8**2 * masked_mse(image, other, black), rel=1e-12
    )
    # rows 40 to 121, columns 80 to 201 of 256 are white; the last of each is not taken
    assert masked_rectangle(image, mask).shape == (81, 121, 3)
    point = np.zeros((256, 256), np.uint8)
    point[7, 9] = 1
    np.testing.assert_array_equal(
        masked_rectangle(resize_bicubic(image, 256, 256), point), resize_bicubic(image, 256, 256)[7:8, 9:10]
    )
    with pytest.raises(ValueError, match="black all over"):
        masked_rectangle(image, black)


def test_equal_images_have_no_psnr_that_counts(folder: Path, tmp_path: Path) -> None:
    benchmark, metrics, file = ReasonEdit(folder), ImageMetrics(metrics=NAMES[:3]), tmp_path / "metrics.jsonl"
    cases = benchmark.cases()[:3]
    triplets = [
        Triplet(case, case.original if index else pixels(5, 40, 56)) for index, case in enumerate(cases)
    ]
    for _ in range(2):
        ((*found,),) = measure_row(metrics, benchmark, [triplets], 3, file, "row", CPU)
        means = metric_means(found)
        assert (means["reason_edit/psnr"].n, means["reason_edit/mse"].n, means["reason_edit/ssim"].n) == (
            1,
            3,
            3,
        )
    content = file.read_text().splitlines()
    assert len(content) == 9
    assert [json.loads(line)["value"] for line in content if "psnr" in line][1:] == [None, None]
    assert sorted(read_values(file).values())[-2:] == [math.inf, math.inf]


def test_the_command(folder: Path, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Generation at the release's square, its metrics in the report, and the same edits measured again as a
    folder from elsewhere.
    """
    write_reason_edit(folder, instruction="make it night")
    run = tmp_path / "run"
    checkpoint.export(
        run / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    shared = [
        *(
            "benchmark=reason_edit",
            f"benchmark.folder={folder}",
            "benchmark.part=reasoning",
            "image_metrics=reason_edit",
        ),
        *(
            f"image_metrics.clip_large.model={clip}",
            "steps=[generate,measure,report]",
            "benchmark.judged_height=24",
        ),
    ]
    sampler = ["sampler=smartedit", "sampler.steps=1", "sampler.resize=square:32"]
    evaluate.main(config(f"checkpoint={run}/editor", *shared, *sampler, name="evaluate"))
    place = run / "evaluation/reason_edit_reasoning"
    report = json.loads((place / "oracle/report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["5/5/5", "copy input"]
    assert list(rows["5/5/5"]["image_metrics"]) == NAMES
    assert list(rows["copy input"]["image_metrics"]) == [name for name in NAMES if name != "reason_edit/psnr"]
    assert rows["copy input"]["image_metrics"]["reason_edit/mse"]["mean"] == 0
    assert "not ViT-L/14 but 2 layers of 16" in rows["5/5/5"]["measured_by"]["clip_large"]
    text = (place / "oracle/report.md").read_text()
    assert (
        "| row | n | reason_edit/psnr ↑ | reason_edit/ssim ↑ | reason_edit/mse ↓ "
        "| reason_edit/clip_inside ↑ |" in text
    )
    assert np.asarray(Image.open(place / "5-5-5/edits/6-Reasoning/001.png")).shape == (32, 32, 3)
    capsys.readouterr()

    (place / "5-5-5/edits").rename(tmp_path / "theirs")
    evaluate.main(config(f"edits={tmp_path}/theirs", f"output={tmp_path}/again", *shared, name="evaluate"))
    again = json.loads((tmp_path / "again/evaluation/reason_edit_reasoning/oracle/report.json").read_text())
    assert again["rows"][0]["image_metrics"] == rows["5/5/5"]["image_metrics"]
    assert "2 of 2 edits in" in capsys.readouterr().err
