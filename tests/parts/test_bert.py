"""The Q-Former takes published weights under their own names and equals the recorded ones."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from kernels.llama_vid import answered, linear, norm
from kernels.recorded import apart, recorded, worst
from parity_root import at_hand
from reelm.errors import UsageError
from reelm.kernels.attending import slot_tokens
from reelm.kernels.merging import merge_alike
from reelm.kernels.pooling import adaptive_pool
from reelm.kernels.scenes import scene_ends, scene_frames
from reelm.kernels.scoring import soft_choice
from reelm.parts.bert import QueryBert, published
from reelm.parts.bridge import MemoryBridge, from_videollamb


def loaded(file, prefix, heads):
    """A Q-Former of the sizes of the recorded weights below `prefix`, holding them."""
    state = published(file.weights, prefix)
    layers = {int(name.split(".")[2]) for name in state if name.startswith("encoder.")}
    looks = sorted({int(name.split(".")[2]) for name in state if "crossattention" in name})
    first = "encoder.layer.0."
    words = state.get("embeddings.word_embeddings.weight")
    places = state.get("embeddings.position_embeddings.weight")
    bert = QueryBert(len(state["embeddings.LayerNorm.weight"]), heads, len(layers),
                     state[f"{first}crossattention.self.key.weight"].shape[1],
                     hidden=len(state[f"{first}intermediate_query.dense.weight"]),
                     every=looks[1] if len(looks) > 1 else len(layers) + 1,
                     words=0 if words is None else len(words), places=0 if places is None else len(places))
    bert.load_state_dict(state, strict=True)
    return bert


def video_llama(file):
    """Frame Q-Former, then video Q-Former over all frames; the audio branch."""
    meta, found, w = file.settings, {}, file.weights
    heads, batch = meta["heads"], meta["batch"]
    seen = norm(file, "ln_vision", file["vit_features"], meta["vit_ln_eps"])
    frames = loaded(file, "Qformer.bert.", heads)(w["query_tokens"].expand(len(seen), -1, -1), seen)
    places = w["video_frame_position_embedding.weight"]
    frames = frames.unflatten(0, (batch, -1))
    second = loaded(file, "video_Qformer.bert.", heads)
    keys = (frames + places[:frames.shape[1], None]).flatten(1, 2)
    found["keys"] = apart(keys, file["video_qformer_keys"])
    turned = frames[:, file["permutation"]] + places[:frames.shape[1], None]
    for name, seen in {"out": keys, "out_permuted_frames": turned.flatten(1, 2),
                       "out_zero_positions": frames.flatten(1, 2),
                       "out_single_frame": (frames[:, :1] + places[0]).flatten(1, 2)}.items():
        y = linear(file, "llama_proj", second(w["video_query_tokens"].expand(batch, -1, -1), seen))
        found[name] = apart(y, file[name])
    x = file["audio_features"]
    seen = x + w["audio_position_embedding.weight"][:x.shape[1]]
    y = loaded(file, "audio_Qformer.bert.", heads)(w["audio_query_tokens"].expand(len(x), -1, -1), seen)
    found["audio"] = apart(linear(file, "audio_llama_proj", y), file["audio_out"])
    return found


def llama_vid(file):
    """Prompt and features through the Q-Former, then context and content tokens."""
    bert = loaded(file, "vlm_att_encoder.bert.", file.settings["bert_heads"])
    return {name: apart(answered(file, bert, name), y) for name, y in file.named("out.").items()}


def b_vllm_frames(file, clip, noise=None):
    """The frames a prompt chooses softly, alike ones merged, as B-VLLM does: the choice, the frames, the prompt."""
    meta, w = file.settings, file.weights
    prompt = meta["prompts"]["first" if clip == min(clips_of(file), key=frames_of) else "second"]
    words, x = file[f"prompt_ids.{prompt}"][None], file[f"{clip}.image_features"]
    queries = w["vlm_att_query_temporal"][:, :meta["queries_temporal_used"]]
    asked = loaded(file, "vlm_att_encoder_temporal.bert.", meta["bert_heads"])(queries, x[None, :, 0], words)
    choice = soft_choice(linear(file, "vlm_att_projector_temporal", asked)[0], x[:, 0], temperature=meta["tau"],
                         noise=noise)
    patches = norm(file, "vlm_att_ln_temporal", x[:, 1:], meta.get("vit_ln_eps", 1e-5))
    mixed = (choice @ patches.flatten(1)).unflatten(1, patches.shape[1:])
    return choice, merge_alike(mixed, choice, meta["merge_threshold"], as_released=True)[0], words


def b_vllm_tokens(file, frames, words):
    """Every frame as the tokens its spatial Q-Former reads with the prompt."""
    w = file.weights
    spatial = loaded(file, "vlm_att_encoder_spatial.bert.", file.settings["bert_heads"])
    y = spatial(w["vlm_att_query_spatial"].expand(len(frames), -1, -1), frames, words.expand(len(frames), -1))
    return linear(file, "vlm_att_val_projector_spatial", linear(file, "vlm_att_projector_spatial", y)).flatten(0, 1)


def clips_of(file):
    return sorted({name.split(".")[0] for name in file.tensors if name.startswith("v")})


def frames_of(clip):
    return int(clip[1:])


def b_vllm(file):
    """From prompt and frames to tokens, with and without the recorded noise."""
    found = {}
    for clip in clips_of(file):
        for case in ("noisefree", "fixednoise"):
            name = f"{clip}.{case}"
            choice, frames, words = b_vllm_frames(file, clip, file[f"{name}.gumbel"][0] if "fixed" in case else None)
            found[f"{name}.P"] = apart(choice, file[f"{name}.P"])
            if f"{name}.merged_frames" in file.tensors:
                found[f"{name}.merged"] = apart(frames, file[f"{name}.merged_frames"])
            found[name] = apart(b_vllm_tokens(file, frames, words), file[f"{name}.out"])
    return found


def vtg_llm(file):
    """Frames with places and times, as they are or in slots."""
    found, w, meta = {}, file.weights, file.settings
    seen = norm(file, "ln_vision", file["vit_features"], meta["vit_ln_eps"])
    frames = loaded(file, "Qformer.bert.", meta["heads"])(w["query_tokens"].expand(len(seen), -1, -1), seen)
    frames = frames + w["video_frame_position_embedding.weight"][:len(frames), None]
    times = w["video_time_position_embedding"][file["absolute_seconds"][0]]
    for name, y in file.named("out.").items():
        sampler, time = name.split(".")
        tokens = (frames + times[:, None] * int(time[-1])).flatten(0, 1)[None]
        tokens = slot_tokens(tokens, w["sampler.slots"]) if sampler == "slot" else tokens
        found[name] = apart(linear(file, "llama_proj", tokens), y)
    return found


def videollamb(file):
    """Scenes cut by their summary tokens, pooled frames of each read one after another with the memory."""
    meta = file.settings
    bridge = MemoryBridge(meta["mm_hidden_size"], meta["hidden_size"], meta["heads"], depth=meta["depth"],
                          hidden=meta["intermediate"], memories=meta["memory_tokens"])
    bridge.load_state_dict(from_videollamb(file.weights), strict=True)
    x = file["hidden_states"]
    side = math.isqrt(x.shape[2] - 1)
    ends = scene_ends(x[0, :, 0], cuts=meta["k"], as_released=True)
    assert ends == file["boundaries"].tolist()
    grids = x[:, :, 1:].unflatten(2, (side, side))

    def pooled(frames):
        return adaptive_pool(grids[:, frames], (len(frames), *meta["pooled"])).flatten(1, 3)

    scenes = [pooled(frames) for frames in scene_frames(ends, meta["max_frames_per_segment"])]
    found, kept = {}, []
    for i, tokens in enumerate(bridge(scenes)):
        memory = bridge.recall(kept) if kept else bridge.memory[None]
        if kept:
            found[f"{i}.memory_in"] = apart(memory, file[f"segment{i}.memory_in"])
        kept.append(bridge.read(scenes[i], memory)[1])
        found[f"{i}.memory_out"] = apart(kept[-1], file[f"segment{i}.memory_out"])
        found[f"{i}.tokens"] = apart(tokens, file[f"segment{i}.tokens_out"])
    found["last"] = apart(tokens, file["last"])
    found["image"] = apart(next(bridge([pooled([0])])), file["image.out"])
    return found


SYSTEMS = {"llama_vid/vlm_attention": (llama_vid, 5e-5), "vtg_llm/encode": (vtg_llm, 5e-5),
           "videollamb/bridge": (videollamb, 5e-5), "video_llama/two_level_qformer": (video_llama, 5e-5),
           "b_vllm/vlm_attention": (b_vllm, 5e-4)}


@torch.no_grad()
@pytest.mark.parametrize("path", [path for path in SYSTEMS if at_hand(f"{path}.safetensors")])
def test_every_system_recorded_equals_ours_put_together(path, record_property):
    compare, limit = SYSTEMS[path]
    worst(compare(recorded(*path.split("/"))), record_property, limit)


def test_padding_of_a_prompt_changes_nothing():
    torch.manual_seed(0)
    bert = QueryBert(8, 2, 3, 6, words=20, places=9)
    queries, seen, words = torch.randn(2, 4, 8), torch.randn(2, 5, 6), torch.randint(20, (2, 3))
    padded = F.pad(words, (0, 4))
    present = torch.arange(7).expand(2, -1) < 3
    torch.testing.assert_close(bert(queries, seen, padded, present), bert(queries, seen, words))
    assert (bert(queries, seen, padded) - bert(queries, seen, words)).abs().max() > 1e-3


def test_text_it_cannot_read_is_refused():
    with pytest.raises(UsageError, match="without words"):
        QueryBert(8, 2, 1, 6)(torch.zeros(1, 2, 8), torch.zeros(1, 2, 6), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(UsageError, match="7 words does not fit 5 places"):
        QueryBert(8, 2, 1, 6, words=9, places=5)(torch.zeros(1, 2, 8), torch.zeros(1, 2, 6),
                                                 torch.zeros(1, 7, dtype=torch.long))
    with pytest.raises(UsageError, match="shared by 3 heads"):
        QueryBert(8, 3, 1, 6)
