"""Six hand-made cases on three photographs make the paper's Table 4 in every format; each number below was
worked out on paper.

Of two cases on each of three photographs, with mean m and sums r of (score - m) per photograph: error =
sqrt(3 / 2 (r1^2 + r2^2 + r3^2)) / 6, and the interval is m ± 4.3027 error (Student's t, 6^2 / (3 x 2^2) - 1 =
2 degrees of freedom), cut off at 0 and 5.

    none   F 1 1 2 2 3 3: mean 12 / 6 = 2, r = -2, 0, 2, error = sqrt(1.5 x 8) / 6 = 0.57735, reach 2.4841,
             [0, 4.48], none of 6 >= 4
           P 4 x 6: mean 4, r = 0, [4, 4], 6 of 6
           Q 2 2 2 2 5 5: mean 18 / 6 = 3, r = -2, -2, 4, error = sqrt(1.5 x 24) / 6 = 1, reach 4.3027,
             [0, 5], 2 of 6
    score, seed 0: F 3 x 6, P 4 x 6, Q 5 x 6; seed 1: F 4 x 6, P 4 x 6, Q 5 x 6
           F means 3 and 4: 3.5, deviation over seeds sqrt((0.5^2 + 0.5^2) / 1) = 0.7071,
             each case 3.5, so only seeds differ: 3.5 ± 12.706 x 0.7071 / sqrt(2), [0, 5] (1 degree of
             freedom); Acc 0 and 1: 50 % ± 70.7
           against none: F differences 2.5 2.5 1.5 1.5 0.5 0.5, of 8 sign flips of photographs 2 are as far
             from 0: p = 0.25; P no difference: p = 1;
           Q differences 3 3 3 3 0 0: photographs 6, 6, 0; |sum| >= 12 for 4 of 8: p = 0.5
    text   as none, but F 0 2 2 2 3 3: mean 12 / 6 = 2, r = -2, 0, 2 as above;
           differences -1 1 0 0 0 0: sums 0, 0, 0: p = 1
    overall, sqrt(min(F, P) Q) of each case: none 2 (sqrt(2) + 2 + sqrt(15)) / 6 = 2.4291; score sqrt(15) and
           sqrt(20), 4.1726 ± 0.4236, [4.1726 - 12.706 x 0.29953, 5];
           text (0 + 2 + 2 + 2 + 2 sqrt(15)) / 6 = 2.2910
    Holm over 6 comparisons: F of score 6 x 0.25 = 1.5, so 1; everything else at least that: 1
"""

import csv
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from conftest import config as composed
from tabulation.hand_made import BOTH, config, judged, write_run

from src.evaluation.statistics import Interval
from src.tabulate import main, with_positional_runs
from src.tabulation.csv import csv_tables
from src.tabulation.latex import WITHIN, breakable, escaped, latex_tables
from src.tabulation.markdown import markdown_tables
from src.tabulation.paper_tables import paper_table
from src.tabulation.runs import find_reports
from src.tabulation.table import Column, Line, Table, Value

FOUR, TWO_AND_FIVE = [4.0] * 6, [2.0, 2.0, 2.0, 2.0, 5.0, 5.0]
NONE = ["0.0 %", "2.00 [0.00, 4.48]", "100.0 %", "4.00 [4.00, 4.00]", "33.3 %", "3.00 [0.00, 5.00]"]
SCORE = [
    "**50.0 %** ± 70.7",
    "**3.50** ± 0.71 [0.00, 5.00]",
    "100.0 % ± 0.0",
    "4.00 ± 0.00 [4.00, 4.00]",
    "**100.0 %** ± 0.0",
    "**5.00** ± 0.00 [5.00, 5.00]",
    "**4.17** ± 0.42 [0.37, 5.00]",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_run(
        folder / "0",
        {"5/5/5": judged([1, 1, 2, 2, 3, 3], FOUR, TWO_AND_FIVE), "copy input": judged(FOUR, FOUR, FOUR)},
        config(integration=None),
    )
    write_run(folder / "1", {"5/5/5": judged([3.0] * 6, FOUR, [5.0] * 6)}, config(["score"], seed=0))
    write_run(folder / "2", {"5/5/5": judged([4.0] * 6, FOUR, [5.0] * 6)}, config(["score"], seed=1))
    write_run(
        folder / "3",
        {"5/5/5": judged([0, 2, 2, 2, 3, 3], FOUR, TWO_AND_FIVE), "0/0/0": judged(FOUR, FOUR, FOUR)},
        config(["text"]),
    )
    return folder


@pytest.fixture(scope="module")
def written(runs: Path) -> dict[str, str]:
    """The table in every format, by ending, made by the real command's function."""
    files = [runs / f"table.{ending}" for ending in ("md", "tex", "html", "csv")]
    asked = [str(runs), "table=table4_reward_signal", f"output=[{','.join(map(str, files))}]"]
    main(composed(*with_positional_runs(asked), name="tabulate"))
    return {path.suffix[1:]: path.read_text() for path in files}


def table_of(runs: Path, name: str = "table4_reward_signal", against: str | None = None) -> Table:
    return paper_table(find_reports([runs]), name, "5/5/5", against, True)


def test_markdown(written: dict[str, str]) -> None:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in written["md"].splitlines()
        if line.startswith("|")
    ]
    assert lines[0] == [
        "Score",
        "Text",
        "numbers",
        "F acc",
        "F score",
        "P acc",
        "P score",
        "Q acc",
        "Q score",
        "overall",
    ]
    ours = [line for line in lines[2:] if line[2].startswith("ours")]
    assert ours[0] == ["", "", "ours", *NONE, "2.43 [0.00, 5.00]"]
    assert ours[1] == ["✓", "", "ours, 2 seeds", *SCORE]
    assert ours[2] == ["", "✓", "ours", *NONE, "2.29 [0.00, 5.00]"]
    # each of our lines has the paper's below it, and the fourth of the paper comes last
    paper = "*paper, Table 4*"
    assert [line[2] for line in lines[2:]] == ["ours", paper, "ours, 2 seeds", paper, "ours", paper, paper]
    assert lines[-1] == [
        "*✓*",
        "*✓*",
        "*paper, Table 4*",
        "*63 %*",
        "*3.39*",
        "*58 %*",
        "*3.43*",
        "*54 %*",
        "*3.80*",
        "-",
    ]


