"""Replays a golden.json over the wire, whatever the model's topology.

States are given and looked at as files.  What HTTP cannot say is left out: the states of models that hold no
session, and what a model with one output gives at the steps before.  A decoder's logits are compared where it stands
before its first token; behind that /score and the candidates of /predict tell the same distribution by its logarithms.
"""
import itertools
import math

import states

RETURN = ["logits", "probabilities", "hidden"]
FIELDS = [("hidden", "output"), ("logits", "logits"), ("probabilities", "probs"), ("values", "values"), ("std", "std")]
CANDIDATES_MAX = 100


class Check:
    """Compares and counts, so that a case that compared nothing fails."""

    def __init__(self, case):
        self.atol, self.n = case.get("suggested_atol", {}), 0

    def row(self, kind, got, want, times=1):
        """Numbers of a kind, each as good as `times` of them together may be wrong."""
        assert len(got) == len(want), (kind, len(got), len(want))
        for g, w in zip(got, want):
            assert abs(g - w) <= times * (self.atol.get(kind, 1e-5) + 1e-5 * abs(w)), (kind, g, w)
            self.n += 1

    def same(self, got, want):
        assert got == want
        self.n += len(want)


def log_softmax(logits):
    top = max(logits)
    total = top + math.log(sum(math.exp(x - top) for x in logits))
    return [x - total for x in logits]


def sequences(run):
    return run["input_ids"] if "input_ids" in run else run["input"]


def listed(value, one):
    """A list of sequences: that of one sequence may stand by itself."""
    return [value] if one else value


# ---- What comes out ----

def reads_window(config):
    return "flatten" in [config.get("pool"), *(m.get("pool") for m in config.get("layers", []))]


def final_output(config, steps):
    """What a many-to-one model's head reads, of the outputs under it at each step; None: it is not told by them."""
    if reads_window(config):
        return sum(steps, [])
    if config.get("pool") != "final" or "rnn" not in config:
        return None
    if not config["rnn"].get("bidirectional"):
        return steps[-1]
    half = len(steps[0]) // 2
    return steps[-1][:half] + steps[0][half:]


def wanted(config, run, b):
    """For each output of sequence b: {field: numbers}."""
    out = {}
    for field, key in FIELDS:
        if key not in run:
            continue
        rows = run[key][b]
        if config["topology"] == "many_to_one":
            rows = [final_output(config, rows) if key == "output" else rows]
        if rows[0] is not None:
            out[field] = rows
    return out


def check_both_ends(check, rnn, outputs, h_n, b):
    """The final states of a top layer of two directions stand in its outputs, at either end."""
    half = len(h_n[-1][b])
    if rnn.get("merge", "concat") == "concat" and not rnn.get("residual"):
        check.row("h_n", outputs[-1]["hidden"][:half] + outputs[0]["hidden"][half:], h_n[-2][b] + h_n[-1][b])


# ---- States ----

class Place:
    """A session whose state is given, or looked at."""

    def __init__(self, daemon, model):
        self.daemon, self.name = daemon, daemon.session(model)

    def file(self):
        return self.daemon.get(f"/sessions/{self.name}/state").body

    def give(self, run, b):
        """h_0 and c_0 of sequence b."""
        numbers = {f"{kind}.l{k}": layer[b] for kind in "hc" for k, layer in enumerate(run.get(f"{kind}_0", []))}
        answer = self.daemon.request("PUT", f"/sessions/{self.name}/state", states.with_numbers(self.file(), numbers))
        assert answer.status == 200, answer

    def check(self, check, run, b):
        """Final states of sequence b, of both stacks, as far as the run tells of them."""
        numbers = states.numbers_of(self.file())
        for stack, kind in itertools.product(("encoder.", ""), "hc"):
            key = f"{stack.replace('.', '_')}{kind}_n"
            for k, layer in enumerate(run.get(key, [])):
                check.row(key, numbers[f"{stack}{kind}.l{k}"], layer[b])

    def predict(self, sequence, **fields):
        return self.daemon.ok("/predict", {"session": self.name, "input": sequence, **fields})

    def close(self):
        self.daemon.delete(f"/sessions/{self.name}")


def holds_sessions(daemon, model):
    answer = daemon.post("/sessions", {"model": model})
    if answer.status == 201:
        daemon.delete(f"/sessions/{answer.json['id']}")
    return answer.status == 201


# ---- Models that answer steps, or the whole ----

