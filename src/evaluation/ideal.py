"""What an editor without limits would do on the synthetic world: the exact posterior mean in place of a
network, run by the same sampler, with the same noise process, as the editor that is evaluated.

The ideal editor knows a case's draws (`src/synthetic/draws.py`), which training shows one at a time, and
nothing else: `ideal (no reward)` all of them, `ideal (5/5/5)` those that the annotator of the training rates
5/5/5 without a complaint. It works on the change relative to the original, in [-1, 1] units of pixels.
Guidance is not applied.

The rows bound what training can reach. With few steps the ideal editor without reward averages flaws away
instead of drawing them, so its score depends on the sampler, and only rows of one sampler compare.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float

from src.data.collate import to_images, to_tensor
from src.diffusion import samplers
from src.diffusion.exact_denoiser import ExactDenoiser
from src.diffusion.process import Process
from src.diffusion.samplers import Sampler
from src.editing.edit_batch import noise_seed
from src.evaluation.report import IDEAL_ROWS
from src.files import is_written, write_atomically
from src.images import save_png
from src.progress import with_progress
from src.records import PERSPECTIVES, Case, Image
from src.source_code import source_digest
from src.synthetic.annotation import NoisyAnnotator
from src.synthetic.draws import Draws, Images
from src.synthetic.measure import measure
from src.synthetic.world import NOISY, World, code_digest

NO_REWARD, ALL_GOOD = IDEAL_ROWS

DRAWS = 200
"""Three times as many move the means of 112 cases under two steps by 0.06 at most, other 200 by 0.05."""

SEARCHED_PER_DRAW = 20
"""Where none of a case's draws is rated 5/5/5, the search goes on among this many times as many."""

SETTINGS = "ideal.json"

WITHOUT = "without_5-5-5"
"""The folder that names cases without a draw that is rated 5/5/5."""

DIFFUSION = sorted(Path(samplers.__file__).parent.glob("*.py"))


def ideal_edit(draws: Images, original: Image, process: Process, sampler: Sampler, seed: int) -> Image:
    """The edit of the ideal editor that knows these draws.

    Args:
        draws: equally likely edits of the original, one or more.
        original: the image to edit.
        process: how changes are noised.
        sampler: steps, eta and clip; its guidance is not used.
        seed: of the noise.
    """
    base = to_tensor([original])
    denoise = ExactDenoiser(to_tensor(list(draws)) - base, process)
    change = sampler.sample(denoise, process, [seed], tuple(base.shape[1:]), base.device)
    return to_images(base + change)[0]


def ideal_scores(
    world: World,
    process: Process,
    sampler: Sampler,
    cases: Sequence[Case],
    draws: int = DRAWS,
    seed: int = 0,
    annotator: NoisyAnnotator = NOISY,
) -> dict[str, Float[np.ndarray, "n 3"]]:
    """The oracle's scores of the ideal editors, in [0, 5], by the row's name.

    Args:
        world: of the cases.
        process, sampler: of the editor that is compared.
        cases: n cases of the world.
        draws: of each case.
        seed: of the noise.
        annotator: of the training.

    Returns:
        A score per case and perspective; NaN where no draw is rated 5/5/5 without a complaint.

    Raises:
        ValueError: a case of another world, or draws below 1.
    """
    scores = {name: np.full((len(cases), len(PERSPECTIVES)), np.nan) for name in IDEAL_ROWS}
    for index, case in enumerate(cases):
        drawn, truth = Draws(world, case.id, annotator, draws), world.ground_truth(case.id)
        for name in IDEAL_ROWS:
            known = known_draws(drawn, name)
            if len(known):
                edited = ideal_edit(known, case.original, process, sampler, noise_seed(case.id, seed))
                scores[name][index] = measure(truth, edited).scores
    return scores


def known_draws(drawn: Draws, row: str) -> Images:
    """The draws that the ideal editor of a row knows; none if there are none."""
    return drawn.images if row == NO_REWARD else drawn.all_good(drawn.count * SEARCHED_PER_DRAW)


@final
@dataclass(frozen=True)
class IdealSetting:
    """What the ideal editors share with the evaluated one.

    Attributes:
        process: of the evaluated editor.
        process_settings: its arguments, as JSON.
        sampler: of the evaluation.
        seed: of the noise.
    """

    process: Process
    process_settings: Mapping[str, object]
    sampler: Sampler
    seed: int


