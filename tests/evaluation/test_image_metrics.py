"""Image metrics against an independent computation, identities, what is counted, and what is measured only
once.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from evaluation.drawn import Drawn, random_image
from evaluation.squares import Squares
from evaluation.tiny_encoders import Counted, write_clip, write_dino
from huggingface_hub.errors import LocalEntryNotFoundError
from scipy.spatial.distance import cosine as cosine_distance
from transformers import CLIPModel, CLIPTokenizer, ViTModel

from src.evaluation.benchmark import Benchmark
from src.evaluation.encoders import ClipEncoder, DinoEncoder
from src.evaluation.image_metrics import ImageMetrics
from src.evaluation.measuring import interleave, measure_row, read_values
from src.evaluation.metrics import METRICS, CaseMetrics, metric_cell, metric_means
from src.evaluation.pixels import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from src.hub import check_weights, version_of
from src.records import Case, Image, Triplet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return write_clip(folder / "clip"), write_dino(folder / "dino")


def metrics_of(folders: tuple[str, str], **settings) -> ImageMetrics:
    return ImageMetrics(ClipEncoder(folders[0]), DinoEncoder(folders[1]), **settings)


def edits_of(benchmark: Benchmark) -> list[Triplet]:
    return [Triplet(case, random_image(44, 44, 20 + index)) for index, case in enumerate(benchmark.cases())]


def values_of(
    metrics: ImageMetrics, benchmark: Benchmark, triplets: Sequence[Triplet]
) -> list[dict[str, float]]:
    return metrics.measure(
        [metrics.measurable(benchmark, triplet) for triplet in triplets], metrics.names, CPU
    )


def network_input(
    image: Image, short_side: int, side: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """As torchvision's Resize, CenterCrop, ToTensor and Normalize would make it."""
    opened = PIL.Image.fromarray(image)
    width, height = opened.size
    scale = short_side / min(width, height)
    opened = opened.resize(
        (math.floor(width * scale + 1e-9), math.floor(height * scale + 1e-9)), PIL.Image.Resampling.BICUBIC
    )
    left, top = round((opened.width - side) / 2), round((opened.height - side) / 2)
    pixels = np.asarray(opened.crop((left, top, left + side, top + side))) / 255
    return torch.tensor((pixels - mean) / std, dtype=torch.float32).permute(2, 0, 1)[None]


def test_all_metrics_equal_an_independent_computation(folders: tuple[str, str]) -> None:
    benchmark = Drawn()
    triplets = edits_of(benchmark)
    clip, words, dino = (
        CLIPModel.from_pretrained(folders[0]),
        CLIPTokenizer.from_pretrained(folders[0]),
        ViTModel.from_pretrained(folders[1]),
    )

    def clip_of(image: Image, text: str = "-") -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            out = clip(
                pixel_values=network_input(image, 32, 32, CLIP_MEAN, CLIP_STD),
                **words([text], return_tensors="pt"),
            )
        return out.image_embeds[0].numpy(), out.text_embeds[0].numpy()

    def dino_of(image: Image) -> np.ndarray:
        with torch.no_grad():
            return (
                dino(network_input(image, 32, 28, IMAGENET_MEAN, IMAGENET_STD), output_hidden_states=True)
                .last_hidden_state[0, 0]
                .numpy()
            )

    found = values_of(metrics_of(folders), benchmark, triplets)
    for triplet, values in zip(triplets, found, strict=True):
        case, target, captions = (
            triplet.case,
            benchmark.ground_truth(triplet.case),
            benchmark.captions(triplet.case),
        )
        expected = {"multi_reward/clip_t": 1 - cosine_distance(*clip_of(triplet.edited, captions["global"]))}
        if "local" in captions:
            expected["magicbrush/clip_t_local"] = 1 - cosine_distance(
                *clip_of(triplet.edited, captions["local"])
            )
        if target is not None:
            size = (target.shape[1], target.shape[0])
            error = (
                np.asarray(PIL.Image.fromarray(triplet.edited).resize(size, PIL.Image.Resampling.BICUBIC))
                - target.astype(float)
            ) / 255
            expected["magicbrush/l1"], expected["magicbrush/l2"] = np.abs(error).mean(), (error**2).mean()
            expected["magicbrush/clip_i"] = 1 - cosine_distance(
                clip_of(triplet.edited)[0], clip_of(target)[0]
            )
            expected["magicbrush/dino"] = 1 - cosine_distance(dino_of(triplet.edited), dino_of(target))
            expected["multi_reward/clip_i"] = expected["magicbrush/clip_i"]
        outside = {name: value for name, value in values.items() if name.startswith("outside/")}
        assert set(outside) == (set() if case.id == "c4" else {"outside/l1", "outside/ssim"})
        assert {name: value for name, value in values.items() if name not in outside} == pytest.approx(
            expected, abs=1e-5
        )
    assert len({round(values["multi_reward/clip_t"], 6) for values in found}) == 6


