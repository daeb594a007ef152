"""The throughput benchmark as a real command on a small pipeline; ratios, targets and counts of operations
against exact small cases.
"""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import commands
import pytest
import torch
import torch.nn.functional as F
from backbones.pipelines import write_pipeline
from commands import only_error
from conftest import config
from killing import Command
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from src.benchmarking.clock import Clock, mark_calls, matrix_rate, operation_counter
from src.benchmarking.ladder import FailedError, Rung, measure_ladder, run_in_process
from src.benchmarking.measurement import RungMeasurement
from src.benchmarking.released import ReleaseOverhead
from src.benchmarking.report import check_targets, entry, ladders_markdown, with_ratios
from src.throughput import chosen_rungs

TOWER = (
    "{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, "
    "patch_size: 14, image_size: 28, projection_dim: 16}"
)
MEASURED = RungMeasurement(2.0, 1, {"load": 0.5}, tflop_per_sample=0.25)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("throughput") / "pipeline")


def command(pipeline: Path, target: Path, *overrides: str) -> CompletedProcess:
    small = [
        "data.transform.size=32",
        "files.rows=48",
        "files.side=40",
        "matrix_side=64",
        "sampling_side=32",
        "sizes.cpu.loading_seconds=0.1",
    ]
    small += [
        f"model.backbone.pretrained={pipeline}",
        f"released.image_encoder={TOWER}",
        "trainer.precision=32-true",
        "device=cpu",
    ]
    named = ["+experiment=reward_inspix2pix", f"hydra.run.dir={target}"]
    return commands.run(*named, *small, *overrides, module="src.throughput")


@pytest.fixture(scope="module")
def run(pipeline: Path, tmp_path_factory) -> tuple[Path, CompletedProcess]:
    """All rungs but those that compile."""
    target = tmp_path_factory.mktemp("throughput") / "run"
    rungs = (
        "as_released,without_unused_tower,kept_memory,precomputed,no_checkpointing,channels_last,"
        "bf16_weights,images,shards,shards_and_tokens"
    )
    return target, command(pipeline, target, f"rungs=[{rungs}]")


def test_leaves_ladders_a_table_and_a_image(run: tuple[Path, CompletedProcess]) -> None:
    folder, done = run
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((folder / "throughput.json").read_text())
    assert [each["rung"] for each in report["training"]] == [
        "as_released",
        "without_unused_tower",
        "kept_memory",
        "precomputed",
        "no_checkpointing",
        "channels_last",
    ]
    assert [each["rung"] for each in report["sampling"]] == [
        "as_released",
        "without_unused_tower",
        "kept_memory",
        "bf16_weights",
        "channels_last",
    ]
    assert [each["rung"] for each in report["loading"]] == ["images", "shards", "shards_and_tokens"]
    assert {
        "device",
        "precision",
        "versions",
        "commit",
        "command",
        "matrix_tflop_per_s",
        "targets",
    } <= report.keys()
    for ladder in ("training", "sampling", "loading"):
        for each in report[ladder]:
            assert not each["failed"], each
            assert each["samples_per_s"] > 0
            assert each["ratio"] == pytest.approx(each["samples_per_s"] / report[ladder][0]["samples_per_s"])
            assert sum(each["phases"].values()) == pytest.approx(1 / each["samples_per_s"])
            assert each["peak_memory_gb"] > 0.05 or ladder == "loading"
    assert {each["extrapolated"] for each in report["sampling"]} == {"from 2 of 30 denoiser calls"}
    assert {each["extrapolated"] for each in report["training"]} == {""}
    assert (folder / "throughput.md").read_text() in done.stdout
    assert Image.open(folder / "throughput.png").size[0] > 800
    assert "targets" in (folder / "throughput.md").read_text().lower()


def test_each_rung_of_training_does_less(run: tuple[Path, CompletedProcess]) -> None:
    """Counted, not timed: the tower, the encoders and the recomputation are in the operations of the rungs
    that have them.
    """
    report = json.loads((run[0] / "throughput.json").read_text())
    counted = [each["tflop_per_sample"] for each in report["training"]]
    assert counted[0] > counted[1] == counted[2] > counted[3] > counted[4] == counted[5]
    training = {each["rung"]: each for each in report["training"]}
    assert training["precomputed"]["phases"].keys() == {"encode", "forward", "backward", "optimiser"}
    edits = [each["tflop_per_sample"] for each in report["sampling"]]
    assert edits[0] > edits[1] == edits[2] == edits[3] == edits[4]


