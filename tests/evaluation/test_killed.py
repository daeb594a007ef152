"""Kill -9 at any moment of an evaluation, start again: the same files, byte for byte."""

import random
import socket
from pathlib import Path

import pytest
from conftest import SMALL, config, small_editor
from killing import Command, after, being_written, finished, lines_in
from omegaconf import OmegaConf

from src import checkpoint

CASES = 8
QUICK = (f"limit={CASES}", "batch_size=3", "sampler.steps=1", "targets=table6", "benchmark.ideals=null")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation without a kill."""
    run = exported(tmp_path_factory.mktemp("whole"))
    finished("src.evaluate", f"checkpoint={run}/editor", *QUICK, log=run / "log")
    return run


def exported(run: Path) -> Path:
    checkpoint.export(
        run / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    return run


def results(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in (run / "evaluation").rglob("*")
        if path.is_file()
    }


def assert_same(one: Path, other: Path) -> None:
    first, second = results(one), results(other)
    assert first.keys() == second.keys()
    assert [name for name, content in first.items() if second[name] != content] == []


def evaluating(run: Path, *overrides: str, **settings) -> Command:
    return Command(
        "src.evaluate", f"checkpoint={run}/editor", *QUICK, *overrides, log=run / "log", **settings
    )


def edits_of(run: Path, row: str, count: int):
    return lambda: len(list((run / f"evaluation/synthetic_edit/{row}/edits").glob("w*.png"))) >= count


def test_killed_in_every_step(tmp_path: Path, whole: Path) -> None:
    run = exported(tmp_path)
    folder = run / "evaluation/synthetic_edit"
    assert evaluating(run).killed_when(edits_of(run, "3-3-3", 4))
    assert evaluating(run).killed_when(lines_in(folder / "0-0-0/oracle/rewards.jsonl", 5))
    with (folder / "0-0-0/oracle/rewards.jsonl").open("ab") as torn:
        torn.write(b'{"id": "w1-bench')
    (folder / "5-5-5/edits/.w1-benchmark-0-0-32.png.999999999.partial").write_bytes(b"half a picture")
    assert evaluating(run).killed_when((folder / "oracle/report.json").exists)
    assert evaluating(run).ended() == 0
    assert_same(whole, run)


def test_two_ranks_killed(tmp_path: Path, whole: Path) -> None:
    run = exported(tmp_path)

    def start() -> list[Command]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return [
            evaluating(run, environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(2)
        ]

    first, second = start()
    assert second.killed_when(edits_of(run, "5-5-5", 3))
    first.killed_when(after(0.0))
    for process in start():
        assert process.ended() == 0
    assert_same(whole, run)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path, whole: Path) -> None:
    run, chance, hits = exported(tmp_path), random.Random(0), 0
    folder = run / "evaluation/synthetic_edit"
    for _ in range(12):
        moments = (
            after(chance.uniform(0.5, 4.0)),
            being_written(folder / "0-0-0/edits"),
            edits_of(run, "0-0-0+text", chance.randint(1, CASES)),
            lines_in(
                folder / f"{chance.choice(('5-5-5', 'exact_target'))}/oracle/rewards.jsonl",
                chance.randint(1, CASES),
            ),
            being_written(folder / "oracle"),
        )
        hits += evaluating(run).killed_when(moments[chance.randrange(5)])
    assert evaluating(run).ended() == 0
    assert hits >= 4
    assert_same(whole, run)
