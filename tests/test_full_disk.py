"""A full disk leaves what was there before and ends in one clear line. The room is limited by RLIMIT_FSIZE,
which needs no privilege.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from backbones.pipelines import write_release
from commands import TRAINING
from conftest import SMALL, config, small_editor
from data.written import write_tree
from killing import Command, finished
from omegaconf import OmegaConf
from run_folders import contents
from safetensors.torch import save_file

from src import checkpoint
from src.files import NotWrittenError, append_lines, discard, remove_leftovers, replacing, write_atomically


def refused(log: Path, module: str, *arguments: str, room: int) -> str:
    """The only error line of a command that has room for so many bytes in a file."""
    assert Command(module, *arguments, log=log, largest_file=room).ended() == 1
    errors = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, log.read_text()
    assert "Traceback" not in log.read_text()
    return errors[0]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    checkpoint.export(
        run / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    finished(
        "src.evaluate",
        f"checkpoint={run}/editor",
        "sampler.steps=1",
        "limit=8",
        "benchmark.ideals=null",
        "steps=[generate]",
        log=run / "log",
    )
    finished(
        "src.evaluate",
        f"checkpoint={run}/editor",
        "sampler.steps=1",
        "limit=4",
        "benchmark.ideals=null",
        log=run / "log",
    )
    return run


@pytest.mark.parametrize("name", ["oracle/report.json", "oracle/gallery.png", "5-5-5/oracle/rewards.jsonl"])
def test_a_report_and_rewards_are_as_before(evaluated: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(evaluated, run)
    folder, request = (
        run / "evaluation/synthetic_edit",
        (f"checkpoint={run}/editor", "sampler.steps=1", "limit=8", "benchmark.ideals=null"),
    )
    if "rewards" not in name:  # these come after the rewards, for which there is to be room
        finished("src.evaluate", *request, "steps=[judge]", log=tmp_path / "first")
    before = contents(folder)
    room = len(before[name]) + 100  # a little more than is there is not enough for twice as many cases
    message = refused(tmp_path / "log", "src.evaluate", *request, room=room)
    assert f"{name} could not be written (File too large); what was there before is unchanged" in message
    after = contents(folder)
    # images for the page are named by their content, and may be there before those who name them
    assert {added for added in after.keys() ^ before.keys() if not added.endswith(".webp")} == set()
    assert after[name] == before[name]


def test_a_checkpoint_is_the_one_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = (*TRAINING, f"hydra.run.dir={run}", "algorithm.scheduler.total_steps=20")
    finished("src.train", *arguments, "trainer.max_steps=2", log=tmp_path / "first")
    before = contents(run / "checkpoints")
    message = refused(tmp_path / "log", "src.train", *arguments, "trainer.max_steps=6", room=1_000_000)
    assert "checkpoints/last.ckpt could not be written" in message
    assert contents(run / "checkpoints") == before


@pytest.mark.parametrize("form", ["parquet", "imagefolder"])
def test_a_dataset_goes_on_when_there_is_room(tmp_path: Path, form: str) -> None:
    arguments = [f"format={form}", "count=12", "rows_per_file=6"]
    finished("src.write_dataset", *arguments, f"output={tmp_path / 'whole'}", log=tmp_path / "log")
    whole = contents(tmp_path / "whole")
    room = max(map(len, whole.values())) - 1
    refused(tmp_path / "error", "src.write_dataset", *arguments, f"output={tmp_path / 'data'}", room=room)
    finished("src.write_dataset", *arguments, f"output={tmp_path / 'data'}", log=tmp_path / "log")
    assert contents(tmp_path / "data") == whole


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small release of the paper's layout, and a tree."""
    folder = tmp_path_factory.mktemp("release")
    write_release(folder / "release")
    write_tree(folder / "tree", prompts=4)
    return folder


