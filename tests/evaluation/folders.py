"""Small benchmarks of photographs in the layouts of their releases."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from data.written import pixels, write_image
from PIL import Image

LINES = ("1. Local: Replace the hat: make it red.", "6. Global Edit: Make it night. ")


def write_real_edit(
    folder: Path, sizes: Mapping[str, tuple[int, int]], lines: Sequence[object] = LINES
) -> Path:
    """Real-Edit/ with a photograph per name, each asked for the same edits."""
    for number, (name, (height, width)) in enumerate(sizes.items()):
        write_image(folder / "Real-Edit" / name, pixels(number, height, width))
    (folder / "real_edit_instruct.json").write_text(json.dumps({name: list(lines) for name in sizes}))
    return folder


def write_magicbrush(
    folder: Path, turns: Mapping[str, int], size: tuple[int, int] = (40, 48), instruction: str = "do {} {}"
) -> Path:
    """Sessions of so many turns; mask k is transparent in row k; image k of session s is pixels(10 s + k),
    those after turn 1 twice as large.
    """
    sessions = {}
    for number, (session, count) in enumerate(turns.items()):
        place, rows = folder / "images" / session, []
        for turn in range(count + 1):
            name = f"{session}-output{turn}.png" if turn else f"{session}-input.png"
            height, width = (2 * side if turn else side for side in size)
            write_image(place / name, pixels(10 * number + turn, height, width))
            if turn:
                before = rows[-1]["output"] if rows else f"{session}-input.png"
                mask = np.full((*size, 4), 255, np.uint8)
                mask[turn, :, 3] = 0
                Image.fromarray(mask).save(place / f"{session}-mask{turn}.png")
                rows.append(
                    {
                        "input": before,
                        "mask": f"{session}-mask{turn}.png",
                        "output": name,
                        "instruction": instruction.format(session, turn),
                    }
                )
        sessions[session] = rows
    (folder / "edit_sessions.json").write_text(json.dumps(sessions))
    return folder


def write_captions(folder: Path, turns: Mapping[str, int], kind: str = "local") -> dict[str, dict[str, str]]:
    """The release's captions of all outputs."""
    captions = {
        session: {f"{session}-output{turn}.png": f"a {kind} {session} {turn}" for turn in range(1, count + 1)}
        for session, count in turns.items()
    }
    (folder / f"{kind}_descriptions.json").write_text(json.dumps(captions))
    return captions


SCENES = {
    "1-Left-Right": "Left_Right_text.txt",
    "2-Relative-Size": "Size_text.txt",
    "3-Mirror": "Mirror_text.txt",
    "4-Color": "Color_text.txt",
    "5-Multiple-Objects": "MultipleObjects_text.txt",
    "6-Reasoning": "Reason_test.txt",
}


def write_reason_edit(
    folder: Path,
    count: int = 2,
    size: tuple[int, int] = (40, 56),
    instruction: str = "Make the left one red.",
) -> Path:
    """So many photographs a folder, pixels(100 * folder + number); masks have rows 4 to 20, columns 10 to 30
    white, and what JPEG makes of that.
    """
    for place, (scene, text) in enumerate(SCENES.items(), start=1):
        for number in range(1, count + 1):
            write_image(folder / scene / f"{number:03}.png", pixels(100 * place + number, *size))
            mask = np.zeros(size, np.uint8)
            mask[4:20, 10:30] = 255
            Image.fromarray(mask).save(folder / scene / f"{number:03}_mask.jpg")
        lines = [f"{instruction}  CLIP: a red thing {number}\n" for number in range(1, count + 1)]
        (folder / scene / text).write_text("".join(lines))
    return folder
