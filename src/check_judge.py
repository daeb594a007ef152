"""Is a judge any good? Try it on synthetic triplets whose truth is known, before its scores become training
data.

    python -m src.check_judge judge=oracle
    python -m src.check_judge judge=gpt4o dry_run=true      # how many triplets and tokens that would be
    python -m src.check_judge judge=gpt4o budget_usd=10

Asks about everyday triplets (rank correlation with the exact scores, yes and no) and about probes: shuffled
instruction, unedited image, swapped images, growing blur, noise and compression; and about some of them
twice. Leaves card.json and card.png in the output folder and says whether the judge passed, by the thresholds
in conf/check_judge.yaml. The judge never sees an id of the synthetic world, except the oracle, which is
nothing without. Stopped at any moment, the same command goes on.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from src import launch
from src.evaluation.judge_battery import EVERYDAY, PROBES, Probe, everyday, hidden, probes
from src.evaluation.judging import judge_row
from src.judges.asking import VLMJudge
from src.judges.ensemble import EnsembleJudge
from src.judges.judge import Judge
from src.judges.oracle import OracleJudge
from src.judges.redrawn import Redrawn
from src.missing_settings import check_complete
from src.records import Reward, Triplet
from src.synthetic.world import World


def main(cfg: DictConfig) -> None:
    """Ask, tabulate, draw.

    Raises:
        ValueError: too few triplets; whatever the judge raises.
    """
    check_complete(cfg)
    from src.evaluation.judge_card import Asked, Card, card_table, checks_of, details_of, write_card
    from src.judges.agreement import agreement_table

    world: World = instantiate(cfg.world)
    made = itertools.chain(everyday(world, cfg.count), probes(world, cfg.cases))
    asked_about = list(
        track(
            made,
            "making triplets",
            cfg.count + PROBES * cfg.cases,
            transient=True,
            console=Console(stderr=True),
        )
    )
    judge: Judge = instantiate(cfg.judge)
    if cfg.dry_run:
        print(estimate(judge, asked_about))
        return
    folder = Path(cfg.output)
    truth = rewards_of(OracleJudge(world), asked_about, folder / "truth.jsonl", "truth", cfg.batch_size)
    start = time.monotonic()
    said = rewards_of(judge, asked_about, folder / "rewards.jsonl", judge.name, cfg.batch_size)
    seconds = time.monotonic() - start
    twice = [index for index, probe in enumerate(asked_about) if probe.kind == EVERYDAY][: cfg.retest]
    repeated = rewards_of(
        asked_anew(judge, folder),
        [asked_about[index] for index in twice],
        folder / "rewards_again.jsonl",
        "once more",
        cfg.batch_size,
    )
    pairs = [(said[index], reward) for index, reward in zip(twice, repeated, strict=True)]
    asked = [Asked(probe, one, true) for probe, one, true in zip(asked_about, said, truth, strict=True)]
    described = {
        "version": world.version,
        "size": world.size,
        "everyday": cfg.count,
        "cases": cfg.cases,
        "asked_twice": len(pairs),
    }
    checks = checks_of(asked, pairs, cfg.thresholds)
    card = Card(
        judge.name,
        judge.fingerprint,
        described,
        checks,
        cost_of(judge, len(asked), seconds),
        details_of(asked),
        cfg.note,
    )
    write_card(card, folder)
    console = Console(width=120)
    console.print(card_table(card))
    if isinstance(judge, EnsembleJudge):
        console.print(agreement_table(members_said(judge, asked_about, folder, cfg.batch_size)))
    print(f"{judge.name} {'passed' if card.passed else 'has not passed: do not train on its scores'}")
    print(folder / "card.json")
    print(folder / "card.png")


def shown_to(judge: Judge, triplet: Triplet) -> Triplet:
    """The triplet without what could give it away."""
    return triplet if isinstance(judge, OracleJudge) else hidden(triplet)


def rewards_of(
    judge: Judge, asked_about: Sequence[Probe], path: Path, what: str, batch_size: int
) -> list[Reward]:
    """What the judge says, in order; what stands in the reward file isn't asked again."""
    triplets = (shown_to(judge, probe.triplet) for probe in asked_about)
    judged = judge_row(triplets, len(asked_about), judge, path, what, batch_size)
    return [each.reward for each in judged if each.reward is not None]


def asked_anew(judge: Judge, folder: Path) -> Judge:
    """The same judge without its memory: with another ledger and other random numbers, within what is left of
    the budget.
    """
    if isinstance(judge, EnsembleJudge):
        return EnsembleJudge(
            {name: asked_anew(member, folder) for name, member in judge.members.items()},
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
        Redrawn(judge.respondent),
        folder / "ledger_again.sqlite",
        limits,
        judge.price,
    )


def members_said(judge: EnsembleJudge, asked_about: Sequence[Probe], folder: Path, batch_size: int) -> dict:
    """Scores of the members on the everyday triplets; their ledgers know them already."""
    from src.evaluation.judge_card import scores_of

    common = [probe for probe in asked_about if probe.kind == EVERYDAY]
    return {
        name: scores_of(rewards_of(member, common, folder / f"rewards_{name}.jsonl", name, batch_size))
        for name, member in judge.members.items()
    }


def cost_of(judge: Judge, triplets: int, seconds: float) -> dict[str, float | None]:
    """What the trial cost, without the second asking; of a judge without a ledger, the time."""
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
        "seconds_of_calls_per_triplet": sum(each.seconds for each in used) / triplets,
    }


def estimate(judge: Judge, asked_about: Sequence[Probe]) -> str:
    """How much would be asked.

    Raises:
        ValueError: a judge that makes no calls.
    """
    if not isinstance(judge, VLMJudge):
        raise ValueError(f"judge={judge.name} makes no calls, so there is nothing to estimate")
    counted = [
        judge.respondent.tokens(question)
        for probe in asked_about
        for question in judge.rubric.questions(hidden(probe.triplet))
    ]
    given, taken = (sum(each) for each in zip(*counted, strict=True))
    dollars = f"${judge.price.dollars(given, taken):.2f}" if judge.price else "price unknown"
    return f"{len(asked_about)} triplets, {len(counted)} calls, {given:,} + {taken:,} tokens, {dollars}, and those that are asked twice"


if __name__ == "__main__":
    launch.entry_point(main, "check_judge")
