"""Laws that hold for every model, prompt and neighbour; random cases from a seed that is printed.

RNND_TEST_SEED chooses another one."""
import concurrent.futures
import os
import random

import pytest

import folders
from client import collect

SEED = int(os.environ.get("RNND_TEST_SEED", "20240229"))
VERSES = ["In the beginning God created the heaven and the earth.", "And God said, Let there be light",
          "The LORD is my shepherd; I shall not want.", "Blessed are the meek", "Jesus wept.", "A", "z" * 40,
          "Vanity of vanities, saith the Preacher, vanity of vanities; all is vanity."]


def random_text(rng, alphabet, longest=60):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, longest)))


def random_frames(rng, width):
    return [[round(rng.uniform(-3, 3), 4) for _ in range(width)] for _ in range(rng.randint(1, 20))]


def random_inputs(rng, model, n):
    if model == "kjv":
        return [rng.choice(VERSES)[:rng.randint(1, 70)] for _ in range(n)]
    if model == "multibyte":
        return [random_text(rng, folders.MULTIBYTE) for _ in range(n)]
    if model == "ids":
        return [[rng.randrange(12) for _ in range(rng.randint(1, 50))] for _ in range(n)]
    width = {"sensor": 3, "flags": 2, "headless": 4}[model]
    return [random_frames(rng, width) for _ in range(n)]


MODELS = ["kjv", "multibyte", "ids", "sensor", "flags", "headless"]
WANT = {"steps": "all", "return": ["logits", "probabilities", "hidden"]}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n", [2, 7, 64])
def test_batch_equals_singles(daemon, model, n):
    rng = random.Random(f"{SEED} batch {model} {n}")
    inputs = random_inputs(rng, model, n)
    batch = daemon.post("/predict", {"model": model, "inputs": inputs, **WANT})
    assert batch.status == 200
    results = batch.exact["results"]
    assert len(results) == n
    for input_, result in zip(inputs, results):
        alone = daemon.post("/predict", {"model": model, "input": input_, **WANT}).exact
        assert result["outputs"] == alone["outputs"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", range(3))
def test_chunks_equal_the_whole(daemon, model, case):
    rng = random.Random(f"{SEED} chunks {model} {case}")
    whole = [random_inputs(rng, model, 1)[0] for _ in range(4)]
    joined = whole[0]
    for piece in whole[1:]:
        joined = joined + piece
    want = daemon.post("/predict", {"model": model, "input": joined, **WANT}).exact["outputs"]
    session = daemon.session(model)
    got, at = [], 0
    while at < len(joined):
        size = rng.randint(1, 25)
        answer = daemon.post("/predict", {"session": session, "input": joined[at:at + size], **WANT,
                                          "expect_position": at})
        assert answer.status == 200
        got += answer.exact["outputs"]
        at += size
    daemon.delete(f"/sessions/{session}")
    assert [{k: v for k, v in o.items() if k != "step"} for o in got] == \
           [{k: v for k, v in o.items() if k != "step"} for o in want]


@pytest.mark.parametrize("case", range(4))
def test_fork_then_same_seed_same_text(daemon, case):
    rng = random.Random(f"{SEED} fork {case}")
    parent = daemon.session("kjv")
    daemon.ok("/predict", {"session": parent, "input": rng.choice(VERSES)})
    children = [v["id"] for v in daemon.post(f"/sessions/{parent}/fork", {"count": 3}).json["sessions"]]
    fields = {"max_tokens": 50, "seed": rng.randrange(2 ** 40), "temperature": 0.9}
    # the last one through a stream and beside noise
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        noise = [pool.submit(daemon.ok, "/generate", {"model": "kjv", "input": "noise", "max_tokens": 80})
                 for _ in range(6)]
        texts = [daemon.ok("/generate", {"session": s, **fields})["choices"][0]["text"]
                 for s in (parent, *children[:2])]
        with daemon.stream("/generate", {"session": children[2], **fields}) as stream:
            texts.append(collect(stream)[1][0])
        for future in noise:
            future.result()
    assert len(set(texts)) == 1 and len(texts[0]) == 50


@pytest.mark.parametrize("case", range(20))
def test_streamed_equals_unstreamed(daemon, case):
    rng = random.Random(f"{SEED} stream {case}")
    model = rng.choice(["multibyte", "multibyte", "kjv", "unknown"])
    prompt = random_inputs(rng, model, 1)[0] if model != "unknown" else random_text(rng, "xyzQ😀")
    fields = {"model": model, "input": prompt, "seed": rng.randrange(10 ** 9),
              "max_tokens": rng.randint(1, 150), "temperature": rng.choice([0.5, 1, 1.5]),
              "echo": rng.random() < 0.3, "n": rng.choice([1, 1, 3])}
    free = daemon.ok("/generate", fields)
    text = free["choices"][0]["text"]
    stops = []
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(text))
        stops.append(text[at:at + rng.randint(1, 4)])
    fields["stop"] = stops + ["never seen"]
    whole = daemon.ok("/generate", fields)
    with daemon.stream("/generate", fields) as stream:
        _, texts, done, _ = collect(stream)
    for choice in whole["choices"]:
        assert texts.get(choice["index"], "") == choice["text"]
    assert done["usage"] == whole["usage"]
    assert [c["finish_reason"] for c in done["choices"]] == [c["finish_reason"] for c in whole["choices"]]
    assert [c.get("stop") for c in done["choices"]] == [c.get("stop") for c in whole["choices"]]


