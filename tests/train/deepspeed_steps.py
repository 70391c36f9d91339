"""Run as a process of its own: three steps of the tiny model under accelerate with a DeepSpeed configuration file.

`python deepspeed_steps.py CONFIG` prints the losses and which stage of ZeRO ran, as JSON on the last line.
"""

import json
import sys

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin

from data.test_collate import sample
from model import small
from reelm.data.collate import collate

torch.manual_seed(0)
# Before the plugin: from then on transformers divides the weights of what it builds, and only those.
made = small.model()
plugin = DeepSpeedPlugin(hf_ds_config=sys.argv[1], zero3_init_flag=False)
plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 2
accelerator = Accelerator(deepspeed_plugin=plugin)
engine, optimizer = accelerator.prepare(made, torch.optim.AdamW(made.parameters(), 1e-2))
batch = collate([sample(0), sample(1, 35)], 0)
fed = {name: one for name, one in batch.items() if name not in ("ids", "bad", "notes")}
losses = []
for _ in range(3):
    loss = engine(**fed).loss
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
print(json.dumps({"losses": losses, "stage": engine.zero_optimization_stage()}))
