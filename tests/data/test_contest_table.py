"""Tables of compared edits, in the columns of the published sets and in one's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.contest_rows import OWN, own_row, picture, saved

from src.data.contest_table import ContestTable
from src.data.contests import RatingScale
from src.records import Image, StoredImage

RELEASED = [up / "shared/data/reward_benchmarks" for up in Path(__file__).resolve().parents]
VALID = [folder / "editreward_valid_dataset_1/valid_dataset_1.json" for folder in RELEASED]


def shade(stored: Image | StoredImage) -> int:
    return int((stored if isinstance(stored, np.ndarray) else stored.decode())[0, 0, 0])


def voted(vote: str, left: int = 10, right: int = 20, **more: Any) -> dict[str, Any]:
    """A row of EditReward-Data."""
    scores = {"leftvote": ((4, 2), (3, 3)), "rightvote": ((1, 2), (2, 2)), "tie": ((3, 3), (2, 2))}[vote]
    row: dict[str, Any] = {"unique_key": f"{left}-{right}", "instruction": "make it night", "vote_type": vote}
    row |= {
        "source_img": picture(1),
        "left_output_image": picture(left),
        "right_output_image": picture(right),
    }
    for side, place in (("left", 0), ("right", 1)):
        following, quality = scores[0][place], scores[1][place]
        row |= {f"{side}_model": f"editor of the {side}", f"{side}_instruction_following_score": following}
        row |= {f"{side}_quality_aesthetic_score": quality, f"{side}_overall_score": following + quality}
    return row | more


def test_editreward_datas_columns_are_three_labels(tmp_path: Path) -> None:
    contests = ContestTable(
        saved(tmp_path, [voted("leftvote"), voted("rightvote", 30, 40), voted("tie", 50, 60)])
    )
    assert contests.name == "TIGER-Lab/EditReward-Data"
    assert contests.licence == "CC-BY-NC-4.0"
    assert list(contests.aspects) == ["quality", "semantic", "overall"]  # its two dimensions aren't ours
    assert contests.scales["semantic"] == RatingScale(1, 4, 0)
    assert contests.scales["overall"].middle == 5
    first, second, third = (contests[index] for index in range(3))
    assert first.case.id == "10-20"
    assert [shade(each.picture) for each in first.candidates] == [10, 20]
    assert first.candidates[0].ratings == {"semantic": 4, "quality": 3, "overall": 7}
    assert {each.aspect: each.tiers for each in first.rankings} == {
        "semantic": ((0,), (1,)),
        "quality": ((0, 1),),
        "overall": ((0,), (1,)),
    }
    assert [pair.better for pair in second.pairs("overall")] == [1]
    assert [pair.tie for pair in third.pairs("overall")] == [True]
    assert contests.original_of(0) == contests.original_of(2) == first.case.photograph


def test_repeats_count_once_and_contradictions_are_named(tmp_path: Path) -> None:
    rows = [
        voted("leftvote"),
        voted("rightvote", 20, 10),
        voted("leftvote", 30, 40),
        voted("rightvote", 30, 40),
    ]
    swapped = dict(rows[0])
    for name in list(swapped):
        if name.startswith("left_"):
            other = "right_" + name[5:]
            swapped[name], swapped[other] = rows[0][other], rows[0][name]
    rows[1] = swapped | {
        "unique_key": "20-10",
        "vote_type": "rightvote",
    }  # the same, told the other way round
    rows[3]["unique_key"] = "again"
    rows.append(voted("rightvote", 70, 80, left_overall_score=8))
    path = saved(tmp_path, rows)
    contests = ContestTable(path)
    assert [contest.case.id for contest in contests] == ["10-20"]
    assert contests.findings.repeated == ["20-10"]
    wrong = {problem.id: problem.reason for problem in contests.problems}
    assert set(wrong) == {"30-40", "again", "70-80"}
    assert "again" in wrong["30-40"]
    assert "contradicts itself" in wrong["70-80"]
    assert dict(contests.counts()) == {
        "rows": 5,
        "said twice, counted once": 1,
        "contradict others": 2,
        "can't be used, or contradict themselves": 1,
    }
    assert len(ContestTable(path, keep_repeats=True)) == 4
    assert ContestTable(path, ratings=False).digest != contests.digest


def json_row(better: str, worse: str, **more: Any) -> dict[str, Any]:
    row = {"prompt": "make it night", "path_src": "source.png", "path1": better, "path2": worse}
    row |= {"choice_dist": None, "confidence": None, "model1": "one", "model2": "two"}
    return row | more


def test_editrewards_json_says_a_tie_twice_and_names_files_beside_it(tmp_path: Path) -> None:
    for name, value in {"source": 1, "a": 10, "b": 20, "c": 30}.items():
        picture(value).save(tmp_path / f"{name}.png")
    rows = [json_row("a.png", "b.png"), json_row("b.png", "c.png", tie_case=True)]
    rows += [json_row("c.png", "b.png", tie_case=True), json_row("a.png", "../../etc/b.png")]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    contests = ContestTable(str(tmp_path / "train.json"))
    assert [
        (len(contest.rankings[0].tiers), shade(contest.candidates[0].picture)) for contest in contests
    ] == [
        (2, 10),
        (1, 20),
    ]
    assert contests.original_of(0) == "source.png"
    (outside,) = contests.problems
    assert outside.index == 3
    assert "contests.source.outside=true" in outside.reason
    assert len(contests.findings.repeated) == 1


@pytest.mark.skipif(not any(map(Path.exists, VALID)), reason="the released files are not beside the checkout")
def test_the_released_json_has_503_votes_and_no_ratings() -> None:
    file = next(filter(Path.exists, VALID))
    with pytest.raises(ValueError, match=r"scale is 2 to 8; say contests.source.ratings=false"):
        ContestTable(str(file))
    contests = ContestTable(str(file), ratings=False)
    counted = contests.counts()
    assert counted["rows"] == 503
    assert len(contests) == 503 - counted["said twice, counted once"] - counted["contradict others"]
    assert list(contests.aspects) == ["overall"]
    # each row names a copy of its own of the original, though GenAI-Bench has 179 cases at most
    assert len({contests.original_of(index) for index in range(len(contests))}) <= 179


def test_placeholders_are_no_ratings(tmp_path: Path) -> None:
    rows = [json_row(f"{n}a.png", f"{n}b.png", model1_dim1_score=4, model2_dim1_score=2) for n in range(20)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    with pytest.raises(
        ValueError, match="all 20 decided rows rate semantic 4 for one edit and 2 for the other"
    ):
        ContestTable(str(tmp_path / "train.json"))


def compared(winner: str, loser: str, dimension: str) -> dict[str, Any]:
    """A row of EditScore's bench."""
    shades = {"a": 10, "b": 20, "c": 30}
    return {
        "key": [winner, loser],
        "instruction": "make it night",
        "input_image": picture(1),
        "output_images": [picture(shades[winner]), picture(shades[loser])],
        "task_type": "tone_transfer",
        "dimension": dimension,
    }


