r"""Train a judge of one's own: a LoRA adapter for a vision-language model that learns the answers of another
judge, as far as human or exact labels agree with them.

    python -m src.annotate data=table data.dataset.table.path=DIR judge=gpt4o budget_usd=50 output=annotations
    python -m src.train_judge data=table data.dataset.table.path=DIR ledger=annotations/ledger.sqlite \
        labels=human/rewards.jsonl keep.within=1 judge.client.model=Qwen/Qwen3-VL-8B-Instruct trainer=gpu
    # use it, its scores as expectations over all of them
    python -m src.check_judge judge=local_vlm judge.client.model=Qwen/Qwen3-VL-8B-Instruct \
        judge.client.adapter=RUN/adapter judge.rubric.expected=true judge.client.exact_scores=true
    # continue after a kill: the same command and the folder of the run
    python -m src.train_judge ... hydra.run.dir=RUN

The rubric must be that of the annotation (judge=local_vlm has gpt4o's, judge=editscore EditScore's). Leaves
in the run folder: metrics.csv, checkpoints/last.ckpt, adapter/ (a PEFT folder with a card) and run.json.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch
from src.command_line import pasteable
from src.data.without_loader import dataset_location, rows_alone, rows_request
from src.missing_settings import check_complete
from src.settings.help_page import options_of
from src.sweeps.launcher import SweepInterface
from src.sweeps.trainings import resolved, trainer_settings
from src.training_run import begin, check_machine, check_numbers, fit, resumed_checkpoint

if TYPE_CHECKING:
    from src.judge_tuning.lessons import Lessons

LOCAL = "src.judges.local_vlm.LocalVLM"
OF_CLIENT = ("model", "revision", "dtype", "attention")


def main(cfg: DictConfig) -> None:
    """Check the settings, then train in the run folder."""
    check_request(cfg)
    begin(cfg, "train_judge", train)


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError where the command contradicts itself, before anything is read."""
    if cfg.data is None:
        raise ValueError(
            f"data= is missing, the rows that were judged: choose {', '.join(options_of('data'))}"
        )
    if "stream" in cfg.data:
        raise ValueError("data=stream can't be learnt from, as its rows can't be read twice: say data=table")
    check_complete(cfg)
    check_numbers(cfg, {"batch_size": 1, "num_workers": 0, "longest": 1})
    target = OmegaConf.select(cfg, "judge.client._target_")
    if target != LOCAL:
        raise ValueError(
            f"judge.client is a {target}, and only a model in this process can be trained: say "
            "judge=local_vlm or judge=editscore; whose answers are learnt is the ledger's"
        )
    if cfg.judge.client.adapter is not None and not OmegaConf.is_missing(cfg.judge.client, "adapter"):
        raise ValueError(
            f"judge.client.adapter={cfg.judge.client.adapter}: a new adapter is trained on the model itself, "
            "so say judge.client.adapter=null"
        )
    keep = instantiate(cfg.keep)
    if keep.needs_labels and cfg.labels is None:
        raise ValueError("keep= compares answers with labels: give labels=FILE, a reward file of people's")