def test_a_rung_that_fails_is_reported_and_the_ladder_goes_on(pipeline: Path, tmp_path: Path) -> None:
    """Only a first rung that fails is an error, after everything else was measured."""
    more = [
        '+rungs_of.loading.broken=["data.batch_size=0"]',
        '+rungs_of.loading.after=["data.batch_size=2"]',
        "algorithm.optimizer.lr=-1",
    ]
    done = command(
        pipeline, tmp_path, "ladders=[training,loading]", "rungs=[as_released,shards,broken,after]", *more
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: nothing can be compared with the first rung, which failed: training (Invalid learning rate"
    )
    report = json.loads((tmp_path / "throughput.json").read_text())
    assert "Invalid learning rate" in report["training"][0]["failed"]
    loading = {each["rung"]: each for each in report["loading"]}
    assert "batch size 0" in loading["broken"]["failed"]
    assert loading["broken"]["samples_per_s"] is None
    assert loading["after"]["left_out"] == ["broken"]
    assert loading["after"]["batch_size"] == 2
    assert "- broken: failed" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["ladders=[walking]"], "say some of training"),
        (["rungs=[fourth]"], "no rung fourth"),
        (["data=synthetic"], "on a tree of pictures"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, overrides: list[str], said: str) -> None:
    run = Command(
        "src.throughput",
        "+experiment=reward_inspix2pix",
        *overrides,
        f"hydra.run.dir={tmp_path}",
        log=tmp_path / "log.txt",
    )
    code = run.ended()
    assert said in only_error((tmp_path / "log.txt").read_text(), code)


def test_operations_are_counted_exactly() -> None:
    left, right = torch.randn(3, 5), torch.randn(5, 7)
    convolution, image = nn.Conv2d(2, 4, 3, padding=1), torch.randn(1, 2, 6, 6)
    queries, keys = torch.randn(1, 2, 8, 4), torch.randn(1, 2, 6, 4)
    for compute, operations in (
        (lambda: left @ right, 2 * 3 * 5 * 7),
        (lambda: convolution(image), 2 * (6 * 6) * 4 * (2 * 3 * 3)),
        (lambda: F.scaled_dot_product_attention(queries, keys, keys), 2 * 2 * (2 * 8 * 6 * 4)),
    ):
        with operation_counter() as counter:
            compute()
        assert counter.get_total_flops() == operations


def test_what_the_release_computes_in_vain_is_counted() -> None:
    sizes = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "patch_size": 4,
        "image_size": 8,
    }
    unread = ReleaseOverhead({**sizes, "projection_dim": 4}, null_text=True)
    asked = []
    with operation_counter() as counter:
        unread.compute(torch.zeros(2, 3, 16, 16), asked.append)
    tokens, width, inner = 5, 8, 16  # 2 x 2 patches and the class
    layer = 2 * tokens * (4 * width * width + 2 * width * inner) + 2 * 2 * tokens * tokens * width
    assert counter.get_total_flops() == 2 * (2 * 4 * width * (3 * 4 * 4) + layer + 2 * width * 4)
    assert asked == [[""]]


def test_time_goes_to_the_phase_before_the_mark() -> None:
    clock = Clock(torch.device("cpu"))
    clock.mark("forgotten")
    clock.restart()
    call = mark_calls(lambda: time.sleep(0.02), clock, "before", "call")
    time.sleep(0.01)
    call()
    seconds = clock.seconds()
    assert seconds.keys() == {"before", "call"}
    assert 0.01 <= seconds["before"] < seconds["call"]


def test_a_matrix_rate_is_positive() -> None:
    assert matrix_rate(torch.device("cpu"), torch.float32, side=32, seconds=0.01) > 0


