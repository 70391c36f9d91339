"""The Q-Former takes published weights under their own names and equals the recorded ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kernels.llama_vid import answered, linear, norm
from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.kernels.attending import slot_tokens
from reelm.kernels.merging import merge_alike
from reelm.kernels.scoring import soft_choice
from reelm.parts.bert import QueryBert, published


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


@torch.no_grad()
def test_two_levels_and_the_audio_branch_equal_video_llama(record_property):
    file = recorded("video_llama", "two_level_qformer")
    meta, found, w = file.settings, {}, file.weights
    heads, batch = meta["heads"], meta["batch"]
    if "vit_features" in file.tensors:
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
    worst(found, record_property, 5e-5)


@torch.no_grad()
def test_prompt_and_features_equal_llama_vid(record_property):
    file = recorded("llama_vid", "vlm_attention")
    bert = loaded(file, "vlm_att_encoder.bert.", file.settings["bert_heads"])
    found = {name: apart(answered(file, bert, name), y) for name, y in file.named("out.").items()}
    worst(found, record_property, 5e-5)


def b_vllm(file, clip, noise=None):
    """A clip through B-VLLM: frames chosen softly, alike ones merged, each then read by the spatial Q-Former."""
    meta, w = file.settings, file.weights
    prompt = meta["prompts"]["first" if clip == min(clips_of(file), key=frames_of) else "second"]
    words, x = file[f"prompt_ids.{prompt}"][None], file[f"{clip}.image_features"]
    temporal, spatial = (loaded(file, f"vlm_att_encoder_{kind}.bert.", meta["bert_heads"])
                         for kind in ("temporal", "spatial"))
    queries = w["vlm_att_query_temporal"][:, :meta["queries_temporal_used"]]
    eps = meta.get("vit_ln_eps", 1e-5)
    asked = temporal(queries, norm(file, "vlm_att_ln_temporal", x[:, 0], eps)[None], words)
    choice = soft_choice(linear(file, "vlm_att_projector_temporal", asked)[0], x[:, 0], temperature=meta["tau"],
                         noise=noise)
    patches = norm(file, "vlm_att_ln_spatial", x[:, 1:], eps)
    frames, _ = merge_alike((choice @ patches.flatten(1)).unflatten(1, patches.shape[1:]), choice,
                            meta["merge_threshold"], as_released=True)
    y = spatial(w["vlm_att_query_spatial"].expand(len(frames), -1, -1), frames, words.expand(len(frames), -1))
    y = linear(file, "vlm_att_val_projector_spatial", linear(file, "vlm_att_projector_spatial", y))
    return choice, frames, y.flatten(0, 1)


def clips_of(file):
    return sorted({name.split(".")[0] for name in file.tensors if name.startswith("v")})


def frames_of(clip):
    return int(clip[1:])


@torch.no_grad()
def test_frames_chosen_merged_and_read_equal_b_vllm(record_property):
    file, found = recorded("b_vllm", "vlm_attention"), {}
    for clip in clips_of(file):
        for case in ("noisefree", "fixednoise"):
            name = f"{clip}.{case}"
            if f"{name}.out" in file.tensors:
                noise = file[f"{name}.gumbel"][0] if case == "fixednoise" else None
                choice, frames, y = b_vllm(file, clip, noise)
                found[f"{name}.P"] = apart(choice, file[f"{name}.P"])
                found[name] = apart(y, file[f"{name}.out"])
                if f"{name}.merged_frames" in file.tensors:
                    found[f"{name}.merged"] = apart(frames, file[f"{name}.merged_frames"])
    worst(found, record_property, 5e-4)


@torch.no_grad()
def test_frames_with_times_in_slots_equal_vtg_llm(record_property):
    file, found = recorded("vtg_llm", "encode"), {}
    w, meta = file.weights, file.settings
    seen = norm(file, "ln_vision", file["vit_features"], meta["vit_ln_eps"])
    bert = loaded(file, "Qformer.bert.", meta["heads"])
    frames = bert(w["query_tokens"].expand(len(seen), -1, -1), seen)
    frames = frames + w["video_frame_position_embedding.weight"][:len(frames), None]
    times = w["video_time_position_embedding"][file["absolute_seconds"][0]]
    for name, y in file.named("out.").items():
        sampler, time = name.split(".")
        tokens = (frames + times[:, None] * int(time[-1])).flatten(0, 1)[None]
        tokens = slot_tokens(tokens, w["sampler.slots"]) if sampler == "slot" else tokens
        found[name] = apart(linear(file, "llama_proj", tokens), y)
    worst(found, record_property, 5e-5)


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
