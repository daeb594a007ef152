"""src.evaluate on photographs of several sizes and on sessions of several turns, judged over HTTP: killed, on
two ranks, with edits of others.
"""

import json
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import SMALL, config, small_editor
from evaluation.folders import write_magicbrush, write_real_edit
from killing import Command, finished
from omegaconf import OmegaConf

from src import checkpoint, evaluate
from src.images import load_image
from src.judges.fake_server import RunningServer, running_server

PHOTOGRAPHS = {"1.png": (40, 60), "2.png": (60, 40), "3.jpg": (40, 60)}
SESSIONS = {"5": 3, "6": 1, "7": 2}
LINES = ("1. Local: remove the red circle", "6. Global: make it night")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server") / "requests.jsonl", "--key=") as running:
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An editor trained on images of 32 x 32, photographs and sessions."""
    folder = tmp_path_factory.mktemp("data")
    checkpoint.export(
        folder / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    write_real_edit(folder / "real_edit", PHOTOGRAPHS, LINES)
    write_magicbrush(folder / "magicbrush", SESSIONS, instruction="make it night")
    return folder


def asked(server: RunningServer, data: Path, benchmark: str, output: Path, *more: str) -> list[str]:
    folder = data / ("real_edit" if benchmark == "real_edit" else "magicbrush")
    source = (
        [f"checkpoint={data}/editor", "sampler.steps=1", "batch_size=2"]
        if not any(each.startswith("edits=") for each in more)
        else []
    )
    judge = [
        "judge=openai_compatible",
        "judge.client.model=Qwen/Qwen3-VL-8B-Instruct",
        f"judge.client.base_url={server.base_url}",
        f"ledger={output}/ledger.sqlite",
    ]
    return [
        *source,
        f"benchmark={benchmark}",
        f"benchmark.folder={folder}",
        "benchmark.judged_height=24",
        *judge,
        f"output={output}",
        *more,
    ]


def evaluated(arguments: Sequence[str]) -> None:
    evaluate.main(config(*arguments, name="evaluate"))


def results(output: Path) -> dict[str, bytes]:
    """All files; the lines of a reward file in a fixed order, as they are written as the judge answers."""
    return {
        str(path.relative_to(output)): b"".join(sorted(path.read_bytes().splitlines(keepends=True)))
        if path.name == "rewards.jsonl"
        else path.read_bytes()
        for path in (output / "evaluation").rglob("*")
        if path.is_file()
    }


def assert_same(one: Path, other: Path) -> None:
    first, second = results(one), results(other)
    assert first.keys() == second.keys()
    assert [name for name, content in first.items() if second[name] != content] == []


def rows_of(output: Path, benchmark: str) -> dict[str, dict]:
    report = json.loads((output / f"evaluation/{benchmark}/openai_compatible/report.json").read_text())
    return {row["name"]: row for row in report["rows"]}


@pytest.fixture(scope="module")
def photographs(server: RunningServer, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real-Edit, never stopped."""
    output = tmp_path_factory.mktemp("photographs")
    evaluated(asked(server, data, "real_edit", output))
    return output