def test_notes_say_what_the_numbers_are(written: dict[str, str]) -> None:
    assert "Ours: six, judged by hand (hand-1), 6 cases on 3 photographs." in written["md"]
    assert (
        "†: the score differs from that of none at the 5 % level (two-sided, "
        "sign flips of whole photographs on the same cases" in written["md"]
    )
    assert "Holm's correction over the 6 comparisons of this table)" in written["md"]
    # 6 x 2 / 2^3 = 1.5
    assert (
        "With 3 photographs the smallest p of 6 comparisons is 1: no difference, however clear, "
        "can be marked." in written["md"]
    )
    assert "judged by GPT-4o; ours are on six, judged by hand" in written["md"]


def test_csv(written: dict[str, str]) -> None:
    rows = list(csv.DictReader(StringIO(written["csv"])))
    none, paper, score = rows[0], rows[1], rows[2]
    assert (none["benchmark"], none["judge"], none["numbers"], none["line"]) == (
        "six",
        "hand",
        "ours",
        "none",
    )
    assert [
        float(none[key]) for key in ("following_acc", "following_score", "quality_acc", "quality_score")
    ] == [0.0, 2.0, pytest.approx(1 / 3), 3.0]
    assert float(none["following_score_high"]) == pytest.approx(2 + 2.4841, abs=1e-4)
    assert none["following_score_p_holm"] == ""
    assert (float(score["following_score"]), float(score["following_score_spread"])) == (
        3.5,
        pytest.approx(0.7071, abs=1e-4),
    )
    assert float(score["following_score_p_holm"]) == 1.0
    assert (
        paper["numbers"],
        paper["benchmark"],
        float(paper["following_acc"]),
        float(paper["quality_score"]),
    ) == ("paper, Table 4", "", 0.49, 3.15)


def test_latex(written: dict[str, str]) -> None:
    text = written["tex"]
    check_latex(text)
    assert r" &  & ours & 0.0 & 2.00 {\scriptsize [0.00, 4.48]} & 100.0 &" in text
    assert (
        r"\checkmark{} &  & ours, 2 seeds & \textbf{50.0} {\scriptsize $\pm$ 70.7} "
        r"& \textbf{3.50} {\scriptsize $\pm$ 0.71 [0.00, 5.00]}" in text
    )
    assert r"\textit{63} & \textit{3.39}" in text
    assert r"\multicolumn{2}{c}{Following}" in text
    assert r"95 \% interval" in text


COMMANDS = {
    "": (
        *(
            "begin",
            "end",
            "centering",
            "caption",
            "label",
            "multicolumn",
            "textbf",
            "textit",
            "scriptsize",
            "pm",
            "dagger",
            "ldots",
        ),
        *(
            "small",
            "footnotesize",
            "setlength",
            "tabcolsep",
            "vspace",
            "par",
            "parbox",
            "raggedright",
            "strut",
        ),
        *("ifdim", "width", "linewidth", "else", "fi", "texttt", "char", "allowbreak", "protect"),
        *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"),
    ),
    "booktabs": ("toprule", "midrule", "bottomrule", "cmidrule"),
    "amssymb": ("checkmark",),
    "graphicx": ("resizebox",),
}
"""The commands of our tables by package; the first belong to LaTeX itself."""