def test_conditions_go_on_when_there_is_room(release: Path, tmp_path: Path) -> None:
    command = [
        "+experiment=inspix2pix",
        f"model.backbone.pretrained={release / 'release'}",
        f"data.dataset.folder={release / 'tree'}",
    ]
    command += [
        "data.dataset.extension=png",
        "data.dataset.split=all",
        "data.transform.size=16",
        "data.num_workers=0",
        "data.augmentations=1",
    ]
    command += ["rows_per_shard=4", "device=cpu"]
    finished("src.precompute", *command, f"output={tmp_path / 'whole'}", log=tmp_path / "log")
    whole = contents(tmp_path / "whole")
    room = max(map(len, whole.values())) - 1  # the texts', which come after all latents
    message = refused(
        tmp_path / "error", "src.precompute", *command, f"output={tmp_path / 'cache'}", room=room
    )
    assert "texts-00000.safetensors could not be written" in message
    left = contents(tmp_path / "cache")
    assert len(left) > 3
    assert left.items() < whole.items()
    finished("src.precompute", *command, f"output={tmp_path / 'cache'}", log=tmp_path / "log")
    assert contents(tmp_path / "cache") == whole


def test_a_conversion_and_an_export_leave_nothing_behind(release: Path, tmp_path: Path) -> None:
    ours, again = tmp_path / "made/ours", tmp_path / "made/again"
    there = [f"source={release / 'release'}", f"output={ours}"]
    unet = len((release / "release/unet/diffusion_pytorch_model.safetensors").read_bytes())
    for room in (unet // 2, 1000):
        message = refused(tmp_path / "error", "src.convert", *there, room=room)
        assert f"{ours} could not be written" in message
        assert list(ours.parent.iterdir()) == []
        (tmp_path / "error").unlink()
    finished("src.convert", *there, log=tmp_path / "log")
    whole = contents(ours)
    for module, arguments in {
        "src.export": [f"checkpoint={ours}"],
        "src.convert": [f"source={ours}", "reverse=true"],
    }.items():
        message = refused(tmp_path / module, module, *arguments, f"output={again}", room=unet // 2)
        assert f"{again} could not be written" in message
        assert [path.name for path in ours.parent.iterdir()] == ["ours"]
    assert contents(ours) == whole


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "old")
    with pytest.raises(TypeError), replacing(tmp_path / "a.txt") as partial:
        partial.write_text(5)
    assert contents(tmp_path) == {"a.txt": b"old"}
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match=r"file/b.txt could not be written \(File exists\)"):
        write_atomically(tmp_path / "file" / "b.txt", "new")


def test_files_can_be_read_by_whoever_the_umask_lets(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    with replacing(tmp_path / "one.safetensors") as partial:
        save_file({"a": torch.zeros(1)}, partial)  # which makes it readable for its owner alone
    with replacing(tmp_path / "folder") as partial:
        (partial / "below").mkdir(parents=True)
        save_file({"a": torch.zeros(1)}, partial / "below" / "two.safetensors")
    assert [
        file.stat().st_mode
        for file in (tmp_path / "one.safetensors", tmp_path / "folder/below/two.safetensors")
    ] == [usual, usual]


def test_lines_are_appended_by_several_threads_at_once(tmp_path: Path) -> None:
    lines = [f"{number} {'x' * 5000}\n" for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: append_lines(tmp_path / "below/a.txt", line), lines))
    assert sorted((tmp_path / "below/a.txt").read_text().splitlines(keepends=True)) == sorted(lines)
    with pytest.raises(NotWrittenError, match=r"a.txt/b could not be written"):
        append_lines(tmp_path / "below/a.txt/b", "x\n")


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    for name in (
        ".a.txt.999999999.partial",
        "below/.b.txt.999999999.partial",
        ".c.txt.1.partial",
        ".mine.partial",
        "a.partial",
    ):
        write_atomically(tmp_path / name, "")
    remove_leftovers(tmp_path)
    assert contents(tmp_path).keys() == {
        "below/.b.txt.999999999.partial",
        ".c.txt.1.partial",
        ".mine.partial",
        "a.partial",
    }
    remove_leftovers(tmp_path, below=True)
    assert "below/.b.txt.999999999.partial" not in contents(tmp_path)
    discard(tmp_path / "below")
    assert not (tmp_path / "below").exists()
