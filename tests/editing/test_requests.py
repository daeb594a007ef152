"""Lists of edits: what a row may say, and where it is said what is wrong with it."""

import json
from pathlib import Path

import pytest

from src.editing.requests import check_edit_paths, find_images, read_list, requests_for
from src.records import TargetReward

TARGET = TargetReward((5, 4, 3), ("None", "blurred", "None"))


def written(folder: Path, text: str, name: str = "edits.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_what_a_row_leaves_empty_is_what_the_command_says(tmp_path: Path) -> None:
    header = "\ufeffimage,instruction,output,seed,following,preserving,quality,feedback_following\r\n"
    rows = (
        "in/a.jpg,make it night,,,,,,\r\n\r\n"
        '/there/b.png,"say ""hi"",\nthen go",deep/name.png,3.0,0,,2.5,nothing done\r\n'
    )
    first, second = read_list(written(tmp_path, header + rows), 7, TARGET)
    assert (first.id, first.source, first.instruction, first.seed, first.target) == (
        "a",
        tmp_path / "in/a.jpg",
        "make it night",
        7,
        TARGET,
    )
    assert (second.id, second.source, second.instruction, second.seed) == (
        "deep/name",
        Path("/there/b.png"),
        'say "hi",\nthen go',
        3,
    )
    assert second.target == TargetReward((0, 4, 2.5), ("nothing done", "blurred", "None"))
    assert (first.where, second.where) == (f"{tmp_path}/edits.csv:2: ", f"{tmp_path}/edits.csv:4: ")


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"image": "a.jpg", "instruction": "füge einen Hut hinzu", "seed": -3, "quality": 1, "output": None},
        {"image": "b.jpg", "instruction": "x\u2028y"},
    ]
    path = written(tmp_path, "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "edits.jsonl")
    first, second = read_list(path, 7, TARGET)
    assert (first.id, first.instruction, first.seed, first.target.scores) == (
        "a",
        "füge einen Hut hinzu",
        -3,
        (5, 4, 1),
    )
    assert (second.instruction, second.seed, second.where) == ("x\u2028y", 7, f"{path}:3: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("image,instruction\n", "has no rows"),
        ("image\na.jpg\n", ":1: column 'instruction' is missing"),
        ("image;instruction\na.jpg;x\n", ":1: column 'image' is missing"),
        ("image,instruction,prompt\na.jpg,x,y\n", ":1: column 'prompt' is unknown"),
        ("image,instruction,image\na.jpg,x,y\n", ":1: column 'image' is there twice"),
        ("image,instruction\na.jpg,x\nb.jpg,\n", ":3: the row has no instruction"),
        ("image,instruction\n,x\n", ":2: the row has no image"),
        ('image,instruction\na.jpg,"two\nlines"\nb.jpg,  \n', ":4: the row has no instruction"),
        ("image,instruction\na.jpg,night, please\n", ":2: 3 values for 2 columns"),
        ("image,instruction\na.jpg\n", ":2: 1 values for 2 columns"),
        ('image,instruction\na.jpg,"x\n', ":2: not CSV"),
        ("image,instruction,seed\na.jpg,x,three\n", ":2: seed is 'three', a number is needed"),
        ("image,instruction,seed\na.jpg,x,2.5\n", ":2: seed is '2.5', a whole number"),
        ("image,instruction,quality\na.jpg,x,6\n", r":2: a score must lie in \[0, 5\], got 6.0"),
        ("image,instruction,quality\na.jpg,x,nan\n", ":2: a score must lie in"),
        ("image,instruction,quality\na.jpg,x,good\n", ":2: quality is 'good', a number is needed"),
        ("image,instruction,output\na.jpg,x,../b\n", ":2: output is '../b'"),
        ("image,instruction,output\na.jpg,x,/tmp/b\n", ":2: output is '/tmp/b'"),
        ("image,instruction,output\na.jpg,x,.png\n", ":2: output is ''"),
        ("image,instruction\na.jpg,x\0y\n", ":2: "),
    ],
)
def test_a_bad_csv_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_list(written(tmp_path, text), 0, TARGET)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2 is not JSON"),
        ("[1]", ":2: an object with named fields is needed"),
        ('{"image": "a.jpg"}', ":2: column 'instruction' is missing"),
        ('{"image": "a.jpg", "instruction": "x", "scores": [1, 2, 3]}', ":2: column 'scores' is unknown"),
        ('{"image": "a.jpg", "instruction": ["x"]}', r":2: instruction is \['x'\], a text"),
        ('{"image": "a.jpg", "instruction": null}', ":2: the row has no instruction"),
        (
            '{"image": "a.jpg", "instruction": "\\ud800"}',
            ":2: instruction holds a character that is no letter",
        ),
        ('{"image": "a.jpg", "instruction": "x", "seed": true}', ":2: seed is True"),
        ('{"image": "a.jpg", "instruction": "x", "seed": 1e999}', ":2: seed is inf"),
        ('{"image": "a.jpg", "instruction": "x", "following": -0.5}', ":2: a score must lie"),
        (
            '{"image": "a.jpg", "instruction": "x", "following": 1' + "0" * 400 + "}",
            ":2: following is 1.* a number is needed",
        ),
    ],
)
def test_a_bad_json_line_is_refused_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, '{"image": "a.jpg", "instruction": "x"}\n' + line + "\n", "edits.jsonl")
    with pytest.raises(ValueError, match=message):
        read_list(path, 0, TARGET)


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a list is a \.csv or \.jsonl file"):
        read_list(written(tmp_path, "", "edits.xlsx"), 0, TARGET)
    with pytest.raises(FileNotFoundError, match=r"no list .*gone\.csv"):
        read_list(tmp_path / "gone.csv", 0, TARGET)
    (tmp_path / "latin.csv").write_bytes("image,instruction\na.jpg,füge\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv is not UTF-8 text"):
        read_list(tmp_path / "latin.csv", 0, TARGET)


def test_every_edit_has_a_file_of_its_own(tmp_path: Path) -> None:
    rows = "image,instruction,output\na.jpg,x,\na.jpg,y,\n"
    with pytest.raises(
        ValueError,
        match=r"edits\.csv:3: .*a\.jpg would both be edited into .*a\.png; "
        r"give each a name in the column output",
    ):
        check_edit_paths(read_list(written(tmp_path, rows), 0, TARGET), tmp_path / "out", [])
    named = read_list(written(tmp_path, rows.replace("y,", "y,b")), 0, TARGET)
    check_edit_paths(named, tmp_path / "out", ["sheet.png"])
    with pytest.raises(ValueError, match=r"edits\.csv:3: .*b\.png has a place for something else"):
        check_edit_paths(named, tmp_path / "out", ["b.png"])
    with pytest.raises(ValueError, match=r"edits\.csv:2: the edit would overwrite .*a\.png"):
        check_edit_paths(
            read_list(written(tmp_path, "image,instruction\na.png,x\n"), 0, TARGET), tmp_path, []
        )


def test_a_folder_tells_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("b.JPG", "a.gif", "IMG_1.HEIC", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "below.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.gif", "b.JPG"]
    assert capsys.readouterr().err.startswith(f"warning: 2 files in {tmp_path} are left out")
    assert [request.id for request in requests_for(tmp_path, "x", 0, TARGET)] == ["a", "b"]
