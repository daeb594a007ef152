"""MagicBrush: photographs edited by people in one to three turns; the test split has 1,053 turns in 535
sessions.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=magicbrush benchmark.folder=DIR
    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=magicbrush_multi_turn benchmark.folder=DIR
    python -m src.evaluate edits=THEIRS output=runs/theirs benchmark=magicbrush benchmark.folder=DIR

    DIR/edit_sessions.json      {"<img_id>": [{"input", "mask", "output", "instruction"}, ...], ...}
    DIR/edit_turns.json         or the same as a flat list
    DIR/images/<img_id>/        <img_id>-input.png: before turn 1; <img_id>-output<k>.png: after turn k;
                                <img_id>-mask<k>.png: transparent where turn k may edit
    DIR/local_descriptions.json, global_descriptions.json       {"<img_id>": {"<file>": caption}}

Protocol, as in the release: single-turn evaluates every turn separately, starting from the true image before
it (all-turn); multi-turn evaluates the last turn of each session, starting from our own edits of the turns
before, against the session's last true image (final-turn). A judge sees a multi-turn edit as a whole: the
session's first image, all of its instructions, the last edit. Edits have the names that the release's
evaluation script expects, so that `edits=` accepts a folder made for that script, and the script accepts
ours:

    <img_id>/<img_id>_1.png, <img_id>/<img_id>_inde_<k>.png     single-turn
    <img_id>/<img_id>_iter_<k>.png                              multi-turn

Also read: the rows of AURORA-Bench's test.json (benchmark.folder=.../test.json), and the other splits, which
are on the hub (benchmark.folder=osunlp/MagicBrush benchmark.split=dev); the test split is not published
there, to keep it out of training sets. Source: Zhang et al., "MagicBrush", NeurIPS 2023;
evaluation/image_eval.py and edit_cli_single_multi_turn.py of its release.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from datasets import Image as Undecoded
from datasets.config import HF_DATASETS_CACHE
from jaxtyping import Bool
from rich.progress import track

from src.data.huggingface_table import open_table, reach_of, stored_image
from src.data.magicbrush_turns import SESSIONS, SessionTurn, listed_rows, parse_turn
from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_images import abbreviate, read_region
from src.evaluation.references import copy_of_input
from src.files import replacing, write_atomically
from src.json_files import read_json
from src.records import Case, Feedback, Image, Triplet, Turn

COLUMNS = {"source_img": "input", "mask_img": "mask", "target_img": "output"}
"""Columns of the dataset on the hub, and the names of their images in the test split."""

CAPTIONS = {"local": "local_descriptions.json", "global": "global_descriptions.json"}


@final
class MagicBrush(Benchmark):
    """Turns, or sessions, in the order of the release. Files are read when needed.

    Args:
        folder: with edit_sessions.json or edit_turns.json and images/; or AURORA-Bench's test.json; or a hub
            id, unpacked into the hub's cache.
        split: of the dataset on the hub.
        multi_turn: one case per session, edited turn after turn; False: one case per turn.
        local_captions, global_captions: of the true images; None for local_descriptions.json and
            global_descriptions.json, if they exist.
        judged_height: height in pixels of original and edit for the judge; None keeps the size of the edit.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "dev",
        multi_turn: bool = False,
        local_captions: str | Path | None = None,
        global_captions: str | Path | None = None,
        judged_height: int | None = 512,
    ) -> None:
        self.given = Path(folder)
        self.split = split
        self.multi_turn = multi_turn
        self.caption_files = {"local": local_captions, "global": global_captions}
        self.judged_height = judged_height

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "magicbrush_multi_turn" if self.multi_turn else "magicbrush"

    def cases(self) -> Sequence[Case]:
        """Turns, or sessions.

        Raises:
            FileNotFoundError: no such folder or JSON.
            ValueError: missing or malformed turns or images, or captions of other images.
        """
        assert self._captions is not None  # read now, so that faults are reported before any edit is made
        return [case for case, _ in self._known.values()]

    def ground_truth(self, case: Case) -> Image:
        """The true image after the turn, or after the last turn of the session. Raises as EncodedImage."""
        return EncodedImage(str(self._steps(case)[-1].after)).decode()

    def failed_feedback(self, case: Case) -> Feedback | None:
        """Unknown."""
        return None

    def captions(self, case: Case) -> Mapping[str, str]:
        """Captions of the true image: local (what was edited) and global (the whole image)."""
        last = self._steps(case)[-1]
        return {kind: captions[last.session][last.after.name] for kind, captions in self._captions.items()}

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """The union of the masks of the case's turns, at the size of the original. Raises as EncodedImage."""
        masks = [step.mask for step in self._steps(case)]
        regions = [read_region(mask, case.size) for mask in masks if mask is not None]
        return np.logical_or.reduce(regions) if regions and len(regions) == len(masks) else None

    def mask(self, case: Case) -> None:
        """None: the protocol does not weight pixels."""

    def references(self) -> Sequence[Reference]:
        """Copying the input; the true images."""
        return copy_of_input(), Reference(
            "exact target", lambda cases: (Triplet(case, self.ground_truth(case)) for case in cases)
        )

    def _steps(self, case: Case) -> Sequence[SessionTurn]:
        return self._known[case.id][1]

    @cached_property
    def folder(self) -> Path:
        """The folder of the list and the images."""
        if self.given.exists() or self.given.is_absolute() or len(self.given.parts) != 2:
            return self.given
        return unpack_split(
            str(self.given), self.split, Path(HF_DATASETS_CACHE) / "magicbrush" / self.given.name / self.split
        )

    @cached_property
    def _sessions(self) -> dict[str, list[SessionTurn]]:
        return read_sessions(self.folder)

    @cached_property
    def _known(self) -> dict[str, tuple[Case, Sequence[SessionTurn]]]:
        """Cases with their turns, by id."""
        if self.multi_turn:
            known = [(session_case(steps), steps) for steps in self._sessions.values()]
        else:
            known = [(turn_case(step), [step]) for steps in self._sessions.values() for step in steps]
        return {case.id: (case, steps) for case, steps in known}

    @cached_property
    def _captions(self) -> dict[str, dict[str, dict[str, str]]]:
        """Captions by kind, session and file."""
        top = self.folder if self.folder.is_dir() else self.folder.parent
        found = {}
        for kind, given in self.caption_files.items():
            path = top / CAPTIONS[kind] if given is None else Path(given)
            if given is not None or path.is_file():
                found[kind] = read_captions(path, self._sessions)
        return found


