"""Have a judge score every triplet of a dataset: following, preserving and quality, 0 to 5, with a text on
what failed (the paper's RewardEdit-20K).

    python -m src.annotate data=table data.dataset.table.path=DIR judge=gpt4o dry_run=true    # the cost
    python -m src.annotate data=table data.dataset.table.path=DIR judge=gpt4o budget_usd=50 output=annotations
    python -m src.annotate -m shard=1/4,2/4,3/4,4/4 data=... judge=gpt4o       # in parts, one per machine
    python -m src.annotate steps=[merge] output=annotations                    # the parts as one
    python -m src.annotate steps=[verify] output=annotations judge=gpt4o       # recompute scores from replies
    python -m src.annotate steps=[export] output=annotations data=... export.output=DIR   # with a card

The output folder holds `rewards.jsonl`, which any training reads (`+rewards@data.rewards=reward_file`),
`ledger.sqlite` with every raw reply, and `annotation.json` with the counts. If stopped or killed, the same
command continues, and nothing that was answered is asked again. `python -m src.inspect_rewards` shows the
result. `export.output=RewardEdit_20K.json` writes that file, `export.output=replies.jsonl` (or .parquet) the
raw replies.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch
from src.annotation.annotator import Annotation
from src.annotation.estimate import describe_cost
from src.annotation.export import export_annotation, export_format
from src.annotation.folder import RECORD, REWARDS, claim_judge, claim_rows, has_answers, write_record
from src.annotation.merge import merge_annotations
from src.annotation.verify import verify_annotation
from src.data.all_rows import all_rows, number_of_rows, parse_shard
from src.data.without_loader import rows_alone, rows_request
from src.files import alone_in
from src.judges.judge import check_can_judge
from src.missing_settings import check_complete
from src.settings.help_page import options_of
from src.tracking.settings import loggable_settings, logger_nodes

STEPS = ("ask", "merge", "verify", "export")

OmegaConf.register_new_resolver(
    "shard_folder",
    lambda output, shard: output if str(shard) == "1/1" else f"{output}/{parse_shard(shard).name}",
    replace=True,
)


def main(cfg: DictConfig) -> None:
    """Do the steps, in their order.

    Raises:
        ValueError: a step that can't be done, or an error of the data or the judge.
    """
    check_request(cfg)
    if "ask" in cfg.steps:
        check_complete(cfg)
        if cfg.dry_run:
            print(estimate(cfg))
            return
        ask(cfg)
    folder = Path(cfg.shard_folder)
    if "merge" in cfg.steps:
        sources = [Path(source) for source in cfg.merge.sources] if cfg.merge.sources else None
        print(merge_annotations(Path(cfg.output), sources, cfg.merge.allow_missing))
        print(Path(cfg.output) / REWARDS)
    if "verify" in cfg.steps:
        print(verify_annotation(folder, instantiate(cfg.judge)))
    if "export" in cfg.steps:
        output = Path(cfg.export.output)
        print(
            export_annotation(
                folder,
                export_format(cfg.export.format, output),
                output,
                cfg.export.judge,
                lambda: instantiate(rows_alone(cfg.data)),
            )
        )


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError where the command contradicts itself, before anything is built."""
    unknown = [step for step in cfg.steps if step not in STEPS]
    if unknown or not cfg.steps:
        raise ValueError(f"steps={list(cfg.steps)}: choose from {', '.join(STEPS)}")
    needs_rows = "ask" in cfg.steps
    if "export" in cfg.steps:
        if not cfg.export.output:
            raise ValueError("the step export needs export.output=, the file or folder to write")
        needs_rows |= export_format(cfg.export.format, Path(cfg.export.output)) == "dataset"
    if needs_rows and cfg.get("data") is None:
        raise ValueError(
            f"data= is missing: choose {', '.join(options_of('data'))}; see the head of src/annotate.py"
        )


def estimate(cfg: DictConfig) -> str:
    """The cost of asking; an existing ledger tells what is already answered, and none is made."""
    ledger = {} if "ledger" not in cfg.judge or Path(cfg.ledger).exists() else {"ledger": None}
    judge = instantiate(cfg.judge, **ledger)
    shard = parse_shard(cfg.shard)
    return describe_cost(
        judge, instantiate(rows_alone(cfg.data)), shard, cfg.limit, cfg.dry_run_rows, cfg.seconds_per_call
    )


def ask(cfg: DictConfig) -> None:
    """Have the rows of the shard judged, and log the counts.

    Raises:
        ValueError: the folder holds the annotation of something else, or an error of the data or the judge.
    """
    shard, dataset, folder = parse_shard(cfg.shard), instantiate(rows_alone(cfg.data)), Path(cfg.shard_folder)
    if not has_answers(folder):
        check_can_judge(instantiate(cfg.judge), [])
    with alone_in(folder, "annotating"):
        # before the judge is built, whose ledger is in the folder
        claim_rows(folder, {"data": rows_request(cfg.data), "shard": cfg.shard, "limit": cfg.limit})
        judge = instantiate(cfg.judge)
        claim_judge(folder, judge)
        annotation = Annotation(folder, judge, cfg.retry_failed, cfg.lost_answers)
        annotation.read_earlier()
        (folder / RECORD).unlink(missing_ok=True)  # of an earlier run; a killed one leaves none
        finished = False
        try:
            annotation.run(all_rows(dataset, shard, cfg.limit), number_of_rows(dataset, shard, cfg.limit))
            finished = True
        finally:
            record = annotation.record(finished)
            write_record(folder, record)
            print(describe_record(record))
        if not record["rows"] and shard.count == 1:
            raise ValueError(f"there was no row to annotate: see data= and limit={cfg.limit}")
    print(folder / REWARDS)
    for node in logger_nodes(cfg):
        from src.tracking.annotation_log import log_annotation

        logger = instantiate(node, save_dir=str(folder))
        log_annotation(logger, folder / REWARDS, record, loggable_settings(cfg, os.environ))


def describe_record(record: Mapping[str, Any]) -> str:
    """The counts in a line."""
    text = (
        f"{record['rows']} rows: {record['scored']} scored, {record['failed']} failed; "
        f"{record['seconds']:.0f} s"
    )
    if "calls" in record:
        text += f"; {record['calls']} calls, {record['input_tokens']:,} + {record['output_tokens']:,} tokens"
        text += f", ${record['dollars']:.4f}" if record["dollars"] is not None else ", price unknown"
        if record["estimated"]:
            text += f" ({record['estimated']} calls by estimate)"
    return text


if __name__ == "__main__":
    launch.entry_point(main, "annotate")
