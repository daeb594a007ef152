"""Benchmarks of the field in the layouts of their releases, with the replies that a served judge gives."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from data.written import pixels, write_image
from PIL import Image

from src.judges.fake_server import image_key

FIXTURES = Path(__file__).parent / "scorer_fixtures"
SEMANTIC, QUALITY = "You see two pictures", "You see one picture"
"""Words of our prompts that tell VIEScore's questions apart."""


def fixture_of(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def png(seed: int, size: tuple[int, int] = (12, 16)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed, *size)).save(file, format="PNG")
    return file.getvalue()


def write_edits(
    folder: Path, replies: Mapping[str, Mapping[str, str]], known: Path, size: tuple[int, int] = (12, 16)
) -> Path:
    """An edit per case, each unlike all others, and what a judge says of it."""
    with known.open("a") as lines:
        for number, (id, texts) in enumerate(replies.items()):
            image = pixels(10_000 + number, *size)
            write_image(folder / f"{id}.png", image)
            lines.write(json.dumps({"edited": image_key(image), "replies": texts}) + "\n")
    return folder


GEDIT_ROW = {
    "task_type": "color_alter",
    "key": "a",
    "instruction": "make it red",
    "instruction_language": "en",
    "Intersection_exist": True,
}


def write_gedit(folder: Path, rows: Sequence[Mapping[str, Any]], picture: bytes | None = b"") -> Path:
    """Parquet as on the hub; rows of one key share a picture."""
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    keys = list(dict.fromkeys(f"{row.get('task_type')} {row.get('key')}" for row in rows))
    pictures = [png(keys.index(f"{row.get('task_type')} {row.get('key')}")) for row in rows]
    table = datasets.Dataset.from_dict(columns)
    cells = [None if picture is None else {"bytes": each, "path": None} for each in pictures]
    features = datasets.Features({**table.features, "input_image": datasets.Image()})
    whole = datasets.Dataset.from_dict({**columns, "input_image": cells}, features=features)
    whole.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    return folder


def viescore(semantic: Sequence[int], quality: Sequence[int]) -> dict[str, str]:
    """Replies to both questions."""
    return {
        SEMANTIC: json.dumps({"reasoning": "seen", "score": list(semantic)}),
        QUALITY: json.dumps({"reasoning": "seen", "score": list(quality)}),
    }


def gedit_rows() -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """The fixture's rows and what a judge says of their edits."""
    rows, replies = [], {}
    for row in fixture_of("gedit_bench")["rows"]:
        rows.append(
            {
                "task_type": row["task_type"],
                "key": row["key"],
                "instruction": f"request {row['key']}",
                "instruction_language": row["instruction_language"],
                "Intersection_exist": row["intersection"],
            }
        )
        id = f"{row['task_type']}/{row['instruction_language']}/{row['key']}"
        replies[id] = viescore((row["semantics"], 10), (10, row["quality"]))
    return rows, replies


IMGEDIT = "Give three scores"
"""Words of our prompts of ImgEdit-Bench."""


def write_imgedit(
    folder: Path, rows: Mapping[str, Mapping[str, Any]], name: str = "basic_edit.json", pictures: bool = True
) -> Path:
    """A list and the pictures that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(rows))
    for number, picture in enumerate(
        sorted({str(row.get("id")) for row in rows.values()}) if pictures else ()
    ):
        write_image(folder / picture, pixels(number, 12, 16))
    return folder


RISE = {
    "ApprConsistency": ("instruction leaves alone", "keeps the first's layout"),
    "Reasoning": ("what the instruction leads to", "holds the right answer"),
    "VisualPlausibility": ("only how well made", ""),
}
"""Words of our prompts of RISEBench, for logical requests the second."""
RISE_ROW = {
    "index": "t1",
    "category": "temporal_reasoning",
    "instruction": "a year later",
    "image": "a.png",
    "reference": "a tree without leaves",
}


def write_rise(folder: Path, rows: Sequence[Mapping[str, Any]], pictures: Sequence[str] = ("a.png",)) -> Path:
    for number, picture in enumerate(pictures):
        write_image(folder / "data" / picture, pixels(number, 12, 20))
    (folder / "data" / "datav2_total_w_subtask.json").write_text(json.dumps(rows))
    return folder


def rise_rows() -> tuple[list[dict[str, Any]], dict[str, dict[str, str]], list[dict[str, Any]]]:
    """Those of the fixture's rows that answers can give (logical ones are 0 or 1), what a judge says of them,
    and what the release makes of it.
    """
    rows, said, made = [], {}, []
    for number, row in enumerate(fixture_of("risebench")["rows"]):
        logical = row["category"] == "logical_reasoning"
        given = {name: row[name] for name in RISE if not logical or name != "VisualPlausibility"}
        if logical and set(given.values()) - {1, 5}:
            continue
        free = {"consistency_free": True} if row.get("consistency_free") else {}
        rows.append({**RISE_ROW, "index": str(number), "category": row["category"], **free})
        said[f"{row['category']}/{number}"] = {
            RISE[name][logical]: f"Seen.\nFinal Score: {value // 5 if logical else value}"
            for name, value in given.items()
        }
        made.append(row)
    return rows, said, made