def test_editscores_bench_compares_in_one_dimension_a_row(tmp_path: Path) -> None:
    rows = [
        compared("a", "b", "prompt_following"),
        compared("b", "a", "consistency"),
        compared("c", "a", "overall"),
    ]
    contests = ContestTable(saved(tmp_path, rows))
    found = {contest.rankings[0].aspect: contest for contest in contests}
    assert set(found) == set(contests.aspects) == {"following", "preserving", "overall"}
    following = found["following"]
    assert [candidate.id for candidate in following.candidates] == ["a", "b"]
    assert [shade(each.picture) for each in following.candidates] == [10, 20]
    assert following.case.edit_type == "tone_transfer"
    assert not contests.problems  # b over a in consistency contradicts nothing
    assert len(contests.scales) == 0


@pytest.mark.parametrize(
    ("ranking", "pair", "better"),
    [
        ("C>A>B", "AvsB", 0),
        ("C>A>B", "BvsC", 1),
        ("A<B", "AvsB", 1),
        ("A=B=Good", "AvsB", None),
        ("A>B=D>C", "BvsD", None),
    ],
)
def test_tigers_bench_shows_two_of_a_ranking(
    tmp_path: Path, ranking: str, pair: str, better: int | None
) -> None:
    row = {
        "source_image": picture(1),
        "candidate_1": picture(2),
        "candidate_2": picture(3),
        "ranking": ranking,
    }
    contests = ContestTable(
        saved(tmp_path, [row | {"comparison_type": pair, "instruction": "make it night"}])
    )
    (said,) = contests[0].pairs("overall")
    assert (None if said.tie else said.better) == better


def test_any_table_whose_columns_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "good", [own_row()])
    (rated,) = list(ContestTable(path, columns=OWN, licence="mine"))
    assert rated.rankings[0].tiers == ((1,), (0, 2))
    assert [each.ratings["following"] for each in rated.candidates] == [3, 10, 3]
    both = ContestTable(path, columns=OWN | {"vote": "order", "aspect": "quality"})
    assert {each.aspect: each.tiers for each in both[0].rankings} == {
        "following": ((1,), (0, 2)),
        "quality": ((1,), (0, 2)),
    }


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        ({}, {}, "those of none of TIGER-Lab/EditReward-Data"),
        (OWN | {"vote": "votes"}, {}, "has no column votes"),
        (OWN | {"pictures": "x"}, {}, "no entry 'pictures'"),
        (OWN | {"scales": {}}, {}, r"contests.source.columns.scales.following=\[1,4\]"),
        (OWN | {"scales": {"following": [10, 0]}}, {}, "a scale from 10 to 0"),
        (OWN | {"ratings": {"beauty": ["f1", "f2", "f3"]}}, {}, "'beauty' is none of following"),
        (OWN | {"ratings": {}}, {}, "nothing says which edit is better"),
        (OWN | {"ratings": {"following": ["f1", "f2"]}}, {}, "2 columns f1, f2 for 3 edits"),
        (OWN, {"f2": 11}, r"row 0 \(x\): a rating of following is '11', and its scale is 0 to 10"),
        (OWN, {"f2": None}, "a rating of following is 'None'"),
        (OWN, {"ask": " "}, r"row 0 \(x\) has the instruction ' '"),
        (OWN | {"vote": "order"}, {"order": "A>B"}, "'A>B', which is no vote on 3 edits"),
        (OWN | {"vote": "order", "aspect": "following"}, {"order": "A>B>C"}, "contradicts itself"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, columns: Mapping[str, Any], row: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ContestTable(saved(tmp_path, [own_row(**row)]), columns=columns)


def test_two_comparisons_of_one_id_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, [own_row(), own_row(one=picture(99))])
    with pytest.raises(ValueError, match=r"two rows have the id 'x'.*contests.source.columns.ids=\[\]"):
        ContestTable(path, columns=OWN)
    assert len(ContestTable(path, columns=OWN | {"ids": []})) == 2
