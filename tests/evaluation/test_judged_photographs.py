"""Photographs of any size: an edit that changes nothing is judged against exactly itself, whatever was cut
off before.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import small_editor
from data.written import pixels, write_image
from PIL import Image

from src.data.rows import EncodedImage
from src.editor import Editor
from src.evaluation.case_images import (
    frame_case,
    frame_of_height,
    prepare_for_judge,
    read_region,
    reference_triplets,
)
from src.evaluation.generation import check_resolutions, load_originals
from src.evaluation.references import copy_of_input
from src.images import framing_for
from src.judges.judge import reward_key
from src.records import Case, Triplet

SIZES = [(90, 150), (151, 90), (64, 64), (70, 199)]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("photographs")
    return [
        case_of(write_image(folder / f"{number}.png", pixels(number, *size)))
        for number, size in enumerate(SIZES)
    ]


@pytest.fixture(scope="module")
def editor() -> Editor:
    return small_editor()


def case_of(path: Path) -> Case:
    return Case(path.stem, EncodedImage(str(path)), "make it night", "local", path.name)


@pytest.mark.parametrize("resize", ["keep", "trained", 48, "long_side_64:64"])
@pytest.mark.parametrize("height", [None, 40])
def test_an_edit_that_changes_nothing_is_judged_against_itself(
    photographs: list[Case], editor: Editor, resize: str | int, height: int | None
) -> None:
    framing = framing_for(resize, 32)
    held = check_resolutions(editor, photographs, framing)
    for case, edited in zip(
        photographs, [load_originals([case], framing, held)[0] for case in photographs], strict=True
    ):
        editor.check_resolution(*edited.shape[:2])
        triplet = prepare_for_judge(Triplet(case, edited), height, framing)
        np.testing.assert_array_equal(triplet.case.original, triplet.edited)
        assert triplet.edited.shape[:2] == (
            edited.shape[:2] if height is None else frame_of_height(*case.size, pixels=40).size
        )


def test_edits_made_elsewhere_are_taken_to_show_the_whole_photograph(photographs: list[Case]) -> None:
    case = photographs[0]
    triplet = prepare_for_judge(Triplet(case, pixels(5, 64, 64)), 30, None)
    assert triplet.case.original.shape == triplet.edited.shape == (30, 50, 3)
    np.testing.assert_array_equal(
        triplet.case.original, Image.open(case.image.where).resize((50, 30), Image.Resampling.LANCZOS)
    )
    keys = {
        reward_key(prepare_for_judge(Triplet(case, pixels(5, 64, 64)), height, None), "judge")
        for height in (None, 30, 31)
    }
    assert len(keys) == 3


def test_the_released_size() -> None:
    assert frame_of_height(853, 1280, 512).size == (512, int(512 * 1280 / 853)) == (512, 768)
    assert frame_of_height(4000, 3000, 512).size == (512, 384)


def test_references_are_seen_as_edits_are(photographs: list[Case]) -> None:
    for case, triplet in zip(photographs, reference_triplets(copy_of_input(), photographs, 40), strict=True):
        assert triplet.edited.shape[:2] == frame_of_height(*case.size, pixels=40).size
        np.testing.assert_array_equal(triplet.case.original, triplet.edited)


def test_images_in_memory_are_left_alone() -> None:
    case = Case("a", pixels(0), "make it night", "local", "p")
    triplet = Triplet(case, pixels(1))
    assert prepare_for_judge(triplet, 512, framing_for("keep", 32)) is triplet
    assert frame_case(case, framing_for(8, 32)) is case


def test_nothing_is_decoded_before_it_is_needed(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", pixels(0, 90, 150))
    path.write_bytes(path.read_bytes()[:-300])
    case = case_of(path)
    assert (case.size, frame_case(case, framing_for(48, 32)).size) == ((90, 150), (48, 80))
    with pytest.raises(ValueError, match=r"a\.png is not a readable image"):
        _ = case.original


def test_masks(tmp_path: Path) -> None:
    expected = np.zeros((4, 6), bool)
    expected[1:3, 2:5] = True
    Image.fromarray(expected).save(tmp_path / "white.png")
    Image.fromarray(
        np.dstack([np.full((4, 6, 3), 9, np.uint8), np.where(expected, 0, 255).astype(np.uint8)])
    ).save(tmp_path / "clear.png")
    for name in ("white.png", "clear.png"):
        np.testing.assert_array_equal(read_region(tmp_path / name, (4, 6)), expected)
        np.testing.assert_array_equal(
            read_region(tmp_path / name, (8, 12)), expected.repeat(2, 0).repeat(2, 1)
        )
