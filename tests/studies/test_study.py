"""A human study without a browser: what is shown to whom, what reaches the disk, what is refused."""

import json
import re
import signal
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import config
from killing import Command, lines_in
from PIL import Image
from studies.served import SECRET_NAMES, answer, asked, item_address, served, write_study_folder
from tabulation.page_runs import Greys, write_page_runs

from src import study as command
from src.files import NotWrittenError
from src.studies.answers import ANSWERS, AnswerFile, measured
from src.studies.export import as_csv, write_export
from src.studies.gold import gold_of_file
from src.studies.guide import rating_guide
from src.studies.order import rater_name, showings
from src.studies.preparation import choose_cases
from src.studies.ratings import read_ratings
from src.studies.study import Study, read_study
from src.studies.systems import check_complete_edits, find_edits, find_systems


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study")
    write_study_folder(place)
    return place / "study"


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return read_study(folder)


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


def test_every_rater_gets_everything_once_in_an_own_order(study: Study) -> None:
    """Pairs, then scores; gold among them; repeated items twice, the second time turned round."""
    orders = {rater: showings(study, rater) for rater in ("anna", "ben", "cleo")}
    for shown in orders.values():
        assert [each.position for each in shown] == list(range(len(shown)))
        assert [each.item.question for each in shown] == ["pairs"] * 6 + ["scores"] * 10
        assert {each.item.id for each in shown if not each.repeated} == {item.id for item in study.items}
        first = {each.item.id: each for each in shown if not each.repeated}
        again = [each for each in shown if each.repeated]
        assert len(again) == 2, "one of each question"
        for each in again:
            assert not each.item.is_gold
            assert first[each.item.id].position < each.position
            assert first[each.item.id].sides == tuple(reversed(each.sides))
    assert len({tuple(each.item.id for each in shown) for shown in orders.values()}) == 3
    assert orders["anna"] == showings(study, "anna"), "a pure function of seed, rater and item"


def test_sides_are_drawn_evenly(study: Study) -> None:
    sides = Counter(
        each.sides
        for number in range(60)
        for each in showings(study, f"rater {number}")
        if each.item.question == "pairs"
    )
    assert set(sides) == {(0, 1), (1, 0)}
    assert abs(sides[0, 1] - sides[1, 0]) < 4 * 360**0.5, "four standard deviations"


def test_a_preference_is_of_the_edit_and_not_of_the_side(study: Study) -> None:
    pair = study.of("pairs", gold=False)[0]
    assert [measured(pair, (0, 1), said) for said in ("left", "alike", "right")] == [1.0, 0.5, 0.0]
    assert [measured(pair, (1, 0), said) for said in ("left", "alike", "right")] == [0.0, 0.5, 1.0]


def test_cases_are_balanced_over_types_and_photographs() -> None:
    chosen = choose_cases(Greys(560).cases(), 70, seed=0)
    assert set(Counter(case.edit_type for case in chosen).values()) == {10}
    assert max(Counter(case.photograph for case in chosen).values()) == 1
    again, other = ([case.id for case in choose_cases(Greys(560).cases(), 70, seed)] for seed in (0, 1))
    assert [case.id for case in chosen] == again
    assert again != other
    with pytest.raises(ValueError, match="cases=9: there are 3; give 1 to 3"):
        choose_cases(Greys(3).cases(), 9, seed=0)


def test_the_guide_has_words_for_every_point() -> None:
    guide = rating_guide()
    assert [scale.perspective for scale in guide] == ["following", "preserving", "quality"]
    assert guide[0].words[0] == "everything that was asked for is there, as asked"
    assert guide[1].words[5] == "a different picture"
    assert not any("second picture" in text for scale in guide for text in (scale.about, *scale.words))


