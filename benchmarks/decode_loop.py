"""Our decode loop against Hugging Face `generate`, same weights, same prompt, same tokens: prints ratios, asserts none.

Run: python benchmarks/decode_loop.py [--device cpu] [--dtype float32] [--width 512] [--layers 8]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from reelm.model.engine import Engine, Request
from reelm.model.toy import language_model


def seconds_of(action: Callable[[], object], repeats: int) -> float:
    """Median wall time, after one run to warm up."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def ours(engine: Engine, prompts: list[Tensor], new: int) -> list[list[int]]:
    tokens: list[list[int]] = [[] for _ in prompts]
    for event in engine.run([Request(prompt, new) for prompt in prompts], max_batch=len(prompts)):
        if event.token is not None:
            tokens[event.key].append(event.token)
    return tokens


def theirs(model, prompts: list[Tensor], new: int) -> list[list[int]]:
    batch = torch.stack(prompts)
    mask = torch.ones(batch.shape[:2], dtype=torch.long, device=batch.device)
    return model.generate(inputs_embeds=batch, attention_mask=mask, max_new_tokens=new, do_sample=False,
                          eos_token_id=None, pad_token_id=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = language_model(hidden_size=args.width, intermediate_size=args.width * 11 // 4, num_attention_heads=8,
                           num_hidden_layers=args.layers, vocab_size=8192, initializer_range=0.1)
    model = model.to(args.device, getattr(torch, args.dtype))
    engine = Engine(model, eos_ids=())
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters, {args.device}, {args.dtype}, "
          f"{torch.get_num_threads()} threads, {args.new} new tokens, median of {args.repeats}")
    for rows, length in ((1, 128), (1, 1024), (4, 128), (16, 128)):
        prompts = list(torch.randn(rows, length, args.width, device=args.device, dtype=model.dtype))
        same = ours(engine, prompts, args.new) == theirs(model, prompts, args.new)
        a = seconds_of(lambda p=prompts: ours(engine, p, args.new), args.repeats)
        b = seconds_of(lambda p=prompts: theirs(model, p, args.new), args.repeats)
        print(f"batch {rows:2d}, prompt {length:4d}: ours {rows * args.new / a:7.0f} tokens/s, generate "
              f"{rows * args.new / b:7.0f}; ratio {b / a:.2f}; tokens {'equal' if same else 'DIFFER'}")
    start, ask = torch.randn(1000, args.width, device=args.device, dtype=model.dtype), 24
    question = torch.randn(ask, args.width, device=args.device, dtype=model.dtype)
    prefix = engine.prefill(start)
    whole = seconds_of(lambda: ours(engine, [torch.cat([start, question])], 1), args.repeats)
    again = seconds_of(lambda: list(engine.run([Request(question, 1, prefix=prefix)])), args.repeats)
    print(f"first token of a question of {ask} on 1000 kept positions: ratio {whole / again:.1f} to the whole prompt")


if __name__ == "__main__":
    main()