@final
class IdealEdits:
    """The edits of the ideal editors, kept on disk for all evaluations with the same process and sampler.

    Args:
        world: of the cases.
        annotator: of the training.
        draws: of each case.
        cache: the folder that keeps the edits: `<digest of what they depend on>/<row>/<case id>.png`.

    Raises:
        ValueError: draws below 1.
    """

    def __init__(self, world: World, annotator: NoisyAnnotator, draws: int, cache: str | Path) -> None:
        if draws < 1:
            raise ValueError(
                f"benchmark.ideals.draws={draws}: an ideal editor knows at least one draw of each case; say "
                "benchmark.ideals=null for no ideal rows"
            )
        self.world = world
        self.annotator = annotator
        self.draws = draws
        self.cache = Path(cache)

    @property
    def most_draws(self) -> int:
        """The search for a draw rated 5/5/5 ends after so many."""
        return self.draws * SEARCHED_PER_DRAW

    def make(self, cases: Sequence[Case], setting: IdealSetting) -> None:
        """Make the missing edits. The row 5/5/5 ends at the first case without a draw that is rated so."""
        folder = self.folder(setting)
        rows = [NO_REWARD] if self._without(folder, cases) else list(IDEAL_ROWS)
        lacking = [case for case in cases if _missing_rows(folder, rows, case)]
        if not lacking:
            return
        write_atomically(folder / SETTINGS, json.dumps(self._settings(setting), indent=2) + "\n")
        for (case,) in with_progress(([case] for case in lacking), len(lacking), "ideal edits", "cases"):
            drawn = Draws(self.world, case.id, self.annotator, self.draws)
            for row in _missing_rows(folder, rows, case):
                known = known_draws(drawn, row)
                if len(known):
                    seed = noise_seed(case.id, setting.seed)
                    edited = ideal_edit(known, case.original, setting.process, setting.sampler, seed)
                    save_png(edited, edit_path(folder, row, case.id), {"instruction": case.instruction})
                else:
                    write_atomically(folder / WITHOUT / case.id, f"none among {self.most_draws} draws\n")
                    rows = [NO_REWARD]

    def paths(self, row: str, cases: Sequence[Case], setting: IdealSetting) -> list[Path]:
        """The edits of a row, in the order of the cases.

        Raises:
            FileNotFoundError: the row is incomplete; the message is a sentence for people.
        """
        folder = self.folder(setting)
        paths = [edit_path(folder, row, case.id) for case in cases]
        missing = [case.id for case, path in zip(cases, paths, strict=True) if not is_written(path)]
        without = self._without(folder, cases) if row == ALL_GOOD else []
        if without:
            raise FileNotFoundError(
                f"{row} is left out: among {self.most_draws} draws of {without[0]} the annotator rates none "
                "5/5/5 without a complaint, and other draws would be no answer to what is asked for"
            )
        if missing:
            raise FileNotFoundError(
                f"{row} is left out: {len(missing)} of {len(cases)} edits are missing below {folder}; add "
                "generate to steps"
            )
        return paths

    def description(self, setting: IdealSetting) -> str:
        """What the rows are, as a paragraph of the report."""
        sampler = setting.sampler
        return (
            f"{NO_REWARD} and {ALL_GOOD}: editors without limits of data and size, under the same process "
            f"and sampler ({sampler.steps} steps, eta {sampler.eta:g}, no guidance). Each is the exact mean "
            f"over {self.draws} edits of a case as the training has them, given the noisy image; for 5/5/5 "
            "over those of them that the annotator of the training rates 5/5/5 without a complaint."
        )

    def folder(self, setting: IdealSetting) -> Path:
        """Where the edits are kept."""
        text = json.dumps(self._settings(setting), sort_keys=True)
        return self.cache / hashlib.sha256(text.encode()).hexdigest()[:16]

    @staticmethod
    def _without(folder: Path, cases: Sequence[Case]) -> list[str]:
        """The cases known to have no draw that is rated 5/5/5."""
        return [case.id for case in cases if (folder / WITHOUT / case.id).exists()]

    def _settings(self, setting: IdealSetting) -> dict[str, object]:
        sampler = {name: value for name, value in setting.sampler.settings().items() if name != "guidance"}
        return {
            "world": self.world.version(),
            "size": self.world.size,
            "draws": self.draws,
            "most_draws": self.most_draws,
            "annotator": self.annotator.settings,
            "process": dict(setting.process_settings),
            "sampler": sampler,
            "seed": setting.seed,
            "code": {"world": code_digest(), "sampling": source_digest([*DIFFUSION, Path(__file__)])},
        }


def _missing_rows(folder: Path, rows: Sequence[str], case: Case) -> list[str]:
    return [row for row in rows if not is_written(edit_path(folder, row, case.id))]


def edit_path(folder: Path, row: str, case_id: str) -> Path:
    """The file of an ideal edit."""
    return folder / ("no_reward" if row == NO_REWARD else "5-5-5") / f"{case_id}.png"
