"""Reports the ladders: ratios, targets, a table in Markdown and a chart."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, final

from src.benchmarking.measurement import RungMeasurement
from src.files import replacing

UNUSED_TOWER = "without_unused_tower"
SHARDS = "shards"
"""The rung of the loading ladder that has a target."""

TRAINING_TARGETS = {"gpu": 4.0, "cpu": 1.8}
SAMPLING_TARGET, LOADING_TARGET = 2.5, 5000.0
H200_SHARE, H200_RATE = 0.45, 600.0

TITLES = {"training": "Training", "sampling": "Editing", "loading": "Loading, one core"}

ENDINGS = {True: "reached", False: "missed"}

Entry = dict[str, Any]
"""A rung in throughput.json."""


def entry(
    rung: str,
    changes: Sequence[str],
    measured: RungMeasurement | None,
    failed: str = "",
    left_out: Sequence[str] = (),
) -> Entry:
    """A rung, measured or failed.

    Args:
        rung: its name.
        changes: what it changes with regard to the one before.
        measured: result; None if it failed.
        failed: why it failed.
        left_out: earlier rungs that failed, whose changes this one therefore lacks.
    """
    numbers = {} if measured is None else asdict(measured)
    return {
        "rung": rung,
        "samples_per_s": None,
        "ratio": None,
        **numbers,
        "changes": list(changes),
        "failed": failed,
        "left_out": list(left_out),
    }


def with_ratios(entries: Sequence[Entry], matrix_rate: float | None) -> list[Entry]:
    """Compare every rung of a ladder with the first one, with the one without the unused tower, and with the
    device's matrix rate.

    Args:
        entries: of one ladder, in order.
        matrix_rate: 10^12 operations per second of large matrix products in the ladder's precision; None
            leaves the share out.
    """
    rates = {each["rung"]: each["samples_per_s"] for each in entries}
    first, tower = (next(iter(rates.values()), None), rates.get(UNUSED_TOWER))
    compared = []
    for each in entries:
        rate, operations = each["samples_per_s"], each.get("tflop_per_sample")
        speed = None if rate is None or operations is None else rate * operations
        compared.append(
            each
            | {
                "ratio": None if rate is None or not first else rate / first,
                "ratio_without_unused_tower": None if rate is None or not tower else rate / tower,
                "tflop_per_s": speed,
                "mfu": None if speed is None or not matrix_rate else speed / matrix_rate,
            }
        )
    return compared


@final
class TargetCheck(NamedTuple):
    """A speed target of the project and what was measured.

    Attributes:
        what: description.
        target, measured: figures.
        rung: that was measured.
    """

    what: str
    target: float
    measured: float
    rung: str

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.measured >= self.target


def check_targets(ladders: Mapping[str, Sequence[Entry]], device: str, hardware: str) -> list[TargetCheck]:
    """Targets that apply to this device. The fastest rung stands for training and for sampling.

    Args:
        ladders: entries with ratios.
        device: "cpu" or "gpu".
        hardware: its name; the absolute targets are those of one H200.
    """
    found = []
    for ladder, target in (("training", TRAINING_TARGETS[device]), ("sampling", SAMPLING_TARGET)):
        best = fastest(ladders.get(ladder, ()))
        if best is not None:
            found.append(TargetCheck(f"{ladder}, times the first rung", target, best["ratio"], best["rung"]))
    best = fastest(ladders.get("training", ()))
    if best is not None and "H200" in hardware:
        found.append(
            TargetCheck("training, samples/s on one H200", H200_RATE, best["samples_per_s"], best["rung"])
        )
        found.append(
            TargetCheck(
                "training, share of the matrix rate on one H200", H200_SHARE, best["mfu"] or 0.0, best["rung"]
            )
        )
    for each in ladders.get("loading", ()):
        if each["rung"] == SHARDS and each["samples_per_s"] is not None:
            found.append(
                TargetCheck(
                    "loading latents and text index, samples/s per core",
                    LOADING_TARGET,
                    each["samples_per_s"],
                    SHARDS,
                )
            )
    return found


def fastest(entries: Sequence[Entry]) -> Entry | None:
    """The rung with the highest rate; None if there is no other to compare it with."""
    measured = [each for each in entries if each["ratio"] is not None]
    return max(measured, key=lambda each: each["samples_per_s"]) if len(measured) > 1 else None


def ladders_markdown(report: Mapping[str, Any]) -> str:
    """The whole report as text."""
    lines = ["# Throughput", "", f"`{report['command']}`", ""]
    where = (
        report["hardware"],
        report["precision"],
        f"commit {report['commit'][:12]}",
        f"{report['seconds'] / 60:.1f} minutes",
    )
    lines += [f"{'; '.join(where)}."]
    rates = report["matrix_tflop_per_s"].items()
    lines += [
        f"Products of large matrices reach {rate:.3g} TFLOP/s in {name} here, of which MFU is the share."
        for name, rate in rates
    ]
    for ladder, entries in ((name, report[name]) for name in TITLES if report[name]):
        lines += ["", f"## {TITLES[ladder]}", "", *_table(ladder, entries)]
        lines += [f"- {each['rung']}: failed, {each['failed']}" for each in entries if each["failed"]]
        lines += [
            f"- {each['rung']}: without the changes of {', '.join(each['left_out'])}"
            for each in entries
            if each["left_out"]
        ]
        lines += [
            f"- extrapolated {note}"
            for note in dict.fromkeys(each.get("extrapolated", "") for each in entries)
            if note
        ]
    if report["targets"]:
        lines += ["", "## Targets", "", "| target | wanted | measured | |", "| --- | ---: | ---: | --- |"]
        lines += [
            f"| {each['what']} ({each['rung']}) | {_number(each['target'])} | {_number(each['measured'])} "
            f"| {ENDINGS[each['reached']]} |"
            for each in report["targets"]
        ]
    lines += [
        "",
        "Every rung is the one before it with one change; all share precision and batch unless that is the "
        "change. TFLOP are those carried out, "
        "also twice (gradient checkpointing) or in vain (what the release computes and never reads), so "
        "MFU says how busy the device is. Phases are "
        "seconds per sample. Memory is the most in use: of the GPU, or of the rung's process. Compiling: "
        "seconds of the first compiled step.",
    ]
    return "\n".join(lines) + "\n"


def _table(ladder: str, entries: Sequence[Entry]) -> list[str]:
    if ladder == "loading":
        lines = ["| rung | batch | samples/s | ratio |", "| --- | ---: | ---: | ---: |"]
        return (
            lines
            + [
                f"| {each['rung']} | {each.get('batch_size', '')} | {_number(each['samples_per_s'])} | "
                f"{_ratio(each['ratio'])} |"
                for each in entries
            ]
            + [""]
        )
    phases = list(next((each["phases"] for each in entries if "phases" in each), {}))
    tower = any(each["ratio_without_unused_tower"] is not None for each in entries)
    heads = [
        "rung",
        "batch",
        "samples/s",
        "ratio",
        *(["to the one without the tower"] if tower else []),
        "TFLOP/sample",
        "TFLOP/s",
        "MFU",
        "GB",
    ]
    heads += [*phases, "compiling"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for each in entries:
        if each["failed"]:
            lines.append(f"| {each['rung']} | failed |{' |' * (len(heads) - 2)}")
            continue
        cells = [each["rung"], str(each["batch_size"]), _number(each["samples_per_s"]), _ratio(each["ratio"])]
        cells += [_ratio(each["ratio_without_unused_tower"])] if tower else []
        share = "" if each["mfu"] is None else f"{each['mfu']:.0%}"
        cells += [
            _number(each["tflop_per_sample"]),
            _number(each["tflop_per_s"]),
            share,
            f"{each['peak_memory_gb']:.1f}",
        ]
        cells += [_number(each["phases"][phase]) for phase in phases]
        lines.append(
            f"| {' | '.join([*cells, _number(each['first_call_s']) if each['first_call_s'] else ''])} |"
        )
    return [*lines, ""]


def _number(value: float | None) -> str:
    """A number with three significant digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def draw_ladders(report: Mapping[str, Any], target: Path) -> None:
    """Draw a panel of bars per ladder: the rate of every rung and its ratio to the first. Raises
    NotWrittenError.
    """
    import matplotlib.pyplot as plt  # heavy, and only needed at the end

    ladders = {name: report[name] for name in TITLES if report[name]}
    heights = [0.9 + 0.42 * len(entries) for entries in ladders.values()]
    figure, panels = plt.subplots(
        len(ladders),
        1,
        figsize=(9.5, sum(heights) + 0.5),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    for panel, (ladder, entries) in zip(panels[:, 0], ladders.items(), strict=True):
        _bars(panel, entries)
        note = next(
            (f", extrapolated {each['extrapolated']}" for each in entries if each.get("extrapolated")), ""
        )
        panel.set_title(f"{TITLES[ladder]}: samples/s{note}", loc="left", fontsize=11, fontweight="bold")
    figure.suptitle(
        f"{report['hardware']}, {report['precision']}", x=0.01, ha="left", fontsize=9, color="0.4"
    )
    with replacing(target) as partial:
        figure.savefig(partial, dpi=120, format="png")
    plt.close(figure)


def _bars(panel: Any, entries: Sequence[Entry]) -> None:
    rates = [each["samples_per_s"] or 0.0 for each in entries]
    best = max(rates) or 1.0
    colours = ["#b4b4bb", *["#2f6fb0"] * (len(rates) - 1)]
    panel.barh(range(len(rates)), rates, color=colours, height=0.68)
    for place, (each, rate) in enumerate(zip(entries, rates, strict=True)):
        said = f"failed: {each['failed'][:70]}" if each["failed"] else _number(rate)
        if each["ratio"] is not None:
            said += f"   {each['ratio']:.2f} x"
        panel.text(rate + 0.01 * best, place, said, va="center", fontsize=9)
    names = [each["rung"].replace("_", " ") for each in entries]
    panel.set_yticks(range(len(rates)), [names[0], *(f"+ {name}" for name in names[1:])], fontsize=9)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.22 * best)
    panel.set_xticks([])
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
