"""A judge of one's own, on tiny random models of the real classes: what is learnt, from which tokens, by
which weights; the adapter in a judge; a killed training; what is refused.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from commands import run, run_interpreter
from conftest import config
from data.written import write_list
from hydra.errors import InstantiationException
from judges.tiny_vlm import FAMILIES, write_vlm
from killing import Command, lines_in
from omegaconf import DictConfig
from peft import LoraConfig
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from src import train_judge
from src.data.all_rows import Shard, all_rows, decode_with_files
from src.data.json_list import JsonList
from src.data.rows import DatasetRow
from src.judge_tuning.lessons import Lesson, LessonFilter, Lessons, _ordered, find_lessons
from src.judge_tuning.network import AnswerReader, TunedVLM
from src.judge_tuning.tuning import answer_loss
from src.judges.editscore import EditScoreRubric
from src.judges.ledger import Ledger
from src.judges.local_vlm import LocalVLM
from src.judges.price import Charge
from src.judges.question import Reply
from src.judges.rubric import PerspectiveRubric
from src.judges.vlm_network import VLMNetwork
from src.launch import one_line
from src.records import PERSPECTIVES, Reward, Verdict
from src.reward_file import append_rewards

COUNT = 4
TEACHER = "a teacher"
LANGUAGE = ".*language_model.*\\.(q_proj|v_proj)"


def written(folder: Path) -> dict[str, Path]:
    """A dataset, prompts, labels, and the ledger of a judge that gave row r the score r to each question; its
    last answer is no answer.
    """
    prompts = folder / "prompts"
    prompts.mkdir(parents=True)
    for perspective in PERSPECTIVES:
        (prompts / f"annotation_{perspective}.txt").write_text(f"{perspective}? {{quoted_instruction}}")
    rows = write_list(folder / "rows", COUNT, id=[f"row {row}" for row in range(COUNT)])
    ledger, labels = Ledger(folder / "ledger.sqlite"), []
    rubric = rubric_of(prompts)
    for number, row in enumerate(rows_of(rows)):
        for question in rubric.questions(decode_with_files(row)):
            text = json.dumps({"feedback": f"it is {number}", "score": number})
            if number == COUNT - 1 and question.about == "quality":
                text = "no idea"
            ledger.record_reply(question.key(TEACHER), question, "m", TEACHER, Reply(text), Charge())
        labels.append(Reward(row.id, "people", f"k{number}", *(Verdict(5.0 - number) for _ in PERSPECTIVES)))
    ledger.close()
    append_rewards(folder / "labels.jsonl", labels)
    return {
        "rows": rows,
        "prompts": prompts,
        "ledger": folder / "ledger.sqlite",
        "labels": folder / "labels.jsonl",
    }


def rows_of(file: Path) -> list[DatasetRow]:
    return [row for row in all_rows(JsonList(file), Shard()) if isinstance(row, DatasetRow)]


def rubric_of(prompts: Path) -> PerspectiveRubric:
    return PerspectiveRubric(mode="annotation", prompts=str(prompts), max_pixels=4096)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return written(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vlm")
    return {family: write_vlm(folder / family, family) for family in FAMILIES}


def overrides(files: dict[str, Path], model: Path, folder: Path, *more: str) -> list[str]:
    return [
        "data=json_list",
        f"data.dataset.file={files['rows']}",
        f"ledger={files['ledger']}",
        f"judge.rubric.prompts={files['prompts']}",
        "judge.rubric.max_pixels=4096",
        f"judge.client.model={model}",
        "judge.client.dtype=float32",
        "trainer.precision=32-true",
        "trainer.max_steps=4",
        "trainer.log_every_n_steps=1",
        "algorithm.scheduler.warmup_steps=1",
        "algorithm.optimizer.lr=0.05",
        "callbacks.checkpoint.every_n_train_steps=2",
        "adapter.r=2",
        "batch_size=3",
        "num_workers=0",
        f"hydra.run.dir={folder}",
        *more,
    ]


def lessons(files: dict[str, Path], keep: LessonFilter, labelled: bool = True) -> Lessons:
    from src.data.rewards import from_reward_file

    ledger = Ledger(files["ledger"])
    labels = from_reward_file(files["labels"]).by_id if labelled else None
    try:
        return find_lessons(JsonList(files["rows"]), rubric_of(files["prompts"]), ledger, labels, keep)
    finally:
        ledger.close()


def test_what_is_learnt_by_hand(files: dict[str, Path]) -> None:
    """Answers are 0, 1, 2, 3 and labels 5, 4, 3, 2, so they differ by 5, 3, 1, 1."""
    whole = lessons(files, LessonFilter(), labelled=False)
    assert (whole.asked, len(whole.lessons)) == (12, 11)
    assert whole.left_out == {"no readable answer": 1}
    assert json.loads(whole.lessons[0].answer) == {"feedback": "it is 0", "score": 0}
    assert list(json.loads(whole.lessons[0].answer)) == ["feedback", "score"], "words first"
    assert {each.row for each in lessons(files, LessonFilter(within=1)).lessons} == {2, 3}
    digits = [
        json.loads(each.answer)["score"] for each in lessons(files, LessonFilter(relabelled=True)).lessons
    ]
    assert digits == [5, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2]
    few = lessons(files, LessonFilter(most_per_score=2)).lessons
    assert len(few) == 11, "no question has a score twice"


EDITSCORE = ("semantic_consistency", "perceptual_quality")


def test_two_scores_in_an_answer_are_two_perspectives_or_the_worse_of_one(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """EditScore's ledger: row r has following 5r, preserving 25 - 5r and quality min(5r, 20) of 25."""
    for name in EDITSCORE:
        (tmp_path / f"{name}.txt").write_text(f"{name} 0 to {{max_score}}: {{quoted_instruction}}")
    rows = write_list(tmp_path / "rows", COUNT, id=[f"row {row}" for row in range(COUNT)])
    rubric, ledger = EditScoreRubric(prompts=str(tmp_path), repeats=2), Ledger(tmp_path / "ledger.sqlite")
    for number, row in enumerate(rows_of(rows)):
        for question in rubric.questions(decode_with_files(row)):
            scores = [5 * number, 25 - 5 * number if question.about == EDITSCORE[0] else 20]
            text = json.dumps({"reasoning": f"pass {question.repeat}", "score": scores})
            ledger.record_reply(question.key(TEACHER), question, "m", TEACHER, Reply(text), Charge())
    dataset, labels = JsonList(rows), {}
    for number in range(COUNT):
        verdicts = Verdict(float(number)), Verdict(5.0 - number), Verdict(1.0)
        labels[f"row {number}"] = Reward(f"row {number}", "people", "k", *verdicts)
    found = find_lessons(dataset, rubric, ledger, labels, LessonFilter(within=0)).lessons
    whole = [(each.row, each.place) for each in found]
    # semantic answers are the labels; quality's are where the worse of both is 1 point
    assert whole == [(0, 0), (0, 1), *((1, place) for place in range(4)), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert found[2].points == (1.0, 4.0)
    assert found[4].points == (1.0,)
    assert found[3].answer == '{"reasoning": "pass 1", "score": [5, 20]}'
    ordered = find_lessons(dataset, rubric, ledger, labels, LessonFilter(ordered=True))
    assert len(ordered.lessons) == 4 * COUNT, "no two rows are edits of one case"
    with pytest.raises(ValueError, match="asks for 2 scores where there is one"):
        find_lessons(dataset, rubric, ledger, labels, LessonFilter(relabelled=True))
    ledger.close()
    files = {"rows": rows, "ledger": tmp_path / "ledger.sqlite", "prompts": tmp_path}
    asked = ["judge=editscore", "judge.client.adapter=null", "judge.rubric.repeats=2"]
    given = [each for each in overrides(files, models["qwen3_vl"], tmp_path) if "hydra." not in each]
    cfg = config(*given, *asked, name="train_judge")
    assert cfg.judge.rubric.expected
    kept = train_judge.lessons_of(cfg, dataset, train_judge.written_rubric(cfg))
    assert len(kept.lessons) == 4 * COUNT


def test_pairs_that_answers_order_otherwise_than_people_are_left_out() -> None:
    def lesson(row: int, points: float, label: float, case: str = "a") -> Lesson:
        return Lesson(row, 0, "following", "", (float(points),), (float(label),), (case, "do"))

    left_out: Counter[str] = Counter()
    several = [lesson(0, 1, 1), lesson(1, 3, 2), lesson(2, 3, 5), lesson(3, 0, 5, "other"), lesson(4, 2, 1)]
    kept = _ordered(several, left_out)
    assert [each.row for each in kept] == [0, 3, 4], (
        "1 and 2 tie, and people don't; 0 and 4 are equal to people"
    )
    assert left_out.total() == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_judging_and_the_loss_is_that_of_the_answers_alone(
    family: str, models: dict[str, Path], files: dict[str, Path]
) -> None:
    reader = AnswerReader(str(models[family]), dtype="float32")
    judging = VLMNetwork(str(models[family]), None, None, "float32", "cpu", "sdpa")
    rows = rows_of(files["rows"])
    questions = [rubric_of(files["prompts"]).questions(decode_with_files(row))[0] for row in rows[:3]]
    answers = ["{}", '{"feedback": "None", "score": 5}', "longer " * 5]
    read = [reader.read(each, said) for each, said in zip(questions, answers, strict=True)]
    for question, answered, said in zip(questions, read, answers, strict=True):
        assert answered.inputs.ids[: -answered.answer].tolist() == judging.prepare(question).ids.tolist()
        assert judging.words.decode(answered.inputs.ids[-answered.answer : -1]) == said
        assert int(answered.inputs.ids[-1]) == judging.words.eos_token_id
        assert reader.length(question, said) == len(answered.inputs.ids)
    torch.manual_seed(0)
    model = TunedVLM(str(models[family]), LoraConfig(r=2, target_modules=LANGUAGE), dtype="float32").eval()
    together = answer_loss(model, reader.batch(list("abc"), read))
    alone = torch.zeros(())
    for each in read:
        tensors = reader.network.reader.pad([each.inputs])
        logits = model.network(**tensors).logits[0]
        said = each.inputs.ids[-each.answer :]
        alone = alone + cross_entropy(logits[-each.answer - 1 : -1], said, reduction="sum")
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_moves_the_named_weights_alone_and_a_judge_loads_them(
    family: str, models: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    done = run(*overrides(files, models[family], folder), module="src.train_judge")
    assert done.returncode == 0, done.stderr
    assert "11 answers of 12 questions" in done.stderr
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert saved["state_dict"], "nothing was trained"
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for name in saved["state_dict"]:
        assert ".language_model.layers." in name, name
        assert any(f".{kind}.lora_" in name for kind in kinds), name
    assert len(saved["state_dict"]) == 2 * 2 * len(kinds), "A and B of each layer of both blocks"
    weights = load_file(folder / "adapter/adapter_model.safetensors")
    assert len(weights) == len(saved["state_dict"])
    assert all(float(value.abs().max()) > 0 for value in weights.values())
    loss = [float(line.split(",")[1]) for line in _metrics(folder, "train/loss")]
    assert loss[-1] < loss[0]
    row = rows_of(files["rows"])[0]
    question = rubric_of(files["prompts"]).questions(decode_with_files(row))[0]
    shares = []
    for adapter in (None, str(folder / "adapter")):
        judge = LocalVLM(str(models[family]), adapter=adapter, device="cpu", dtype="float32")
        judge.network.load()
        shares.append(judge.network.number_shares(judge.network.prepare(question), 5))
    assert max(abs(one - other) for one, other in zip(*shares, strict=True)) > 1e-3
    other = write_vlm(tmp_path / "other", family, seed=1)
    with pytest.raises(ValueError, match=f"trained on {models[family]}, whose weights are .* {other} are"):
        LocalVLM(str(other), adapter=str(folder / "adapter"), device="cpu", dtype="float32").network.load()
    card = (folder / "adapter/README.md").read_text()
    assert "11 of 12 answers" in card


def _metrics(folder: Path, name: str) -> list[str]:
    head, *lines = (folder / "metrics.csv").read_text().splitlines()
    place = head.split(",").index(name)
    return [f"{line.split(',')[0]},{line.split(',')[place]}" for line in lines if line.split(",")[place]]


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(
    models: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    def asked(folder: Path) -> Sequence[str]:
        return overrides(files, models["qwen3_vl"], folder, "trainer.max_steps=12")

    assert run(*asked(tmp_path / "whole"), module="src.train_judge").returncode == 0
    killed = Command("src.train_judge", *asked(tmp_path / "killed"), log=tmp_path / "log")
    assert killed.killed_when(lines_in(tmp_path / "killed/metrics.csv", 6))
    done = run(*asked(tmp_path / "killed"), module="src.train_judge")
    assert done.returncode == 0, done.stderr
    assert "continuing" in done.stderr
    one, other = (
        (tmp_path / name / "adapter/adapter_model.safetensors").read_bytes() for name in ("whole", "killed")
    )
    assert one == other


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    models: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    """Two ranks of two answers, one of four: the same weights but for the order of sums. Dropout differs by
    rank, so there is none.
    """
    steps = ("trainer.max_steps=3", "algorithm.optimizer.lr=1e-4", "adapter.lora_dropout=0")
    one, two = tmp_path / "one", tmp_path / "two"
    for place, more in ((one, ("batch_size=4",)), (two, ("trainer=ddp_cpu", "batch_size=2"))):
        asked = overrides(files, models["qwen3_vl"], place, *steps, *more)
        done = run_interpreter(*asked, module="src.train_judge")
        assert done.returncode == 0, done.stderr[-2000:]
    first, second = (load_file(each / "adapter/adapter_model.safetensors") for each in (one, two))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-6


BAD = {
    "no data": ([], "data= is missing, the rows that were judged"),
    "a stream": (["data=stream", "data.stream.path=x"], "data=stream can't be learnt from"),
    "no ledger": (["ledger=nowhere.sqlite"], "no ledger nowhere.sqlite"),
    "a judge elsewhere": (["judge=gpt4o"], "judge.client is a src.judges.openai_chat.OpenAIChat"),
    "no labels": (["keep.within=1"], "keep= compares answers with labels: give labels=FILE"),
    "other prompts": (["judge.rubric.prompts=v2"], "answers none of the 12 questions about 4 rows"),
    "nothing left": (["keep.within=0", "labels={labels}"], "no answer is left to learn from"),
    "too long": (["longest=5"], "11 of 11 questions have more than longest=5 tokens"),
    "an adapter on top": (["judge.client.adapter=x"], "say judge.client.adapter=null"),
}


def checked_and_trained(cfg: DictConfig, folder: Path) -> None:
    train_judge.check_request(cfg)
    train_judge.train(cfg, str(folder))


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(
    case: str, models: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    more, message = BAD[case]
    given = [each.format(labels=files["labels"]) for each in more]
    names = {each.partition("=")[0] for each in given} | ({"data"} if case == "no data" else set())
    base = overrides(files, models["qwen3_vl"], tmp_path)
    base = [each for each in base if each.partition("=")[0] not in names and not each.startswith("hydra.")]
    if {"data", "judge"} & names:
        unset = (
            ("data.", "judge.")
            if "data" in names and "judge" in names
            else (f"{min(names & {'data', 'judge'})}.",)
        )
        base = [each for each in base if not each.startswith(unset)]
    cfg = config(*base, *given, name="train_judge")
    with pytest.raises((ValueError, FileNotFoundError, InstantiationException)) as told:
        checked_and_trained(cfg, tmp_path)
    assert message in one_line(told.value)
