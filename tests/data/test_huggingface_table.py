"""Every form that `datasets` loads gives the same rows, with columns found by name."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import config
from data.written import pixels, write_image
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Image as ImageColumn
from PIL import Image

from src import write_dataset
from src.data.check import check_rows
from src.data.columns import FEEDBACK, SCORES, SPELLINGS, find_columns
from src.data.huggingface_table import HuggingFaceTable, open_table
from src.data.json_list import JsonList
from src.data.pix2pix_tree import Pix2PixTree
from src.data.rewards import WithRewards
from src.data.stream import StreamedRows, open_stream
from src.synthetic.world import World

COUNT = 12


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


@pytest.fixture(scope="module", params=["parquet", "imagefolder", "saved", "saved splits", "glob"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first triplets of the world, on disk."""
    folder = tmp_path_factory.mktemp("table")
    form = "imagefolder" if request.param == "imagefolder" else "parquet"
    data = folder / "data"
    write_dataset.main(
        config(
            f"format={form}",
            f"output={data}",
            f"count={COUNT}",
            "rows_per_file=5",
            "world.size=32",
            name="write_dataset",
        )
    )
    if request.param == "glob":
        return str(data / "train-*.parquet")
    if request.param.startswith("saved"):
        loaded = open_table(str(data), cache=str(folder / "cache"))
        saved = DatasetDict(train=loaded) if request.param == "saved splits" else loaded
        saved.save_to_disk(str(folder / "saved"))
        return str(folder / "saved")
    return str(data)


def test_every_form_holds_the_same_rows_in_the_same_order(path: str, world: World, tmp_path: Path) -> None:
    table = HuggingFaceTable(open_table(path, cache=str(tmp_path)), source=path)
    assert len(table) == COUNT
    for index in range(COUNT):
        (triplet, reward), (exact, given) = table[index], world.rewarded_triplet("train", 0, index)
        assert reward is not None
        assert triplet.case.id == reward.id == exact.case.id
        assert triplet.case.instruction == exact.case.instruction
        assert reward.verdicts == given.verdicts
        np.testing.assert_array_equal(triplet.case.original, exact.case.original)
        np.testing.assert_array_equal(triplet.edited, exact.edited)
    assert HuggingFaceTable(open_table(path, cache=str(tmp_path)), rewards=False, source=path)[0][1] is None


def encoded(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def table_of(
    original: str = "input_image",
    instruction: str = "edit_prompt",
    edited: str = "edited_image",
    **more: list,
) -> Dataset:
    images = {
        name: [{"bytes": encoded(pixels(seed + row)), "path": None} for row in range(3)]
        for name, seed in ((original, 0), (edited, 50))
    }
    kinds: dict[str, Any] = {original: ImageColumn(), edited: ImageColumn(), instruction: Value("string")}
    table = Dataset.from_dict(
        {**images, instruction: ["make it night", "add a cat", "remove it"]}, features=Features(kinds)
    )
    for name, values in more.items():
        table = table.add_column(name, values)
    return table


@pytest.mark.parametrize(
    "names",
    [
        ("original_image", "edit_prompt", "edited_image"),
        ("input_image", "edit_prompt", "edited_image"),
        ("source_img", "instruction", "target_img"),
        ("input_image", "edit", "output_image"),
        ("input", "instruction", "output"),
    ],
)
def test_known_spellings_are_found(names: tuple[str, str, str]) -> None:
    triplet, reward = HuggingFaceTable(table_of(*names))[1]
    assert reward is None
    assert triplet.case.instruction == "add a cat"
    np.testing.assert_array_equal(triplet.case.original, pixels(1))
    np.testing.assert_array_equal(triplet.edited, pixels(51))
    assert len(triplet.case.id) == 64


def test_ids_of_a_column_are_used_and_checked() -> None:
    assert HuggingFaceTable(table_of(id=[3, 4, 5])).id_of(1) == "4"
    with pytest.raises(ValueError, match="rows 0 and 2 of the table have the same id '3'"):
        HuggingFaceTable(table_of(id=[3, 4, 3]))
    assert len(HuggingFaceTable(table_of(id=[3, 4, 3]), columns={"id": False}).id_of(2)) == 64


def test_the_hash_is_that_of_the_same_rows_in_json(tmp_path: Path) -> None:
    from src.data.rows import EncodedImage, content_id

    row = HuggingFaceTable(table_of()).row(2)
    (tmp_path / "a.png").write_bytes(encoded(pixels(2)))
    (tmp_path / "b.png").write_bytes(encoded(pixels(52)))
    assert row.id == content_id(
        EncodedImage(str(tmp_path / "a.png")), "remove it", EncodedImage(str(tmp_path / "b.png"))
    )


def test_images_as_plain_bytes_are_read() -> None:
    table = Dataset.from_dict(
        {"input": [encoded(pixels(1))], "output": [encoded(pixels(2))], "instruction": ["make it night"]}
    )
    np.testing.assert_array_equal(HuggingFaceTable(table)[0][0].edited, pixels(2))


def test_anything_else_in_an_image_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'input' holds .* no images"):
        HuggingFaceTable(Dataset.from_dict({"input": [1], "output": [2], "instruction": ["x"]}))


def test_a_list_of_instructions_is_refused_with_its_row() -> None:
    table = Dataset.from_dict(
        {"input": [encoded(pixels(1))], "output": [encoded(pixels(2))], "edit": [["a", "b"]]}
    )
    with pytest.raises(ValueError, match=r"row 0, column 'edit' holds \"\['a', 'b'\]\""):
        HuggingFaceTable(table).row(0)


def test_rewards_in_columns_are_checked_row_by_row() -> None:
    values: dict[str, list] = {name: [0.0, 7.0, None] for name in SCORES} | {
        name: ["None"] * 3 for name in FEEDBACK
    }
    table = HuggingFaceTable(table_of(**values))
    assert table.reward_of(0) is not None
    assert table.reward_of(2) is None
    with pytest.raises(ValueError, match=r"reward_following: a score must lie in \[0, 5\], got 7.0"):
        table.reward_of(1)


def test_ambiguous_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="original_image and input_image: choose"):
        find_columns(["original_image", "input_image", "edit_prompt", "edited_image"], {}, "x")
    given = find_columns(
        ["original_image", "input_image", "edit_prompt", "edited_image"], {"original": "input_image"}, "x"
    )
    assert given == {"original": "input_image", "instruction": "edit_prompt", "edited": "edited_image"}
    assert set(given) <= set(SPELLINGS)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gone", FileNotFoundError, "no folder or file"),
        ("empty", ValueError, "none of these"),
        ("gone.parquet", FileNotFoundError, "no file"),
        ("broken", ValueError, "can't be loaded"),
    ],
)
def test_paths_without_a_table_are_refused(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(error, match=message):
        open_table(str(tmp_path / name), cache=str(tmp_path / "cache"))


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    DatasetDict(train=table_of()).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="split 'test'"):
        open_table(str(tmp_path / "saved"), split="test")


