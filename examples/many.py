"""The same question about many files, answered in batches: python examples/many.py MODEL QUESTION FILES…

One line of JSON per file; a file that cannot be answered has its error there and does not stop the others.
"""

import json
import sys

import reelm

model, question, *paths = sys.argv[1:]
lm = reelm.load(model)
answers = lm.answer_many([(reelm.Clip(path), question) for path in paths], max_tokens=64)
for path, answer in zip(paths, answers, strict=True):
    if isinstance(answer, reelm.ReelmError):
        print(json.dumps({"file": path, "error": str(answer)}))
    else:
        print(json.dumps({"file": path, "text": answer.text, "audio_used": answer.audio_used}))
