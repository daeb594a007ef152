"""Test a judge on synthetic triplets of known truth, before its scores become training data.

    python -m src.check_judge judge=oracle
    python -m src.check_judge judge=gpt4o dry_run=true      # number of triplets, calls and tokens
    python -m src.check_judge judge=gpt4o budget_usd=10

Asks about everyday triplets (rank correlation with the exact scores, yes and no) and about probes: shuffled
instruction, unedited image, swapped images, growing blur, noise and compression; and about some of them
twice. Writes card.json and card.png to the output folder and says whether the judge passed, by the thresholds
in conf/check_judge.yaml. The judge never sees an id of the synthetic world, except the oracle, which needs
it. If stopped, the same command continues.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from src import launch
from src.evaluation.judge_battery import (
    EVERYDAY,
    PROBES_PER_CASE,
    JudgeProbe,
    anonymized,
    everyday_probes,
    targeted_probes,
)
from src.evaluation.judging import judge_row
from src.judges.ensemble import EnsembleJudge
from src.judges.judge import Judge
from src.judges.oracle import OracleJudge
from src.judges.reseeded import Reseeded
from src.judges.vlm_judge import VLMJudge
from src.missing_settings import check_complete
from src.records import Reward, Triplet
from src.synthetic.world import World


def main(cfg: DictConfig) -> None:
    """Make the triplets, ask about them, tabulate and draw.

    Raises:
        ValueError: too few triplets, or an error of the judge.
    """
    check_complete(cfg)
    world: World = instantiate(cfg.world)
    probes = make_probes(world, cfg.count, cfg.cases)
    judge: Judge = instantiate(cfg.judge)
    if cfg.dry_run:
        print(estimate_trial(judge, probes))
        return
    write_and_print(run_trial(cfg, world, judge, probes), cfg, judge, probes)


def make_probes(world: World, count: int, cases: int) -> list[JudgeProbe]:
    """The everyday triplets, then those of the probes."""
    probes = itertools.chain(everyday_probes(world, count), targeted_probes(world, cases))
    total = count + PROBES_PER_CASE * cases
    return list(track(probes, "making triplets", total, transient=True, console=Console(stderr=True)))


def run_trial(cfg: DictConfig, world: World, judge: Judge, probes: Sequence[JudgeProbe]) -> Any:
    """The `JudgeCard` of a judge, asked about all probes and about some of them twice."""
    from src.evaluation.judge_card import JudgeCard, ProbeResult, all_checks, card_details

    folder = Path(cfg.output)
    truth = judge_probes(OracleJudge(world), probes, folder / "truth.jsonl", "truth", cfg.batch_size)
    start = time.monotonic()
    judged = judge_probes(judge, probes, folder / "rewards.jsonl", judge.name, cfg.batch_size)
    seconds = time.monotonic() - start
    twice = [index for index, probe in enumerate(probes) if probe.kind == EVERYDAY][: cfg.retest]
    repeated = judge_probes(
        with_empty_ledger(judge, folder),
        [probes[index] for index in twice],
        folder / "rewards_again.jsonl",
        "once more",
        cfg.batch_size,
    )
    pairs = [(judged[index], reward) for index, reward in zip(twice, repeated, strict=True)]
    results = [
        ProbeResult(probe, reward, true) for probe, reward, true in zip(probes, judged, truth, strict=True)
    ]
    described = {
        "version": world.version(),
        "size": world.size,
        "everyday": cfg.count,
        "cases": cfg.cases,
        "asked_twice": len(pairs),
    }
    return JudgeCard(
        judge.name,
        judge.fingerprint,
        described,
        all_checks(results, pairs, cfg.thresholds),
        trial_cost(judge, len(results), seconds),
        card_details(results),
        cfg.note,
    )


def write_and_print(card: Any, cfg: DictConfig, judge: Judge, probes: Sequence[JudgeProbe]) -> None:
    """Write a `JudgeCard` to the output folder and print it; for an ensemble, also its members' agreement."""
    from src.evaluation.judge_card import card_table, write_card
    from src.judges.agreement import agreement_table

    folder = Path(cfg.output)
    write_card(card, folder)
    console = Console(width=120)
    console.print(card_table(card))
    if isinstance(judge, EnsembleJudge):
        console.print(agreement_table(member_scores(judge, probes, folder, cfg.batch_size)))
    print(f"{judge.name} {'passed' if card.passed else 'has not passed: do not train on its scores'}")
    print(folder / "card.json")
    print(folder / "card.png")