def train(cfg: DictConfig, folder: str) -> None:
    """Seed, lessons, network, fit; lessons first, as their errors are the cheapest to find."""
    from pytorch_lightning import seed_everything

    from src.judge_tuning.adapter_checkpoint import ADAPTER, AdapterCheckpoint
    from src.judge_tuning.data import LessonData, LessonRows
    from src.judge_tuning.network import AnswerReader, TunedVLM
    from src.judge_tuning.tuning import JudgeTuning

    seed_everything(cfg.seed, workers=True, verbose=False)
    client = {name: cfg.judge.client[name] for name in OF_CLIENT}
    reader = AnswerReader(**client, longest=cfg.longest)
    dataset = instantiate(rows_alone(cfg.data))
    rubric = written_rubric(cfg)
    lessons = lessons_of(cfg, dataset, rubric)
    rows = LessonRows(dataset, rubric, lessons.lessons, reader)
    rows.check_lengths()
    print(f"{lessons}", file=sys.stderr, flush=True)
    config = OmegaConf.to_yaml({"client": client, "adapter": resolved(cfg.adapter)}, resolve=True)
    settings = OmegaConf.to_yaml(settings_of(cfg))
    parts = {"algorithm": cfg.algorithm, "ema": cfg.callbacks.ema}
    resumed = resumed_checkpoint(cfg, folder, config, settings, parts)
    model = TunedVLM(
        **client, adapter=instantiate(cfg.adapter), gradient_checkpointing=cfg.gradient_checkpointing
    )
    module: JudgeTuning = instantiate(cfg.algorithm)(model=model)
    data = LessonData(rows, cfg.batch_size, cfg.num_workers, cfg.seed)
    ema = instantiate(cfg.callbacks.ema)
    kept = AdapterCheckpoint(folder, config, settings, ema, card(cfg, lessons))
    others = [instantiate(node) for name, node in cfg.callbacks.items() if name != "ema"]
    trainer = fit(cfg, folder, module, data, [ema, kept, *others], resumed, (ADAPTER,))
    if trainer.is_global_zero:
        print(f"next: {next_command(cfg, Path(folder, ADAPTER))}", file=sys.stderr, flush=True)
        print(folder)


def written_rubric(cfg: DictConfig) -> Any:
    """The rubric that reads what a judge wrote, which is learnt, and not the mean over what it might have
    written.
    """
    return instantiate(cfg.judge.rubric, **({"expected": False} if "expected" in cfg.judge.rubric else {}))


def lessons_of(cfg: DictConfig, dataset: Any, rubric: Any) -> "Lessons":
    """What is learnt. Raises FileNotFoundError or ValueError as `find_lessons`."""
    from src.data.rewards import from_reward_file
    from src.judge_tuning.lessons import find_lessons, open_ledger

    labels = None if cfg.labels is None else from_reward_file(cfg.labels, cfg.labels_by).by_id
    ledger = open_ledger(Path(cfg.ledger))
    try:
        return find_lessons(dataset, rubric, ledger, labels, instantiate(cfg.keep))
    finally:
        ledger.close()


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What the weights depend on, besides the network's own settings."""
    names = ("seed", "ledger", "labels", "labels_by", "batch_size", "longest")
    return {name: cfg[name] for name in names} | {
        "keep": resolved(cfg.keep),
        "rubric": resolved(cfg.judge.rubric),
        "algorithm": resolved(cfg.algorithm),
        "data": rows_request(cfg.data),
        "ema": resolved(cfg.callbacks.ema),
        "trainer": trainer_settings(cfg),
    }


def next_command(cfg: DictConfig, adapter: Path) -> str:
    """What one does with a trained judge: see whether to trust it."""
    options = {"PerspectiveRubric": "local_vlm", "EditScoreRubric": "editscore"}
    judge = options.get(str(cfg.judge.rubric._target_).rpartition(".")[2], cfg.judge.name)
    model = pasteable("judge.client.model", cfg.judge.client.model)
    read = "judge.rubric.expected=true judge.client.exact_scores=true"
    where = pasteable("judge.client.adapter", adapter)
    return f"python -m src.check_judge judge={judge} {model} {where} {read}"


def card(cfg: DictConfig, lessons: "Lessons") -> str:
    """The adapter's README.md."""
    left_out = "".join(f"- left out, {why}: {number}\n" for why, number in lessons.left_out.items() if number)
    return (
        f"# A judge of image edits\n\nA LoRA adapter for {cfg.judge.client.model} "
        f"(revision {cfg.judge.client.revision or 'newest when it was trained'}), made by `python -m "
        f"src.train_judge` of the multi-reward-editing framework.\n\n- data: {dataset_location(cfg.data)}\n"
        f"- answers: {cfg.ledger}\n- labels: {cfg.labels or 'none'}\n"
        f"- learnt: {len(lessons.lessons)} of {lessons.asked} answers\n{left_out}"
        f"- rubric: {cfg.judge.rubric._target_}\n- steps: {cfg.trainer.get('max_steps')} of "
        f"{cfg.batch_size} answers\n\nThe licences of the model, of the data and of the answers apply.\n"
    )


if __name__ == "__main__":
    launch.entry_point(main, "train_judge", SweepInterface(check_machine=check_machine))