def test_ratios_and_shares() -> None:
    rungs = ("as_released", "without_unused_tower", "compile")
    entries = [
        entry(rung, [], replace(MEASURED, samples_per_s=rate))
        for rung, rate in zip(rungs, (2.0, 4.0, 10.0), strict=True)
    ]
    compared = with_ratios([*entries, entry("broken", [], None, "no compiler")], matrix_rate=5.0)
    assert [each["ratio"] for each in compared] == [1.0, 2.0, 5.0, None]
    assert [each["ratio_without_unused_tower"] for each in compared] == [0.5, 1.0, 2.5, None]
    assert [each["mfu"] for each in compared] == [0.1, 0.2, 0.5, None]
    found = check_targets({"training": compared, "sampling": compared[:2]}, "gpu", "1 x NVIDIA H200")
    assert [(each.measured, each.rung, each.reached) for each in found] == [
        (5.0, "compile", True),
        (2.0, "without_unused_tower", False),
        (10.0, "compile", False),
        (0.5, "compile", True),
    ]
    assert [each.target for each in check_targets({"training": compared}, "cpu", "two cores")] == [1.8]
    report = {
        "command": "c",
        "hardware": "h",
        "precision": "p",
        "commit": "x",
        "seconds": 60,
        "matrix_tflop_per_s": {"float32": 5.0},
    }
    text = ladders_markdown(report | {"training": compared, "sampling": [], "loading": [], "targets": []})
    assert "| broken | failed |" in text
    assert "- broken: failed, no compiler" in text
    assert "| compile | 1 | 10 | 5.00 | 2.50 | 0.25 | 2.5 | 50% |" in text


def test_earlier_changes_are_made_though_their_rungs_are_not_chosen() -> None:
    ladder = [
        Rung("x", name, (change,))
        for name, change in (("a", "a=1"), ("b", "b=1"), ("c", "c=1"), ("d", "d=1"))
    ]
    seen = {}

    def measure(rung: Rung, changes: list[str]) -> RungMeasurement:
        seen[rung.name] = changes
        if rung.name == "c":
            raise FailedError("no room")
        return MEASURED

    entries = measure_ladder(ladder, ["b", "c", "d"], measure)
    assert seen == {"b": ["a=1", "b=1"], "c": ["a=1", "b=1", "c=1"], "d": ["a=1", "b=1", "d=1"]}
    assert [(each["rung"], each["failed"], each["left_out"]) for each in entries] == [
        ("b", "", []),
        ("c", "no room", []),
        ("d", "", ["c"]),
    ]


def dies(name: str, settings: dict) -> None:
    """Ends its own process, as the system does for want of memory, or sleeps."""
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@pytest.mark.parametrize(
    ("name", "minutes", "said"),
    [("killed", 1.0, "want of memory"), ("slow", 0.01, "no result after 0.01 minutes")],
)
def test_a_process_that_dies_or_hangs_is_a_failed_rung(
    tmp_path: Path, name: str, minutes: float, said: str
) -> None:
    with pytest.raises(FailedError, match=said):
        run_in_process(dies, name, {}, tmp_path / "log.txt", minutes)


@pytest.mark.slow
def test_compiled_rungs_are_measured(pipeline: Path, tmp_path: Path) -> None:
    done = command(
        pipeline,
        tmp_path,
        "ladders=[training,sampling]",
        "rungs=[as_released,compile,fused_optimizer,larger_batch]",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "throughput.json").read_text())
    for ladder in ("training", "sampling"):
        compiled = {each["rung"]: each for each in report[ladder]}
        assert not any(each["failed"] for each in report[ladder]), report[ladder]
        assert compiled["compile"]["first_call_s"] > 0
        assert compiled["compile"]["tflop_per_sample"] < compiled["as_released"]["tflop_per_sample"]
        assert compiled["larger_batch"]["batch_size"] > 1


def test_every_rung_changes_something_that_there_is() -> None:
    cfg = config("+experiment=reward_inspix2pix", name="throughput")
    for rungs in cfg.rungs_of.values():
        for changes in rungs.values():
            for change in changes:
                name = change.partition("=")[0]
                assert OmegaConf.select(cfg, name.rpartition(".")[0] or name, default="absent") != "absent", (
                    name
                )


def test_what_is_left_out_is_there() -> None:
    cfg = config("+experiment=reward_inspix2pix", name="throughput")
    for names in cfg.left_out.values():
        for name in names:
            ladder, rung = name.split(".")
            assert rung in cfg.rungs_of[ladder]
    cfg.device = "cpu"
    assert "larger_batch" in chosen_rungs(cfg, "training")
    assert "larger_batch" not in chosen_rungs(cfg, "sampling")
