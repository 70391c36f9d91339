"""Ask one question about one file: python examples/ask.py clip.mp4 "What moves?" [model]."""

import sys

import reelm

path, question, *model = sys.argv[1:]
lm = reelm.load(*model)
answer = lm.answer(reelm.Clip(path), question, max_tokens=64, stream=lambda text: print(text, end="", flush=True))
print()

for times in answer.used_s:
    print("frames seen at", ", ".join(f"{second:.2f} s" for second in times), file=sys.stderr)
for note in answer.notes:
    print("note:", note, file=sys.stderr)
