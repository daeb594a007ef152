"""Generation and judging: resumable, independent of batch size, order and ranks, refused where settings
differ.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config, small_editor
from evaluation.squares import Ruler, Squares
from hydra.utils import instantiate

from src.batching import same_size_batches
from src.diffusion.samplers import Sampler
from src.editor import Editor
from src.evaluation.gallery import gallery_column, representative_cases, write_gallery
from src.evaluation.generation import (
    check_external_edits,
    check_resolutions,
    generate_edits,
    start_generation,
    unfinished_batches,
)
from src.evaluation.generation_folder import Generation, folder_name, generations_in
from src.evaluation.judging import judge_row
from src.evaluation.report import report_row
from src.evaluation.targets import TargetRow, askable, requested_reward
from src.images import load_image, save_png
from src.records import Case, TargetReward
from src.reward_file import read_rewards

CPU = torch.device("cpu")
FIVE = TargetRow(TargetReward())


@pytest.fixture(scope="module")
def editor() -> Editor:
    return small_editor("model/reward_encoder=score", "model/integration=none").eval()


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return instantiate(config("sampler.steps=2").sampler)


def generation_in(folder: Path, name: str = "5/5/5") -> Generation:
    row = folder / folder_name(name)
    return Generation(name, row, row / "edits")


def generate(
    generation: Generation, cases: list[Case], editor: Editor, sampler: Sampler, batch_size: int = 5
) -> int:
    return generate_edits(
        generation,
        unfinished_batches(generation, cases, batch_size),
        FIVE,
        Squares(),
        editor,
        sampler,
        0,
        CPU,
    )


def test_a_stopped_generation_goes_on_and_ends_the_same(
    tmp_path: Path, editor: Editor, sampler: Sampler
) -> None:
    cases = list(Squares().cases())
    whole, pieces = generation_in(tmp_path / "whole"), generation_in(tmp_path / "pieces")
    assert generate(whole, cases, editor, sampler) == 12
    assert generate(whole, cases, editor, sampler) == 0
    # in another order, at another batch size
    assert generate(pieces, cases[1::2], editor, sampler, batch_size=1) == 6
    assert generate(pieces, cases[::-1], editor, sampler, batch_size=4) == 6
    for case in cases:
        one, other = (
            load_image(whole.edit_path(case)).astype(int),
            load_image(pieces.edit_path(case)).astype(int),
        )
        assert np.abs(one - other).max() <= 1
    assert not list(tmp_path.rglob(".*"))


def test_missing_edits_are_made_in_the_company_of_their_batch(
    tmp_path: Path, editor: Editor, sampler: Sampler
) -> None:
    """Whatever is missing, on however many ranks: the same files, bit for bit, though the arithmetic depends
    on the size of a batch.
    """
    cases = list(Squares().cases())
    whole, pieces = generation_in(tmp_path / "whole"), generation_in(tmp_path / "pieces")
    generate(whole, cases, editor, sampler)
    for rank in (0, 1):
        generate_edits(
            pieces,
            unfinished_batches(generation_in(tmp_path / "nothing"), cases, 5)[rank::2],
            FIVE,
            Squares(),
            editor,
            sampler,
            0,
            CPU,
        )
    for lost in (cases[3:4], cases[2:9]):
        for case in lost:
            pieces.edit_path(case).unlink()
        assert generate(pieces, cases, editor, sampler) == len(lost)
    assert all(whole.edit_path(case).read_bytes() == pieces.edit_path(case).read_bytes() for case in cases)


def test_edits_that_are_not_finite_are_named_and_not_written(
    tmp_path: Path, editor: Editor, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, generation = list(Squares().cases()), generation_in(tmp_path)
    edit = Editor.edit

    def edited(self: Editor, *asked: object) -> torch.Tensor:
        made = edit(self, *asked)
        made[1] = float("nan")
        return made

    monkeypatch.setattr(Editor, "edit", edited)
    with pytest.raises(ValueError, match=rf"3 edits of 5/5/5 are not finite \(NaN\), of .*{cases[1].id}"):
        generate(generation, cases, editor, sampler)
    assert len(list(generation.edits.glob("*.png"))) == len(cases) - 3
    assert not generation.edit_path(cases[1]).exists()


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    generation = generation_in(tmp_path)
    settings = {"name": "5/5/5", "seed": 0, "sampler": {"steps": 20}, "target_reward": FIVE.settings()}
    start_generation(generation, settings, overwrite=False)
    start_generation(generation, settings, overwrite=False)
    with pytest.raises(ValueError, match=r"seed: 0 there, 1 asked for; sampler.steps: 20 there, 3 asked for"):
        start_generation(generation, settings | {"seed": 1, "sampler": {"steps": 3}}, overwrite=False)
    save_png(np.zeros((4, 4, 3), np.uint8), generation.edits / "a.png")
    start_generation(generation, settings | {"seed": 1}, overwrite=True)
    assert not (generation.edits / "a.png").exists()
    assert [found.name for found in generations_in(tmp_path)] == ["5/5/5"]


def test_targets() -> None:
    low = TargetReward((0.0, 0.0, 0.0))
    assert [FIVE.name, TargetRow(low, True).name, TargetRow(TargetReward((4.5, 3.0, 0.0))).name] == [
        "5/5/5",
        "0/0/0+text",
        "4.5/3/0",
    ]
    assert TargetRow(TargetReward((0.0, 0.0, 0.0), ("bad", "None", "None"))).name == "0/0/0+text"
    case = Squares().cases()[0]
    assert requested_reward(FIVE, case, Squares()) == TargetReward()
    assert requested_reward(TargetRow(low, True), case, Squares()).feedback == (
        "nothing of p0-local was done",
        "None",
        "None",
    )
    assert folder_name("0/0/0+text") == "0-0-0+text"


def test_a_row_that_a_benchmark_cannot_ask_for_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, told = Squares(), TargetRow(TargetReward((0.0, 0.0, 0.0)), True)
    case = benchmark.cases()[0]
    assert askable([FIVE, told], case, benchmark) == ([FIVE, told], [])
    monkeypatch.setattr(Squares, "failed_feedback", lambda *_: None)
    assert askable([FIVE, told], case, benchmark) == ([FIVE], [told])
    assert askable([told], case, benchmark) == ([told], [])  # refused by requested_reward, which says why


def test_nothing_is_judged_twice_and_a_new_edit_is(tmp_path: Path) -> None:
    generation, cases, judge, path = (
        generation_in(tmp_path),
        list(Squares().cases()),
        Ruler(),
        tmp_path / "rewards.jsonl",
    )
    for case in cases:
        save_png(case.original, generation.edit_path(case))
    for _ in range(2):
        judged = judge_row(generation.triplets(cases), len(cases), judge, path, "5/5/5", batch_size=5)
        assert judge.asked == 12
    assert [one.id for one in judged] == [case.id for case in cases]
    save_png(Squares().ground_truth(cases[3]), generation.edit_path(cases[3]))
    again = judge_row(generation.triplets(cases), len(cases), judge, path, "5/5/5", batch_size=5)
    assert judge.asked == 13
    assert again[3].reward is not None
    assert again[3].reward.following.score == 5.0
    # the row's mean follows from the file
    last = {reward.id: reward for reward in read_rewards(path)}
    mean = sum(reward.preserving.score or 0.0 for reward in last.values()) / 12
    assert report_row("5/5/5", again, {}).means.preserving.score == pytest.approx(mean, abs=1e-12)


def test_failures_are_counted_and_asked_again_only_if_wanted(tmp_path: Path) -> None:
    cases, path = list(Squares().cases()), tmp_path / "rewards.jsonl"
    triplets = list(Squares().references()[0].triplets(cases))
    judge_row(triplets, 12, Ruler(fails=["p1-remove"]), path, "copy input", batch_size=12)
    judge = Ruler()
    judged = judge_row(triplets, 12, judge, path, "copy input", batch_size=12)
    assert (judge.asked, report_row("copy input", judged, {}).means.coverage) == (0, 11 / 12)
    judged = judge_row(triplets, 12, judge, path, "copy input", batch_size=12, retry_failed=True)
    assert (judge.asked, report_row("copy input", judged, {}).means.coverage) == (1, 1.0)


def test_looking_up_asks_nobody(tmp_path: Path) -> None:
    judge = Ruler()
    triplets = list(Squares().references()[1].triplets(Squares().cases()))
    judged = judge_row(
        triplets, 12, judge, tmp_path / "rewards.jsonl", "exact target", batch_size=5, ask=False
    )
    assert (judge.asked, report_row("exact target", judged, {}).means.coverage) == (0, 0.0)
    assert not (tmp_path / "rewards.jsonl").exists()


def test_a_judge_that_answers_about_something_else_is_an_error(tmp_path: Path) -> None:
    class Silent:
        name, fingerprint = "silent", "1"

        def judge(self, triplets):
            return []

    triplets = list(Squares().references()[0].triplets(Squares().cases()))
    with pytest.raises(ValueError, match="asked about 5 triplets and answered 0"):
        judge_row(triplets, 12, Silent(), tmp_path / "rewards.jsonl", "copy input", batch_size=5)


def test_a_size_that_the_latent_cannot_hold_names_the_case(editor: Editor) -> None:
    with pytest.raises(ValueError, match="case p0-local, 17x17 pixels"):
        check_resolutions(editor, Squares(17).cases())


def test_batches_hold_one_size() -> None:
    cases = [case for pair in zip(Squares(16).cases(), Squares(24).cases(), strict=True) for case in pair]
    batches = same_size_batches(cases, lambda case: case.original.shape, 5)
    assert [len(batch) for batch in batches] == [5, 5, 2, 5, 5, 2]
    assert all(len({case.original.shape for case in batch}) == 1 for batch in batches)
    with pytest.raises(ValueError, match="batch_size"):
        same_size_batches(cases, lambda case: case.original.shape, 0)


def test_edits_made_elsewhere_are_checked_by_name(tmp_path: Path) -> None:
    cases, generation = list(Squares().cases()), Generation("theirs", tmp_path / "row", tmp_path / "theirs")
    with pytest.raises(FileNotFoundError, match="no folder of edits"):
        check_external_edits(generation, cases, set())
    for case in cases[2:]:
        save_png(case.original, generation.edit_path(case))
    save_png(cases[0].original, generation.edits / "sub" / "stranger.png")
    ids = {case.id for case in cases}
    with pytest.raises(FileNotFoundError, match="lacks the edits of 2 of 12 cases: p0-local, p0-remove"):
        check_external_edits(generation, cases, ids)
    assert check_external_edits(generation, cases[2:], ids) == ["sub/stranger"]


def test_a_case_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    case = Squares().cases()[0]
    for id in ("../secret", "/etc/secret"):
        with pytest.raises(ValueError, match="leads out"):
            generation_in(tmp_path).edit_path(Case(id, case.original, "", "local", "p"))


def test_the_gallery_shows_the_median_case_of_each_type(tmp_path: Path) -> None:
    benchmark, judge, generation = Squares(), Ruler(), generation_in(tmp_path)
    cases = list(benchmark.cases())
    start_generation(generation, {"name": "5/5/5"}, overwrite=False)
    for case in cases:
        save_png(case.original, generation.edit_path(case))
    judge_row(
        generation.triplets(cases),
        12,
        judge,
        generation.folder / "ruler" / "rewards.jsonl",
        "5/5/5",
        batch_size=12,
    )
    column = gallery_column(generation, judge)
    # an unedited image is the better followed the nearer its grey is to 200, so p2 is the upper of the two
    # middle ones
    assert [case.id for case in representative_cases(cases, column)] == ["p2-local", "p2-remove", "p2-style"]
    assert [case.id for case in representative_cases(cases, None)] == ["p0-local", "p0-remove", "p0-style"]
    generation.edit_path(cases[6]).unlink()
    write_gallery(tmp_path / "gallery.png", cases, [column], benchmark, judge, cell=64)
    assert load_image(tmp_path / "gallery.png").shape[0] > 3 * 64
