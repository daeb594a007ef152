"""The cost of an annotation before anything is asked, from a sample of its rows."""

from collections.abc import Iterator

from src.data.all_rows import Shard, all_rows, decode_with_files, number_of_rows
from src.data.dataset import RewardedTriplets
from src.data.problems import Problem
from src.data.rows import DatasetRow, RowStream
from src.judges.judge import Judge
from src.judges.vlm_judge import VLMJudge


def describe_cost(
    judge: Judge,
    dataset: RewardedTriplets | RowStream,
    shard: Shard,
    limit: int | None,
    sample: int,
    seconds_per_call: float,
) -> str:
    """Calls, tokens, dollars and time, in three lines.

    Args:
        judge: a VLMJudge; its ledger tells which answers are there.
        dataset, shard, limit: the rows, see `all_rows`.
        sample: number of rows that are looked at, spread evenly.
        seconds_per_call: assumed.

    Raises:
        ValueError: the judge makes no calls, or there is no row.
    """
    if not isinstance(judge, VLMJudge):
        raise ValueError(f"judge={judge.name} makes no calls, so there is nothing to estimate")
    total = number_of_rows(dataset, shard, limit)
    rows = [
        row
        for row in sample_rows(all_rows(dataset, shard, limit), total, sample)
        if isinstance(row, DatasetRow)
    ]
    if not rows:
        raise ValueError("there is no row to estimate from")
    calls = answered = input_tokens = output_tokens = 0
    mean_output = judge.ledger.mean_output_tokens()
    for row in rows:
        for question in judge.rubric.questions(decode_with_files(row)):
            calls += 1
            answered += judge.ledger.reply(question.key(judge.client.fingerprint)) is not None
            tokens = judge.client.tokens(question)
            input_tokens += tokens[0]
            output_tokens += round(mean_output) if mean_output is not None else tokens[1]
    scale = (total if total is not None else len(rows)) / len(rows)
    limits = judge.limits
    minutes = [calls * scale * seconds_per_call / limits.concurrency / 60]
    minutes += [calls * scale / limits.requests_per_minute] if limits.requests_per_minute else []
    minutes += (
        [(input_tokens + output_tokens) * scale / limits.tokens_per_minute]
        if limits.tokens_per_minute
        else []
    )
    dollars = "price unknown"
    if judge.price is not None:
        dollars = f"${judge.price.dollars(round(input_tokens * scale), round(output_tokens * scale)):.2f}"
    row_count = (
        f"{total} rows" if total is not None else f"{len(rows)} rows, the first of a stream of unknown length"
    )
    basis = "all of them read" if total is not None and len(rows) == total else f"estimated from {len(rows)}"
    return (
        f"{row_count}, {basis}: {calls * scale:,.0f} calls to {judge.client.model} "
        f"({answered * scale:,.0f} already in the ledger)\n"
        f"tokens: {input_tokens * scale:,.0f} in, {output_tokens * scale:,.0f} out; "
        f"{dollars} for all of them\n"
        f"time: {max(minutes):,.1f} min at {seconds_per_call:g} s per call, {limits.concurrency} at once, "
        "within the limits per minute"
    )


def sample_rows(
    rows: Iterator[DatasetRow | Problem], total: int | None, sample: int
) -> list[DatasetRow | Problem]:
    """`sample` rows, spread evenly; the first ones of a stream."""
    step = 1 if total is None else max(1, total // sample)
    chosen = []
    for index, row in enumerate(rows):
        if len(chosen) == sample:
            break
        if index % step == 0:
            chosen.append(row)
    return chosen
