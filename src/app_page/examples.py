"""The examples of the page: scenes of the synthetic world for the editors that read its language, photographs
for all.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.backbones.word_tokenizer import WordTokenizer
from src.editing.photo_editor import PhotoEditor
from src.images import save_png
from src.records import TargetReward
from src.synthetic.photos import wheel_folder
from src.synthetic.world import World

SPLIT = "benchmark"
"""Its scenes are in no training."""


@final
@dataclass(frozen=True)
class PageExample:
    """A picture, and what to ask for.

    Attributes:
        file: the picture; a scene's has the id of its case, by which the oracle knows it.
        instruction: what to do.
        target: the reward asked for.
        resize: the size at which it is edited.
    """

    file: Path
    instruction: str
    target: TargetReward
    resize: str

    @property
    def caption(self) -> str:
        """What is shown below it."""
        asked = "/".join(f"{score:g}" for score in self.target.scores)
        return (
            self.instruction if self.target == TargetReward() else f"{self.instruction} ({asked}, in words)"
        )


@final
class Examples:
    """What examples there are.

    Args:
        world: of the scenes.
        scenes: numbers of benchmark cases.
        photographs: file in scikit-image's wheel -> instruction.
        photograph_size: short side at which editors trained on smaller images edit the photographs.
    """

    def __init__(
        self, world: World, scenes: Sequence[int], photographs: Mapping[str, str], photograph_size: int
    ) -> None:
        self.world = world
        self.numbers = scenes
        self.photographs = photographs
        self.photograph_size = photograph_size

    def write(self, folder: Path, editor: PhotoEditor) -> list[PageExample]:
        """Put the pictures that suit an editor into a folder.

        The first scene comes twice: asked for the best, and for the worst in scores and words.
        """
        known = known_words(editor)
        scenes = self._scenes(folder, editor) if known and editor.trained_side == self.world.size else []
        offered = [*scenes, *self._photographs(folder, editor)]
        return [each for each in offered if not known or set(each.instruction.split()) <= known]

    def _scenes(self, folder: Path, editor: PhotoEditor) -> list[PageExample]:
        cases = [self.world.case(SPLIT, 0, number) for number in self.numbers]
        asked = [(case, TargetReward()) for case in cases]
        if cases and editor.takes_rewards:
            worst = TargetReward((0, 0, 0), self.world.failed_feedback(cases[0].id))
            asked.insert(1, (cases[0], worst))
        for case in cases:
            save_png(case.original, folder / f"{case.id}.png")
        return [
            PageExample(folder / f"{case.id}.png", case.instruction, target, "trained")
            for case, target in asked
        ]

    def _photographs(self, folder: Path, editor: PhotoEditor) -> list[PageExample]:
        small = editor.trained_side < self.photograph_size
        resize = str(self.photograph_size if small else editor.sampler.resize)
        files = [Path(shutil.copy(wheel_folder() / name, folder / name)) for name in self.photographs]
        return [
            PageExample(file, text, TargetReward(), resize)
            for file, text in zip(files, self.photographs.values(), strict=True)
        ]


def known_words(editor: PhotoEditor) -> frozenset[str]:
    """All words that an editor of a closed language can read; empty for an editor that reads any."""
    tokenizer = getattr(editor.editor.backbone, "tokenizer", None)
    return frozenset(tokenizer.words) if isinstance(tokenizer, WordTokenizer) else frozenset()
