"""Small datasets of real files, in common forms."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from src.records import Reward, Verdict


def pixels(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Noise, so that no two images or places are alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def write_tree(
    folder: Path,
    prompts: int = 20,
    seeds: Sequence[int] = (7, 31),
    extension: str = "png",
    caption: str = "input",
) -> Path:
    """An InstructPix2Pix tree; images of prompt p, seed s are pixels(1000 * p + s) and pixels(1000 * p + s
    + 500).
    """
    listed = []
    for prompt in range(prompts):
        name = f"{prompt:07d}"
        for seed in seeds:
            write_image(folder / name / f"{seed}_0.{extension}", pixels(1000 * prompt + seed))
            write_image(folder / name / f"{seed}_1.{extension}", pixels(1000 * prompt + seed + 500))
        (folder / name / "prompt.json").write_text(
            json.dumps({caption: "a field", "edit": f"make it night {prompt}", "output": "a field at night"})
        )
        listed.append([name, list(seeds)])
    (folder / "seeds.json").write_text(json.dumps(listed))
    return folder


def write_list(folder: Path, count: int = 6, name: str = "rows.json", **more: Sequence) -> Path:
    """Rows {input, output, instruction} with relative paths, and more fields with one value a row."""
    rows = []
    for index in range(count):
        write_image(folder / f"images/{index}.png", pixels(index))
        write_image(folder / f"images/{index}-edited.png", pixels(index + 500))
        row = {
            "input": f"images/{index}.png",
            "output": f"images/{index}-edited.png",
            "instruction": f"make it night {index}",
        }
        rows.append(row | {field: values[index] for field, values in more.items()})
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text)
    return folder / name


def reward(id: str, score: float | None = 3.0, judge: str = "test", key: str = "key") -> Reward:
    verdict = Verdict(None, status="failed") if score is None else Verdict(score, feedback="the sky is grey")
    return Reward(id, judge, key, verdict, Verdict(5.0), Verdict(4.0))
