"""src.annotate against a real HTTP server in a process of its own: every row ends scored or failed, nothing
is asked twice, nothing is lost.
"""

import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import datasets
import pytest

from src.annotation.export import export_format
from src.annotation.folder import LEDGER, REWARDS, claim_rows, write_record
from src.annotation.merge import merge_annotations
from src.data.rewards import from_reward_edit, from_reward_file
from src.files import alone_in
from src.judges.fake_server import RunningServer, running_server
from src.judges.ledger import Ledger
from src.records import Reward
from src.reward_file import iter_rewards, read_rewards
from tests.data.written import write_list
from tests.killing import Command, finished

KEY = "test-key"
ENVIRONMENT = {
    "OPENAI_API_KEY": KEY
}  # for each command: the server that forks them may have been started by another test
CALLS = 3  # per row


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server") / "log.jsonl", "--latency=0.01") as running:
        yield running


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_list(tmp_path_factory.mktemp("rows"), 30)


def asking(server: RunningServer | str, rows: Path, output: Path, *more: str) -> list[str]:
    address = server if isinstance(server, str) else server.base_url
    data = ["data=json_list", f"data.dataset.file={rows}"]
    return [
        *data,
        "judge=gpt4o",
        f"judge.client.base_url={address}",
        f"output={output}",
        "judge.limits.longest_wait=0.2",
        *more,
    ]


def annotated(server: RunningServer, rows: Path, output: Path, *more: str) -> list[Reward]:
    finished(
        "src.annotate",
        *asking(server, rows, output, *more),
        log=output.with_suffix(".log"),
        environment=ENVIRONMENT,
    )
    return read_rewards(output / "rewards.jsonl")


def verified(server: RunningServer, folder: Path) -> str:
    options = ["judge=gpt4o", f"judge.client.base_url={server.base_url}", f"output={folder}"]
    return finished("src.annotate", "steps=[verify]", *options, log=folder.with_suffix(".log"))


def calls_of(server: RunningServer, before: int) -> list[dict]:
    return server.requests()[before:]


def by_id(rewards: list[Reward]) -> dict[str, Reward]:
    assert len({reward.id for reward in rewards}) == len(rewards)
    return {reward.id: reward for reward in rewards}


