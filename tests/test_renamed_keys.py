"""Old command-line keys are refused with the new name."""

import pytest
from omegaconf import OmegaConf

from src.launch import CONF
from src.renamed_keys import EVERY, RENAMED, check_renamed

RENAMES = [
    (command, old, new) for command, keys in RENAMED.items() for old, new in keys.items() if command != EVERY
]


@pytest.mark.parametrize(("command", "old", "new"), RENAMES)
def test_an_old_key_is_refused_with_the_new_name(command: str, old: str, new: str) -> None:
    with pytest.raises(ValueError, match="was renamed") as refused:
        check_renamed(command, ["seed=1", old if "=" in old else f"+{old}=runs/x"])
    assert new in str(refused.value)
    check_renamed(command, [new if "=" in new else f"{new}=runs/x", "other=target"])


@pytest.mark.parametrize(("command", "old", "new"), RENAMES)
def test_new_keys_are_there_and_old_ones_are_not(command: str, old: str, new: str) -> None:
    """Of keys and choices that an entry point's own yaml can show; those of nodes are composed elsewhere."""
    if "=" in new:
        (group, choice), (_, old_choice) = new.split("="), old.split("=")
        assert (CONF / group / f"{choice}.yaml").is_file()
        assert not (CONF / group / f"{old_choice}.yaml").exists()
    elif "." not in old:
        own = list(OmegaConf.load(CONF / f"{command}.yaml"))  # with keys whose value is ???
        assert old not in own
        assert new.partition(".")[0] in own


def test_a_key_that_is_no_more_says_why() -> None:
    with pytest.raises(
        ValueError, match="is not needed any more, previews show rows of `data` by themselves"
    ):
        check_renamed("train", ["examples@callbacks.previews.examples=rows"])


def test_choices_in_lists_and_keys_below_a_renamed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RENAMED, "train", {"control=old": "control=new", "model.old": "model.new"})
    for argument in ("+control=old", "control=none,old", "control=[none, 'old']"):
        with pytest.raises(ValueError, match=r"give control=new$"):
            check_renamed("train", [argument])
    with pytest.raises(ValueError, match=r"model\.old\.width= was renamed: give model\.new\.width=$"):
        check_renamed("train", ["model.old.width=3"])
    check_renamed("train", ["control=old_more", "model.older=3", "name=old"])
    check_renamed("evaluate", ["+control=old"])
