"""A judge that answers elsewhere is asked about edits while others are still being made, so that its latency
costs no time. What it has answered when the edits are done need not be asked again (judging.py).
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import final

from src.evaluation.generation_folder import Generation
from src.evaluation.judging import judge_row
from src.files import is_written
from src.judges.judge import Judge
from src.records import Case, Triplet

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 30.0
"""What calls in flight get when no more edits are made because of an error."""


@final
class JudgingAhead:
    """Asks a judge about the edits of generations as they appear in their folders, in a thread of its own.

    Args:
        judge: used by nobody else until this is finished.
        cases: of each generation.
        height: the benchmark's `judged_height`.
        batch_size: as in `judge_row`.
    """

    def __init__(self, judge: Judge, cases: Sequence[Case], height: int | None, batch_size: int) -> None:
        self.judge, self.cases, self.height, self.batch_size = judge, cases, height, batch_size
        self.all_made, self.given_up = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None

    def start(self, generations: Sequence[Generation]) -> None:
        """Begin to ask about these generations, whose edits may be made by other processes, too."""
        self.thread = threading.Thread(
            target=self._run, args=(generations,), name="judging ahead", daemon=True
        )
        self.thread.start()

    def finish(self) -> None:
        """Wait until all edits that were made are judged; nothing if it was never started.

        Raises:
            ValueError, NotWrittenError: the judge's, see `judge_row`.
        """
        self.all_made.set()
        if self.thread is not None:
            self.thread.join()
        if self.error is not None:
            raise self.error

    def give_up(self) -> None:
        """Ask no more; calls in flight, which are paid for, get a while to be answered."""
        self.given_up.set()
        self.all_made.set()
        if self.thread is not None:
            self.thread.join(SECONDS_TO_STOP)

    def _run(self, generations: Sequence[Generation]) -> None:
        try:
            for generation in generations:
                path = generation.folder / self.judge.name / "rewards.jsonl"
                edits = self._as_made(generation)
                judge_row(edits, len(self.cases), self.judge, path, None, self.batch_size)
        except Exception as error:  # noqa: BLE001 raised by `finish`
            self.error = error
            print(
                f"warning: {self.judge.name} judges no more ({error}); the edits are made to the end",
                file=sys.stderr,
                flush=True,
            )

    def _as_made(self, generation: Generation) -> Iterator[Triplet]:
        """The edits as they appear, each once, until no more will."""
        waiting = {case.id: case for case in self.cases}
        while waiting and not self.given_up.is_set():
            is_last_look = self.all_made.is_set()  # before looking, so that it sees what was made until then
            there = [case for case in waiting.values() if is_written(generation.edit_path(case))]
            for triplet in generation.judged_triplets(there, self.height):
                if self.given_up.is_set():
                    return
                yield triplet
            for case in there:
                del waiting[case.id]
            if is_last_look:
                return
            self.all_made.wait(SECONDS_BETWEEN_LOOKS)
