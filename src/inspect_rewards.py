"""Look at reward data before anything is trained on it: one HTML page, images, numbers, and a list of what
is suspicious.

    python -m src.inspect_rewards                                                      # what the annotator of the synthetic world says
    python -m src.inspect_rewards data=table data.dataset.table.path=PATH              # a dataset with reward columns
    python -m src.inspect_rewards data=json_list data.dataset.file=rows.json rewards_file=rewards.jsonl leakage=[DIR] fail_on=[leak,duplicate]
    python -m src.inspect_rewards rewards_file=rewards.jsonl judge_name=gpt4o          # rewards alone, without images

The folder `target` then holds index.html (self-contained; open it in a browser), histograms.png and
word_clouds.png (the paper's Figures 3 and 4), correlations.png, examples_<perspective>.png, summary.json and
findings.jsonl. logger=wandb sends figures, numbers and a table there, too.

In the synthetic world the truth is known, and a table says how far the annotator can be believed: an editor
asked for 5/5/5, or for "None" three times, learns from the triplets annotated so, and the share of clean ones
among them says what each signal can teach, and so in which order Table 4 of the paper (score, text, both)
should come out.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from rich.console import Console
from rich.table import Table

from src import launch
from src.data.dataset import RewardedTriplets
from src.data.lint import KINDS, Finding, KnownImage, LintEntry, lint, verdicts_of
from src.data.rewards import WithRewards
from src.data.stream import StreamedEditData
from src.data.synthetic import SyntheticTriplets
from src.files import write_atomically
from src.images import load_image
from src.inspection.clouds import count_words, drawable_letters
from src.inspection.figures import draw_clouds, draw_correlations, draw_examples, draw_histograms
from src.inspection.known_images import hash_cases, hash_files, image_files
from src.inspection.label_precision import TITLES, precision_rows
from src.inspection.page import TripletCard, triplet_card, write_inspection_page
from src.inspection.summary import SCORES, RewardSummary, choose_examples, findings_by_row, summarise
from src.inspection.triplet_source import (
    FirstTriplets,
    GeneratedTriplets,
    RewardFile,
    RewardsOnly,
    StoredTriplets,
    TripletSource,
    check_ids,
    read_reward_file,
    with_file_rewards,
)
from src.pages import thumbnail
from src.progress import with_progress
from src.records import PERSPECTIVES, Image, Reward, Scores, Triplet
from src.synthetic.annotation import Unrated
from src.synthetic.measure import measure

SYNTHETIC_COUNT = 2000
FIGURES = ("histograms", "word_clouds", "correlations")
EMPTY = RewardFile("", "", {}, {}, ())


@final
class OracleScored:
    """Triplets of the synthetic world, and the oracle's scores of those that were asked for.

    Args:
        triplets: with the annotator's rewards.

    Attributes:
        truth: scores by index.
    """

    def __init__(self, triplets: SyntheticTriplets) -> None:
        self.triplets = triplets
        self.truth: dict[int, Scores] = {}

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        triplet, reward = self.triplets[index]
        if index not in self.truth:
            self.truth[index] = measure(
                self.triplets.world.ground_truth(triplet.case.id), triplet.edited
            ).scores
        return triplet, reward


def main(cfg: DictConfig) -> None:
    """Look at everything, write the folder `cfg.target`, print what was found.

    Raises:
        FileNotFoundError: no such dataset, reward file, font or folder.
        ValueError: nothing to inspect, rewards of other triplets, several judges and none chosen, or findings
            of a kind in `cfg.fail_on`.
    """
    check_request(cfg)
    rewards = EMPTY if cfg.rewards_file is None else read_reward_file(cfg.rewards_file, cfg.judge_name)
    source, measured, name = source_of(cfg, rewards)
    if cfg.data is not None:
        check_ids(source, rewards)
    known = known_images(cfg)
    entries = [
        entry
        for portion in with_progress(source.entries(), len(source), "looking", "triplets")
        for entry in portion
    ]
    if cfg.rewards_file is not None:
        entries = with_file_rewards(entries, rewards)
    if not rewards.judge and all(entry.reward is None for entry in entries) and cfg.rewards_file is None:
        raise ValueError(
            f"{name} has no rewards to inspect: give rewards_file=FILE, or a dataset with reward columns"
        )
    findings = lint(entries, known, instantiate(cfg.limits))
    judge = rewards.judge or next((entry.reward.judge for entry in entries if entry.reward is not None), "")
    unused = 0 if cfg.count is not None else len(rewards.chosen.keys() - {entry.id for entry in entries})
    summary = summarise(cfg.name or name, judge, entries, findings, rewards.usages, unused)
    beliefs: list[tuple[str, list[str]]] = []
    if measured is not None:
        rated = [
            (entry.reward, measured.truth[entry.row])
            for entry in entries
            if entry.reward is not None and not entry.reward.failed
        ]
        beliefs = (
            precision_rows([reward for reward, _ in rated], [truth for _, truth in rated], cfg.clean)
            if rated
            else []
        )
    target = Path(cfg.target)
    cards = write_inspection(target, cfg, source, entries, findings, summary, beliefs)
    print_tables(summary, beliefs, cfg.clean)
    print(target / "index.html")
    logger: Logger | None = instantiate(cfg.logger)
    if logger is not None:
        log(logger, target, summary, cards)
    wanted = [finding for finding in findings if finding.kind in cfg.fail_on or finding.level in cfg.fail_on]
    if wanted:
        kinds = ", ".join(
            f"{kind} {number}"
            for kind, number in summary.findings.items()
            if kind in {finding.kind for finding in wanted}
        )
        raise ValueError(
            f"{len(wanted)} findings that fail_on names ({kinds}): see {target / 'findings.jsonl'}"
        )


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError for what could otherwise only be found out at the end."""
    if cfg.count is not None and cfg.count < 1:
        raise ValueError(f"count={cfg.count}: inspect at least one triplet, or all with count=null")
    unknown = [kind for kind in cfg.fail_on if kind not in (*KINDS, "fault", "hint")]
    if unknown:
        raise ValueError(f"fail_on names no kind of finding {unknown[0]!r}: fault, hint, {', '.join(KINDS)}")
    if cfg.leakage and not cfg.look:
        raise ValueError(
            "leakage= compares pictures, which look=false leaves unseen: leave out one of the two"
        )
    if cfg.judge_name is not None and cfg.rewards_file is None:
        raise ValueError(
            f"judge_name={cfg.judge_name} chooses among the judges of rewards_file=FILE, which is not given"
        )
    if cfg.font is not None:
        drawable_letters(Path(cfg.font))


