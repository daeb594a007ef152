"""experiments/sweep_runs.py: the run folders of a sweep that have an override, for the shell scripts."""

from pathlib import Path

import pytest

from experiments.sweep_runs import main
from src.sweeps.record import Job, Sweep


def test_trained_runs_with_an_override(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoders = [
        ("none", "finished"),
        ("score_text", "finished"),
        ("score_text", "trained"),
        ("score_text", "failed"),
    ]
    jobs = [
        Job(number, [f"model/reward_encoder={encoder}"], [], {}, f"hash {number}", "code", status=status)
        for number, (encoder, status) in enumerate(encoders)
    ]
    Sweep("table4_reward_signal", "src.train", "", jobs).write(tmp_path)
    main([str(tmp_path), "model/reward_encoder=score_text"])
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/1", f"{tmp_path}/2"]
    with pytest.raises(ValueError, match=r"no trained job of .* has the override model/reward_encoder=text"):
        main([str(tmp_path), "model/reward_encoder=text"])
    with pytest.raises(FileNotFoundError, match=r"no sweep\.json in"):
        main([str(tmp_path / "elsewhere"), "+control=none"])
