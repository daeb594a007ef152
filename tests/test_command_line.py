"""Plain texts reach a command as the shell gives them; Hydra's own grammar keeps its meaning elsewhere."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import config
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from src.command_line import is_text, pasteable, quoted_arguments
from src.differences import leaves
from src.missing_settings import CONF
from src.settings.value_types import parameters_of
from src.tabulate import with_positional_runs

TEXTS = (
    *("RUN/epoch=0-step=10.ckpt", "runs/lr=1e-4, a (b) [c]/last.ckpt", "it's me.png", 'the "best" one', "'"),
    *(
        "a,b",
        "a, b",
        "[a]",
        "[a,b",
        "{a}",
        "{a: 1}",
        "a: b",
        "C:\\photos\\1.png",
        "add (more) stars!",
        "50 % off",
    ),
    *(
        "füge einen Hut hinzu",
        "把左边的狗去掉",
        "اضف",
        "👒",
        "a  b",
        " a ",
        "2024",
        "1e5",
        "true",
        "a\nb",
        "#1",
        "~x",
    ),
    *(
        "choice(a,b)",
        "range(3)",
        "glob(*)",
        "a=b=c",
        "x\\'",
        "ends with \\",
        "\\'",
        "`ls`",
        "$HOME",
        "a;b",
        "/",
    ),
)


def edit(*arguments: str) -> object:
    return config(*quoted_arguments("edit", arguments), name="edit")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_what_the_shell_gave(text: str) -> None:
    cfg = config(*quoted_arguments("edit", [f"image={text}", f"instruction={text}"]), name="edit")
    assert (cfg.image, cfg.instruction) == (text, text)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: "$" not in text)
)
def test_any_text_comes_through(text: str) -> None:
    """Those of Hydra's grammar excepted: in quotes, escaped, null."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (argument,) = quoted_arguments("edit", [f"checkpoint={text}"])
    is_hydras = text[0] == text[-1] in "'\"" or "\\" in text or text.lower() == "null"
    assert is_hydras or OverridesParser.create().parse_override(argument).value() == text
    (again,) = quoted_arguments("edit", shlex.split(pasteable("checkpoint", text)))
    assert again == argument or text.lower() == "null"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("image=null", None),
        ("image='a=b, c'", "a=b, c"),
        ('image="a=b, c"', "a=b, c"),
        ("image='it\\'s'", "it's"),
        ("image=a\\=b\\,c", "a=b,c"),
        ("image=${output}/x", "edited/x"),
        ("image=", ""),
        ("image=plain/path-1.png", "plain/path-1.png"),
    ],
)
def test_what_is_already_in_hydras_grammar_stays(argument: str, value: str | None) -> None:
    assert quoted_arguments("edit", [argument]) == [argument]
    assert config(argument, name="edit").image == value


def test_an_instruction_has_no_interpolations() -> None:
    for text in ("cost ${5}", "add ${a.b}", "a ${ b", "${output}, please"):
        cfg = config(*quoted_arguments("edit", [f"instruction={text}"]), name="edit")
        assert cfg.instruction == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "checkpoint=a,b", "seed=1,2", "targets=single"],
        ["--multirun", "checkpoint=choice(a,b)"],
        ["-m", "checkpoint='a=1','b=2'"],
        ["+sweep=table4", "start=a,b"],
        ["strength=[0.25,0.5]", "steps=[judge]", "~logger", "+trainer.x={a:1}", "--cfg", "job", "a.b=1e-3"],
        [
            "target_reward.feedback=['None','the sky is grey','None']",
            "model/backbone=tiny",
            "hydra/launcher=slurm",
        ],
    ],
)
def test_sweeps_and_other_values_stay(arguments: list[str]) -> None:
    assert quoted_arguments("evaluate", arguments) == arguments


def test_the_config_says_what_is_a_number() -> None:
    assert quoted_arguments("write_dataset", ["start=3", "count=5"]) == ["start=3", "count=5"]
    assert quoted_arguments("train", ["start=3"]) == ["start='3'"]


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_no_number_of_the_config_tree_is_taken_for_a_text(file: Path) -> None:
    command = file.stem if file.parent == CONF else ""
    tree = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(tree, dict)
    tree.pop("defaults", None)
    wrong = [
        name for name, value in leaves(tree) if not isinstance(value, str | None) and is_text(command, name)
    ]
    assert not wrong