def source_of(cfg: DictConfig, rewards: RewardFile) -> tuple[TripletSource, OracleScored | None, str]:
    """Where the triplets come from, the synthetic ones among them with their truth, and what to call them.

    Raises:
        ValueError: data that can't be inspected, or an annotator that rates nothing.
    """
    if cfg.data is None and cfg.rewards_file is not None:
        return first_ones(RewardsOnly(rewards.chosen), cfg.count), None, Path(cfg.rewards_file).name
    if cfg.data is None:
        dataset: Any = SyntheticTriplets(
            instantiate(cfg.world),
            instantiate(cfg.annotator),
            cfg.count or SYNTHETIC_COUNT,
            cfg.split,
            cfg.seed,
        )
    else:
        data = instantiate(cfg.data)
        if isinstance(data, StreamedEditData):
            raise ValueError(
                "data=stream can't be inspected, as no row of it can be asked for again: open the same files with data=table"
            )
        dataset = data.dataset
    if isinstance(dataset, WithRewards):
        return (
            first_ones(StoredTriplets(dataset.rows, dataset.rewards, cfg.look), cfg.count),
            None,
            dataset_location(cfg.data),
        )
    if isinstance(dataset, SyntheticTriplets):
        name = f"synthetic world {dataset.world.version}, {dataset.world.size} px"
        if cfg.rewards_file is not None:
            unrated = SyntheticTriplets(dataset.world, Unrated(), dataset.length, dataset.split, dataset.seed)
            return first_ones(GeneratedTriplets(unrated, cfg.look), cfg.count), None, name
        if isinstance(dataset.annotator, Unrated):
            raise ValueError(
                "annotator=unrated gives no rewards to inspect: say annotator=noisy or annotator=exact"
            )
        measured = OracleScored(dataset)
        return first_ones(GeneratedTriplets(measured, cfg.look), cfg.count), measured, name
    assert isinstance(dataset, RewardedTriplets)
    return first_ones(GeneratedTriplets(dataset, cfg.look), cfg.count), None, type(dataset).__name__


