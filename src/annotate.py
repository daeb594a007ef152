"""Have a judge score every triplet of a dataset: following, preserving and quality, 0 to 5, with a text on
what failed (the paper's RewardEdit-20K).

    python -m src.annotate data=table data.dataset.table.path=DIR judge=gpt4o dry_run=true       # calls, tokens, dollars, hours
    python -m src.annotate data=table data.dataset.table.path=DIR judge=gpt4o budget_usd=50 output=annotations
    python -m src.annotate -m shard=1/4,2/4,3/4,4/4 data=...; python -m src.merge_annotations folder=annotations

Leaves in the output folder `rewards.jsonl`, which any training reads (`+rewards@data.rewards=reward_file`),
`ledger.sqlite` with every raw reply, and `annotation.json`. Stopped or killed at any moment, the same command
goes on; nothing that was answered is asked again. Look at the result with `python -m src.inspect_rewards`,
derive it again with `python -m src.verify_annotations`, pass it on with `python -m src.export_annotations`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch
from src.annotation import RECORD, REWARDS, Annotation, claim, claim_judge
from src.data.all_rows import Shard, all_rows, decode_with_files, number_of_rows, parse_shard
from src.data.dataset import RewardedTriplets
from src.data.problems import Problem
from src.data.rows import DatasetRow, RowStream
from src.data.without_loader import without_loader
from src.files import alone_in, write_atomically
from src.judges.asking import VLMJudge
from src.judges.judge import Judge
from src.missing_settings import check_complete
from src.tracking.settings import loggable_settings

OmegaConf.register_new_resolver(
    "shard_folder",
    lambda output, shard: output if str(shard) == "1/1" else f"{output}/{parse_shard(shard).name}",
    replace=True,
)


def main(cfg: DictConfig) -> None:
    """Ask, or say what asking would cost.

    Raises:
        ValueError: the output folder holds the annotation of something else; whatever the data or the judge
            raise.
    """
    check_complete(cfg)
    shard = parse_shard(cfg.shard)
    dataset = dataset_of(cfg.data)
    if cfg.dry_run:
        judge = instantiate(
            cfg.judge, **({} if "ledger" not in cfg.judge or Path(cfg.ledger).exists() else {"ledger": None})
        )
        print(estimate(judge, dataset, shard, cfg.limit, cfg.dry_run_rows, cfg.seconds_per_call))
        return
    folder = Path(cfg.folder)
    with alone_in(folder, "annotating"):
        # before the judge, whose ledger lies in the folder
        claim(folder, {"data": rows_asked_for(cfg.data), "shard": cfg.shard, "limit": cfg.limit})
        judge = instantiate(cfg.judge)
        claim_judge(folder, judge)
        annotation = Annotation(folder, judge, cfg.retry_failed)
        try:
            annotation.run(all_rows(dataset, shard, cfg.limit), number_of_rows(dataset, shard, cfg.limit))
        finally:
            record = annotation.record()
            write_atomically(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
            print(in_words(record))
    print(folder / REWARDS)
    if cfg.get("logger") is not None:
        from src.tracking.annotation_log import log_annotation

        logger = instantiate(cfg.logger, save_dir=str(folder))
        log_annotation(logger, folder / REWARDS, record, loggable_settings(cfg, os.environ))


def dataset_of(data: DictConfig) -> RewardedTriplets | RowStream:
    """The triplets of a data config, whether rated or not: what is to be judged is the dataset at its native
    size, not what training makes of it.
    """
    if "stream" in data:
        return instantiate(without_loader(data), rewards=None, own_rewards=False).rows
    return instantiate(data.dataset)


def rows_asked_for(data: DictConfig) -> Any:
    """What decides which rows there are, out of a data config that also says how to train on them."""
    return OmegaConf.to_container(data.stream if "stream" in data else data.dataset, resolve=True)


def in_words(record: dict[str, Any]) -> str:
    """The record in one or two lines."""
    text = f"{record['rows']} rows: {record['scored']} scored, {record['failed']} failed; {record['seconds']:.0f} s"
    if "calls" in record:
        text += f"; {record['calls']} calls, {record['input_tokens']:,} + {record['output_tokens']:,} tokens"
        text += f", ${record['dollars']:.4f}" if record["dollars"] is not None else ", price unknown"
    return text


def estimate(
    judge: Judge,
    dataset: RewardedTriplets | RowStream,
    shard: Shard,
    limit: int | None,
    sample: int,
    seconds_per_call: float,
) -> str:
    """What asking would cost, from some of the rows, spread evenly.

    Raises:
        ValueError: the judge costs nothing, or there is no row.
    """
    if not isinstance(judge, VLMJudge):
        raise ValueError(f"judge={judge.name} makes no calls, so there is nothing to estimate")
    total = number_of_rows(dataset, shard, limit)
    rows = [
        row for row in spread(all_rows(dataset, shard, limit), total, sample) if isinstance(row, DatasetRow)
    ]
    if not rows:
        raise ValueError("there is no row to estimate from")
    calls = answered = given = taken = 0
    mean = judge.ledger.mean_output_tokens()
    for row in rows:
        for question in judge.rubric.questions(decode_with_files(row)):
            calls += 1
            answered += judge.ledger.reply(question.key(judge.respondent.fingerprint)) is not None
            expected = judge.respondent.tokens(question)
            given += expected[0]
            taken += round(mean) if mean is not None else expected[1]
    scale = (total if total is not None else len(rows)) / len(rows)
    minutes = [calls * scale * seconds_per_call / judge.limits.concurrency / 60]
    minutes += [calls * scale / judge.limits.requests_per_minute] if judge.limits.requests_per_minute else []
    minutes += (
        [(given + taken) * scale / judge.limits.tokens_per_minute] if judge.limits.tokens_per_minute else []
    )
    dollars = (
        f"${judge.price.dollars(round(given * scale), round(taken * scale)):.2f}"
        if judge.price
        else "price unknown"
    )
    counted_rows = (
        f"{total} rows"
        if total is not None
        else f"{len(rows)} rows, the first of a stream whose length nobody knows"
    )
    basis = (
        "all of them looked at" if total is not None and len(rows) == total else f"estimated from {len(rows)}"
    )
    return (
        f"{counted_rows}, {basis}: {calls * scale:,.0f} calls to {judge.respondent.model} ({answered * scale:,.0f} already in the ledger)\n"
        f"tokens: {given * scale:,.0f} in, {taken * scale:,.0f} out; {dollars} for all of them\n"
        f"time: {max(minutes):,.1f} min at {seconds_per_call:g} s per call, {judge.limits.concurrency} at once, within the limits per minute"
    )


def spread(
    rows: Iterator[DatasetRow | Problem], total: int | None, sample: int
) -> list[DatasetRow | Problem]:
    """So many rows, spread evenly; the first ones of a stream."""
    step = 1 if total is None else max(1, total // sample)
    chosen = []
    for index, row in enumerate(rows):
        if len(chosen) == sample:
            break
        if index % step == 0:
            chosen.append(row)
    return chosen


if __name__ == "__main__":
    launch.entry_point(main, "annotate")