def check_outputs(check, config, outputs, run, b):
    for field, rows in wanted(config, run, b).items():
        assert len(outputs) == len(rows)
        for output, row in zip(outputs, rows):
            check.row(dict(FIELDS)[field], output[field], row)
    rnn = config.get("rnn", {})
    if "h_n" in run and config["topology"] == "synced" and rnn.get("bidirectional"):
        check_both_ends(check, rnn, outputs, run["h_n"], b)


def replay_batch(daemon, model, config, run, check):
    ask = {"model": model, "return": RETURN}
    if config["topology"] == "synced":
        ask["steps"] = "all"
    answer = daemon.ok("/predict", {**ask, "inputs": sequences(run)})
    for b, (sequence, result) in enumerate(zip(sequences(run), answer["results"], strict=True)):
        check_outputs(check, config, result["outputs"], run, b)
        assert daemon.ok("/predict", {**ask, "input": sequence})["outputs"] == result["outputs"]
    if holds_sessions(daemon, model):
        replay_states(daemon, model, config, run, check)
    for text, ids in zip(run.get("texts", []), sequences(run)):
        check.same(daemon.ok("/tokenize", {"model": model, "text": text})["tokens"], ids)


def replay_states(daemon, model, config, run, check):
    """Each sequence in a session, from the state that is given, or from the initial one."""
    steps = {"steps": "all"} if config["topology"] == "synced" else {}
    for b, sequence in enumerate(sequences(run)):
        place = Place(daemon, model)
        if run["kind"] == "state":
            place.give(run, b)
        outputs = place.predict(sequence, **{"return": RETURN}, **steps)["outputs"]
        check_outputs(check, config, outputs, run, b)
        place.check(check, run, b)
        place.close()


def replay_given(daemon, model, config, run, check):
    """Where no session can be held, no state can be given."""
    if holds_sessions(daemon, model):
        replay_states(daemon, model, config, run, check)


def replay_chunked(daemon, model, config, run, check):
    place, position = Place(daemon, model), 0
    for chunk in run["chunks"]:
        piece = sequences(chunk)[0]
        answer = place.predict(piece, steps="all", expect_position=position, **{"return": RETURN})
        position += len(piece)
        check_outputs(check, config, answer["outputs"], chunk, 0)
        place.check(check, chunk, 0)
        assert answer["session"]["position"] == position
    place.close()


def replay_greedy(daemon, model, _config, run, check):
    one = not isinstance(run["prompt_ids"][0], list)
    for b, (prompt, want) in enumerate(zip(listed(run["prompt_ids"], one), listed(run["generated_ids"], one))):
        ask = {"model": model, "temperature": 0, "max_tokens": len(want)}
        choice = daemon.ok("/generate", {**ask, "input": prompt})["choices"][0]
        check.same(choice["tokens"], want)
        place = Place(daemon, model)  # the last token is not fed there, and what stands last in a session is
        daemon.ok("/generate", {**ask, "session": place.name, "input": prompt, "max_tokens": len(want) - 1})
        place.check(check, run, b)
        place.close()
        if "prompt_text" in run and daemon.get(f"/models/{model}").json["tokenizer"]:
            assert daemon.ok("/generate", {**ask, "input": run["prompt_text"]})["choices"][0] == choice
            assert choice["text"] == run["generated_text"]


# ---- Models that write about their input ----

def check_fed(daemon, model, source, fed, logits, check):
    """Logits of each step of a decoder that is fed bos and the given tokens."""
    output, = daemon.ok("/predict", {"model": model, "input": source, "return": RETURN})["outputs"]
    check.row("logits", output["logits"], logits[0])
    target = fed[1:]
    tokens = daemon.ok("/score", {"model": model, "input": source, "target": target})["tokens"]
    assert [t["id"] for t in tokens[:len(target)]] == target
    for token, row in zip(tokens, logits):
        logprobs = log_softmax(row)
        check.row("logits", [token["logprob"], token["entropy"]],
                  [logprobs[token["id"]], -sum(math.exp(x) * x for x in logprobs)], times=3)
    for step, row in enumerate(logits):
        check_distribution(daemon, model, source, target[:step], log_softmax(row), check)


def check_distribution(daemon, model, source, before, logprobs, check):
    """All tokens behind those before, as candidates."""
    n = min(len(logprobs), CANDIDATES_MAX)
    answer = daemon.ok("/predict", {"model": model, "input": source, "candidates": [[*before, v] for v in range(n)]})
    check.row("logits", [c["logprobs"][len(before)] for c in answer["candidates"]], logprobs[:n], times=3)