def test_the_exact_target_is_perfect(folders: tuple[str, str]) -> None:
    benchmark = Drawn()
    exact = [
        Triplet(case, target)
        for case in benchmark.cases()
        if (target := benchmark.ground_truth(case)) is not None
    ]
    for values in values_of(metrics_of(folders), benchmark, exact):
        assert (values["magicbrush/l1"], values["magicbrush/l2"]) == (0.0, 0.0)
        assert [
            values[name] for name in ("magicbrush/clip_i", "magicbrush/dino", "multi_reward/clip_i")
        ] == pytest.approx([1.0] * 3, abs=1e-12)


def test_an_unedited_image_changes_nothing_outside() -> None:
    benchmark = Drawn()
    for values in values_of(
        ImageMetrics(), benchmark, [Triplet(case, case.original) for case in benchmark.cases()]
    ):
        assert values.get("outside/l1", 0.0) == 0.0
        assert values.get("outside/ssim", 1.0) == pytest.approx(1.0, abs=1e-12)


def test_means_count_the_cases_that_define_a_metric(folders: tuple[str, str]) -> None:
    benchmark = Drawn()
    values = values_of(metrics_of(folders), benchmark, edits_of(benchmark))
    cases = [
        CaseMetrics(case.id, case.photograph, each)
        for case, each in zip(benchmark.cases(), values, strict=True)
    ]
    means = metric_means(cases)
    assert list(means) == [
        name for name in METRICS if not name.startswith("reason_edit/")
    ]  # nothing here has a mask
    assert {name: mean.n for name, mean in means.items() if mean.n != 5} == {
        "magicbrush/clip_t_local": 4,
        "multi_reward/clip_t": 6,
    }
    assert means["magicbrush/l1"].mean == pytest.approx(
        np.mean([each["magicbrush/l1"] for each in values[:5]]), abs=1e-12
    )
    low, high = means["outside/ssim"].ci95 or (2, 2)
    assert -1 <= low < means["outside/ssim"].mean < high <= 1
    assert metric_means(cases[:1])["magicbrush/l1"].ci95 is None
    assert metric_means([]) == {}


def test_cells() -> None:
    cases = [
        CaseMetrics("a", "p", {"magicbrush/l1": 0.25}),
        CaseMetrics("b", "q", {"magicbrush/l1": 0.25}),
        CaseMetrics("c", "r", {}),
    ]
    mean = metric_means(cases)["magicbrush/l1"]
    assert metric_cell(mean, 3) == "0.2500 [0.2500, 0.2500] (2)"
    assert metric_cell(mean, 2, short=True) == "0.2500 ±0.0000"
    assert metric_cell(None, 3) == "-"


def measured(
    folder: Path, metrics: ImageMetrics, row: str = "row", measure: bool = True
) -> list[CaseMetrics]:
    triplets = edits_of(Drawn())
    batches = [triplets[:4], triplets[4:]]
    return interleave(
        [measure_row(metrics, Drawn(), batches, 6, folder / row / "metrics.jsonl", row, CPU, measure)]
    )


def test_nothing_is_measured_twice(tmp_path: Path, folders: tuple[str, str]) -> None:
    dino = Counted(DinoEncoder(folders[1]))
    metrics = ImageMetrics(ClipEncoder(folders[0]), dino)
    assert all(not case.values for case in measured(tmp_path, metrics, measure=False))
    first, content = measured(tmp_path, metrics), (tmp_path / "row/metrics.jsonl").read_bytes()
    assert dino.embedded == 6 + 5
    assert measured(tmp_path, metrics, "another row") == first
    assert dino.embedded == 6 + 5
    again = Counted(DinoEncoder(folders[1]))
    for measure in (True, False):
        assert measured(tmp_path, ImageMetrics(ClipEncoder(folders[0]), again), measure=measure) == first
    assert again.embedded == 0
    assert (tmp_path / "row/metrics.jsonl").read_bytes() == content


class Decoding(Drawn):
    """Counts how often a right answer is asked for."""

    def __init__(self) -> None:
        self.decoded = 0

    def ground_truth(self, case: Case) -> Image | None:
        self.decoded += 1
        return super().ground_truth(case)