@pytest.fixture(scope="module")
def whole(server: RunningServer, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annotation that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "annotations"
    annotated(server, rows, folder)
    return folder


def test_every_row_is_scored_and_every_score_can_be_derived_again(server: RunningServer, whole: Path) -> None:
    rewards = by_id(read_rewards(whole / "rewards.jsonl"))
    assert len(rewards) == 30
    assert all(verdict.status == "ok" for reward in rewards.values() for verdict in reward.verdicts)
    assert "30 rewards derived" in verified(server, whole)
    record = json.loads((whole / "annotation.json").read_text())
    assert (record["rows"], record["scored"], record["failed"], record["calls"]) == (30, 30, 0, 30 * CALLS)
    usages = [usage for _, usage in iter_rewards(whole / "rewards.jsonl")]
    assert sum(usage["input_tokens"] for usage in usages) == record["input_tokens"]
    assert record["dollars"] == pytest.approx(sum(usage["dollars"] for usage in usages))


def test_a_second_run_makes_no_call_and_leaves_the_same_file(
    server: RunningServer, rows: Path, whole: Path
) -> None:
    before, content = len(server.requests()), (whole / "rewards.jsonl").read_bytes()
    annotated(server, rows, whole)
    assert (whole / "rewards.jsonl").read_bytes() == content
    (whole / "rewards.jsonl").unlink()  # the ledger is the source: the table is derived anew
    again = by_id(annotated(server, rows, whole))
    (whole / "rewards.jsonl").write_bytes(content)
    assert again == by_id(read_rewards(whole / "rewards.jsonl"))
    assert calls_of(server, before) == []


def test_a_changed_score_is_found(server: RunningServer, whole: Path, tmp_path: Path) -> None:
    text = (whole / "rewards.jsonl").read_text()
    lines = text.splitlines()
    row = json.loads(lines[4])
    row["quality"]["score"] = 5.0 if row["quality"]["score"] != 5.0 else 4.0
    try:
        (whole / "rewards.jsonl").write_text("\n".join([*lines[:4], json.dumps(row), *lines[5:]]) + "\n")
        command = Command(
            "src.annotate", "steps=[verify]", "judge=gpt4o", f"output={whole}", log=tmp_path / "log"
        )
        assert command.ended() == 1
        assert re.search(
            r"error: 1 of 30 rewards .* differ from the replies, the first: '",
            (tmp_path / "log").read_text(),
        )
    finally:
        (whole / "rewards.jsonl").write_text(text)


def test_the_estimate_is_what_the_server_counts(
    server: RunningServer, rows: Path, whole: Path, tmp_path: Path
) -> None:
    before = len(server.requests())
    said = finished(
        "src.annotate", *asking(server, rows, tmp_path / "new", "dry_run=true"), log=tmp_path / "log"
    )
    assert not (tmp_path / "new").exists()
    assert calls_of(server, before) == []
    calls, tokens = (
        int(re.search(pattern, said)[1].replace(",", ""))
        for pattern in (r": ([\d,]+) calls", r"tokens: ([\d,]+) in")
    )
    record = json.loads((whole / "annotation.json").read_text())
    assert calls == record["calls"]
    assert tokens == pytest.approx(record["input_tokens"], rel=0.1)


def test_faults_leave_every_row_scored_or_failed_and_no_score_is_made_up(
    rows: Path, whole: Path, tmp_path: Path
) -> None:
    clean = by_id(read_rewards(whole / "rewards.jsonl"))
    options = ("--latency=0.01", "--faults=0.3", "--seed=3", "--retry-after=0.1", "--slow-factor=5")
    with running_server(tmp_path / "server.jsonl", *options) as faulty:
        rewards = by_id(annotated(faulty, rows, tmp_path / "annotations", "judge.limits.concurrency=8"))
        assert rewards.keys() == clean.keys()
        said = verified(faulty, tmp_path / "annotations")
        requests = faulty.requests()
    assert "30 rewards derived" in said
    ledger = Ledger(tmp_path / "annotations/ledger.sqlite")
    attempts = list(ledger.attempts())
    assert len(attempts) == len(requests)  # every attempt that the server saw is in the ledger
    assert len({request["fault"] for request in requests}) > 5
    asked_again = {(attempt["triplet"], attempt["about"]) for attempt in attempts if attempt["again"]}
    for id, reward in rewards.items():
        for about, verdict, true in zip(
            ("following", "preserving", "quality"), reward.verdicts, clean[id].verdicts, strict=True
        ):
            if verdict.status == "failed":
                assert verdict.score is None
                assert verdict.feedback.startswith(about)
            elif (id, about) not in asked_again:
                assert (verdict.score, verdict.feedback) == (true.score, true.feedback)
    record = json.loads((tmp_path / "annotations/annotation.json").read_text())
    assert record["scored"] + record["failed"] == record["rows"] == 30
    assert sum(record["verdicts"].values()) == 90
    assert sum(record["outcomes"].values()) == len(requests)


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_killed_three_times_the_same_rows_come_out(count: int, server: RunningServer, tmp_path: Path) -> None:
    many = write_list(tmp_path / "rows", count)
    concurrency, output, log = 6, tmp_path / "annotations", tmp_path / "log"
    before = len(server.requests())
    for share in (0.15, 0.4, 0.7):
        calls = before + int(share * CALLS * count)
        command = Command(
            "src.annotate",
            *asking(server, many, output, f"judge.limits.concurrency={concurrency}"),
            log=log,
            environment=ENVIRONMENT,
        )
        assert command.killed_when(
            lambda calls=calls: server.log.read_bytes().count(b"\n") >= calls, seconds=600
        )
    rewards = by_id(annotated(server, many, output, f"judge.limits.concurrency={concurrency}"))
    assert len(rewards) == count
    assert [
        verdict.feedback
        for reward in rewards.values()
        for verdict in reward.verdicts
        if verdict.status == "failed"
    ] == []
    # a request that was being sent when its sender was killed has no content
    keys = Counter(request["key"] for request in calls_of(server, before) if "key" in request)
    assert len(keys) == count * CALLS
    assert keys.total() - len(keys) <= 3 * concurrency
    assert f"{count} rewards derived" in verified(server, output)
    assert by_id(annotated(server, many, tmp_path / "untouched")) == rewards


def test_the_budget_stops_the_run_and_a_larger_one_goes_on(
    server: RunningServer, rows: Path, whole: Path, tmp_path: Path
) -> None:
    cost = json.loads((whole / "annotation.json").read_text())["dollars"]
    log = tmp_path / "log"
    small = asking(server, rows, tmp_path / "a", f"budget_usd={cost / 2}", "judge.limits.concurrency=4")
    command = Command("src.annotate", *small, log=log, environment=ENVIRONMENT)
    assert command.ended() == 1
    assert "error: the budget of $" in log.read_text().splitlines()[-1]
    spent = json.loads((tmp_path / "a/annotation.json").read_text())
    assert cost / 4 < spent["dollars"] <= cost / 2
    assert 0 < spent["rows"] < 30
    assert (spent["finished"], spent["estimated"]) == (False, 0)
    rewards = annotated(server, rows, tmp_path / "a", f"budget_usd={cost * 2}")
    assert by_id(rewards) == by_id(read_rewards(whole / "rewards.jsonl"))


def test_shards_join_to_the_whole(server: RunningServer, rows: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "annotations"
    for shard in ("1/3", "3/3"):
        finished(
            "src.annotate",
            *asking(server, rows, output, f"shard={shard}"),
            log=tmp_path / "log",
            environment=ENVIRONMENT,
        )
    log = tmp_path / "merge.log"
    assert Command("src.annotate", "steps=[merge]", f"output={output}", log=log).ended() == 1
    assert "lacks 1 of 3 shards, the first is 2" in log.read_text()
    finished(
        "src.annotate",
        *asking(server, rows, output, "shard=2/3"),
        log=tmp_path / "log",
        environment=ENVIRONMENT,
    )
    for _ in range(2):
        finished("src.annotate", "steps=[merge]", f"output={output}", log=tmp_path / "log")
        assert by_id(read_rewards(output / "rewards.jsonl")) == by_id(read_rewards(whole / "rewards.jsonl"))
    assert "30 rewards derived" in verified(server, output)
    assert json.loads((output / "annotation.json").read_text())["rows"] == 30
    # the same rows under another division overlap
    log = tmp_path / "overlap.log"
    sources = f"merge.sources=[{output / 'shard-1-of-3'},{whole}]"
    assert (
        Command("src.annotate", "steps=[merge]", f"output={tmp_path / 'both'}", sources, log=log).ended() == 1
    )
    assert re.search(r"^error: .* overlap: both hold a reward of '", log.read_text(), re.MULTILINE)


@pytest.mark.parametrize("damage", ["deleted", "emptied", "of another"])
def test_a_lost_ledger_is_asked_about(
    damage: str, server: RunningServer, rows: Path, whole: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "annotations", tmp_path / "log"
    shutil.copytree(whole, folder)
    for file in folder.glob("ledger.sqlite*"):
        file.unlink()
    if damage == "emptied":
        (folder / "ledger.sqlite").touch()
    if damage == "of another":
        Ledger(folder / "ledger.sqlite").close()
    before, content = len(server.requests()), (folder / "rewards.jsonl").read_bytes()
    record = (folder / "annotation.json").read_bytes()
    command = Command("src.annotate", *asking(server, rows, folder), log=log, environment=ENVIRONMENT)
    assert command.ended() == 1
    said = log.read_text().splitlines()[-1]
    assert re.fullmatch(r"error: .*rewards.jsonl holds 30 rewards whose answers are not in .*ledger.*", said)
    assert "lost_answers=keep" in said
    assert (folder / "annotation.json").read_bytes() == record
    if damage != "deleted":
        return
    annotated(server, rows, folder, "lost_answers=keep")
    assert calls_of(server, before) == []
    assert (folder / "rewards.jsonl").read_bytes() == content
    annotated(server, rows, folder, "lost_answers=ask")
    assert len(calls_of(server, before)) == 30 * CALLS
    assert (folder / "rewards.jsonl").read_bytes() == content


def test_only_finished_shards_with_rewards_are_merged(whole: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard-1-of-1"
    shutil.copytree(whole, shard)
    record = json.loads((shard / "annotation.json").read_text())
    assert record["finished"] is True
    for finished_field in ({"finished": False}, {}):
        write_record(shard, {name: record[name] for name in record if name != "finished"} | finished_field)
        with pytest.raises(ValueError, match="1 of 1 shards are not known to be finished"):
            merge_annotations(tmp_path, None, allow_missing=False)
    merge_annotations(tmp_path, None, allow_missing=True)
    assert json.loads((tmp_path / "annotation.json").read_text())["finished"] is False
    write_record(shard, record | {"rows": 0})
    with pytest.raises(ValueError, match="none of 1 shards holds a reward"):
        merge_annotations(tmp_path, None, allow_missing=False)
    write_record(shard, record)
    (shard / "ledger.sqlite").rename(tmp_path / "elsewhere.sqlite")
    with pytest.raises(FileNotFoundError, match="counts 90 calls; restore it"):
        merge_annotations(tmp_path, None, allow_missing=False)
    write_record(shard, record | {"ledger": str(tmp_path / "elsewhere.sqlite")})
    merge_annotations(tmp_path, None, allow_missing=False)
    assert Ledger(tmp_path / "ledger.sqlite").total().calls == 90


def test_an_annotation_is_passed_on(server: RunningServer, rows: Path, whole: Path, tmp_path: Path) -> None:
    rewards = by_id(read_rewards(whole / "rewards.jsonl"))
    data = ("data=json_list", f"data.dataset.file={rows}")
    finished(
        "src.annotate",
        "steps=[export]",
        f"output={whole}",
        *data,
        f"export.output={tmp_path / 'set'}",
        log=tmp_path / "log",
    )
    table = datasets.load_dataset("parquet", data_dir=str(tmp_path / "set/data"), split="train")
    assert table["id"][:] == [row["id"] for row in table]
    for row in table:
        reward = rewards[row["id"]]
        assert [row[f"reward_{name}"] for name in ("following", "preserving", "quality")] == [
            verdict.score for verdict in reward.verdicts
        ]
        assert row["original_image"].size == (32, 24)
    assert "configs:" in (tmp_path / "set/README.md").read_text()
    loaded = datasets.load_dataset(str(tmp_path / "set"), split="train")  # as the hub would, by the card
    assert len(loaded) == 30
    finished(
        "src.annotate",
        "steps=[export]",
        f"output={whole}",
        f"export.output={tmp_path / 'R.json'}",
        log=tmp_path / "log",
    )
    read = from_reward_edit(tmp_path / "R.json")
    assert read.wrong == {}
    for id, reward in read.by_id.items():
        assert [(v.score, v.feedback) for v in reward.verdicts] == [
            (v.score, v.feedback) for v in rewards[id].verdicts
        ]
    finished(
        "src.annotate",
        "steps=[export]",
        f"output={whole}",
        f"export.output={tmp_path / 'replies.parquet'}",
        log=tmp_path / "log",
    )
    assert (
        len(datasets.load_dataset("parquet", data_files=str(tmp_path / "replies.parquet"), split="train"))
        == 30 * CALLS
    )


@pytest.mark.parametrize(
    ("format", "output", "meant"),
    [
        (None, "set", "dataset"),
        (None, "set.v2", "dataset"),
        (None, "RewardEdit_20K.json", "reward_edit_20k"),
        ("ledger", "replies.jsonl", "ledger"),
        (None, "replies.parquet", "ledger"),
        (None, "set.csv", None),
        ("dataset", "RewardEdit_20K.json", None),
        ("reward_edit_20k", "set", None),
        ("parquet", "set", None),
    ],
)
def test_the_name_of_an_export_chooses_its_format(format: str | None, output: str, meant: str | None) -> None:
    if meant is not None:
        assert export_format(format, Path(output)) == meant
        return
    with pytest.raises(
        ValueError, match=r"export\.(output=.* ending chooses the format|format=parquet: choose)"
    ):
        export_format(format, Path(output))


def test_a_stream_is_annotated_like_a_table(
    server: RunningServer, rows: Path, whole: Path, tmp_path: Path
) -> None:
    """Rows of a set that needn't fit on a disk, a shard at a time."""
    finished(
        "src.annotate",
        "steps=[export]",
        f"output={whole}",
        "data=json_list",
        f"data.dataset.file={rows}",
        f"export.output={tmp_path / 'set'}",
        log=tmp_path / "log",
    )
    judge = ("judge=gpt4o", f"judge.client.base_url={server.base_url}", f"output={tmp_path / 'a'}")
    for shard in ("1/2", "2/2"):
        data = ("data=stream", f"data.stream.path={tmp_path / 'set/data'}", f"shard={shard}")
        finished("src.annotate", *data, *judge, log=tmp_path / "log", environment=ENVIRONMENT)
    finished("src.annotate", "steps=[merge]", f"output={tmp_path / 'a'}", log=tmp_path / "log")
    scores = {
        id: [verdict.score for verdict in reward.verdicts]
        for id, reward in by_id(read_rewards(tmp_path / "a/rewards.jsonl")).items()
    }
    assert scores == {
        id: [verdict.score for verdict in reward.verdicts]
        for id, reward in by_id(read_rewards(whole / "rewards.jsonl")).items()
    }


def test_the_rewards_join_the_rows_they_were_made_of(rows: Path, whole: Path, tmp_path: Path) -> None:
    reward_file = ("+rewards@data.rewards=reward_file", f"data.rewards.path={whole / 'rewards.jsonl'}")
    said = finished(
        "src.check_data", "data=json_list", f"data.dataset.file={rows}", *reward_file, log=tmp_path / "log"
    )
    assert "rated" in said
    other = write_list(
        tmp_path / "other",
        5,
        name="others.json",
        instruction=[f"turn it upside down {index}" for index in range(5)],
    )
    log = tmp_path / "other.log"
    assert (
        Command(
            "src.check_data", "data=json_list", f"data.dataset.file={other}", *reward_file, log=log
        ).ended()
        == 1
    )
    assert re.search(r"^error: none of 30 rewards of .* fits any of 5 rows", log.read_text(), re.MULTILINE)


def test_an_unreadable_image_fails_its_row_and_the_run_goes_on(server: RunningServer, tmp_path: Path) -> None:
    rows = write_list(tmp_path / "rows", 6, id=[f"row-{index}" for index in range(6)])
    (tmp_path / "rows/images/2.png").write_bytes(b"not a picture")
    (tmp_path / "rows/images/4-edited.png").unlink()
    rewards = by_id(annotated(server, rows, tmp_path / "annotations"))
    assert {id for id, reward in rewards.items() if reward.failed} == {"row-2", "row-4"}
    assert "images/2.png is not a readable image" in rewards["row-2"].following.feedback
    # mended, they are judged, and the new rewards take the place of the failed ones
    mended = write_list(tmp_path / "rows", 6, id=[f"row-{index}" for index in range(6)])
    annotated(server, mended, tmp_path / "annotations")
    joined = from_reward_file(tmp_path / "annotations/rewards.jsonl").by_id
    assert len(joined) == 6
    assert not any(reward.failed for reward in joined.values())


BAD = {
    "no key": (["judge.client.key_variable=NO_SUCH_KEY"], "environment variable NO_SUCH_KEY is not set"),
    "wrong key": (["judge.client.key_variable=WRONG_KEY"], "the key is not accepted"),
    "unknown model": (["judge.client.model=gpt-99"], "gpt-99"),
    "wrong path": (["judge.client.base_url={address}/oops"], "not found"),
    "nobody listens": (["judge.client.base_url=http://127.0.0.1:9/v1"], "gives no usable answer"),
    "no such prompts": (["judge.rubric.prompts=v999"], "no prompt"),
    "a shard that isn't": (["shard=4/3"], "shards are numbered from 1 to 3"),
    "no such file": (["data.dataset.file=/nowhere/rows.json"], "/nowhere/rows.json"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_after_at_most_one_call(
    what: str, server: RunningServer, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides, words = BAD[what]
    monkeypatch.setenv("WRONG_KEY", "sk-wrong-and-secret")
    before, log = len(server.requests()), tmp_path / "log"
    arguments = asking(
        server, rows, tmp_path / "annotations", *(each.format(address=server.base_url) for each in overrides)
    )
    environment = {**ENVIRONMENT, "WRONG_KEY": "sk-wrong-and-secret"}
    assert Command("src.annotate", *arguments, log=log, environment=environment).ended() == 1
    errors = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "secret" not in log.read_text()
    assert len(calls_of(server, before)) <= 1


@pytest.mark.parametrize(
    ("override", "words"), [("judge.rubric.quality_sees=both", "another judge"), ("limit=3", "other rows")]
)
def test_another_judge_or_other_rows_are_refused_in_the_same_folder(
    override: str, words: str, server: RunningServer, rows: Path, whole: Path, tmp_path: Path
) -> None:
    assert (
        Command(
            "src.annotate",
            *asking(server, rows, whole, override),
            log=tmp_path / "log",
            environment=ENVIRONMENT,
        ).ended()
        == 1
    )
    assert words in (tmp_path / "log").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "data= is missing: choose json_list,"), (["data=json_list"], "WRONG_KEY is not set")],
)
def test_what_cannot_begin_leaves_no_folder(
    arguments: list[str], words: str, rows: Path, tmp_path: Path, quickly_refused: Callable[..., str]
) -> None:
    more = [f"data.dataset.file={rows}", "judge.client.key_variable=WRONG_KEY"] if arguments else []
    output = f"output={tmp_path / 'new'}"
    assert words in quickly_refused(*arguments, *more, output, module="src.annotate")
    assert not (tmp_path / "new").exists()


def test_an_annotation_that_got_nothing_does_not_hold_its_folder(tmp_path: Path) -> None:
    claim_rows(tmp_path, {"limit": 1})
    Ledger(tmp_path / LEDGER).close()
    claim_rows(tmp_path, {"limit": 2})
    (tmp_path / REWARDS).write_text("{}\n")
    with pytest.raises(ValueError, match="other rows"):
        claim_rows(tmp_path, {"limit": 3})


def test_two_annotations_in_one_folder_are_refused(server: RunningServer, rows: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path / "both", "annotating"):
        command = Command(
            "src.annotate",
            *asking(server, rows, tmp_path / "both"),
            log=tmp_path / "log",
            environment=ENVIRONMENT,
        )
        assert command.ended() == 1
    assert "is annotating in" in (tmp_path / "log").read_text().splitlines()[-1]


def test_the_key_is_in_no_file(whole: Path) -> None:
    files = [file for file in whole.rglob("*") if file.is_file()]
    assert len(files) >= 4
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def test_the_oracle_annotates_without_a_ledger(tmp_path: Path) -> None:
    arguments = ("judge=oracle", "data=synthetic", "data.dataset.length=4", f"output={tmp_path / 'a'}")
    finished("src.annotate", *arguments, log=tmp_path / "log")
    rewards = read_rewards(tmp_path / "a/rewards.jsonl")
    assert len(rewards) == 4
    assert not any(reward.failed for reward in rewards)
    content = (tmp_path / "a/rewards.jsonl").read_bytes()
    finished("src.annotate", *arguments, log=tmp_path / "log")
    assert (tmp_path / "a/rewards.jsonl").read_bytes() == content


def test_retry_after_is_honoured(rows: Path, tmp_path: Path) -> None:
    options = ("--latency=0.0", "--faults=0.5", "--kinds=busy", "--retry-after=0.4", "--seed=1")
    with running_server(tmp_path / "server.jsonl", *options) as busy:
        annotated(busy, rows, tmp_path / "annotations", "limit=4")
        requests = busy.requests()
    connection = sqlite3.connect(tmp_path / "annotations/ledger.sqlite")
    assert connection.execute("SELECT COUNT(*) FROM attempts WHERE outcome = 'busy'").fetchone()[0] > 0
    by_key: dict[str, list[dict]] = {}
    for request in requests:
        by_key.setdefault(request["key"], []).append(request)
    waits = [later["time"] - sooner["time"] for each in by_key.values() for sooner, later in pairwise(each)]
    assert waits
    assert min(waits) >= 0.4