def first_ones(source: TripletSource, count: int | None) -> TripletSource:
    """A source, cut off if so many are not wanted."""
    return source if count is None else FirstTriplets(source, count)


def dataset_location(data: Any) -> str:
    """Where a dataset on disk lies, as its config says."""
    dataset = data.dataset
    named = [dataset.get("file"), dataset.get("folder"), OmegaConf.select(dataset, "table.path")]
    return next((str(each) for each in named if each is not None), type(dataset).__name__)


def known_images(cfg: DictConfig) -> list[KnownImage]:
    """The images of everything that `cfg.leakage` names. Raises FileNotFoundError or ValueError as known.py
    does.
    """
    found: list[KnownImage] = []
    for each in cfg.leakage:
        if (launch.CONF / "benchmark" / f"{each}.yaml").is_file():
            evaluation = launch.composed("evaluate", f"benchmark={each}")
            evaluation.world = cfg.world
            found += hash_cases(instantiate(evaluation.benchmark))
        else:
            files = image_files(Path(each))
            portions = with_progress(hash_files(files, Path(each)), len(files), f"reading {each}", "pictures")
            found += [known for portion in portions for known in portion]
    return found


def write_inspection(
    target: Path,
    cfg: DictConfig,
    source: TripletSource,
    entries: Sequence[LintEntry],
    findings: Sequence[Finding],
    summary: RewardSummary,
    beliefs: Sequence[tuple[str, Sequence[str]]],
) -> list[TripletCard]:
    """Everything that lies in the target folder; the page comes last. Returns the triplets shown.

    Raises:
        NotWrittenError: the folder can't be written to.
    """
    shown = [entries[place] for place in choose_examples(entries, findings, cfg.per_score, cfg.per_kind)]
    images = {entry.row: images_of(source, entry) for entry in shown}
    about = findings_by_row(findings)
    cards = [triplet_card(entry, images[entry.row], about.get(entry.row, ())) for entry in shown]
    font = None if cfg.font is None else Path(cfg.font)
    words = [count_words(feedback_of_perspective(entries, index), font) for index in range(len(PERSPECTIVES))]
    draw_histograms(summary, target / "histograms.png")
    clouds = draw_clouds(words, target / "word_clouds.png", font)
    draw_correlations(summary, target / "correlations.png")
    for index, perspective in enumerate(PERSPECTIVES):
        drawn = target / f"examples_{perspective}.png"
        if not draw_examples(shown, index, images.__getitem__, drawn):
            drawn.unlink(missing_ok=True)  # an earlier inspection's
    write_atomically(
        target / "findings.jsonl",
        "".join(
            json.dumps({**asdict(each), "level": each.level}, ensure_ascii=False) + "\n" for each in findings
        ),
    )
    content = asdict(summary) | (
        {"beliefs": {name: dict(zip(TITLES, cells, strict=True)) for name, cells in beliefs}}
        if beliefs
        else {}
    )
    write_atomically(target / "summary.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_inspection_page(target / "index.html", summary, cards, findings, words, clouds, beliefs)
    return cards


def feedback_of_perspective(entries: Sequence[LintEntry], index: int) -> list[str]:
    """The feedback of one perspective; what a failed verdict says is no feedback."""
    return [verdict.feedback for _, verdict in verdicts_of(entries, index) if verdict.status != "failed"]


def images_of(source: TripletSource, entry: LintEntry) -> tuple[Image, Image] | None:
    """Original and edited, no larger than they are shown; None where there are none, or none that can be
    read.
    """
    if entry.problem is not None:
        return None
    try:
        pair = source.images(entry.row)
    except (ValueError, FileNotFoundError):
        return None  # with look=false nobody has tried before; the card then says that there is no image
    return None if pair is None else (thumbnail(pair[0]), thumbnail(pair[1]))


def print_tables(summary: RewardSummary, beliefs: Sequence[tuple[str, Sequence[str]]], clean: float) -> None:
    """Scores, beliefs and findings, for a terminal."""
    console = Console(width=120)
    console.print(counts_table(summary))
    if beliefs:
        console.print(
            rich_table(
                f"How many are clean (oracle at least {clean:g}) of those said to be good",
                ["perspective", *TITLES],
                beliefs,
            )
        )
    if summary.findings:
        rows = [
            (kind, [KINDS[kind].level, str(number), KINDS[kind].title])
            for kind, number in summary.findings.items()
        ]
        console.print(rich_table("Findings", ["kind", "level", "number", "what"], rows, left=(0, 1, 3)))
    else:
        console.print("no findings")


def counts_table(summary: RewardSummary) -> Table:
    """Per perspective: how often each score was given, the mean, how many are below 5, how many texts say
    that nothing failed, how many failed.
    """
    rows = [
        (
            perspective.value,
            [
                *map(str, part.counts),
                "-" if part.mean is None else f"{part.mean:.2f}",
                *("-" if share is None else f"{100 * share:.1f} %" for share in (part.below_5, part.nothing)),
                str(part.failed),
            ],
        )
        for perspective, part in zip(PERSPECTIVES, summary.perspectives, strict=True)
    ]
    titles = ["perspective", *map(str, SCORES), "mean", "below 5", '"None"', "failed"]
    return rich_table(
        f"{summary.rated} complete rewards of {summary.triplets} triplets, by {summary.judge or 'nobody'}",
        titles,
        rows,
    )


def rich_table(
    title: str, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], left: Sequence[int] = (0,)
) -> Table:
    """A table whose first column holds names; numbers stand at the right."""
    made = Table(title=title)
    for place, each in enumerate(titles):
        made.add_column(each, justify="left" if place in left else "right")
    for name, cells in rows:
        made.add_row(name, *cells)
    return made


