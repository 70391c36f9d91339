"""The decode loop against Hugging Face `generate`: same tokens alone, in company, with penalties, ends and prefixes."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from reelm.errors import UsageError
from reelm.model.detokenise import TextStream
from reelm.model.engine import CANCELLED, END, LENGTH, STOP, Batch, Engine, Event, Request
from reelm.model.prefix import Prefix, Shelf
from reelm.model.sampling import Sampling
from reelm.model.toy import byte_tokenizer, language_model

ARCHITECTURES = {"llama": {}, "mistral": {"sliding_window": 6}, "qwen2": {}, "mixtral": {}}


def model_of(arch: str) -> PreTrainedModel:
    # Large initial weights: otherwise a random model repeats one token and every comparison is empty.
    return language_model(arch, initializer_range=0.4, **ARCHITECTURES[arch])


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return model_of(request.param)


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return model_of("llama")


TOKENIZER = byte_tokenizer()


def decode(ids) -> str:
    return TOKENIZER.decode(list(ids), skip_special_tokens=True)


def prompts(model: PreTrainedModel, *lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    width = model.config.hidden_size
    return [torch.randn(n, width, generator=generator) for n in lengths]


def oracle(model: PreTrainedModel, embeds: Tensor, new: int = 12, eos: int | None = None, **options) -> list[int]:
    """What Hugging Face answers, alone; the end token, if met, is included."""
    options = {"do_sample": False, **options}
    return model.generate(inputs_embeds=embeds[None], attention_mask=torch.ones(1, len(embeds), dtype=torch.long),
                          max_new_tokens=new, eos_token_id=eos, pad_token_id=258, **options)[0].tolist()


def collect(events) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {}
    for event in events:
        found.setdefault(event.key, []).append(event)
    return found


def tokens_of(events: list[Event]) -> list[int]:
    return [event.token for event in events if event.token is not None]


def run_one(engine: Engine, request: Request) -> list[Event]:
    return list(engine.run([request]))


# -- equal to generate -------------------------------------------------------------------------------------------------

def test_one_request_gives_the_tokens_of_generate(model):
    (embeds,) = prompts(model, 11)
    events = run_one(Engine(model, eos_ids=()), Request(embeds, 12))
    expected = oracle(model, embeds)
    assert len(set(expected)) > 3, "a model that repeats itself proves nothing"
    assert tokens_of(events) == expected
    assert events[-1].stop == LENGTH


def test_a_batch_of_unequal_prompts_gives_the_tokens_of_each_alone(model):
    some = prompts(model, 3, 17, 9, 1, 12)
    found = collect(Engine(model, eos_ids=()).run([Request(e, 12) for e in some]))
    assert [tokens_of(found[i]) for i in range(5)] == [oracle(model, e) for e in some]


def test_a_full_batch_lets_the_next_request_in_when_one_ends(model):
    some = prompts(model, 3, 17, 9, 5, 12)
    lengths = (2, 12, 5, 7, 1)
    found = collect(Engine(model, ()).run([Request(e, n) for e, n in zip(some, lengths, strict=True)], max_batch=2))
    for key, (embeds, new) in enumerate(zip(some, lengths, strict=True)):
        assert tokens_of(found[key]) == oracle(model, embeds, new)


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty`")
@pytest.mark.parametrize("penalty", [1.7, 0.2])  # below 1 it rewards repeating, so its effect is sure to show
def test_the_repetition_penalty_touches_new_tokens_only_as_generate_does_on_embeddings(model, penalty):
    some = prompts(model, 8, 4)
    rule = Sampling(repetition_penalty=penalty)
    found = collect(Engine(model, ()).run([Request(e, 14, rule) for e in some]))
    expected = [oracle(model, e, 14, repetition_penalty=penalty) for e in some]
    assert [tokens_of(found[i]) for i in range(2)] == expected
    if penalty < 1:
        assert expected != [oracle(model, e, 14) for e in some], "the penalty must matter here"


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty`")
def test_the_same_seed_samples_what_generate_samples(llama):
    (embeds,) = prompts(llama, 10)
    rule = Sampling(temperature=0.8, top_p=0.9, top_k=20, repetition_penalty=1.2, seed=7)
    torch.manual_seed(7)
    expected = oracle(llama, embeds, 15, do_sample=True, temperature=0.8, top_p=0.9, top_k=20, repetition_penalty=1.2)
    assert tokens_of(run_one(Engine(llama, ()), Request(embeds, 15, rule))) == expected


def test_an_end_token_in_the_middle_ends_one_row_and_not_the_others(model):
    some = prompts(model, 6, 10, 13)
    free = [oracle(model, e, 12) for e in some]
    eos = free[1][5]
    found = collect(Engine(model, {eos}).run([Request(e, 12) for e in some]))
    for key, embeds in enumerate(some):
        assert tokens_of(found[key]) == oracle(model, embeds, 12, eos=eos)
    assert found[1][-1].stop == END
    assert found[1][-1].token == eos


def test_logits_in_company_equal_those_alone_to_1e_5_of_the_largest(llama):
    seen: list[Tensor] = []
    hook = llama.register_forward_hook(lambda _m, _a, out: seen.append(out.logits.clone()))
    some = prompts(llama, 4, 19)
    try:
        list(Engine(llama, ()).run([Request(some[0], 6)]))
        alone = torch.cat([x[:, -1] for x in seen[1:]])
        seen.clear()
        list(Engine(llama, ()).run([Request(e, 6) for e in some]))
        company = torch.stack([x[0, -1] for x in seen[2:]])
    finally:
        hook.remove()
    assert (alone - company).abs().max() < 1e-5 * alone.abs().max()


def test_bfloat16_alone_gives_the_tokens_of_generate():
    model = model_of("llama").bfloat16()
    embeds = prompts(model, 11)[0].bfloat16()
    assert tokens_of(run_one(Engine(model, ()), Request(embeds, 12))) == oracle(model, embeds)


# -- coming and going --------------------------------------------------------------------------------------------------

def test_requests_join_and_leave_a_running_batch_without_changing_the_others(model):
    first, second, third = prompts(model, 5, 21, 2)
    batch = Batch(Engine(model, ()))
    events = [batch.join(1, Request(first, 12))]
    events += batch.step() + batch.step()
    events.append(batch.join(2, Request(second, 12)))
    events += batch.step()
    events.append(batch.join(3, Request(third, 9)))
    events += batch.step()
    assert batch.leave(2).stop == CANCELLED
    assert batch.leave(2) is None
    while len(batch):
        events += batch.step()
    found = collect(events)
    assert tokens_of(found[1]) == oracle(model, first)
    assert tokens_of(found[2]) == oracle(model, second)[:3]
    assert tokens_of(found[3]) == oracle(model, third, 9)


def test_sampling_does_not_depend_on_the_neighbours(llama):
    some = prompts(llama, 5, 12, 8)
    rules = [Sampling(temperature=1.0, seed=3), Sampling(), Sampling(temperature=0.7, top_p=0.8, seed=3)]
    requests = [Request(e, 10, r) for e, r in zip(some, rules, strict=True)]
    engine = Engine(llama, ())
    together = collect(engine.run(requests))
    for key, request in enumerate(requests):
        assert tokens_of(together[key]) == tokens_of(run_one(engine, request))


def test_without_a_seed_two_runs_differ(llama):
    (embeds,) = prompts(llama, 5)
    engine = Engine(llama, ())
    request = Request(embeds, 20, Sampling(temperature=1.5))
    assert tokens_of(run_one(engine, request)) != tokens_of(run_one(engine, request))


def test_cancel_by_event_or_by_function_ends_one_request_and_keeps_what_was_said(llama):
    some = prompts(llama, 5, 9)
    flag = threading.Event()
    got: list[Event] = []
    for event in Engine(llama, (), decode).run([Request(some[0], 10), Request(some[1], 10, cancel=flag)]):
        got.append(event)
        if len(tokens_of([e for e in got if e.key == 1])) == 4:
            flag.set()
    found = collect(got)
    assert found[1][-1].stop == CANCELLED
    assert tokens_of(found[1]) == oracle(llama, some[1], 4)
    assert tokens_of(found[0]) == oracle(llama, some[0], 10)
    (only,) = run_one(Engine(llama, ()), Request(some[0], 5, cancel=lambda: True))
    assert (only.stop, only.token) == (CANCELLED, None)


# -- prefixes ----------------------------------------------------------------------------------------------------------

def test_two_questions_on_one_prefix_equal_the_whole_prompts_and_leave_the_prefix_as_it_was(model):
    start, one, two = prompts(model, 20, 4, 7)
    engine = Engine(model, ())
    prefix = engine.prefill(start, marks=tuple(range(20)))
    before = [layer.keys.clone() for layer in prefix.cache.layers]
    found = collect(engine.run([Request(one, 10, prefix=prefix), Request(two, 10, prefix=prefix)]))
    assert tokens_of(found[0]) == oracle(model, torch.cat([start, one]), 10)
    assert tokens_of(found[1]) == oracle(model, torch.cat([start, two]), 10)
    assert all(torch.equal(a, layer.keys) for a, layer in zip(before, prefix.cache.layers, strict=True))


def test_a_prefix_can_be_shortened_and_continued(model):
    start, more, ask = prompts(model, 20, 6, 3)
    engine = Engine(model, ())
    whole = engine.prefill(start, marks=tuple(range(20)))
    head = whole.head(whole.shared((*range(12), "other")))
    assert (head.length, whole.length) == (12, 20)
    longer = engine.prefill(more, head, marks=(*range(12), *"abcdef"))
    assert longer.length == 18
    events = run_one(engine, Request(ask, 10, prefix=longer))
    assert tokens_of(events) == oracle(model, torch.cat([start[:12], more, ask]), 10)
    with pytest.raises(UsageError, match="20 positions"):
        whole.head(21)


def test_the_bytes_of_a_prefix_are_those_of_its_keys_and_values(llama):
    (start,) = prompts(llama, 20)
    prefix = Engine(llama, ()).prefill(start)
    layers, heads, size = 2, 2, llama.config.hidden_size // 4
    assert prefix.bytes == 2 * layers * heads * size * 20 * 4


def test_a_shelf_keeps_the_recently_used_within_its_bytes(llama):
    engine = Engine(llama, ())
    prefixes = [engine.prefill(e) for e in prompts(llama, 5, 5, 5)]
    shelf: Shelf[Prefix] = Shelf(limit_bytes=2 * prefixes[0].bytes)
    shelf.put("a", prefixes[0])
    shelf.put("b", prefixes[1])
    assert shelf.get("a") is prefixes[0]
    shelf.put("c", prefixes[2])
    assert shelf.get("b") is None
    assert [key for key, _ in shelf.items()] == ["a", "c"]
    assert shelf.bytes == shelf.limit_bytes


# -- text --------------------------------------------------------------------------------------------------------------

def pieces_of(text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    stream = TextStream(decode, stop)
    pieces = []
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()], stream


@given(st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_pieces_join_to_the_text_and_none_holds_half_a_character(text):
    pieces, stream = pieces_of(text)
    assert "".join(pieces) == text == stream.text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@given(st.lists(st.integers(0, 258), max_size=24))
@settings(max_examples=60, deadline=None)
def test_pieces_of_any_tokens_join_to_what_the_tokenizer_says(ids):
    stream = TextStream(decode)
    assert "".join([*map(stream.push, ids), stream.finish()]) == decode(ids)


@given(st.text("ab#", max_size=16), st.lists(st.text("ab#", min_size=1, max_size=4), min_size=1, max_size=2))
@settings(max_examples=100, deadline=None)
def test_a_stop_string_ends_the_text_before_it_and_never_shows_in_part(text, stops):
    pieces, stream = pieces_of(text, tuple(stops))
    ends = [text.find(s) + len(s) for s in stops if s in text]
    if not ends:
        assert ("".join(pieces), stream.stopped) == (text, False)
        return
    first = min(ends)  # the stop string that is complete first; of several, the one that began first
    begin = min(first - len(s) for s in stops if text[:first].endswith(s))
    assert ("".join(pieces), stream.stopped) == (text[:begin], True)


def test_a_stop_string_ends_a_request_of_the_loop(llama):
    (embeds,) = prompts(llama, 9)
    ids = oracle(llama, embeds, 12)
    engine = Engine(llama, (), lambda ids: "".join(f"<{i}>" for i in ids))
    stop = f"{ids[4]}><{ids[5]}"
    events = run_one(engine, Request(embeds, 12, stop=(stop,)))
    text = "".join(event.text for event in events)
    assert events[-1].stop == STOP
    assert text == "".join(f"<{i}>" for i in ids[:4]) + "<"
    assert len(tokens_of(events)) == 6


def test_text_comes_token_by_token(llama):
    (embeds,) = prompts(llama, 9)
    ids = oracle(llama, embeds, 8)
    events = run_one(Engine(llama, (), lambda ids: "".join(f"<{i}>" for i in ids)), Request(embeds, 8))
    assert [event.text for event in events] == [f"<{i}>" for i in ids]
    assert events[0].prefill_s > 0


# -- refusals ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrong", [
    {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1},
    {"repetition_penalty": 0.0}, {"top_p": 0.5}, {"top_k": 3},
])
def test_settings_out_of_range_or_without_effect_are_refused(wrong):
    with pytest.raises(UsageError):
        Sampling(**wrong)


def test_empty_prompts_no_room_and_empty_stop_strings_are_refused(llama):
    (embeds,) = prompts(llama, 2)
    for wrong in ({"embeds": embeds[:0]}, {"embeds": embeds[None]}, {"embeds": embeds, "max_new_tokens": 0},
                  {"embeds": embeds, "stop": ("",)}):
        with pytest.raises(UsageError):
            Request(**wrong)
    with pytest.raises(UsageError, match="decode"):
        run_one(Engine(llama, ()), Request(embeds, stop=("x",)))


def test_a_model_in_training_mode_is_refused():
    model = model_of("llama").train()
    with pytest.raises(UsageError, match="training mode"):
        run_one(Engine(model, ()), Request(prompts(model, 3)[0]))


def test_a_model_with_other_state_than_keys_and_values_is_refused(llama):
    model = model_of("llama")
    model.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(UsageError, match="linear_attention"):
        Engine(model, ())


def test_logits_that_are_not_numbers_are_an_error(llama):
    model = model_of("llama")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    (event,) = Engine(model, ()).run([Request(prompts(model, 3)[0])])
    assert event.stop == "failed" and event.token is None and "not finite" in str(event.error)


def test_a_row_whose_logits_are_not_numbers_ends_alone(llama):
    good, bad = prompts(llama, 4, 4)
    alone = [event.token for event in Engine(llama, ()).run([Request(good, 6)])]
    events = list(Engine(llama, ()).run([Request(good, 6), Request(bad * float("nan"), 6)]))
    assert [event.token for event in events if event.key == 0] == alone
    (failed,) = [event for event in events if event.key == 1]
    assert failed.stop == "failed" and "not finite" in str(failed.error)