def test_nothing_that_a_rater_gets_names_a_system(page: str, study: Study) -> None:
    """Everything of a whole session, headers and addresses included, and of the pictures the chunks."""
    told = []
    for name in ("", "page.css", "page.js", "raters/anna"):
        told.append((page + name, *asked(page + name)))
    for position in range(len(showings(study, "anna"))):
        where = item_address(page, "anna", position)
        told.append((where, *asked(where)))
        for slot in json.loads(told[-1][2])["pictures"]:
            told.append((f"{where}/{slot}.png", *asked(f"{where}/{slot}.png")))
            assert [kind for kind, _ in chunks(told[-1][2])] == ["IHDR", "IDAT", "IEND"], "no metadata"
    secrets = [
        *SECRET_NAMES,
        "5/5/5",
        "5-5-5",
        "0-0-0",
        "greys",
        "photo",
        *(item.case for item in study.items),
    ]
    for where, status, body, headers in told:
        assert status == 200
        said = (where + json.dumps(headers)).encode() + (b"" if where.endswith(".png") else body)
        assert not [name for name in secrets if re.search(rf"\b{re.escape(name)}\b".encode(), said)], where
        assert headers["X-Content-Type-Options"] == "nosniff"


def chunks(png: bytes) -> list[tuple[str, bytes]]:
    place, found = 8, []
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        found.append((png[place + 4 : place + 8].decode(), png[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


@pytest.mark.parametrize(
    "path",
    [
        "",
        "../",
        "answers.jsonl",
        "study.json",
        "token",
        "images/",
        "raters/anna/items/99",
        "raters/anna/items/-1",
        "raters/anna/items/0/..%2f..%2fstudy.json",
        "raters/anna/items/0/right.png/..",
        "%2e%2e/%2e%2e/etc/passwd",
        "raters/..%2f..%2f/items/0/left.png",
    ],
)
def test_nothing_else_is_served(page: str, path: str) -> None:
    other = page.replace(page.split("/")[3], "A" * 22) if path == "" else page
    status, body, _ = asked(other + path)
    assert status in (400, 404)
    assert len(body) < 400
    assert b"root:" not in body


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (answer({"overall": "left", "following": "left"}), 400, "an answer says overall"),
        (answer({"overall": "first"}), 400, "one of left, alike, right is needed"),
        (answer({"overall": ["left"]}), 400, "one of left, alike, right"),
        (answer({}), 400, "an answer says overall"),
        ({"answer": {"overall": "left"}}, 400, "sent as answer, seconds and revision"),
        (answer({"overall": "left"}, seconds=float("nan")), 400, "numbers are needed"),
        (answer({"overall": "left"}, seconds="long"), 400, "numbers are needed"),
        (b"not json", 400, ""),
        (b"[" * 15_000, 400, ""),
        (b"x" * 20_000, 413, ""),
    ],
)
def test_what_is_no_answer_is_refused_in_a_line(page: str, body: object, status: int, said: str) -> None:
    code, text, _ = asked(item_address(page, "refused", 0), body)
    assert code == status
    assert said in text.decode()
    assert len(text.splitlines()) <= 1
    assert asked(item_address(page, "refused", 0), answer({"overall": "left"}), "text/plain")[0] == 415
    assert json.loads(asked(page + "raters/refused")[1])["answered"] == 0


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "a/b", "a\nb", "<b>"])
def test_what_is_no_name_of_a_rater(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        rater_name(name) if name != "a\nb" else rater_name("a\x00b")


def test_one_person_is_one_rater_however_the_name_is_typed() -> None:
    assert rater_name(" Anna  Lena ") == rater_name("anna lena") == "anna lena"
    assert rater_name("Zoe\u0308") == rater_name("ZO\u00cb")
    assert rater_name("李雷") == "李雷"


def test_only_the_invited_may_rate(folder: Path) -> None:
    with served(folder, ["Anna"]) as page:
        assert asked(page + "raters/ANNA")[0] == 200
        code, text, _ = asked(page + "raters/eve")
    assert (code, b"'eve' is not among the raters" in text) == (403, True)


def test_an_answer_counts_once_and_can_be_changed(tmp_path: Path) -> None:
    """A double click and a second tab send what is there already; a change is a revision; all lines stay."""
    write_study_folder(tmp_path)
    with served(tmp_path / "study") as page:
        where = item_address(page, "Anna", 0)
        assert asked(where, answer({"overall": "left"}))[0] == 200
        code, text, _ = asked(where, answer({"overall": "right"}))
        assert (code, json.loads(text)["saved"], json.loads(text)["next"]) == (409, False, 1)
        shown = json.loads(asked(where)[1])
        assert (shown["answer"], shown["revision"]) == ({"overall": "left"}, 1)
        assert asked(where, answer({"overall": "alike"}, revision=1))[0] == 200
        assert asked(where, answer({"overall": "right"}, revision=1))[0] == 409
        assert asked(where, answer({"overall": "right"}, revision=7))[0] == 409
    lines = [json.loads(line) for line in (tmp_path / "study" / ANSWERS).read_text().splitlines()]
    assert [(line["answer"]["overall"], line["revision"]) for line in lines] == [("left", 0), ("alike", 1)]
    (rating,) = read_ratings(tmp_path / "study").all
    assert (rating.value, rating.answer.rater) == (0.5, "anna")


def test_a_full_disk_is_told_and_the_answer_can_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study_folder(tmp_path)

    def full(path: Path, lines: str) -> None:
        raise NotWrittenError(f"{path.name} could not be written (No space left on device)")

    with served(tmp_path / "study") as page:
        with monkeypatch.context() as patched:
            patched.setattr("src.studies.answers.append_lines", full)
            code, text, _ = asked(item_address(page, "anna", 0), answer({"overall": "left"}))
        assert (code, b"not saved: answers.jsonl could not be written" in text) == (507, True)
        assert json.loads(asked(page + "raters/anna")[1])["answered"] == 0
        assert asked(item_address(page, "anna", 0), answer({"overall": "left"}))[0] == 200


def test_one_of_many_equal_answers_at_once_counts(tmp_path: Path) -> None:
    """Eight at the same time by each of two raters."""
    write_study_folder(tmp_path)
    with served(tmp_path / "study") as page, ThreadPoolExecutor(16) as pool:
        addresses = [item_address(page, name, 2) for name in ("anna", "ben")] * 8
        codes = pool.map(lambda where: (where, asked(where, answer({"overall": "left"}))[0]), addresses)
        assert Counter(codes) == {(where, code): n for where in addresses for code, n in ((200, 1), (409, 7))}
    assert (tmp_path / "study" / ANSWERS).read_bytes().count(b"\n") == 2
    assert (tmp_path / "study" / "token").stat().st_mode & 0o777 == 0o600


def test_a_torn_line_is_none_and_a_foreign_one_is_named(tmp_path: Path) -> None:
    study = write_study_folder(tmp_path)
    answers = AnswerFile(tmp_path / "study", study)
    assert answers.add("anna", 0, {"overall": "left"}, 1.0, 0)
    whole = answers.path.read_bytes()
    answers.path.write_bytes(whole + whole[:40])
    again = AnswerFile(tmp_path / "study", study)
    assert again.next_of("anna") == 1
    assert again.add("anna", 1, {"overall": "right"}, 1.0, 0)
    assert answers.path.read_bytes().startswith(whole)
    assert answers.path.read_bytes().count(b"\n") == 2
    answers.path.write_text(whole.decode().replace('"item": "', '"item": "other'))
    with pytest.raises(ValueError, match="at place 0 of 'anna', where this study asks something else"):
        AnswerFile(tmp_path / "study", study)


@pytest.mark.slow
def test_nothing_confirmed_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    write_study_folder(tmp_path)
    arguments = (f"output={tmp_path / 'study'}", "port=0")
    log = tmp_path / "log"
    server = Command("src.study", *arguments, log=log)
    confirmed = []

    def moment() -> bool:
        found = re.search(r"http://\S+", log.read_text() if log.exists() else "")
        if found is None or not lines_in(log, 4)():
            return False
        where = item_address(found[0], "anna", len(confirmed))
        assert asked(where, answer({"overall": "left"}))[0] == 200
        confirmed.append(where)
        return len(confirmed) == 3

    assert server.killed_when(moment)
    before = log.read_bytes().count(b"\n")
    again = Command("src.study", *arguments, log=log)
    assert again.signalled_when(lines_in(log, before + 4), signal.SIGINT) == 0, "Ctrl-C is how it ends"
    assert "anna" in log.read_text(), "and says how far the raters are"
    assert read_ratings(tmp_path / "study").asked == {"anna": 16}
    assert AnswerFile(tmp_path / "study", read_study(tmp_path / "study")).next_of("anna") == 3


def test_gold_of_a_file(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    cases, list_file = Greys(3).cases(), tmp_path / "gold.jsonl"
    good = {"question": "scores", "case": "g1", "edited": "black.png", "quality": 0, "following": [0, 1]}
    pair = {"question": "pairs", "case": "g2", "better": "black.png", "worse": "black.png"}
    list_file.write_text(json.dumps(good) + "\n" + json.dumps(pair) + "\n")
    scores, pairs = gold_of_file(list_file, cases, ("overall", "quality"))
    assert scores.expected == {"following": (0.0, 1.0), "quality": (0.0, 0.0)}
    assert pairs.expected == {"overall": (1.0, 1.0), "quality": (1.0, 1.0)}
    for wrong, said in (
        ({**good, "case": "g9"}, "no case 'g9'"),
        ({**good, "edited": "white.png"}, "no picture edited='white.png'"),
        ({**good, "quality": [3, 7]}, r"quality is \[3, 7\]"),
        ({**good, "better": "black.png"}, "knows no 'better'"),
        ({"question": "pear"}, "has 'pear'"),
    ):
        list_file.write_text(json.dumps(pair) + "\n" + json.dumps(wrong) + "\n")
        with pytest.raises((ValueError, FileNotFoundError), match=f"gold.jsonl:2.*{said}"):
            gold_of_file(list_file, cases, ("overall",))


def test_export_names_systems_and_holds_no_formula(tmp_path: Path) -> None:
    study = write_study_folder(tmp_path, cases=12, gold=0, repeats=0)
    answers = AnswerFile(tmp_path / "study", study)
    for showing in answers.sequence("-1+2"):
        given = dict.fromkeys(study.aspects(showing.item.question), "left" if len(showing.sides) == 2 else 4)
        assert answers.add("-1+2", showing.position, given, 2.0, 0)
    ratings = read_ratings(tmp_path / "study")
    assert write_export(tmp_path / "answers.jsonl", ratings) == 36
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert {row["left"] for row in rows} == set(SECRET_NAMES)
    assert all(row["overall"] == row["left"] for row in rows if row["question"] == "pairs")
    assert all(row["quality"] == 4 for row in rows if row["question"] == "scores")
    text = as_csv([{**row, "instruction": "=1+2"} for row in rows])
    assert "'-1+2," in text
    assert ",'=1+2," in text


def custom(folder: Path, number: int = 3) -> list[str]:
    """The settings of a benchmark of real files, and two folders of edits for it."""
    lines = ["image,instruction,target"]
    for index in range(number):
        for place, level in (("photos", 60), ("right", 250), ("A", 90), ("B", 120)):
            (folder / place).mkdir(exist_ok=True)
            name = f"{index}.png" if place in ("photos", "right") else f"{index}-1.png"
            Image.new("RGB", (48, 32), (level, level, 10 * index)).save(folder / place / name)
        lines.append(f"photos/{index}.png,make it night {index},right/{index}.png")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return [
        f"runs=[{folder / 'A'},{folder / 'B'}]",
        "benchmark=custom",
        f"benchmark.source={folder / 'list.csv'}",
        f"output={folder / 'study'}",
    ]


def test_the_command_makes_a_study_of_real_files(tmp_path: Path, quickly_refused, capfd) -> None:
    """... that needs nothing else afterwards, and is not made anew by other settings."""
    given = custom(tmp_path)
    command.begin_study(tmp_path / "study", config(*given, name="study"))
    assert "compared    A: " in capfd.readouterr().out
    study = read_study(tmp_path / "study")
    assert study.systems == ("A", "B")
    assert Counter((item.question, item.is_gold) for item in study.items) == {
        ("pairs", False): 3,
        ("scores", False): 6,
        ("pairs", True): 3,
        ("scores", True): 3,
    }
    files = {name for item in study.items for name in (item.original, *item.edits)}
    assert files == {path.name for path in (tmp_path / "study" / "images").iterdir()}
    with Image.open(tmp_path / "study" / "images" / study.items[0].edits[0]) as shown:
        assert shown.size == (768, 512), "as the benchmark's judges see it"
    for name in ("photos", "right", "A", "B"):
        (tmp_path / name).rename(tmp_path / f"moved {name}")
    error = quickly_refused(*given, "seed=1", module="src.study")
    assert "holds another study (seed: 0 there, 1 asked for): give another output=" in error
    error = quickly_refused(given[-1], "repeats=2", module="src.study")
    assert "has begun, and repeats can't be changed: leave it out" in error
    command.main(config(*given, "serve=false", f"export=[{tmp_path / 'out.csv'}]", name="study"))
    assert f"{tmp_path / 'out.csv'} (0 answers)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            "runs=[{folder}/A]",
            "name two runs or more, as in runs=[runs/a,runs/b]; one is enough for questions=",
        ),
        ("names=[one,one]", "give each its own name, as in names="),
        ("questions=[ranks]", "questions=['ranks']: choose from pairs, scores, each once"),
        ("gold.file=nowhere.jsonl", "gold.file=nowhere.jsonl: no such file"),
        ("export=answers.xlsx", "the extension selects the format, one of .jsonl, .csv"),
        ("serve=false", "begin a study with python -m src.study runs=[A,B] output="),
    ],
)
def test_a_refused_command_leaves_no_folder(tmp_path: Path, quickly_refused, changed: str, said: str) -> None:
    name = changed.partition("=")[0] + "="
    given = [each for each in custom(tmp_path) if not each.startswith(name)]
    assert said in quickly_refused(*given, changed.format(folder=tmp_path), module="src.study")
    assert not (tmp_path / "study").exists()