def test_right_answers_are_decoded_once_and_where_something_is_measured(tmp_path: Path) -> None:
    benchmark, metrics, triplets = Decoding(), ImageMetrics(), edits_of(Drawn())

    def row(name: str, measure: bool) -> int:
        before = benchmark.decoded
        measure_row(
            metrics,
            benchmark,
            [triplets[:4], triplets[4:]],
            6,
            tmp_path / name / "metrics.jsonl",
            name,
            CPU,
            measure,
        )
        return benchmark.decoded - before

    assert row("first", True) == 6
    # of the first nothing is new, of the second everything; case c5 has no target but a region
    assert [
        row("first", True),
        row("first", False),
        row("second", False),
        row("second", True),
        row("second", True),
    ] == [0, 0, 0, 6, 0]
    again = Decoding()
    measure_row(
        ImageMetrics(), again, [triplets], 6, tmp_path / "first/metrics.jsonl", "first", CPU, measure=False
    )
    assert again.decoded == 6


def test_a_metric_that_is_no_number_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, triplets = ImageMetrics(), edits_of(Drawn())
    taken = ImageMetrics.measure

    def measure(self: ImageMetrics, *asked: object) -> object:
        found = taken(self, *asked)
        next(iter(found))[self.names[0]] = float("nan")
        return found

    monkeypatch.setattr(ImageMetrics, "measure", measure)
    with pytest.raises(ValueError, match=r"the metric .* in row is NaN, and no value is written"):
        measure_row(metrics, Drawn(), [triplets], 6, tmp_path / "m.jsonl", "row", CPU)
    assert not (tmp_path / "m.jsonl").exists()


def test_a_stopped_row_goes_on_with_the_same_values(tmp_path: Path, folders: tuple[str, str]) -> None:
    whole = measured(tmp_path, metrics_of(folders), "whole")
    lines = (tmp_path / "whole/metrics.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (0, 1, 7, len(lines) - 1):
        (tmp_path / "stopped").mkdir(exist_ok=True)
        (tmp_path / "stopped/metrics.jsonl").write_bytes(b"".join(lines[:kept]))
        assert measured(tmp_path, metrics_of(folders), "stopped") == whole
        assert sorted((tmp_path / "stopped/metrics.jsonl").read_bytes().splitlines(keepends=True)) == sorted(
            lines
        )


def test_metrics_asked_for_later_are_added(tmp_path: Path, folders: tuple[str, str]) -> None:
    measured(tmp_path, ImageMetrics())
    pixels = read_values(tmp_path / "row/metrics.jsonl")
    assert measured(tmp_path, metrics_of(folders)) == measured(tmp_path, metrics_of(folders), "at once")
    assert set(pixels) < set(read_values(tmp_path / "row/metrics.jsonl"))


def test_other_weights_measure_anew(tmp_path: Path, folders: tuple[str, str]) -> None:
    first = measured(tmp_path, metrics_of(folders))
    other = ClipEncoder(write_clip(tmp_path / "other", seed=1))
    second = measured(tmp_path, ImageMetrics(other, DinoEncoder(folders[1])))
    for one, another in zip(first, second, strict=True):
        same = {name for name in one.values if one.values[name] == another.values[name]}
        assert same == {name for name in one.values if METRICS[name].encoder != "clip"}
    assert version_of(folders[0], None, "config.json") not in other.fingerprint


def test_a_report_says_which_network_measured(folders: tuple[str, str]) -> None:
    told = metrics_of(folders).measured_by
    assert list(told) == ["clip", "dino"]
    assert "not ViT-B/32 but 2 layers of 16, patches of 8, 32 px" in told["clip"]
    assert told["dino"].startswith(f"{folders[1]}@")
    assert metrics_of(folders, metrics=["outside/l1", "magicbrush/dino"]).measured_by == {
        "dino": told["dino"]
    }


def test_a_file_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"id": "a", "metric": "m", "key": "k", "value": 1}\n{"id": "a"}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: no measured value \(KeyError: 'value'\)"):
        read_values(file)
    file.write_text(json.dumps({"id": "a", "metric": "m", "key": "k", "value": 1}) + '\n{"id": "a", "met')
    assert read_values(file) == {("a", "m", "k"): 1.0}


def test_batches_dealt_out_come_back_in_order() -> None:
    batches = [[1, 2], [3], [4, 5], [6], [7]]
    for world in (1, 2, 3, 6):
        assert interleave([batches[rank::world] for rank in range(world)]) == [1, 2, 3, 4, 5, 6, 7]