def log(logger: Logger, target: Path, summary: RewardSummary, cards: Sequence[TripletCard]) -> None:
    """Numbers to any logger, figures to those that show them, and the examples as a table to wandb."""
    numbers: dict[str, float] = {
        "triplets": summary.triplets,
        "rated": summary.rated,
        "incomplete": summary.incomplete,
    }
    for perspective, part in zip(PERSPECTIVES, summary.perspectives, strict=True):
        more = {"mean": part.mean, "below_5": part.below_5, "nothing": part.nothing, "failed": part.failed}
        numbers |= {f"{perspective}/{name}": value for name, value in more.items() if value is not None}
    numbers |= {f"findings/{kind}": number for kind, number in summary.findings.items()}
    logger.log_metrics({f"rewards/{name}": float(value) for name, value in numbers.items()}, step=0)
    figures = {path.stem: load_image(path) for path in sorted(target.glob("*.png"))}
    if isinstance(logger, TensorBoardLogger):
        for name, image in figures.items():
            logger.experiment.add_image(f"rewards/{name}", image, 0, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        for name, image in figures.items():
            logger.log_image(f"rewards/{name}", [image], step=0)
        titles = [
            "id",
            "instruction",
            *(f"{perspective} {what}" for perspective in PERSPECTIVES for what in ("score", "feedback")),
            "findings",
        ]
        logger.log_table("rewards/examples", titles, [example_row(card) for card in cards], step=0)
    logger.finalize("success")


def example_row(card: TripletCard) -> list[str]:
    """An example as a row of a table; scores are texts, as one may have failed."""
    said = [text for verdict in card.verdicts for text in (verdict.score, verdict.feedback)] or [""] * (
        2 * len(PERSPECTIVES)
    )
    return [
        card.entry.id,
        card.entry.instruction,
        *said,
        ", ".join(dict.fromkeys(finding.kind for finding in card.findings)),
    ]


if __name__ == "__main__":
    launch.entry_point(main, "inspect_rewards")