def test_where_edits_are_found(tmp_path: Path) -> None:
    """In a run by the row's name, in the row's own folder, its edits, or any folder of images."""
    write_page_runs(tmp_path, 3)
    run = tmp_path / "a"
    where = run / "evaluation" / "greys"
    assert find_edits(run, "greys", "0/0/0").edits == where / "0-0-0" / "edits"
    assert find_edits(tmp_path / "b", "greys", "none").name == "5/5/5", "its only one"
    for folder in (where / "5-5-5", where / "5-5-5" / "edits"):
        assert find_edits(folder, "greys", "any").name == "5/5/5"
    (tmp_path / "own").mkdir()
    with pytest.raises(FileNotFoundError, match="own holds neither evaluation/greys nor images"):
        find_edits(tmp_path / "own", "greys", "5/5/5")
    Image.new("RGB", (8, 8)).save(tmp_path / "own" / "g0.png")
    system = find_systems([str(tmp_path / "own")], None, "greys", "5/5/5")[0]
    assert (system.name, system.framing()) == ("own", None)
    with pytest.raises(FileNotFoundError, match=r"2 of 3 cases have no edit in .*own \(g1, g2\)"):
        check_complete_edits([system], Greys(3).cases())
    with pytest.raises(ValueError, match=r"row=3/3/3: .* has no such row; there are 0/0/0, 5/5/5"):
        find_edits(run, "greys", "3/3/3")
    with pytest.raises(FileNotFoundError, match="no edits of benchmark=real_edit; there are edits of greys"):
        find_edits(run, "real_edit", "5/5/5")
    with pytest.raises(FileNotFoundError, match="runs: no folder"):
        find_edits(tmp_path / "nowhere", "greys", "5/5/5")
    runs = [str(run), str(where / "0-0-0"), str(tmp_path / "b")]
    assert [each.name for each in find_systems(runs[:2], None, "greys", "5/5/5")] == ["5/5/5", "0/0/0"]
    assert [each.name for each in find_systems([runs[0], runs[2]], None, "greys", "5/5/5")] == ["a", "b"]