def replay_decoder(daemon, model, _config, run, check):
    captions = run["kind"] == "caption"
    sources = [[frame] for frame in run["features"]] if captions else run["source_ids"]
    fed = run["input_ids"] if captions else run["target_input_ids"]
    for b, source in enumerate(sources):
        check_fed(daemon, model, source, fed[b], run["logits"][b], check)
        if holds_sessions(daemon, model):
            place = Place(daemon, model)
            daemon.ok("/score", {"session": place.name, "input": source, "target": fed[b][1:]})
            place.check(check, run, b)
            place.close()
    for source, greedy in zip(sources, run["greedy"]):
        choice = daemon.ok("/generate", {"model": model, "input": source, "temperature": 0,
                                         "max_tokens": greedy["max_new"]})["choices"][0]
        check.same(choice["tokens"], greedy["generated_ids"])
        narrow = daemon.ok("/generate", {"model": model, "input": source, "beam_width": 1,
                                         "max_tokens": greedy["max_new"]})["choices"][0]
        check.same(narrow["tokens"], greedy["generated_ids"])


REPLAYS = {"batch": replay_batch, "lengths": replay_batch, "chunked": replay_chunked, "greedy": replay_greedy,
           "state": replay_given, "caption": replay_decoder, "translate": replay_decoder}


def replay(daemon, model, config, case):
    """All runs; how many numbers, ids and letters were compared."""
    check = Check(case)
    for run in case["runs"]:
        REPLAYS[run["kind"]](daemon, model, config, run, check)
    return check.n


# ---- golden.json of models that strangers trained ----

def close(got, want, tolerance):
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert abs(g - w) <= tolerance, (g, w)
    return len(want)


def replay_texts(daemon, name, case):
    """A character model's texts: prompts, greedy, score, stateful, all_steps."""
    tolerance, n = case["logits_tolerance_f32"], 0
    for prompt in case["prompts"]:
        assert daemon.ok("/tokenize", {"model": name, "text": prompt["text"]})["tokens"] == prompt["ids"]
        answer = daemon.ok("/predict", {"model": name, "input": prompt["text"], "return": ["logits"]})
        n += close(answer["outputs"][-1]["logits"], prompt["last_logits"], tolerance)
    for run in case["greedy"]:
        answer = daemon.ok("/generate", {"model": name, "input": run["prompt"], "temperature": 0,
                                         "max_tokens": run["n"]})
        assert answer["choices"][0]["text"] == run["text"]
    scores = daemon.ok("/score", {"model": name, "input": case["score"]["text"]})["tokens"]
    n += close([s["logprob"] for s in scores[1:]], case["score"]["logprobs"], 2 * tolerance)
    session = daemon.session(name)
    daemon.ok("/predict", {"session": session, "input": case["stateful"]["first"]})
    answer = daemon.ok("/predict", {"session": session, "input": case["stateful"]["then"], "return": ["logits"]})
    n += close(answer["outputs"][-1]["logits"], case["stateful"]["last_logits_after_then"], tolerance)
    answer = daemon.ok("/predict", {"model": name, "input": case["all_steps"]["text"], "steps": "all",
                                    "return": ["logits"]})
    for output, want in zip(answer["outputs"], case["all_steps"]["logits"], strict=True):
        n += close(output["logits"], want, tolerance)
    return n


def replay_words(daemon, name, case):
    """A pronouncing model's words: spelling to phonemes, and the logits on the way."""
    check = Check({"suggested_atol": {"logits": case["logits_tolerance_f32"]}})
    special = daemon.get(f"/models/{name}").json["special_tokens"]
    for word in case["words"]:
        ids = daemon.ok("/tokenize", {"model": name, "text": word["word"]})["tokens"]
        assert ids == word["ids"][:len(ids)] and len(word["ids"]) - len(ids) in (0, 1)  # an end may follow
        choice = daemon.ok("/generate", {"model": name, "input": word["word"], "temperature": 0})["choices"][0]
        check.same(choice["tokens"][:len(word["phoneme_ids"])], word["phoneme_ids"])
        assert choice["tokens"][len(word["phoneme_ids"]):] in ([], [special["eos"]])
        assert choice["text"].split() == word["phonemes"]
        logits = word.get("decoder_logits")
        if logits:
            fed = [special["bos"], *word["phoneme_ids"]]
            check_fed(daemon, name, word["word"], fed[:len(logits)], logits, check)
    return check.n