ONE_WORD = frozenset(
    (
        *("artifacts", "azure_api_version", "device", "dtype", "extension", "mid_block_type", "original"),
        *("part", "protocol", "resnet_time_scale_shift"),
    )
)
"""Parameters that are texts to their class, of which each value is one word."""


@pytest.mark.parametrize(
    "command",
    [
        ("train", "data=mixture", "logger=wandb", "+rewards@data.rewards=reward_edit_20k"),
        ("train", "+experiment=smartedit_stage2"),
        ("evaluate", "judge=ensemble", "benchmark=magicbrush", "image_metrics=magicbrush"),
    ],
    ids=" ".join,
)
def test_what_a_class_takes_as_a_text_is_one_on_the_command_line(command: tuple[str, ...]) -> None:
    name, *overrides = command
    tree = OmegaConf.to_container(config(*overrides, name=name), resolve=False)
    missed = {key for key in text_parameters(tree, "") if not is_text(name, key)}
    assert {key for key in missed if key.rpartition(".")[2] not in ONE_WORD} == set()


def text_parameters(node: object, prefix: str) -> Iterator[str]:
    """Dotted names of settings that are a text, or nothing else than null, to the class that they build."""
    if isinstance(node, dict):
        target = node.get("_target_")
        parameters = parameters_of(target) if isinstance(target, str) else None
        for key, child in node.items():
            takes = None if parameters is None else parameters.takes.get(str(key))
            if takes is not None and "str" in takes.kinds and takes.kinds <= {"str", "null"}:
                yield f"{prefix}{key}"
            yield from text_parameters(child, f"{prefix}{key}.")


def test_lists_of_files() -> None:
    assert quoted_arguments("tabulate", ["output=[a.md,b.tex]"]) == ["output=[a.md,b.tex]"]
    assert quoted_arguments("edit", ["output=[a.md,b.tex]"]) == ["output='[a.md,b.tex]'"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("[the man's shirt is blue, None, None]", ["the man's shirt is blue", "None", "None"]),
        ("[it is (too) dark: 3, 'a, b', 把天]", ["it is (too) dark: 3", "a, b", "把天"]),
        ("['None','the sky is grey','None']", ["None", "the sky is grey", "None"]),
        ("[1, 2, 3]", ["1", "2", "3"]),
    ],
)
def test_lists_of_texts(typed: str, read: list[str]) -> None:
    cfg = edit(f"target_reward.feedback={typed}")
    assert isinstance(cfg, DictConfig)
    assert list(cfg.target_reward.feedback) == read


def test_runs_whose_names_look_like_overrides(tmp_path) -> None:
    run = tmp_path / "lr=1e-4, it's (1)"
    run.mkdir()
    (runs,) = quoted_arguments("tabulate", with_positional_runs([str(run)]))
    assert list(config(runs, name="tabulate").runs) == [str(run)]


@pytest.mark.parametrize(
    ("argument", "right"),
    [
        ("seed=1=2", "'seed='\"'\"'1=2'\"'\"''"),
        ("strength=[0.25", None),
        ("selection.weights=[1,b(]", None),
    ],
)
def test_what_is_neither_is_named_with_the_form_that_works(argument: str, right: str | None) -> None:
    with pytest.raises(ValueError, match="can't be read as a value of") as raised:
        quoted_arguments("edit", [argument])
    told = str(raised.value)
    assert shlex.quote(argument) in told
    (typed,) = shlex.split(told.rpartition(": ")[2])
    assert quoted_arguments("edit", [typed]) == [typed]
    if right is not None:
        assert told.endswith(right)


def test_several_values_with_odd_signs_in_a_multirun_are_asked_about() -> None:
    with pytest.raises(ValueError, match=r"or each of several values, with commas between them$"):
        quoted_arguments("evaluate", ["-m", "checkpoint=a=1,b=2"])


@pytest.mark.parametrize("text", TEXTS)
def test_a_hint_can_be_pasted(text: str) -> None:
    (typed,) = shlex.split(pasteable("hydra.run.dir", text))
    (argument,) = quoted_arguments("train", [typed])
    assert config(argument.replace("hydra.run.dir", "image"), name="edit").image == text
