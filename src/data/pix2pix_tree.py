"""The folder tree of the original InstructPix2Pix release.

    FOLDER/seeds.json                      [[prompt_dir, [seed, ...]], ...]
    FOLDER/<prompt_dir>/prompt.json        {"input" or "caption": text, "edit": instruction, "output": text}
    FOLDER/<prompt_dir>/<seed>_0.jpg       original
    FOLDER/<prompt_dir>/<seed>_1.jpg       edited

The original reader draws one of a prompt's seeds at random each time; here every (prompt, seed) is a row with
the id `<prompt_dir>/<seed>`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from src.data.dataset import Example
from src.data.examples import first_rows
from src.data.reach import Reach
from src.data.rows import DatasetRow, EncodedImage, RowSource, check_index
from src.data.transforms import Transform
from src.json_files import read_json
from src.records import Reward

TWENTIETHS = {"train": (0, 18), "validation": (18, 19), "test": (19, 20)}
"""The original splits, .9/.05/.05, by a prompt's place in seeds.json."""


@final
class Pix2PixTree(RowSource):
    """One split of a tree. Only seeds.json is read before a row is requested.

    Args:
        folder: the tree.
        split: "train", "validation" or "test", with the original's shares; "all" for every prompt.
        extension: of the images, "jpg" in the release.
        outside: whether prompts may lie outside of the folder.

    Raises:
        FileNotFoundError: no seeds.json.
        ValueError: an unknown split, a malformed seeds.json, or a split without rows.
    """

    def __init__(
        self, folder: str | Path, split: str = "train", extension: str = "jpg", outside: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.split = split
        self.reach = Reach(self.folder, outside)
        self.extension = extension.lstrip(".")
        self.prompts = read_seeds(self.folder / "seeds.json")
        if split != "all" and split not in TWENTIETHS:
            raise ValueError(f"unknown split {split!r}: one of {', '.join(TWENTIETHS)}, all")
        self.pairs = self._pairs(split)
        if not self.pairs:
            raise ValueError(
                f"{self.folder} has no rows in split {split!r}: seeds.json lists {len(self.prompts)} "
                "prompts; data.dataset.split=all reads all"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def row(self, index: int) -> DatasetRow:
        check_index(index, len(self))
        original, edited, description = (str(path) for path in self.files(index))
        id = self.id_of(index)
        instruction = read_instruction(Path(description))
        return DatasetRow(id, EncodedImage(original), EncodedImage(edited), instruction, photograph=id)

    def id_of(self, index: int) -> str:
        prompt, seed = self.pairs[index]
        return f"{prompt}/{seed}"

    def reward_of(self, index: int) -> Reward | None:
        return None

    def files(self, index: int) -> Sequence[Path]:
        prompt, seed = self.pairs[index]
        names = f"{seed}_0.{self.extension}", f"{seed}_1.{self.extension}", "prompt.json"
        where = f"{self.folder / 'seeds.json'}: row {index}"
        return [self.reach.file(f"{prompt}/{name}", where) for name in names]

    def counts(self) -> Mapping[str, int]:
        left_out = sum(len(seeds) for _, seeds in self.prompts) - len(self.pairs)
        return {
            "prompts": len({prompt for prompt, _ in self.pairs}),
            **(
                {f"rows outside of split {self.split}, left out (split=all reads all)": left_out}
                if left_out
                else {}
            ),
        }

    def examples(self, transform: Transform | None, count: int) -> Sequence[Example]:
        """The first rows of the validation split, if they are not trained on; else of this one."""
        is_held_out = self.split == "train" and self._pairs("validation")
        shown = (
            Pix2PixTree(self.folder, "validation", self.extension, self.reach.outside)
            if is_held_out
            else self
        )
        return first_rows(shown, transform, count)

    def _pairs(self, split: str) -> list[tuple[str, str]]:
        """Prompts and seeds of a split."""
        first, last = (0, 20) if split == "all" else TWENTIETHS[split]
        number = len(self.prompts)
        chosen = self.prompts[number * first // 20 : number * last // 20]
        return [(prompt, seed) for prompt, seeds in chosen for seed in seeds]


def read_seeds(path: Path) -> list[tuple[str, list[str]]]:
    """Read prompt folders and their seeds, in the order of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a list of [prompt_dir, [seed, ...]], or a prompt is listed twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: an InstructPix2Pix tree has a seeds.json, a list of [prompt_dir, [seed, "
            "...]]; folders of other kinds are read with data=table data.dataset.table.path=DIR"
        )
    prompts: dict[str, list[str]] = {}
    for number, entry in enumerate(read_json_as(path, list)):
        match entry:
            case [str() as prompt, list() as seeds] if prompt not in prompts and has_no_repeat(seeds):
                prompts[prompt] = [str(seed) for seed in seeds]
            case _:
                raise ValueError(
                    f"{path}: entry {number} is {str(entry)[:80]}, [prompt_dir, [seed, ...]] is needed, "
                    "each prompt and seed once"
                )
    return list(prompts.items())


def has_no_repeat(seeds: Sequence[object]) -> bool:
    """Whether all seeds differ as texts."""
    return len(set(map(str, seeds))) == len(seeds)


def read_instruction(path: Path) -> str:
    """Read the instruction of a prompt.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or no single text under "edit".
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; it must hold the instruction under 'edit'")
    edit = read_json_as(path, dict).get("edit")
    if not isinstance(edit, str):
        raise ValueError(f'{path} holds {str(edit)[:80]!r} under "edit": one text is needed')
    return edit


def read_json_as(path: Path, kind: type) -> Any:
    """Read a JSON file that must hold a `kind`. Raises ValueError for anything else."""
    content = read_json(path)
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, a {kind.__name__} is needed")
    return content
