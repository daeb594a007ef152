"""Run folders made by hand: a config, and a report of rewards with simple means."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from src.evaluation.judging import JudgedCase
from src.evaluation.report import LAST_ROWS, Report, report_row, write_report
from src.records import Reward, Verdict

Scores = Sequence[float | int | None]

ENCODER = {"_target_": "src.conditioning.reward_encoder.RewardEncoder", "_partial_": True, "score_scale": 1.0}
ATTENTION = {"_target_": "src.conditioning.attention.Attention", "_partial_": True, "heads": 8}
ADDITION = {"_target_": "src.conditioning.addition.Addition", "_partial_": True, "where": "blocks"}
TIME_EMBEDDING = {**ADDITION, "where": "time_embedding"}
BOTH = {
    "_target_": "src.conditioning.both.Both",
    "_partial_": True,
    "parts": {"addition": ADDITION, "attention": ATTENTION},
}


def judged(
    following: Scores,
    preserving: Scores,
    quality: Scores,
    per_photograph: int = 2,
    types: Sequence[str] = ("local", "style"),
) -> list[JudgedCase]:
    """Cases c0, c1 ... on photographs p0, p0, p1, p1 ...; a score from 4 up is a success, None a failed
    verdict.
    """
    cases = []
    for index, scores in enumerate(zip(following, preserving, quality, strict=True)):
        verdicts = [
            Verdict(None, status="failed") if score is None else Verdict(float(score), score >= 4)
            for score in scores
        ]
        reward = Reward(f"c{index}", "hand", "key", *verdicts)
        cases.append(
            JudgedCase(f"c{index}", ("local", "style")[index % 2], f"p{index // per_photograph}", reward)
        )
    return cases


def config(
    signals: Sequence[str] = ("score", "text"),
    integration: Mapping[str, object] | None = BOTH,
    seed: int = 0,
    **more: object,
) -> dict[str, object]:
    """The parts of .hydra/config.yaml that tables read."""
    backbone = {"_target_": "src.backbones.tiny.TinyBackbone"}
    model = {
        "_target_": "src.editor.Editor",
        "backbone": backbone,
        "reward_encoder": {**ENCODER, "signals": list(signals)},
        "integration": integration,
    }
    return {
        "model": model,
        "seed": seed,
        "name": "reward_synthetic",
        "start": "runs/stage1/editor",
        "trainer": {"max_steps": 100},
        **more,
    }


def write_run(
    run: Path,
    rows: Mapping[str, list[JudgedCase]],
    settings: Mapping[str, object] | None,
    judge: str = "hand",
    fingerprint: str = "hand-1",
    benchmark: str = "six",
    images: Mapping[str, Mapping[str, Mapping[str, object]]] | None = None,
    networks: Mapping[str, str] | None = None,
    noise_seed: int = 0,
) -> Path:
    """A run folder with a report; rows called as in LAST_ROWS were made by no model.

    Args:
        images: image metrics by row and key, as report.json holds them.
        networks: what they were measured by.
    """
    made_by = {"checkpoint": str(run), "weights": "ema", "seed": noise_seed, "sampler": {"steps": 2}}
    folder = run / "evaluation" / benchmark / judge
    report = Report(
        benchmark,
        judge,
        fingerprint,
        tuple(report_row(name, cases, {} if name in LAST_ROWS else made_by) for name, cases in rows.items()),
    )
    write_report(folder, report)
    if images is not None:
        content = json.loads((folder / "report.json").read_text())
        for row in content["rows"]:
            row["measured_by"] = dict(networks or {})
            row["image_metrics"] = images.get(row["name"], {})
        (folder / "report.json").write_text(json.dumps(content))
    if settings is not None:
        (run / ".hydra").mkdir(parents=True)
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    return run