def test_metrics_that_no_case_defines(capsys: pytest.CaptureFixture[str], folders: tuple[str, str]) -> None:
    squares = Squares()
    assert metrics_of(folders).check(squares, squares.cases()) == [
        name for name in METRICS if METRICS[name].needs == "ground_truth"
    ]
    told = capsys.readouterr().err
    assert "no case of squares has a caption of the kind 'local': magicbrush/clip_t_local\n" in told
    assert "no case of squares has a region that the edit may change: outside/l1, outside/ssim\n" in told
    with pytest.raises(
        ValueError,
        match=r"magicbrush/clip_t_local can't be taken, as no case of squares has a caption of the kind "
        r"'local'; leave",
    ):
        metrics_of(folders, metrics=["magicbrush/l1", "magicbrush/clip_t_local"]).check(
            squares, squares.cases()
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["clip"]}, "there is no image metric 'clip'; there are magicbrush/l1"),
        ({"metrics": ["magicbrush/dino"]}, r"magicbrush/dino needs a network, image_metrics\.dino"),
        ({"batch_size": 0}, r"image_metrics\.batch_size=0"),
    ],
)
def test_settings_that_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageMetrics(**settings)


class Long(Squares):
    def captions(self, case: Case) -> Mapping[str, str]:
        return {"global": "x" * 90} if case.id == "p1-style" else {"global": "night"}


def test_a_caption_that_does_not_fit(folders: tuple[str, str]) -> None:
    with pytest.raises(
        ValueError, match=r"case p1-style: the caption 'x+'\.\.\. has 92 tokens and CLIP takes 77; shorten it"
    ):
        metrics_of(folders).check(Long(), Long().cases())


def test_a_region_of_another_size() -> None:
    class Wrong(Squares):
        def edit_region(self, case: Case) -> np.ndarray:
            return np.zeros((3, 4), dtype=bool)

    case = Wrong().cases()[0]
    with pytest.raises(ValueError, match="the region of case p0-local has 4x3 pixels and its original 16x16"):
        ImageMetrics().measurable(Wrong(), Triplet(case, case.original))


def test_models_that_can_not_be_loaded(tmp_path: Path, folders: tuple[str, str]) -> None:
    clip, dino = folders
    with pytest.raises(FileNotFoundError, match="no folder /nowhere"):
        ClipEncoder("/nowhere")
    with pytest.raises(
        ValueError,
        match="is a model of type clip, one of type vit is needed here, such as facebook/dino-vits16",
    ):
        DinoEncoder(clip)
    with pytest.raises(ValueError, match="is a model of type vit, one of type clip is needed here"):
        ClipEncoder(dino)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no model: config\.json is missing"):
        DinoEncoder(str(tmp_path / "empty"))
    weights = Path(write_dino(tmp_path / "broken")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors can't be read, it may be truncated"):
        DinoEncoder(str(tmp_path / "broken")).images([random_image(30, 30)], CPU)
    wordless = Path(write_clip(tmp_path / "wordless"))
    for file in wordless.glob("*"):
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    with pytest.raises(
        (ValueError, FileNotFoundError), match="wordless has a network of 514 tokens and a tokenizer of"
    ):
        ClipEncoder(str(wordless))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda weights: weights.unlink(), "dino has no weights"),
        (lambda weights: weights.write_bytes(weights.read_bytes()[:1000]), "safetensors can't be read"),
        (
            lambda weights: weights.rename(weights.parent / "model-1-of-2.safetensors"),
            "dino lacks model-2-of-2.safetensors",
        ),
    ],
)
def test_missing_weights_are_known_before_edits_are_made(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    weights = Path(write_dino(tmp_path / "dino")) / "model.safetensors"
    metrics = ImageMetrics(dino=DinoEncoder(str(weights.parent)))
    metrics.check_ready(metrics.names)
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (weights.parent / f"{weights.name}.index.json").write_text(json.dumps(index))
    damage(weights)
    if "no weights" in said:
        (weights.parent / f"{weights.name}.index.json").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=said):
        metrics.check_ready(metrics.names)
    metrics.check_ready(["magicbrush/l1"])  # needs no network


def test_weights_that_only_the_hub_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("src.hub.hf_hub_download", unreachable)
    with pytest.raises(FileNotFoundError, match=r"the weights of owner/model can't be had: .* folder"):
        check_weights("owner/model")
