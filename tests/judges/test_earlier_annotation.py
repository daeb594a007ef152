"""An annotation made before respondents were called clients and forms schemas: its answers are used, and its
rewards derived, without one new question. The files are those of commit 83261f8.
"""

import base64
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from src.annotation.folder import write_annotation_request
from src.annotation.verify import verify_annotation
from src.judges.limits import Limits
from src.judges.question import Question, Reply
from src.judges.reseeded import Reseeded
from src.judges.rubric import PerspectiveRubric
from src.judges.vlm_judge import VLMJudge
from src.records import PERSPECTIVES, Case, Triplet
from src.reward_file import read_rewards

EARLIER = Path(__file__).parent / "earlier_annotation"
ORIGINAL, EDITED = (
    base64.b64decode(f"iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAFElEQVR4nG{content}AAAAASUVORK5CYII=")
    for content in ("NkYGRihgEWHh4eIjgAFqoA6SjXpBk", "P8/+8vHLB8+fKFCA4AzDwvMN1EY+E")
)


class Silent:
    """A client that must not be asked."""

    fingerprint = model = "scripted"

    async def ask(self, question: Question) -> Reply:
        raise AssertionError(f"asked about {question.about}")

    def tokens(self, question: Question) -> tuple[int, int]:
        return 1000, 100

    def most_tokens(self, question: Question) -> tuple[int, int]:
        return 1000, 100

    async def close(self) -> None:
        return


@pytest.fixture
def judge(tmp_path: Path) -> VLMJudge:
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.executescript((EARLIER / "ledger.sql").read_text())
    connection.close()
    return VLMJudge(
        "scripted", PerspectiveRubric(prompts="v1"), Silent(), tmp_path / "ledger.sqlite", Limits()
    )


def test_its_answers_are_used_without_a_question(judge: VLMJudge) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    triplet = Triplet(Case("t0", pixels, "remove the dog", "remove", "p"), 255 - pixels, (ORIGINAL, EDITED))
    assert judge.judge([triplet]) == read_rewards(EARLIER / "rewards.jsonl")
    assert judge.ledger.total().calls == 4


def test_its_rewards_are_derived_from_the_ledger(judge: VLMJudge, tmp_path: Path) -> None:
    (tmp_path / "rewards.jsonl").write_text((EARLIER / "rewards.jsonl").read_text())
    write_annotation_request(tmp_path, {"fingerprint": judge.fingerprint})
    assert "1 rewards derived" in verify_annotation(tmp_path, judge)


def test_an_empty_annotation_is_no_agreement(judge: VLMJudge, tmp_path: Path) -> None:
    write_annotation_request(tmp_path, {"fingerprint": judge.fingerprint})
    (tmp_path / "rewards.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"rewards\.jsonl holds no reward that was asked for"):
        verify_annotation(tmp_path, judge)


def test_a_failure_that_can_be_read_now_is_said(judge: VLMJudge, tmp_path: Path) -> None:
    row = json.loads((EARLIER / "rewards.jsonl").read_text())
    for perspective in PERSPECTIVES:
        row[perspective] |= {"score": None, "status": "failed"}
    (tmp_path / "rewards.jsonl").write_text(json.dumps(row) + "\n")
    write_annotation_request(tmp_path, {"fingerprint": judge.fingerprint})
    with pytest.raises(ValueError, match=r"1 of 1 rewards .*1 failed and can be read now, retry_failed=true"):
        verify_annotation(tmp_path, judge)


def test_a_retest_keeps_its_fingerprint() -> None:
    assert Reseeded(Silent()).fingerprint == "scripted redrawn"
