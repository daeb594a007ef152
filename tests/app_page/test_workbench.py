"""The page without a browser: what is asked for, edits, strips and verdicts; what can't be served."""

import socket
from pathlib import Path

import numpy as np
import pytest
from app_page.shipped import EXPERIMENTS, shipped_workbench, values_of
from conftest import config

from src import app, load_editor
from src.app_page.server import private_folder, reserve
from src.app_page.texts import header, message, verdict_table
from src.app_page.workbench import ALL, NOT_KNOWN, Workbench, asked_of, enlarged
from src.images import load_image
from src.records import Perspective, Reward, TargetReward, Verdict


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return shipped_workbench(tmp_path_factory.mktemp("examples"))


def test_an_edit_is_that_of_python(workbench: Workbench) -> None:
    """Beside the original as the editor saw it, and judged by the scene that the example shows."""
    asked = asked_of(values_of(workbench))
    pair = workbench.edit(asked)
    edited = workbench.editor(asked.picture, asked.instruction, original_size=False)
    assert np.array_equal(pair.edited, np.array(edited))
    assert np.array_equal(pair.original, load_image(workbench.examples[0].file))
    reward = workbench.verdict(asked, pair)
    assert isinstance(reward, Reward)
    assert reward.following.score is not None
    assert reward.following.score > 3


def test_the_worst_in_words_is_worse(workbench: Workbench) -> None:
    best, worst = workbench.examples[:2]
    assert (best.file, best.target.scores, worst.target.scores) == (worst.file, (5, 5, 5), (0, 0, 0))
    judged = []
    for number in (0, 1):
        asked = asked_of(values_of(workbench, number))
        judged.append(workbench.verdict(asked, workbench.edit(asked)))
    scores = [sum(verdict.score or 0 for verdict in reward.verdicts) for reward in judged]
    assert scores[0] > scores[1] + 3


@pytest.mark.parametrize("varied", [ALL, *Perspective])
def test_a_strip_varies_one_score_or_all(workbench: Workbench, varied: str) -> None:
    asked = asked_of(values_of(workbench, preserving=2.5))
    strip = workbench.strip(asked, varied)
    kept = ("5", "2.5", "5")
    of_each = [
        "/".join(
            str(score) if varied in (ALL, name) else own for name, own in zip(Perspective, kept, strict=True)
        )
        for score in range(6)
    ]
    assert [each.scores for each in strip] == of_each
    if varied == Perspective.FOLLOWING:
        assert np.abs(strip[-1].image.astype(int) - workbench.edit(asked).edited).max() <= 1
    if varied == ALL:
        assert not np.array_equal(strip[0].image, strip[-1].image)


def test_a_photograph_of_ones_own_is_not_for_the_oracle(workbench: Workbench) -> None:
    asked = asked_of(values_of(workbench, len(workbench.examples) - 1, resize="48"))
    pair = workbench.edit(asked)
    assert min(pair.edited.shape[:2]) == 48
    assert workbench.verdict(asked, pair) == NOT_KNOWN


def test_examples_are_what_the_editor_can_read(tmp_path: Path) -> None:
    """Without rewards there is none of bad scores, and the page says so."""
    plain = shipped_workbench(tmp_path, "stage1", None)
    assert {each.target for each in plain.examples} == {TargetReward()}
    assert plain.signals == ()
    assert "switched off" in header(plain)
    assert plain.verdict(asked_of(values_of(plain)), plain.edit(asked_of(values_of(plain)))) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"picture": None}, "there is no picture"),
        ({"instruction": " "}, "there is no instruction"),
        ({"instruction": "make it bright"}, "the word 'bright' in 'make it bright'"),
        ({"quality": 7}, "a score must lie in [0, 5], got 7.0"),
        ({"following": None}, "following: None is no number"),
        ({"preserving_feedback": "the dog is gone"}, "the word 'dog'"),
        ({"seed": 0.5}, "seed: 0.5 is no whole number"),
        ({"seed": float("nan")}, "seed: nan is no number"),
        ({"steps": 0}, "steps: 0 is not between 1 and 100"),
        ({"steps": 10_000}, "steps: 10000 is not between"),
        ({"text_guidance": "much"}, "text guidance: 'much' is no number"),
        ({"resize": "huge"}, "resize=huge: say trained, keep"),
        ({"resize": "9000"}, "more than most_pixels=4194304"),
        ({"picture": {"path": __file__}}, "is not a readable image"),
        ({"picture": {"path": "gone.png"}}, "no image gone.png"),
    ],
)
def test_what_cannot_be_edited_is_told(workbench: Workbench, changed: dict, said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        workbench.edit(asked_of(values_of(workbench, **changed)))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_small_images_are_enlarged_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    assert enlarged(pixels).shape == (384, 576, 3)
    assert np.array_equal(enlarged(pixels)[::12, ::12], pixels)
    assert enlarged(np.zeros((400, 500, 3), np.uint8)).shape == (400, 500, 3)


def test_no_text_becomes_code() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    verdict = Verdict(2.0, False, hostile)
    assert "<img" not in message(hostile) + verdict_table(
        Reward(hostile, hostile, "", verdict, verdict, verdict)
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "checkpoint=... is missing"),
        (["port=70000"], "port=70000: ports end at 65535"),
        (["port=-1"], "port=-1: a whole number, at least 0, is needed"),
        (["address=192.0.2.1"], "nothing can be served at address=192.0.2.1 port=7860"),
        (["weights=best"], "weights=best: choose ema or raw"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(quickly_refused, given: list[str], said: str) -> None:
    checkpoint = [f"checkpoint={EXPERIMENTS / 'demo_editor'}"] if given else []
    assert said in quickly_refused(*checkpoint, *given, module="src.app")


def test_a_taken_port_is_told_and_0_is_any_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={number} .*in use.*; say port=0"):
            reserve("127.0.0.1", number)
    with reserve("127.0.0.1", 0) as free:
        assert free.getsockname()[1] > 0


def test_without_gradio_one_line_says_what_to_install(quickly_refused, monkeypatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    said = quickly_refused(f"checkpoint={EXPERIMENTS / 'demo_editor'}", module="src.app")
    assert said.endswith('the page needs gradio, which is not installed: pip install "gradio>=6"')


def test_uploads_are_deleted_at_the_end() -> None:
    with private_folder() as folder:
        (folder / "photo.png").touch()
    assert not folder.exists()


def test_it_takes_the_settings_of_an_editor(tmp_path: Path) -> None:
    """As `load_editor` does, by one function."""
    from src.loading import editor_of

    given = [f"checkpoint={EXPERIMENTS / 'stage1'}", "sampler.steps=3", "resize=48"]
    editor = editor_of(config(*given, name="app"))
    same = load_editor(EXPERIMENTS / "stage1", settings=["sampler.steps=3", "resize=48"])
    assert editor.sampler.settings() == same.sampler.settings()
    assert editor.sampler.resize == same.sampler.resize == 48