@pytest.fixture(scope="module")
def sessions(server: RunningServer, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Multi-turn MagicBrush, never stopped."""
    output = tmp_path_factory.mktemp("sessions")
    evaluated(asked(server, data, "magicbrush_multi_turn", output))
    return output


def test_photographs_are_edited_at_the_size_of_the_sampler(photographs: Path) -> None:
    edits = photographs / "evaluation/real_edit/5-5-5/edits"
    sizes = {path.stem: load_image(path).shape[:2] for path in edits.iterdir()}
    assert sizes == {
        f"{stem}-{line}": (32, 48) if stem != "2" else (48, 32)
        for stem in "123"
        for line in ("1-local", "6-global")
    }
    told = json.loads((edits.parent / "generation.json").read_text())
    assert (told["size"], told["resize"]) == ([[32, 48], [48, 32]], 32)
    rows = rows_of(photographs, "real_edit")
    assert list(rows) == ["5/5/5", "copy input"]
    assert all(
        (row["n"], row["coverage"], row["clusters"], set(row["types"])) == (6, 1.0, 3, {"local", "global"})
        for row in rows.values()
    )
    assert load_image(photographs / "evaluation/real_edit/openai_compatible/gallery.png").shape[0] > 2 * 128


def test_another_size_is_refused_by_name(server: RunningServer, data: Path, photographs: Path) -> None:
    with pytest.raises(ValueError, match="resize: 32 there, 40 asked for"):
        evaluated(asked(server, data, "real_edit", photographs, "sampler.resize=40"))


def test_photographs_on_two_ranks(
    server: RunningServer, data: Path, photographs: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    arguments = asked(server, data, "real_edit", tmp_path)
    ranks = [
        Command(
            "src.evaluate",
            *arguments,
            log=tmp_path / "log",
            environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [rank.ended() for rank in ranks] == [0, 0], (tmp_path / "log").read_text()[-3000:]
    assert_same(photographs, tmp_path)


def test_a_turn_edits_what_the_turn_before_made(sessions: Path) -> None:
    edits = sessions / "evaluation/magicbrush_multi_turn/5-5-5/edits"
    made = {str(path.relative_to(edits)) for path in edits.rglob("*.png")}
    assert made == {
        "5/5_1.png",
        "5/5_iter_2.png",
        "5/5_iter_3.png",
        "6/6_1.png",
        "7/7_1.png",
        "7/7_iter_2.png",
    }
    rows = rows_of(sessions, "magicbrush_multi_turn")
    assert list(rows) == ["5/5/5", "copy input", "exact target"]
    assert {name: means["n"] for name, means in rows["5/5/5"]["types"].items()} == {
        "3 turns": 1,
        "1 turn": 1,
        "2 turns": 1,
    }


def test_a_killed_session_goes_on_and_ends_the_same(
    server: RunningServer, data: Path, sessions: Path, tmp_path: Path
) -> None:
    arguments, edits = (
        asked(server, data, "magicbrush_multi_turn", tmp_path),
        tmp_path / "evaluation/magicbrush_multi_turn/5-5-5/edits",
    )
    assert Command("src.evaluate", *arguments, log=tmp_path / "log").killed_when(
        (edits / "5/5_iter_2.png").exists
    )
    assert not (edits / "7/7_1.png").exists()
    finished("src.evaluate", *arguments, log=tmp_path / "log")
    assert_same(sessions, tmp_path)
    # one turn of several is lost: it is made again of the turn before it, which is there
    (edits / "5/5_iter_3.png").unlink()
    (edits / "6/6_1.png").unlink()
    evaluated(arguments)
    assert_same(sessions, tmp_path)


def test_edits_made_elsewhere_are_taken_by_the_names_of_the_release(
    server: RunningServer, data: Path, sessions: Path, tmp_path: Path, capsys
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(sessions / "evaluation/magicbrush_multi_turn/5-5-5/edits", theirs)
    shutil.copy(theirs / "6/6_1.png", theirs / "6/6_inde_2.png")
    arguments = asked(server, data, "magicbrush_multi_turn", tmp_path, f"edits={theirs}")
    evaluated(arguments)
    assert "theirs holds 1 files that belong to no case: 6/6_inde_2" in capsys.readouterr().err
    own, other = rows_of(sessions, "magicbrush_multi_turn"), rows_of(tmp_path, "magicbrush_multi_turn")
    assert other["theirs"]["n"] == 3
    assert other["exact target"] == own["exact target"]
    (theirs / "5/5_iter_3.png").unlink()
    with pytest.raises(FileNotFoundError, match="lacks the edits of 1 of 3 cases: 5/5_iter_3"):
        evaluated(arguments)


def test_edits_of_another_run_are_judged_as_they_were_there(
    server: RunningServer, data: Path, photographs: Path, tmp_path: Path
) -> None:
    edits = photographs / "evaluation/real_edit/5-5-5/edits"
    evaluated(asked(server, data, "real_edit", tmp_path, f"edits={edits}", "row=again"))
    own, again = rows_of(photographs, "real_edit")["5/5/5"], rows_of(tmp_path, "real_edit")["again"]
    assert all(
        own[perspective] == again[perspective] for perspective in ("following", "preserving", "quality")
    )


def test_a_broken_photograph_is_one_sentence(server: RunningServer, data: Path, tmp_path: Path) -> None:
    folder = write_real_edit(tmp_path / "real_edit", PHOTOGRAPHS, LINES)
    broken = folder / "Real-Edit/2.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(
        ValueError, match=r"Real-Edit/2\.png is not a readable image .* replace it or leave it out$"
    ):
        evaluated([*asked(server, data, "real_edit", tmp_path / "run"), f"benchmark.folder={folder}"])
