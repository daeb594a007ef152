"""Token counts of images, against the providers' own examples, bills that people published, and the code of
the models.
"""

import ast
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.judges.image_tokens import ImageTokens, MergedPatchTokens, PatchTokens, TileTokens

GPT_4O, GPT_4O_MINI = TileTokens(85, 170), TileTokens(2833, 5667)
GPT_41_MINI, GPT_41_NANO, O4_MINI = (
    PatchTokens(multiplier=1.62),
    PatchTokens(multiplier=2.46),
    PatchTokens(multiplier=1.72),
)
QWEN_25, QWEN_3 = MergedPatchTokens(14, 2, 3_136, 12_845_056), MergedPatchTokens(16, 2, 65_536, 16_777_216)
SIDES = st.integers(1, 6000)


@pytest.mark.parametrize(
    ("rule", "height", "width", "detail", "tokens"),
    [
        # OpenAI's guide: 1024 x 1024 and 2048 x 4096 in high detail, 4096 x 8192 in low detail
        (GPT_4O, 1024, 1024, "high", 765),
        (GPT_4O, 4096, 2048, "high", 1105),
        (GPT_4O, 8192, 4096, "low", 85),
        (GPT_4O, 1024, 1024, "auto", 765),
        (GPT_4O, 1024, 1024, None, 765),
        (GPT_4O, 512, 512, "high", 255),
        (GPT_4O, 256, 256, "high", 255),
        (GPT_4O, 513, 512, "high", 425),
        (GPT_4O, 720, 1280, "high", 1105),
        # bills: community.openai.com/t/1262691 (267 for the image with 12 tokens of text), /t/1281361 (with
        # 8)
        (GPT_4O, 64, 128, "high", 267 - 12),
        (GPT_4O_MINI, 64, 128, "high", 8512 - 12),
        (GPT_4O_MINI, 64, 128, "low", 2845 - 12),
        (GPT_4O, 513, 2049, "high", 1453 - 8),
        (GPT_4O, 513, 2050, "high", 773 - 8),
        # OpenAI's guide: 1024 patches, and 1452 for 1800 x 2400
        (PatchTokens(), 1024, 1024, "high", 1024),
        (PatchTokens(), 2400, 1800, "high", 1452),
        (GPT_41_MINI, 1024, 1024, "high", 1659),
        (GPT_41_NANO, 1024, 1024, "high", 2520),
        (O4_MINI, 64, 128, "high", 26 - 12),
        (PatchTokens(), 1536, 1024, "high", 1536),
        # Qwen: images of whole units, and the 4 to 16,384 tokens of Qwen2.5-VL's card; two more frame each
        # image
        (QWEN_25, 28, 28, None, 4 + 2),
        (QWEN_25, 252, 252, None, 81 + 2),
        (QWEN_25, 256, 256, None, 81 + 2),
        (QWEN_25, 1064, 1064, None, 1444 + 2),
        (QWEN_25, 8000, 8000, None, 128 * 128 + 2),
        (QWEN_3, 256, 256, None, 64 + 2),
        (QWEN_3, 100, 100, None, 64 + 2),
        (QWEN_3, 1024, 768, None, 768 + 2),
    ],
)
def test_documented_counts(
    rule: ImageTokens, height: int, width: int, detail: str | None, tokens: int
) -> None:
    assert rule.tokens(height, width, detail) == tokens


@given(SIDES, SIDES)
def test_laws(height: int, width: int) -> None:
    for rule in (GPT_4O, PatchTokens()):
        # turning a image changes nothing
        assert rule.tokens(height, width, "high") == rule.tokens(width, height, "high") > 0
    assert GPT_4O.tokens(height, width, "high") <= 85 + 170 * 8
    assert PatchTokens().tokens(height, width, None) <= 1536


@given(SIDES, SIDES)
def test_qwen_counts_as_transformers_does(height: int, width: int) -> None:
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(ValueError, match="limit is an aspect ratio"):
            QWEN_25.tokens(height, width, None)
        return
    rows, columns = SMART_RESIZE(height, width, 28, 3_136, 12_845_056)
    assert QWEN_25.tokens(height, width, None) == rows // 28 * (columns // 28) + 2
    rows, columns = SMART_RESIZE(height, width, 32, 65_536, 16_777_216)
    assert QWEN_3.tokens(height, width, None) == rows // 32 * (columns // 32) + 2


def smart_resize() -> Callable[[int, int, int, int, int], tuple[int, int]]:
    """The function of transformers, cut out of its file, whose import needs torchvision."""
    (folder,) = importlib.util.find_spec("transformers").submodule_search_locations
    tree = ast.parse((Path(folder) / "models/qwen2_vl/image_processing_qwen2_vl.py").read_text())
    tree.body = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "smart_resize"
    ]
    names = {"math": math}
    exec(compile(tree, "smart_resize", "exec"), names)
    return names["smart_resize"]


SMART_RESIZE = smart_resize()


def test_larger_images_never_need_fewer_tiles_up_to_the_limit() -> None:
    counts = [GPT_4O.tokens(side, side, "high") for side in range(16, 2049, 16)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (255, 765)
