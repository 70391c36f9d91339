"""Video-Bench with a judge, who says which option a free reply means, as the benchmark was published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.judged import UNSAID, Ask, Judged
from reelm.tasks.letters import LETTERS
from reelm.tasks.verdict import read_object
from reelm.tasks.video_bench import VideoBench, judged_letter
from reelm.types import Message

_KEY = "maximum probability"


@task("video_bench_judged")
class VideoBenchJudged(Judged):
    """Video-Bench, replies mapped to options by a judge: the same files and prompts as `video_bench`.

    `official`: the judge's reply must be strict JSON with a capital letter from A to F, of an option or not; else the
    object may stand among other words, and the letter must be that of an option. What cannot be read has no score.
    Source: Ning and others 2023; official reading equal to the recorded rows, tests/tasks/test_video_bench.py.
    """

    headline = "accuracy"
    published = UNSAID
    splits = VideoBench.splits

    def __init__(self, official: bool = False) -> None:
        super().__init__(official)
        self.choices = VideoBench()

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return self.choices.annotations(root)

    def items(self, root: Path) -> Iterator[Item]:
        return self.choices.items(root)

    def chance(self, item: Item) -> float:
        return self.choices.chance(item)

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        return self.choices.summary([row for row in rows if "accuracy" in row.scores])

    def verdict_prompt(self, item: Item, text: str) -> tuple[Message, ...]:
        duty = "You match sentences with options: say which option of the question the sentence most likely means."
        asked = (f"Question with its options: {item.text}\nSentence: {text}\n\n"
                 f'Write a JSON object and nothing else: under "{_KEY}" the letter of that option. '
                 f'For example: {{"{_KEY}": "A"}}')
        return (Message("system", (duty,)), Message("user", (asked,)))

    def verdict(self, items: Sequence[Item], texts: Sequence[str], ask: Ask) -> Mapping[str, float]:
        item, = items

        def letter(reply: str) -> str:
            found = judged_letter(reply) if self.official else str(read_object(reply).get(_KEY, "")).strip().upper()
            if not found or found not in (LETTERS if self.official else LETTERS[:len(item.options)]):
                raise UsageError(f"no letter of {len(item.options)} options under {_KEY!r}", where=reply[:60],
                                 remedy=f'Write {{"{_KEY}": "A"}} with the letter that fits')
            return found

        chosen = ask(item.id, self.verdict_prompt(item, texts[0]), letter)
        return {} if chosen is None else {"accuracy": float(chosen == item.answer)}