def check_latex(text: str) -> None:
    """List what would break compilation, as far as it shows without LaTeX."""
    check_structure(text)
    packages = re.findall(r"^% \\usepackage\{([\w, ]+)\}$", text, re.MULTILINE)[0].split(", ")
    code = re.sub(r"^%.*$", "", text.replace(WITHIN, "{"), flags=re.MULTILINE)
    used = set(re.findall(r"\\([a-zA-Z]+)", code))
    known = {
        command
        for package, commands in COMMANDS.items()
        if package in ("", *packages)
        for command in commands
    }
    assert used <= known, used - known
    # single letters behind a backslash are escaped characters or the end of a line
    assert set(re.findall(r"\\([^a-zA-Z])", code)) <= set("&%$#_{}\\")
    maths = re.split(r"(?<!\\)\$", code)
    assert len(maths) % 2 == 1, "a formula is not closed"
    assert not any(re.search(r"[\^~<>|]", re.sub(r"\\text\w+\{\}", "", words)) for words in maths[::2]), (
        "prints as something else"
    )
    for tabular in re.findall(r"\\begin\{tabular\}\{([lrc]+)\}\n(.*?)\\end\{tabular\}", code, re.DOTALL):
        lines = tabular[1].splitlines()
        rules = [line for line in lines if line in (r"\toprule", r"\midrule", r"\bottomrule")]
        assert (rules[0], rules[-1], lines[0], lines[-1]) == (
            r"\toprule",
            r"\bottomrule",
            r"\toprule",
            r"\bottomrule",
        )
        assert set(rules[1:-1]) == {r"\midrule"}
        for line in lines:
            assert (
                line in rules
                or line.endswith(r" \\")
                or re.fullmatch(r"(\\cmidrule\(lr\)\{\d+-\d+\} ?)+", line)
            ), line
            assert not line.startswith(("[", "*")), "taken for an argument of the line end before it"
            for first, last in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", line):
                assert 1 <= int(first) <= int(last) <= len(tabular[0])


def check_structure(text: str) -> None:
    """Environments, braces and cells are balanced, and nothing special is left unescaped."""
    opened: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    for tabular in re.findall(r"\\begin\{tabular\}\{([lrc]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        for line in tabular[1].splitlines():
            if line.endswith(r"\\"):
                spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line))
                assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == len(tabular[0]), line
    code = re.sub(r"^%.*$", "", text.replace(WITHIN, "{"), flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)[%#_]", code), "unescaped"
    assert all(ord(letter) < 128 for letter in code)


def test_latex_of_names_that_mean_something_to_latex() -> None:
    labels = ("[5/5/5]", "*best*", r"a_b & 50% #1 {x} $y$ \z", 'x^2 ~ <y> | "q"', "")
    columns = (
        Column("f", "Following & more", "Score_%", "F"),
        Column("g", "", "[p]", "p", scale=100.0, unit="%"),
    )
    lines = tuple(
        Line(label, (label, "b"), (Value(0.5, Interval(0.1, 0.9), spread=0.1, p=0.01, best=True), None))
        for label in labels
    )
    text = latex_tables([Table("a_b", "100 % & more", ("[row]", "x_y"), columns, lines, ("± 5 % †",), {})])
    check_latex(text)
    assert "\n{}[5/5/5] & b & " in text
    assert "\n{}[row] & x\\_y & Score\\_\\% & [p] (\\%) \\\\\n" in text
    for wrong in ("\n[5/5/5] & b", "\n{} & b & c & d & e \\\\", " 50% ", "\\unknown{x}", "$x", "x^2"):
        with pytest.raises(AssertionError):
            check_latex(text.replace("\n{}[5/5/5] & b", wrong, 1))


def test_names_of_runs_and_signs_that_latex_joins() -> None:
    runs = ("/data/of/mine/a--b", "/data/of/mine/a--b", "/data/of/mine/c")
    lines = tuple(Line(str(index), (run, "5/5/5"), (None,)) for index, run in enumerate(runs))
    notes = ("Judge: code=" + "0123456789abcdef" * 4 + ".",)
    text = latex_tables(
        [Table("a", "Title", ("run", "row"), (Column("f", "", "F", "F"),), lines, notes)], across=True
    )
    check_latex(text)
    assert (
        "\n".join(("a-{}-b & 5/5/5 & - \\\\", " & 5/5/5 & - \\\\", "\\midrule", "c & 5/5/5 & - \\\\")) in text
    )
    assert r"\caption{Title}" in text, "the notes are below the table"
    assert r"\footnotesize\raggedright Judge: code=012\allowbreak{}3456789a\allowbreak{}" in text
    assert text.count(r"{table*}") == 2
    assert (escaped("?`!`"), escaped("---"), escaped("''"), escaped('"a"')) == (
        *("?{}`!{}`", "-{}-{}-", "'{}'"),
        r"\texttt{\char34}a\texttt{\char34}",
    )
    assert breakable("short words") == "short words"


NAMES = (
    *(
        r"a_b & 50% #1 {x} $y$ \z ~ ^ <a> | \"q\"",
        "[5/5/5]",
        "*best*",
        "?`!` -- --- `` '' ,, << >>",
        "\t\x07",
    ),
    *(
        "é ü ß Ł ž “a” „b“ → \u2013 \u2014 … • € ™ † ± ✓ «ą ð» ¡ÿ ŕ Ž",
        "编号 号",
        "👒 hat",
        "привет",
        "مرحبا",
        "a/" * 60,
    ),
)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_prints_every_table_within_the_page(written: dict[str, str], tmp_path: Path) -> None:
    columns = tuple(Column(str(index), "Following", "Score & %", "F") for index in range(9))
    values = (Value(0.5, Interval(0.1, 0.9), spread=0.1, p=0.01, best=True),) * 9
    lines = tuple(Line(name, (name, "row"), values) for name in NAMES)
    odd = Table("odd", " ".join(NAMES), ("run", "row"), columns, lines, NAMES)
    (tmp_path / "odd.tex").write_text(latex_tables([odd], across=True))
    (tmp_path / "table4.tex").write_text(written["tex"])
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs, amssymb, graphicx}\begin{document}"
        r"\input{table4}\input{odd}\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "% pdflatex has no letters such as " in (tmp_path / "odd.tex").read_text()


