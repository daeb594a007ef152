"""Imports point down: a file imports only from lower layers or from its own folder, and there is no cycle."""

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SRC = TESTS.parent / "src"
LAYERS = [
    {
        "records",
        "seeds",
        "files",
        "memory",
        "environment",
        "progress",
        "ranks",
        "differences",
        "batching",
        "colours",
        "image_files",
        "fonts",
        "json_files",
        "missing_settings",
        "slurm",
        "renamed_keys",
        "hub",
        "source_code",
        "finite",
        "checkpoint_paths",
    },
    {"aggregation", "batch", "command_line", "finite_tensors", "images", "trust"},
    {"synthetic", "diffusion", "conditioning", "pictures", "reward_file", "settings", "tracking"},
    {"data", "backbones", "judges", "pages"},
    {"editor", "reward_models"},
    {"checkpoint", "execution", "editing", "shard_writer"},
    {"pipeline", "trained_sampler", "reward_model_checkpoint"},
    {"algorithms", "evaluation", "formats"},
    {"callbacks", "annotation", "inspection", "tabulation"},
    {"benchmarking", "curation", "judge_tuning", "studies", "sweeps"},
    {"resolvers"},
    {"launch"},
    {"loading", "app_page", "training_run"},
]
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names}
ENTRY_POINT = len(LAYERS)


def layer(part: str) -> int:
    return LAYER.get(part, ENTRY_POINT)


def imported_parts(file: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "src":
            names = node.module.split(".")[1:]
            parts |= {names[0]} if names else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            parts |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("src.")}
    return parts


def test_every_file_has_a_layer() -> None:
    top = {
        path.stem
        for path in SRC.iterdir()
        if path.name not in ("__init__.py", "__main__.py")
        and path.suffix in ("", ".py")
        and path.stem != "__pycache__"
    }
    entry_points = {part for part in top if layer(part) == ENTRY_POINT}
    for part in entry_points:
        assert (
            "launch.entry_point(" in (SRC / f"{part}.py").read_text()
            or "argparse" in (SRC / f"{part}.py").read_text()
        ), part


def test_imports_point_down() -> None:
    wrong = []
    for file in SRC.rglob("*.py"):
        own = file.relative_to(SRC).parts[0].removesuffix(".py")
        for part in imported_parts(file):
            if part != own and layer(part) >= layer(own):
                wrong.append(f"{file.relative_to(SRC)} [{layer(own)}] imports {part} [{layer(part)}]")
    assert not wrong


def test_a_class_name_has_one_home() -> None:
    homes = Counter(
        node.name
        for file in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in homes.items() if count > 1] == []


MAY_INSTANTIATE = ("checkpoint", "reward_model_checkpoint", "loading", "training_run", "rungs")
"""Besides entry points; rungs: the program of the benchmark's processes."""


def test_only_entry_points_and_checkpoint_instantiate() -> None:
    wrong = [
        str(file.relative_to(SRC))
        for file in SRC.rglob("*.py")
        if "hydra.utils" in file.read_text()
        and layer(file.relative_to(SRC).parts[0].removesuffix(".py")) != ENTRY_POINT
        and file.stem not in MAY_INSTANTIATE
    ]
    assert not wrong


def test_no_test_file_imports_another() -> None:
    """What several tests need is in a file of its own, or a fixture in conftest.py."""
    wrong = []
    for file in [*TESTS.rglob("*.py"), *SRC.rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            wrong += [
                f"{file.relative_to(TESTS.parent)} imports {module}"
                for module in modules
                if module.split(".")[-1].startswith("test_")
            ]
    assert not wrong


CONCRETE = {"tiny", "tiny_transformer", "inspix2pix", "smartedit", "flux2"}
CLASSES = {"TinyBackbone", "TinyTransformer", "InsPix2Pix", "SmartEdit", "Flux2Klein"}
"""Backbones. What needs one of them by name writes or reads its files: exports, conversions, benchmarks."""

KNOW_A_BACKBONE = {"backbones", "pipeline", "convert", "formats", "benchmarking", "throughput"}


def test_trainings_and_checkpoints_know_no_concrete_backbone() -> None:
    """What they need of one is said in its interface (backbones/backbone.py)."""
    wrong = []
    for file in SRC.rglob("*.py"):
        part = file.relative_to(SRC).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            names = node.module.split(".") if isinstance(node, ast.ImportFrom) and node.module else []
            is_concrete = names[:2] == ["src", "backbones"] and not CONCRETE.isdisjoint(names[2:])
            if is_concrete and part not in KNOW_A_BACKBONE:
                wrong.append(f"{file.relative_to(SRC)} imports {node.module}")
            is_asked = isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
            if is_asked and CLASSES & {
                name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)
            }:
                wrong.append(f"{file.relative_to(SRC)} asks for a concrete backbone in line {node.lineno}")
    assert not wrong


def test_who_may_import_judges() -> None:
    """Formats import no judge; evaluation imports interfaces, questions and the figures of agreement, no
    model.
    """
    names = ("judge", "question", "rubric", "parsing", "encoding", "editscore", "agreement", "streaming")
    asking = {f"src.judges.{name}" for name in names}
    allowed = {"formats": set(), "evaluation": asking}
    wrong = []
    for part, modules in allowed.items():
        for file in (SRC / part).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                module = node.module if isinstance(node, ast.ImportFrom) else None
                if module and module.startswith("src.judges") and module not in modules:
                    wrong.append(f"{file.relative_to(SRC)} imports {module}")
    assert not wrong
