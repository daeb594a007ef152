"""What a source of rewards is worth: counts by hand, and the order that Table 4 should show."""

from pathlib import Path

import numpy as np
import pytest
from conftest import config
from PIL import Image

from src import inspect_rewards
from src.inspect_rewards import Belief, beliefs, histogram, rewards_of, scores_of, silent
from src.synthetic.annotation import NoisyAnnotator
from src.synthetic.world import World


def test_beliefs_by_hand() -> None:
    best = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 0]], dtype=bool)
    nothing = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    clean = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    found = beliefs(best, nothing, clean)
    assert found["following"] == (Belief(3, 2), Belief(2, 2), Belief(1, 1))
    assert found["all three"] == (Belief(2, 1), Belief(2, 2), Belief(1, 1))
    assert str(Belief(4, 3)) == "0.75 (3 of 4)"
    assert str(Belief(0, 0)) == "- (0 of 0)"


def test_a_histogram_counts_every_score_once() -> None:
    assert histogram(np.array([0.0, 0.4, 0.5, 5.0, 4.6, np.nan])) == [2, 1, 0, 0, 0, 2]


def test_score_and_text_together_are_believed_more_than_either_alone() -> None:
    world = World(32)
    pairs = [rewards_of(world, NoisyAnnotator(), "train", 0, index) for index in range(1200)]
    given = [pair[0] for pair in pairs]
    clean = scores_of([pair[1] for pair in pairs]) >= 4.5
    shares = {name: [each.clean / each.said for each in row] for name, row in beliefs(scores_of(given) == 5, silent(given), clean).items()}
    for score, text, both in shares.values():
        assert both >= max(score, text)
    assert shares["all three"][2] > 0.85
    assert max(shares["all three"][:2]) < 0.95, "neither signal alone says it all"


def test_the_command_prints_tables_and_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "rewards.png"
    inspect_rewards.main(config("count=40", f"target={target}", name="inspect_rewards"))
    printed = capsys.readouterr().out
    assert "P(clean | both)" in printed
    assert printed.strip().endswith(str(target))
    with Image.open(target) as picture:
        assert min(picture.size) > 300


@pytest.mark.parametrize("wrong", ["count=0", "annotator=unrated"])
def test_what_cannot_be_inspected_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong.split("=")[0]):
        inspect_rewards.main(config(f"target={tmp_path / 'x.png'}", wrong, name="inspect_rewards"))