def test_files_beside_a_table_are_looked_for_in_all_rows(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_dataset.main(
        config("format=imagefolder", f"output={folder}", "count=6", "world.size=32", name="write_dataset")
    )
    (folder / "train/edited_image/00000003.png").unlink()  # datasets itself doesn't mind
    table = HuggingFaceTable(open_table(str(folder), cache=str(tmp_path / "cache")), source=str(folder))
    assert [path.name for path in table.files(3)] == ["00000003.png"] * 2
    (problem,) = check_rows(WithRewards(table), 0).problems
    assert (problem.index, problem.kind) == (3, "missing")
    assert HuggingFaceTable(table_of()).files(0) == []


# --- data of one's own, in the forms that people have
# -------------------------------------------------------------------------------------

TEXTS = ['make it night, "please"', "None", "把天空变红!"]


def write_pictures(folder: Path, original: str, edited: str) -> None:
    for index in range(3):
        write_image(folder / original.format(index), pixels(index))
        write_image(folder / edited.format(index), pixels(index + 50))


def write_table(folder: Path, name: str, header: str, separator: str) -> Path:
    """As a spreadsheet writes it: quoted where needed, with a byte order mark."""
    write_pictures(folder, "a/{}.png", "b/{}.png")
    cells = [
        [f"a/{index}.png", '"' + text.replace('"', '""') + '"', f"b/{index}.png", f"00{index}"]
        for index, text in enumerate(TEXTS)
    ]
    lines = [header.replace(",", separator), *(separator.join(row) for row in cells)]
    (folder / name).write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    return folder / name


def write_json(folder: Path, name: str) -> Path:
    write_pictures(folder, "a/{}.png", "b/{}.png")
    rows = [
        {"input": f"a/{index}.png", "output": f"b/{index}.png", "edit": text}
        for index, text in enumerate(TEXTS)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(lines if name.endswith("l") else json.dumps(rows))
    return folder / name


def write_pairs(folder: Path, original: str, edited: str, texts: str) -> Path:
    write_pictures(folder, original + "/sub/{}.png", edited + "/sub/{}.bmp")
    for index in range(3):
        (folder / texts / "sub").mkdir(parents=True, exist_ok=True)
        (folder / texts / f"sub/{index}.txt").write_text(f"{TEXTS[index]}\n", encoding="utf-8")
    return folder


def write_tar(folder: Path, fields: bool) -> Path:
    write_pictures(folder / "files", "{}.original.png", "{}.edited.png")
    for index, text in enumerate(TEXTS):
        name, content = ("json", json.dumps({"prompt": text, "n": index})) if fields else ("txt", text)
        (folder / f"files/{index}.{name}").write_text(content, encoding="utf-8")
    (folder / "tars").mkdir()
    with tarfile.open(folder / "tars/train-0000.tar", "w") as archive:
        for file in sorted((folder / "files").iterdir()):
            archive.add(file, file.name)
    return folder / "tars"


def write_imagefolder(folder: Path, original: str, edited: str, text: str, first: str = "file_name") -> Path:
    write_pictures(folder, "train/{}.png", "train/{}-edited.png")
    rows = [
        {original: f"{index}.png", edited: f"{index}-edited.png", text: TEXTS[index]} for index in range(3)
    ]
    rows = [dict(sorted(row.items(), key=lambda item: item[0] != first)) for row in rows]
    (folder / "train/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_magicbrush(folder: Path) -> Path:
    sessions = {}
    for index, text in enumerate(TEXTS):
        names = f"{index}-input.png", f"{index}-output1.png"
        write_image(folder / f"images/{index}/{names[0]}", pixels(index))
        write_image(folder / f"images/{index}/{names[1]}", pixels(index + 50))
        mask = f"{index}-mask1.png"
        sessions[str(index)] = [{"input": names[0], "mask": mask, "output": names[1], "instruction": text}]
    (folder / "edit_sessions.json").write_text(json.dumps(sessions))
    return folder


FORMS: dict[str, Callable[[Path], Path]] = {
    "csv": lambda folder: write_table(folder, "rows.csv", "source,prompt,target,id", ","),
    "csv of a spreadsheet": lambda folder: write_table(folder, "a.csv", "Before,Caption,After Image,ID", ";"),
    "tsv": lambda folder: write_table(folder, "rows.tsv", "input_path,instruction,output_path,id", "\t"),
    "folder with a csv": lambda folder: write_table(folder, "test.csv", "input,text,output,id", ",").parent,
    "json": lambda folder: write_json(folder, "rows.json"),
    "folder with jsonl": lambda folder: write_json(folder, "rows.jsonl").parent,
    "ai-toolkit": lambda folder: write_pairs(folder, "control", "target", "target"),
    "kohya": lambda folder: write_pairs(folder, "conditioning_images", "images", "images"),
    "captions apart": lambda folder: write_pairs(folder, "before", "after", "captions"),
    "tar with txt": lambda folder: write_tar(folder, fields=False),
    "tar with json": lambda folder: write_tar(folder, fields=True),
    "file_name": lambda folder: write_imagefolder(folder, "file_name", "edited_image_file_name", "prompt"),
    "control": lambda folder: write_imagefolder(folder, "control_image_file_name", "file_name", "text"),
    "metadata of paths": lambda folder: write_json(folder, "metadata.jsonl").parent,
    "MagicBrush": write_magicbrush,
}


def opened(path: Path, split: str = "train", **settings: Any) -> HuggingFaceTable:
    table = open_table(str(path), split, cache=str(path.parent / "cache"))
    return HuggingFaceTable(table, source=str(path), **settings)


@pytest.mark.parametrize("form", FORMS)
def test_data_of_ones_own_are_read_by_their_path_alone(form: str, tmp_path: Path) -> None:
    path = FORMS[form](tmp_path / "data")
    table = opened(path)
    assert not check_rows(WithRewards(table), "all").problems
    for index, (triplet, reward) in enumerate(table):
        assert (triplet.case.instruction, reward) == (TEXTS[index], None)
        np.testing.assert_array_equal(triplet.case.original, pixels(index))
        np.testing.assert_array_equal(triplet.edited, pixels(index + 50))
    if form.startswith("tar"):
        rows = StreamedRows(open_stream(str(path)), source=str(path)).in_order()
        assert [row.instruction for row in rows] == TEXTS
    elif "file_name" not in form and form != "control":
        with pytest.raises(ValueError, match="say data=table"):
            open_stream(str(path))


def test_scores_and_texts_of_a_csv_are_taken_as_they_stand(tmp_path: Path) -> None:
    write_pictures(tmp_path, "{}.png", "{}e.png")
    names = ",".join(("input", "edit", "output", "id", *SCORES, *FEEDBACK))
    (tmp_path / "a.csv").write_text(
        f"{names}\n0.png,NA,0e.png,007,1,2.5,5,None,nan,None\n1.png,x,1e.png,8,,,,,,\n"
    )
    table = opened(tmp_path / "a.csv")
    reward = table.reward_of(0)
    assert reward is not None
    assert (table.row(0).instruction, table.id_of(0), table.reward_of(1)) == ("NA", "007", None)
    assert [(verdict.score, verdict.feedback) for verdict in reward.verdicts][1] == (2.5, "nan")


REFUSED = {
    "a comma": ("a.csv", "input,edit,output\n0.png,a, b,0e.png\n", r"a\.csv:2: 4 values .* in double quotes"),
    "a name twice": ("a.csv", "input,edit,input\n0.png,a,0e.png\n", "column 'input' is there twice"),
    "two texts": (
        "a.csv",
        "input,prompt,caption,output\n0.png,a,b,0e.png\n",
        r"data\.dataset\.columns\.instruc",
    ),
    "no text": (
        "a.csv",
        "input,output\n0.png,0e.png\n",
        r"choose one with data\.dataset\.columns\.instruction=",
    ),
    "a score": ("a.csv", f"input,{SCORES[0]}\n0.png,good\n", "a number is needed"),
    "nothing": ("a.csv", "", "has no rows"),
    "no table": ("a.png", "", "is no table; what can be read is"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named(case: str, tmp_path: Path) -> None:
    name, content, message = REFUSED[case]
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / name)


def test_rows_that_lack_something_are_listed(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", "control", "target", "target")
    (pairs / "target/sub/0.txt").unlink()
    (pairs / "control/sub/1.png").unlink()
    problems = {each.id: each.reason for each in check_rows(WithRewards(opened(pairs)), 0).problems}
    assert problems.keys() == {"sub/1"}
    reasons = [each.reason for each in check_rows(WithRewards(opened(pairs)), "all").problems]
    assert any("(sub/0) has no 'instruction'" in reason for reason in reasons)
    table = tmp_path / "rows.csv"
    table.write_text("input,edit,output\n/etc/passwd,a,http://a.b/c.png\n")
    for setting, message in ((False, "outside of the dataset's folder"), (True, "names the address http:")):
        (problem,) = check_rows(WithRewards(opened(table, outside=setting)), 0).problems
        assert message in problem.reason


def test_another_reader_is_named_for_what_is_not_ones_own(tmp_path: Path) -> None:
    table = FORMS["csv"](tmp_path)
    with pytest.raises(ValueError, match=f"say data=table data.dataset.table.path={table}"):
        JsonList(table)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/seeds.json").write_text("[]")
    with pytest.raises(ValueError, match="say data=pix2pix_tree"):
        opened(tmp_path / "tree")
    with pytest.raises(FileNotFoundError, match="data=table"):
        Pix2PixTree(tmp_path)


def test_what_a_split_leaves_out_is_counted(tmp_path: Path) -> None:
    lists = FORMS["json"](tmp_path / "lists").rename(tmp_path / "lists/train.json").parent
    (lists / "test.json").write_text((lists / "train.json").read_text())
    tars = write_tar(tmp_path / "of_tars", fields=False)
    (tars / "test-0000.tar").write_bytes((tars / "train-0000.tar").read_bytes())
    saved = tmp_path / "saved"
    DatasetDict(train=table_of(), test=table_of()).save_to_disk(str(saved))
    for path in (lists, tars, saved):
        assert opened(path).counts() == {"rows of split test, left out": 3}
        assert opened(path, "test").counts() == {"rows of split train, left out": 3}
    assert opened(lists / "test.json").counts() == {}
    with pytest.raises(ValueError, match="split 'validation': it has train, test"):
        opened(saved, "validation")
    with pytest.raises(ValueError, match=r"holds test\.json, train\.json: give one"):
        opened(lists, "validation")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        # HQ-Edit has captions beside the images, a control dataset of diffusers has the edit in `image`
        ("input input_image edit edit_inverse output output_image", "input_image edit output_image"),
        ("image conditioning_image text", "conditioning_image text image"),
        ("image edited_image prompt", "image prompt edited_image"),
        ("instruction caption source target", "source instruction target"),
        ("Original-Image Edit_Prompt Edited_Image_File", "Original-Image Edit_Prompt Edited_Image_File"),
    ],
)
def test_the_clearest_name_decides(names: str, found: str) -> None:
    roles = find_columns(names.split(), {}, "x")
    assert [roles[what] for what in ("original", "instruction", "edited")] == found.split()


def test_an_imagefolder_whose_images_would_be_mixed_up_is_refused(tmp_path: Path) -> None:
    """Of what `datasets` makes of it, the first image has the second's file, and the second none."""
    with pytest.raises(ValueError, match="names control_image_file_name before file_name"):
        opened(write_imagefolder(tmp_path, "control_image_file_name", "file_name", "text", first=""))