def blinded_for(judge: Judge, triplet: Triplet) -> Triplet:
    """The triplet without anything that reveals its truth; the oracle needs the id."""
    return triplet if isinstance(judge, OracleJudge) else anonymized(triplet)


def judge_probes(
    judge: Judge, probes: Sequence[JudgeProbe], path: Path, what: str, batch_size: int
) -> list[Reward]:
    """The judge's rewards, in order; those in the reward file are not asked for again."""
    triplets = (blinded_for(judge, probe.triplet) for probe in probes)
    judged = judge_row(triplets, len(probes), judge, path, what, batch_size)
    return [each.reward for each in judged if each.reward is not None]


def with_empty_ledger(judge: Judge, folder: Path) -> Judge:
    """The same judge with an empty ledger and other seeds, within the rest of the budget."""
    if isinstance(judge, EnsembleJudge):
        return EnsembleJudge(
            {name: with_empty_ledger(member, folder) for name, member in judge.members.items()},
            judge.reduction,
            judge.name,
        )
    if not isinstance(judge, VLMJudge):
        return judge
    limits = judge.limits
    if limits.budget_usd is not None:
        limits = replace(limits, budget_usd=max(0.0, limits.budget_usd - judge.ledger.total().dollars))
    return VLMJudge(
        judge.name,
        judge.rubric,
        Reseeded(judge.client),
        folder / "ledger_again.sqlite",
        limits,
        judge.price,
    )


def member_scores(judge: EnsembleJudge, probes: Sequence[JudgeProbe], folder: Path, batch_size: int) -> dict:
    """Scores of the members on the everyday triplets, from their ledgers."""
    from src.evaluation.judge_card import score_matrix

    common = [probe for probe in probes if probe.kind == EVERYDAY]
    return {
        name: score_matrix(judge_probes(member, common, folder / f"rewards_{name}.jsonl", name, batch_size))
        for name, member in judge.members.items()
    }


def trial_cost(judge: Judge, triplets: int, seconds: float) -> dict[str, float | None]:
    """The cost of the test without the retest; for a judge without a ledger, the time."""
    members = list(judge.members.values()) if isinstance(judge, EnsembleJudge) else [judge]
    # members may share a ledger
    ledgers = {str(member.ledger.path): member for member in members if isinstance(member, VLMJudge)}
    if not ledgers:
        return {"seconds_per_triplet": seconds / triplets}
    used = [member.ledger.total() for member in ledgers.values()]
    priced = any(isinstance(member, VLMJudge) and member.price is not None for member in members)
    return {
        "calls": float(sum(each.calls for each in used)),
        "input_tokens": float(sum(each.input_tokens for each in used)),
        "output_tokens": float(sum(each.output_tokens for each in used)),
        "dollars_per_1000_triplets": 1000 * sum(each.dollars for each in used) / triplets if priced else None,
        "calls_by_estimate": float(sum(each.estimated for each in used)) or None,
        "seconds_of_calls_per_triplet": sum(each.seconds for each in used) / triplets,
    }


def estimate_trial(judge: Judge, probes: Sequence[JudgeProbe]) -> str:
    """The number of triplets, calls and tokens, and the price.

    Raises:
        ValueError: the judge makes no calls.
    """
    if not isinstance(judge, VLMJudge):
        raise ValueError(f"judge={judge.name} makes no calls, so there is nothing to estimate")
    counted = [
        judge.client.tokens(question)
        for probe in probes
        for question in judge.rubric.questions(anonymized(probe.triplet))
    ]
    given, taken = (sum(each) for each in zip(*counted, strict=True))
    dollars = f"${judge.price.dollars(given, taken):.2f}" if judge.price else "price unknown"
    return (
        f"{len(probes)} triplets, {len(counted)} calls, {given:,} + {taken:,} tokens, {dollars}, "
        "and some triplets are asked about twice"
    )


if __name__ == "__main__":
    launch.entry_point(main, "check_judge")
