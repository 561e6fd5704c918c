"""POST /generate, whole answers: samplers, stops, seeds, sessions."""
import json
import os

import pytest

from client import SHIPPED, expect
from folders import MULTIBYTE

KJV = {"model": "kjv", "input": "And God said, ", "max_tokens": 60}


def one(daemon, **fields):
    answer = daemon.ok("/generate", {**KJV, **fields})
    assert len(answer["choices"]) == 1
    return answer["choices"][0]


def test_form_of_an_answer(daemon):
    answer = daemon.ok("/generate", {**KJV, "seed": 3})
    choice = answer["choices"][0]
    assert choice["index"] == 0 and choice["finish_reason"] == "length"
    assert len(choice["text"]) == 60 == len(choice["tokens"])
    assert answer["seed"] == 3 and answer["model"] == "kjv"
    assert answer["usage"] == {"input_steps": 14, "output_steps": 60}
    assert "session" not in answer and "logprobs" not in choice


def test_hello_goes_on(daemon):
    answer = daemon.ok("/generate", {"model": "hello", "input": "h", "temperature": 0, "max_tokens": 4})
    assert answer["choices"][0]["text"] == "ello"
    assert answer["choices"][0]["tokens"] == [1, 2, 2, 3]


def test_greedy_is_golden(daemon):
    with open(os.path.join(SHIPPED, "kjv", "golden.json"), encoding="utf-8") as f:
        runs = [r for r in json.load(f)["runs"] if r["kind"] == "greedy"]
    assert len(runs) >= 3
    for run in runs:
        want = run["generated_ids"]
        for given in (run["prompt_ids"], run["prompt_text"]) if "prompt_text" in run else (run["prompt_ids"],):
            choice = one(daemon, input=given, temperature=0, max_tokens=len(want))
            assert choice["tokens"] == want


def test_seed_is_drawn_and_returned(daemon):
    first = daemon.ok("/generate", KJV)
    second = daemon.ok("/generate", KJV)
    assert first["seed"] != second["seed"]
    again = daemon.ok("/generate", {**KJV, "seed": first["seed"]})
    assert again["choices"] == first["choices"]


@pytest.mark.parametrize("seed", [0, 1, 2 ** 31, 2 ** 53 - 1])
def test_seed_repeats(daemon, seed):
    first = daemon.ok("/generate", {**KJV, "seed": seed})
    second = daemon.ok("/generate", {**KJV, "seed": seed})
    assert first["seed"] == seed and first["choices"] == second["choices"]


def test_seeds_differ(daemon):
    assert len({one(daemon, seed=s)["text"] for s in range(8)}) == 8


def test_n_choices_differ_and_repeat(daemon):
    answer = daemon.ok("/generate", {**KJV, "n": 5, "seed": 9})
    assert [c["index"] for c in answer["choices"]] == list(range(5))
    assert len({c["text"] for c in answer["choices"]}) == 5
    assert daemon.ok("/generate", {**KJV, "n": 5, "seed": 9})["choices"] == answer["choices"]
    # the first choice is what n = 1 gives
    assert one(daemon, seed=9)["text"] == answer["choices"][0]["text"]
    assert answer["usage"]["output_steps"] == 300


def test_greedy_equals_top_k_one(daemon):
    greedy = one(daemon, temperature=0)
    assert one(daemon, top_k=1, seed=4)["tokens"] == greedy["tokens"]
    assert one(daemon, top_p=1e-6, seed=4)["tokens"] == greedy["tokens"]
    assert one(daemon, min_p=1, seed=4)["tokens"] == greedy["tokens"]
    assert one(daemon, temperature=1e-4, seed=4)["tokens"] == greedy["tokens"]