def turn_case(step: SessionTurn) -> Case:
    """The case of a single turn."""
    name = f"{step.session}_1" if step.number == 1 else f"{step.session}_inde_{step.number}"
    return Case(
        f"{step.session}/{name}",
        EncodedImage(str(step.before)),
        step.instruction,
        f"turn {step.number}",
        step.session,
    )


def session_case(steps: Sequence[SessionTurn]) -> Case:
    """The case of a whole session."""
    first, number = steps[0], len(steps)
    names = [
        f"{first.session}/{first.session}_{'1' if step.number == 1 else f'iter_{step.number}'}"
        for step in steps
    ]
    turns = tuple(Turn(name, step.instruction) for name, step in zip(names, steps, strict=True))
    image, edit_type = EncodedImage(str(first.before)), f"{number} turn{'s' if number > 1 else ''}"
    if number == 1:
        return Case(names[0], image, first.instruction, edit_type, first.session)
    instruction = " ".join(f"({step.number}) {step.instruction}" for step in steps)
    return Case(names[-1], image, instruction, edit_type, first.session, turns)


def read_sessions(folder: Path) -> dict[str, list[SessionTurn]]:
    """The turns of each session in order, sessions in the order of the file.

    Raises:
        FileNotFoundError: no such folder or JSON; images that are missing, named.
        ValueError: turns that are malformed, missing or duplicated, or that don't start from the image before
            them.
    """
    path, rows = listed_rows(folder)
    sessions: dict[str, list[SessionTurn]] = {}
    for number, row in enumerate(rows):
        step = parse_turn(row, folder, f"{path}: turn {number}")
        sessions.setdefault(step.session, []).append(step)
    problems = [problem for steps in sessions.values() for problem in order_problems(steps)]
    if problems:
        raise ValueError(
            f"{path}: {len(problems)} turns are out of order ({abbreviate(problems)}); correct the file, no "
            "turn is left out"
        )
    images = list(
        dict.fromkeys(
            image for steps in sessions.values() for step in steps for image in (step.before, step.after)
        )
    )
    missing = [str(image) for image in images if not image.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(images)} images are missing ({abbreviate(missing)}); no turn is "
            "left out"
        )
    return sessions