def test_generate_twenty_is_ten_and_ten(daemon):
    for case in range(6):
        rng = random.Random(f"{SEED} twenty {case}")
        prompt = rng.choice(VERSES)
        one, two = daemon.session("kjv"), daemon.session("kjv")
        fields = {"seed": case} if case % 2 else {"temperature": 0}
        whole = daemon.ok("/generate", {"session": one, "input": prompt, "max_tokens": 20, **fields})
        first = daemon.ok("/generate", {"session": two, "input": prompt, "max_tokens": 10, **fields})
        # without a seed the session's own generator goes on where it stood
        second = daemon.ok("/generate", {"session": two, "max_tokens": 10,
                                         **({} if case % 2 else {"temperature": 0})})
        assert whole["choices"][0]["text"] == first["choices"][0]["text"] + second["choices"][0]["text"]
        assert whole["session"]["position"] == second["session"]["position"]
        want = daemon.post("/predict", {"session": one, "input": "", "return": ["logits", "hidden"]})
        got = daemon.post("/predict", {"session": two, "input": "", "return": ["logits", "hidden"]})
        assert without_step(want) == without_step(got)


def without_step(answer):
    return answer.exact["outputs"]


def test_peeking_changes_nothing(daemon):
    rng = random.Random(f"{SEED} peek")
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": "The LORD is "})

    def look():
        return (daemon.post("/predict", {"session": session, "input": "", "return": ["logits", "hidden"],
                                         "commit": False}).exact, daemon.position(session))
    before = look()
    for _ in range(12):
        path = rng.choice(["/predict", "/generate", "/score"])
        fields = {"session": session, "input": rng.choice(VERSES), "commit": False}
        if path == "/generate":
            fields["max_tokens"] = rng.randint(1, 30)
        daemon.ok(path, fields)
        assert look() == before
    # nor does it move the generator
    child = daemon.post(f"/sessions/{session}/fork", None).json["sessions"][0]["id"]
    daemon.ok("/generate", {"session": session, "max_tokens": 30, "commit": False})
    assert daemon.ok("/generate", {"session": session, "max_tokens": 30})["choices"] == \
           daemon.ok("/generate", {"session": child, "max_tokens": 30})["choices"]


# ---- the same bytes wherever it runs ----

