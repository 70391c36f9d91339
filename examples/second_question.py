"""Several questions about one clip; from the second on, only the new words are computed.

python examples/second_question.py MODEL CLIP QUESTION QUESTION…
"""

import sys

import reelm

model, path, *questions = sys.argv[1:]
lm = reelm.load(model)
for question in questions:
    answer = lm.answer(reelm.Clip(path), question, max_tokens=32)
    reused, seconds = answer.tokens["reused"], answer.seconds["first_token"]
    print(f"{question}\n  {answer}\n  {reused} positions reused, first token after {seconds:.2f} s")