@pytest.mark.parametrize("sampler", [
    {"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.1}, {"typical_p": 0.6}, {"temperature": 0.5},
    {"repetition_penalty": 1.3}, {"presence_penalty": 1.0}, {"frequency_penalty": 0.7},
    {"temperature": 1.4, "top_k": 20, "typical_p": 0.95, "top_p": 0.9, "min_p": 0.02,
     "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.1, "logit_bias": {"e": -1}},
])
def test_samplers_change_the_text_and_repeat(daemon, sampler):
    plain = one(daemon, seed=21, max_tokens=120)
    shaped = one(daemon, seed=21, max_tokens=120, **sampler)
    assert shaped["text"] != plain["text"]
    assert one(daemon, seed=21, max_tokens=120, **sampler)["text"] == shaped["text"]


def test_top_k_keeps_to_the_most_probable(daemon):
    """Each drawn token is among the three most probable ones at its place."""
    choice = one(daemon, seed=5, top_k=3, max_tokens=40)
    ids = daemon.ok("/tokenize", {"model": "kjv", "text": KJV["input"]})["tokens"]
    scored = daemon.ok("/score", {"model": "kjv", "input": ids + choice["tokens"]})
    assert all(token["rank"] <= 3 for token in scored["tokens"][-40:])


def test_neutral_samplers_are_off(daemon):
    plain = one(daemon, seed=6)
    neutral = one(daemon, seed=6, temperature=1, top_k=0, top_p=1, min_p=0, typical_p=1,
                  repetition_penalty=1, presence_penalty=0, frequency_penalty=0, logit_bias={})
    assert neutral == plain


def test_logit_bias(daemon):
    assert "e" not in one(daemon, seed=1, max_tokens=200, logit_bias={"e": False})["text"]
    assert set(one(daemon, seed=1, logit_bias={"z": 100})["text"]) == {"z"}
    # by id, too: 41 is "e"
    assert 41 not in one(daemon, seed=1, max_tokens=200, logit_bias={"41": False})["tokens"]


def test_every_token_banned_is_refused_or_ends(daemon):
    bans = {token: False for token in "helo"}
    answer = daemon.post("/generate", {"model": "hello", "input": "h", "logit_bias": bans, "max_tokens": 3})
    assert answer.status in (400, 422), answer


def test_presence_penalty_forbids_repeats(daemon):
    answer = daemon.ok("/generate", {"model": "multibyte", "input": "a", "temperature": 0,
                                     "presence_penalty": 2, "frequency_penalty": 2, "max_tokens": 40})
    plain = daemon.ok("/generate", {"model": "multibyte", "input": "a", "temperature": 0, "max_tokens": 40})
    assert len(set(answer["choices"][0]["tokens"])) > len(set(plain["choices"][0]["tokens"]))


# ---- stop ----

@pytest.mark.parametrize("stop", [[" "], ["the"], ["th", "he "], ["\n"], ["e t"], [","], ["zzzz", "d"]])
def test_stop_cuts_at_the_first_match(daemon, stop):
    plain = one(daemon, seed=12, max_tokens=200)["text"]
    places = [(plain.find(s), s) for s in stop if s in plain]
    choice = one(daemon, seed=12, max_tokens=200, stop=stop)
    if not places:
        assert choice["text"] == plain and choice["finish_reason"] == "length"
        return
    # the match that ends first wins
    end, begin, found = min((at + len(s), at, s) for at, s in places)
    assert choice["text"] == plain[:begin]
    assert choice["finish_reason"] == "stop" and choice["stop"] == found


def test_stop_that_never_comes(daemon):
    choice = one(daemon, seed=12, stop=["#####"])
    assert choice["finish_reason"] == "length" and len(choice["text"]) == 60 and "stop" not in choice


def test_stop_is_not_matched_in_the_prompt(daemon):
    choice = one(daemon, temperature=0, stop=["said, "])
    assert len(choice["text"]) > 0


def test_stop_across_multibyte_tokens(daemon):
    base = {"model": "multibyte", "input": "日", "seed": 2, "max_tokens": 120}
    plain = daemon.ok("/generate", base)["choices"][0]["text"]
    assert any(ord(c) > 0xffff for c in plain)
    for width in (1, 2, 3):
        for at in range(0, len(plain) - width, 7):
            stop = plain[at:at + width]
            choice = daemon.ok("/generate", {**base, "stop": [stop]})["choices"][0]
            assert choice["text"] == plain[:plain.find(stop)] and choice["stop"] == stop


# ---- echo, logprobs, limits ----

def test_echo_puts_the_prompt_in_front(daemon):
    plain = one(daemon, seed=8)["text"]
    assert one(daemon, seed=8, echo=True)["text"] == KJV["input"] + plain


def test_logprobs_agree_with_score(daemon):
    choice = one(daemon, seed=31, logprobs=4, max_tokens=25)
    ids = daemon.ok("/tokenize", {"model": "kjv", "text": KJV["input"]})["tokens"]
    scored = daemon.ok("/score", {"model": "kjv", "input": ids + choice["tokens"]})["tokens"][-25:]
    assert len(choice["logprobs"]) == 25
    for entry, id_, score in zip(choice["logprobs"], choice["tokens"], scored):
        assert abs(entry["logprob"] - score["logprob"]) < 1e-5
        assert len(entry["top"]) == 4
        values = [t["logprob"] for t in entry["top"]]
        assert values == sorted(values, reverse=True)
        assert entry["id"] == id_
        if score["rank"] <= 4:
            assert entry["top"][score["rank"] - 1]["id"] == id_


def test_max_tokens_one_and_default(daemon):
    assert len(one(daemon, max_tokens=1)["tokens"]) == 1
    answer = daemon.ok("/generate", {"model": "kjv", "input": "A", "seed": 1})
    assert answer["usage"]["output_steps"] == 256


def test_model_without_vocabulary(daemon):
    choice = daemon.ok("/generate", {"model": "ids", "input": [1, 2], "seed": 1, "max_tokens": 9})["choices"][0]
    assert len(choice["tokens"]) == 9 and all(0 <= t < 12 for t in choice["tokens"])
    assert not choice.get("text")


@pytest.mark.parametrize("model,frame", [("sensor", [1, 2, 3]), ("flags", [1, 2]), ("headless", [1, 2, 3, 4])])
def test_a_model_that_cannot_continue_says_so(daemon, model, frame):
    expect(daemon.post("/generate", {"model": model, "input": [frame], "max_tokens": 3}), 422)


def test_tagger_cannot_continue(daemon):
    expect(daemon.post("/generate", {"model": "tagger", "input": "abc", "max_tokens": 3}), 422)


# ---- sessions ----

def test_session_stands_after_the_last_token(daemon):
    session = daemon.session("kjv")
    answer = daemon.ok("/generate", {"session": session, "input": KJV["input"], "max_tokens": 20, "seed": 5})
    assert answer["session"]["position"] == 14 + 20
    more = daemon.ok("/generate", {"session": session, "max_tokens": 20})
    assert more["session"]["position"] == 14 + 40
    assert more["usage"] == {"input_steps": 0, "output_steps": 20}


def test_commit_false_leaves_the_session(daemon):
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": "The LORD "})
    before = daemon.post("/predict", {"session": session, "input": "", "return": ["logits", "hidden"]})
    one_ = daemon.ok("/generate", {"session": session, "max_tokens": 30, "seed": 2, "commit": False})
    two = daemon.ok("/generate", {"session": session, "max_tokens": 30, "seed": 2, "commit": False})
    assert one_["choices"] == two["choices"] and one_["session"]["position"] == 9
    after = daemon.post("/predict", {"session": session, "input": "", "return": ["logits", "hidden"]})
    assert before.exact == after.exact


def test_stopped_session_stands_after_the_last_token_computed(daemon):
    session = daemon.session("kjv")
    answer = daemon.ok("/generate", {"session": session, "input": KJV["input"], "seed": 12, "stop": ["the"],
                                     "max_tokens": 200})
    steps = answer["usage"]["output_steps"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["session"]["position"] == 14 + steps == daemon.position(session)
    # the stop string itself was fed: the text so far with it leads to the same state
    text = KJV["input"] + answer["choices"][0]["text"] + "the"
    assert len(text) == answer["session"]["position"]
    here = daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
    whole = daemon.ok("/predict", {"model": "kjv", "input": text, "steps": "last", "return": ["logits"]})
    assert here["outputs"][-1]["logits"] == whole["outputs"][-1]["logits"]


def test_empty_prompt_on_a_session(daemon):
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": "In the beginning "})
    with_prompt = daemon.ok("/generate", {"model": "kjv", "input": "In the beginning ", "temperature": 0,
                                          "max_tokens": 30})
    from_state = daemon.ok("/generate", {"session": session, "temperature": 0, "max_tokens": 30})
    assert with_prompt["choices"][0]["text"] == from_state["choices"][0]["text"]


def test_several_choices_do_not_commit_by_surprise(daemon):
    """n > 1 on a session has no single end to stand at: it is refused, or leaves the session."""
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": "And "})
    answer = daemon.post("/generate", {"session": session, "n": 3, "max_tokens": 5, "seed": 1})
    if answer.status == 200:
        assert answer.json["session"]["position"] == daemon.position(session)
    else:
        assert answer.status in (400, 422)
        assert daemon.position(session) == 4
    peek = daemon.ok("/generate", {"session": session, "n": 3, "max_tokens": 5, "seed": 1, "commit": False})
    assert len(peek["choices"]) == 3


def test_multibyte_text_and_tokens_agree(daemon):
    choice = daemon.ok("/generate", {"model": "multibyte", "input": "ж", "seed": 77, "max_tokens": 200})["choices"][0]
    assert choice["text"] == "".join(MULTIBYTE[t] for t in choice["tokens"])