def jobs(rng, n):
    out = []
    for i in range(n):
        model = rng.choice(["kjv", "kjv", "multibyte"])
        out.append({"model": model, "input": random_inputs(rng, model, 1)[0], "seed": rng.randrange(10 ** 9),
                    "max_tokens": rng.randint(20, 120), "temperature": rng.choice([0.7, 1.0, 1.3]),
                    "logprobs": 3 if i % 5 == 0 else 0, "top_p": rng.choice([1, 0.9])})
    return out


def test_one_and_two_workers_give_the_same_bytes(pair):
    one, two = pair
    for fields in jobs(random.Random(f"{SEED} workers"), 16):
        assert one.post("/generate", fields).exact == two.post("/generate", fields).exact
    for model in MODELS:
        fields = {"model": model, "inputs": random_inputs(random.Random(f"{SEED} {model}"), model, 9), **WANT}
        assert one.post("/predict", fields).exact == two.post("/predict", fields).exact
    fields = {"model": "kjv", "input": " ".join(VERSES)}
    assert one.post("/score", fields).exact == two.post("/score", fields).exact


def test_alone_and_among_63_others(pair):
    """64 streams at once, each equal to the same request alone, on either daemon."""
    fields = jobs(random.Random(f"{SEED} crowd"), 64)
    alone = [pair[0].post("/generate", f).exact["choices"] for f in fields]
    for daemon in pair:
        def streamed(f, daemon=daemon):
            with daemon.stream("/generate", f) as stream:
                return collect(stream)
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            crowd = list(pool.map(streamed, fields))
        for (status, texts, _, tokens), want in zip(crowd, alone):
            assert status == 200
            assert texts[0] == want[0]["text"]
            assert [str(t["token"]) for t in tokens] == want[0]["tokens"]


def test_predictions_among_noise_have_the_same_bytes(pair):
    rng = random.Random(f"{SEED} noise")
    asked = [(m, i) for m in ("kjv", "multibyte", "sensor") for i in random_inputs(rng, m, 8)]
    quiet = [pair[0].post("/predict", {"model": m, "input": i, **WANT}).exact for m, i in asked]
    for daemon in pair:
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            noise = [pool.submit(daemon.post, "/generate", f) for f in jobs(rng, 24)]
            loud = list(pool.map(lambda a, d=daemon: d.post("/predict", {"model": a[0], "input": a[1], **WANT}).exact,
                                 asked))
            assert all(f.result().status == 200 for f in noise)
        assert loud == quiet


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bytes(pair, start, isa):
    import re
    with open("/proc/cpuinfo", encoding="ascii") as f:
        flags = re.search(r"^flags\s*:(.*)$", f.read(), re.M).group(1).split()
    needs = {"scalar": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f"]}[isa]
    if not set(needs) <= set(flags):
        # not on this CPU: then it must be refused, not silently replaced
        from client import run
        done = run("serve", "--models", pair[0].models, "--listen", "127.0.0.1:0", "--isa", isa)
        assert done.returncode != 0 and isa in done.err
        return
    daemon = start(workers=1, args=["--isa", isa])
    for fields in jobs(random.Random(f"{SEED} isa"), 5):
        assert daemon.post("/generate", fields).exact == pair[0].post("/generate", fields).exact
    for model in MODELS:
        fields = {"model": model, "inputs": random_inputs(random.Random(f"{SEED} {model}"), model, 3), **WANT}
        assert daemon.post("/predict", fields).exact == pair[0].post("/predict", fields).exact


def test_table_or_product_give_the_same_bytes(pair, start):
    """Layer 0 looked up in a table or computed: the same chain of sums."""
    daemon = start(workers=1, args=["--table-max-bytes", "0"])
    for fields in jobs(random.Random(f"{SEED} table"), 5):
        assert daemon.post("/generate", fields).exact == pair[0].post("/generate", fields).exact