def unpack_split(table: str, split: str, folder: Path) -> Path:
    """A split of the hub's dataset in the layout of the test split; what a kill left unfinished is done
    again.

    Args:
        table: see `open_table`; with the columns img_id, turn_index, source_img, mask_img, instruction,
            target_img.
        split: which one.
        folder: where it goes; its list comes last.

    Raises:
        FileNotFoundError: no such dataset, or no network.
        ValueError: a table of another kind.
    """
    if (folder / SESSIONS).is_file():
        return folder
    opened, reach = open_table(table, split), reach_of(table, outside=False)
    lacking = [
        name for name in ("img_id", "turn_index", "instruction", *COLUMNS) if name not in opened.column_names
    ]
    if lacking:
        raise ValueError(f"{table} is no MagicBrush: it has no column {lacking[0]!r}")
    for column in COLUMNS:
        opened = opened.cast_column(column, Undecoded(decode=False))
    sessions: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(track(opened, f"unpacking {table}", total=len(opened))):
        values = dict(row)
        session, turn = str(values["img_id"]), int(values["turn_index"])
        if Path(session).name != session:
            raise ValueError(
                f"row {number} of {table} has the img_id {session!r}, which is no name of a folder"
            )
        names = {column: f"{session}-{kind}{turn}.png" for column, kind in COLUMNS.items()}
        names["source_img"] = f"{session}-input.png" if turn == 1 else f"{session}-output{turn - 1}.png"
        for column, name in names.items():
            if column != "source_img" or turn == 1:  # a later turn starts from the output before it
                with replacing(folder / "images" / session / name, durable=False) as partial:
                    partial.write_bytes(
                        stored_image(values[column], f"row {number} of {table}, {column}", reach).read()
                    )
        files = {"input": names["source_img"], "mask": names["mask_img"], "output": names["target_img"]}
        sessions.setdefault(session, []).append({**files, "instruction": values["instruction"]})
    write_atomically(folder / SESSIONS, json.dumps(sessions))
    return folder


def order_problems(steps: Sequence[SessionTurn]) -> list[str]:
    """Faults in the order of a session's turns: a missing turn, or one that doesn't start from the image
    before.
    """
    wrong = []
    for place, step in enumerate(steps):
        expected = (
            steps[place - 1].after
            if place
            else step.after.with_name(f"{step.session}-input{step.after.suffix}")
        )
        if step.number != place + 1:
            wrong.append(f"{step.session} has turn {step.number} as number {place + 1}")
        elif step.before != expected:
            wrong.append(
                f"turn {step.number} of {step.session} starts from {step.before.name} in place of "
                f"{expected.name}"
            )
    return wrong


def read_captions(path: Path, sessions: Mapping[str, Sequence[SessionTurn]]) -> dict[str, dict[str, str]]:
    """Captions by session and file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another format, captions of images that the sessions don't have, or outputs without a
            caption.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'no file {path}; captions are a JSON file {{"<img_id>": {{"<file>": caption}}}}'
        )
    captions = read_json(path)
    if not isinstance(captions, dict) or not all(isinstance(files, dict) for files in captions.values()):
        raise ValueError(f'{path} is not of the form {{"<img_id>": {{"<file>": caption}}}}')
    listed = {(session, file) for session, files in captions.items() for file in files}
    images = {
        (step.session, image.name)
        for steps in sessions.values()
        for step in steps
        for image in (step.before, step.after)
    }
    outputs = [(step.session, step.after.name) for steps in sessions.values() for step in steps]
    problems = {
        "captions are of images that the benchmark doesn't have": sorted(file for _, file in listed - images),
        "outputs have no caption": [file for session, file in outputs if (session, file) not in listed],
        "captions are no texts": [
            file
            for files in captions.values()
            for file, caption in files.items()
            if not isinstance(caption, str)
        ],
    }
    wrong = "; ".join(
        f"{len(found)} {what} ({abbreviate(found)})" for what, found in problems.items() if found
    )
    if wrong:
        raise ValueError(f"{path} is not about this benchmark: {wrong}")
    return captions
