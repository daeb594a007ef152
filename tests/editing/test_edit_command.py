"""src.edit as a real command: the same files however it is batched, shared, killed or interrupted; what is
wrong is one line.
"""

import json
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from commands import only_error
from conftest import SMALL, config, small_editor
from killing import Command, after, finished
from omegaconf import OmegaConf

from src import checkpoint, edit
from src.images import load_image, read_png_text

ROWS = 13
WIDTHS = (32, 40, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An editor, photographs of three sizes in turn, a list of them, and their edits (`whole`), never
    stopped.
    """
    folder = tmp_path_factory.mktemp("editing")
    checkpoint.export(
        folder / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    chance = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = []
    for index in range(ROWS):
        pixels = chance.integers(0, 256, (32, WIDTHS[index % 3], 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"photos/{index:02d}.png")
        rows.append(
            {
                "image": f"photos/{index:02d}.png",
                "instruction": "make it night",
                "output": f"{index % 2}/{index:02d}",
                "seed": index,
            }
        )
    rows[3] |= {"following": 0, "preserving": 1, "quality": 2, "feedback_quality": "it is blurred"}
    (folder / "edits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    finished("src.edit", *asked(folder, folder / "whole"), log=folder / "log")
    return folder


def asked(folder: Path, output: Path, *overrides: str) -> list[str]:
    return [
        f"checkpoint={folder}/editor",
        f"list={folder}/edits.jsonl",
        f"output={output}",
        "sampler.steps=8",
        "batch_size=4",
        *overrides,
    ]


def pngs(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.png"))}


def assert_whole(folder: Path, output: Path) -> None:
    """The files of a command that was never stopped, byte for byte, one line per edit, and nothing else."""
    whole = pngs(folder / "whole")
    assert pngs(output).keys() == whole.keys()
    assert [name for name, content in pngs(output).items() if content != whole[name]] == []
    tables = [
        {entry.pop("id"): entry for entry in read_lines(place / "edits.jsonl")}
        for place in (output, folder / "whole")
    ]
    assert len(read_lines(output / "edits.jsonl")) == ROWS
    for entry in (*tables[0].values(), *tables[1].values()):
        del entry["seconds"]
    assert tables[0] == tables[1]
    assert not [path for path in output.rglob(".*")]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def edits_there(output: Path, count: int) -> Callable[[], bool]:
    return lambda: len(list(output.glob("?/*.png"))) >= count


def refused(log: Path, arguments: Sequence[str], room: int | None = None) -> str:
    code = Command("src.edit", *arguments, log=log, largest_file=room).ended()
    return only_error(log.read_text(), code)


def test_an_edit_says_how_it_was_made(folder: Path) -> None:
    told = read_png_text(folder / "whole/1/03.png")
    assert {
        name: told[name]
        for name in (
            "instruction",
            "seed",
            "target_scores",
            "target_feedback",
            "source",
            "noise_name",
            "sampler.steps",
            "resize",
        )
    } == {
        "instruction": "make it night",
        "seed": "3",
        "target_scores": "0/1/2",
        "target_feedback": "None; None; it is blurred",
        "source": "03.png",
        "noise_name": "1/03",
        "sampler.steps": "8",
        "resize": "trained",
    }
    (entry,) = [entry for entry in read_lines(folder / "whole/edits.jsonl") if entry["id"] == "1/03"]
    assert entry.pop("seconds") >= 0
    assert entry == {
        "id": "1/03",
        "source": f"{folder}/photos/03.png",
        "output": "1/03.png",
        "instruction": "make it night",
        "seed": 3,
        "scores": [0.0, 1.0, 2.0],
        "feedback": ["None", "None", "it is blurred"],
    }
    assert load_image(folder / "whole/contact_sheet.png").shape[0] > 12 * 256


def test_an_edit_depends_neither_on_its_batch_nor_on_the_order(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "edits.jsonl").read_text().splitlines()
    shutil.copytree(folder / "photos", tmp_path / "photos")
    (tmp_path / "edits.jsonl").write_text("\n".join(rows[::-1]))
    arguments = [
        argument.replace(f"list={folder}", f"list={tmp_path}")
        for argument in asked(folder, tmp_path / "out", "batch_size=1")
    ]
    finished("src.edit", *arguments, log=tmp_path / "log")
    for index in range(ROWS):
        one, other = (
            load_image(place / f"{index % 2}/{index:02d}.png").astype(int)
            for place in (folder / "whole", tmp_path / "out")
        )
        assert np.abs(one - other).max() <= 1


def test_killed_and_started_again_it_ends_the_same(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for count in (1, 6):
        assert Command("src.edit", *asked(folder, output), log=tmp_path / "log").killed_when(
            edits_there(output, count)
        )
    assert 6 <= len(list(output.glob("?/*.png"))) < ROWS
    with (output / "edits.jsonl").open("ab") as torn:
        torn.write(b'{"id": "0/1')
    (output / "0/.00.png.999999999.partial").write_bytes(b"half an image")
    kept = {path: path.stat().st_mtime_ns for path in output.glob("?/*.png")}
    said = finished("src.edit", *asked(folder, output), log=tmp_path / "log")
    assert f"{ROWS - len(kept)} edits made, {len(kept)} were there" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_whole(folder, output)


def test_two_ranks_killed_and_started_again(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def start(*overrides: str) -> list[Command]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        places = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
        return [
            Command(
                "src.edit",
                *asked(folder, output, *overrides),
                log=tmp_path / f"log{place['RANK']}",
                environment=place,
            )
            for place in places
        ]

    first, second = start()
    assert second.killed_when(edits_there(output, 3))
    first.killed_when(after(0.0))
    assert [rank.ended() for rank in start()] == [0, 0], (tmp_path / "log0").read_text()
    assert_whole(folder, output)
    for rank in start("seed=3", "target_reward.scores=[5,5,0]"):
        assert rank.ended() == 1
    assert "was made otherwise (target_scores: 5/5/5 there, 5/5/0 asked for)" in only_error(
        (tmp_path / "log0").read_text(), 1
    )
    assert "error: " not in (tmp_path / "log1").read_text()  # once is enough


def test_an_interrupt_leaves_whole_files(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = Command("src.edit", *asked(folder, output), log=tmp_path / "log")
    assert command.signalled_when(edits_there(output, 2), signal.SIGINT) == 1
    assert "interrupted; what was written so far is kept" in only_error((tmp_path / "log").read_text(), 1)
    assert not list(output.rglob(".*"))
    for image in output.rglob("*.png"):
        assert image.read_bytes() == (folder / "whole" / image.relative_to(output)).read_bytes()
    finished("src.edit", *asked(folder, output), log=tmp_path / "log")
    assert_whole(folder, output)


def test_a_full_disk_leaves_whole_files(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    room = len((folder / "whole/0/02.png").read_bytes()) - 1  # for the smaller ones there is enough
    said = refused(tmp_path / "log", asked(folder, output), room)
    assert "02.png could not be written (File too large)" in said
    made = pngs(output)
    assert len(made) == 9
    assert all(content == pngs(folder / "whole")[name] for name, content in made.items())
    assert len(read_lines(output / "edits.jsonl")) == 9
    assert not list(output.rglob(".*"))
    finished("src.edit", *asked(folder, output), log=tmp_path / "log")
    assert_whole(folder, output)


def test_a_table_for_which_the_disk_is_too_full_keeps_whole_lines(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    others = [
        {**read_lines(folder / "whole/edits.jsonl")[0], "id": str(number), "instruction": "x" * 9999}
        for number in range(3)
    ]
    (output / "edits.jsonl").parent.mkdir()
    (output / "edits.jsonl").write_text(
        "".join(json.dumps(other) + "\n" for other in others)
    )  # another list's
    said = refused(tmp_path / "log", asked(folder, output), (output / "edits.jsonl").stat().st_size + 150)
    assert "edits.jsonl could not be written (File too large)" in said
    assert read_lines(output / "edits.jsonl") == others


def test_what_was_made_otherwise_is_kept_unless_said_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output, photo = tmp_path / "out", tmp_path / "a.png"

    def edited(*overrides: str) -> str:
        one = [
            f"checkpoint={folder}/editor",
            f"image={photo}",
            f"output={output}",
            "instruction=make it night",
            "sampler.steps=2",
        ]
        edit.main(config(*one, *overrides, name="edit"))
        return capsys.readouterr().out

    shutil.copy(folder / "photos/00.png", photo)
    assert edited() == f"{photo} -> {output}/a.png, 32x32 pixels\n{output}/a_strip.png\n"
    first = (output / "a.png").read_bytes()
    assert "0 edits made, 1 were there" in edited()
    with pytest.raises(
        ValueError,
        match=r"instruction: make it night there, make it foggy asked for; seed: 0 there, 4 asked for; "
        r"sampler\.steps: 2",
    ):
        edited("instruction=make it foggy", "seed=4", "sampler.steps=3")
    assert (output / "a.png").read_bytes() == first
    shutil.copy(folder / "photos/03.png", photo)
    with pytest.raises(ValueError, match=r"a\.png was made otherwise \(source_sha256: "):
        edited()
    edited("overwrite=true")
    assert (output / "a.png").read_bytes() != first
    shutil.copy(folder / "photos/01.png", output / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is there and is no edit of src\.edit; say overwrite=true"):
        edited()


def test_broken_photographs_stop_it_or_are_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(folder / "photos", photos)

    def edited(*overrides: str) -> str:
        arguments = [
            f"checkpoint={folder}/editor",
            f"image={photos}",
            f"output={output}",
            "instruction=make it night",
            "sampler.steps=1",
        ]
        edit.main(config(*arguments, *overrides, name="edit"))
        return capsys.readouterr().out

    (photos / "00.png").write_text("no picture")
    whole = (photos / "04.png").read_bytes()
    (photos / "04.png").write_bytes(whole[: len(whole) // 2])  # its header is good
    with pytest.raises(ValueError, match=r"00\.png is not a readable image"):
        edited()
    assert not output.exists()
    (photos / "00.png").unlink()
    with pytest.raises(ValueError, match=r"04\.png is not a readable image"):
        edited()
    (photos / "00.png").write_text("no picture")
    there = len(list(output.glob("*.png")))
    for made, kept in ((11 - there, there), (0, 11)):
        assert (
            f"{made} edits made, {kept} were there, 2 photographs left out ({output}/skipped.jsonl)"
            in edited("on_error=skip")
        )
        assert [entry["source"] for entry in read_lines(output / "skipped.jsonl")] == [
            f"{photos}/00.png",
            f"{photos}/04.png",
        ]


BAD = [
    (["checkpoint=gone.ckpt"], "no checkpoint at gone.ckpt"),
    (["checkpoint=null"], "checkpoint=... is missing"),
    (["list=null"], "give image=PATH (an image or a folder of images) or list=PATH"),
    (["image=photos"], "give either image=PATH"),
    (["instruction=make it night"], "each row of a list has its own instruction"),
    (["list={tmp}/empty.csv"], "{tmp}/empty.csv has no rows"),
    (
        ["list={tmp}/missing.csv"],
        "{tmp}/missing.csv:3: no image {tmp}/gone.png; give an existing file (and 1 more of 3; on_error=skip",
    ),
    (["list={tmp}/gone.csv"], "no list {tmp}/gone.csv"),
    (
        ["output={tmp}/empty.csv/out"],
        "the edits can't be written to {tmp}/empty.csv/out: {tmp}/empty.csv is no folder",
    ),
    (["output={folder}"], "the table of the edits would overwrite list={folder}/edits.jsonl"),
    (["target_reward.scores=[5,5,6]"], "a score must lie in [0, 5], got 6.0"),
    (
        ["target_reward.scores=[5,5]"],
        "target reward scores: one value each for following, preserving, quality is needed",
    ),
    (["device=cuda"], "device=cuda was asked for and this machine has no GPU"),
    (["weights=best"], "weights=best: choose ema or raw"),
    (["on_error=ignore"], "on_error=ignore: choose fail or skip"),
    (["batch_size=0"], "batch_size=0: a whole number, at least 1, is needed"),
    (["seed=2.5"], "seed=2.5: a whole number is needed"),
    (["resize=large"], "resize=large: say trained, keep"),
    (["sampler.steps=0"], "a sampler takes at least one step, got 0"),
    (
        ["most_pixels=1000"],
        "{folder}/edits.jsonl:1: {folder}/photos/00.png would be edited at 32x32 pixels, "
        "more than most_pixels=1000",
    ),
]


@pytest.mark.parametrize(
    ("overrides", "message"), BAD, ids=[overrides[0].partition("/")[0] for overrides, _ in BAD]
)
def test_bad_input_is_one_line(folder: Path, tmp_path: Path, overrides: list[str], message: str) -> None:
    (tmp_path / "empty.csv").write_text("image,instruction\n")
    (tmp_path / "missing.csv").write_text(
        f"image,instruction\n{folder}/photos/00.png,x\ngone.png,x\nalso_gone.png,x\n"
    )
    places = {"tmp": tmp_path, "folder": folder}
    overrides = [override.format(**places) for override in overrides]
    if overrides == ["device=cuda"]:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    assert f"error: {message.format(**places)}" in refused(
        tmp_path / "log", asked(folder, tmp_path / "out", *overrides)
    )
    assert not (tmp_path / "out").exists()