@pytest.mark.parametrize("text", ["=1+1 evil", "+1", "-2+3", "@SUM(A1)", "\t=1", "\uff1d1"])
def test_a_cell_of_a_csv_file_is_no_formula(text: str) -> None:
    table = Table("t", text, ("row",), (Column("f", "", "F", "F"),), (Line(text, (text,), (Value(-0.5),)),))
    (row,) = csv.DictReader(StringIO(csv_tables([table])))
    assert row["line"] == row["row"] == f"'{text}"
    assert float(row["f"]) == -0.5


def test_names_are_no_markup_in_markdown() -> None:
    texts = {
        "none_5/x_y": "none_5/x_y",
        "[5/5/5]": "[5/5/5]",
        "*a* _b_ `c`": r"\*a\* \_b\_ \`c\`",
        "<img src=x onerror=y> a < b": r"\<img src=x onerror=y> a < b",
        "[a](http://x) ![b](c) $d$ ~~e~~ &lt;": r"\[a](http://x) \!\[b](c) \$d\$ \~~e\~~ \&lt;",
        "a | b\nc\\|": r"a \| b c\\\|",
    }
    for text, shown in texts.items():
        table = Table("t", "T", ("row",), (Column("f", "", "F", "F"),), (Line(text, (text,), (None,)),))
        assert f"\n| {shown} | - |\n" in markdown_tables([table])


def test_html(written: dict[str, str]) -> None:
    text = written["html"]
    assert "<td><b>3.50</b> <small>± 0.71 [0.00, 5.00]</small></td>" in text
    assert '<th class="group" scope="colgroup" colspan="2">Following</th>' in text
    assert '<tr class="published">' in text
    assert not re.search(r'(src|href)="', text)


def test_another_reference_line(runs: Path) -> None:
    table = table_of(runs, against="score")
    assert [
        [value.p for value in line.values if value is not None][:2]
        for line in table.lines
        if not line.published
    ][1] == [None, None]
    assert any("differs from that of score" in note for note in table.notes)
    with pytest.raises(
        ValueError, match="against=best: the table has no such line; there are none; score; text"
    ):
        table_of(runs, against="best")


def test_a_difference_on_enough_photographs_is_marked(tmp_path: Path) -> None:
    # 8 photographs with a case each: F + 1 everywhere, p = 2 / 2^8; P the same, p = 1; Q +1 on half, -1 on
    # half: p = 1; Holm: 3 x 2 / 256 = 0.0234
    eight, mixed = [2.0] * 8, [3.0, 1.0] * 4
    write_run(
        tmp_path / "none", {"5/5/5": judged(eight, eight, eight, per_photograph=1)}, config(integration=None)
    )
    write_run(
        tmp_path / "both",
        {"5/5/5": judged([3.0] * 8, eight, mixed, per_photograph=1)},
        config(integration=BOTH),
    )
    line = next(
        line for line in table_of(tmp_path).lines if line.name == "score + text" and not line.published
    )
    following, preserving, quality = [value for value in line.values if value is not None][1:6:2]
    assert (following.p, following.differs) == (pytest.approx(3 * 2 / 256), True)
    assert [(each.p, each.differs) for each in (preserving, quality)] == [(1.0, False)] * 2
