"""/tokenize and /detokenize of words, symbols, and models that read another vocabulary than they write."""
import json
import os
import random

import pytest

import folders
from client import Daemon, expect

WORDS = ["<unk>", "the", "cat", "sat", ".", "(", ")", "\"", "don't", "é", "<s>", "</s>"]
GRAPHEMES = ["<unk>", "</s>", "c", "a", "t", "é"]
PHONEMES = ["<s>", "</s>", "K", "AE1", "T", "ER0"]
HIDDEN = 4


def write(path, config, tensors, vocab):
    os.makedirs(path)
    rng = random.Random(1)
    values = [(name, shape, [rng.uniform(-1, 1) for _ in range(shape[0] * (shape[1] if len(shape) > 1 else 1))])
              for name, shape in tensors]
    folders.write_safetensors(os.path.join(path, "model.safetensors"), values)
    for name, content in (("config.json", config), ("vocab.json", vocab)):
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False)


def stack(size, head=None):
    return {"topology": "synced", "input": {"kind": "onehot", "size": size},
            "rnn": {"cell": "rnn_tanh", "hidden_size": HIDDEN, "num_layers": 1, "bias": False},
            **({"head": {"size": head, "activation": "softmax", "bias": False}} if head else {})}


def stack_tensors(prefix, size, head=None):
    out = [(prefix + "rnn.weight_ih_l0", (HIDDEN, size)), (prefix + "rnn.weight_hh_l0", (HIDDEN, HIDDEN))]
    return out + ([(prefix + "head.weight", (head, HIDDEN))] if head else [])


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    specials = {"unk": 0, "bos": 10, "eos": 11}
    folders.make(str(root / "words"), tokens=WORDS, specials={
        "kind": "word", "split": "words", "lowercase": True, **specials}, seed=21)
    folders.make(str(root / "symbols"), tokens=PHONEMES, specials={"kind": "phoneme"}, seed=22)
    n, m = len(GRAPHEMES), len(PHONEMES)
    write(str(root / "speak"), {
        "schema": "rnnd-ref-1", "topology": "seq2seq", "state_transfer": "copy", "bos": 0, "eos": 1,
        "source_eos": 1, "encoder": stack(n), "decoder": stack(m, m)},
        stack_tensors("encoder.", n) + stack_tensors("decoder.", m, m),
        {"kind": "char to phoneme", "source": GRAPHEMES, "target": PHONEMES, "bos": 0, "eos": 1,
         "source_unk": 0, "source_eos": 1, "lowercase": True})
    write(str(root / "caption"), {
        "schema": "rnnd-ref-1", "topology": "one_to_many", "features": 3, "bridge": "tanh", "bos": 10, "eos": 11,
        **{k: v for k, v in stack(len(WORDS), len(WORDS)).items() if k != "topology"}},
        [("bridge.weight", (HIDDEN, 3)), ("bridge.bias", (HIDDEN,))] + stack_tensors("", len(WORDS), len(WORDS)),
        {"kind": "word", "tokens": WORDS, **specials})
    with Daemon(str(root)) as running:
        yield running


def ids(daemon, model, text, **more):
    return daemon.ok("/tokenize", {"model": model, "text": text, **more})["tokens"]


def text(daemon, model, tokens, **more):
    return daemon.ok("/detokenize", {"model": model, "tokens": tokens, **more})["text"]


def test_words(speaker):
    assert ids(speaker, "words", "The (cat) don't\tsat.\u00a0É dog") == [1, 5, 2, 6, 8, 3, 4, 9, 0]
    assert text(speaker, "words", [10, 1, 5, 2, 6, 8, 3, 4, 9, 0, 11]) == "the (cat) don't sat. é \ufffd"
    assert speaker.ok("/tokenize", {"model": "words", "text": ""})["count"] == 0


def test_symbols(speaker):
    assert ids(speaker, "symbols", " K AE1\nT ") == [2, 3, 4]
    assert text(speaker, "symbols", [2, 3, 4, 5]) == "K AE1 T ER0"
    answer = expect(speaker.post("/tokenize", {"model": "symbols", "text": "K é T"}), 422, "unknown_character", "text")
    assert "symbol \"é\"" in answer["error"]["message"] and "byte 2" in answer["error"]["message"]


def test_two_sides(speaker):
    info = expect(speaker.get("/models/speak"), 200)
    assert (info["tokenizer"], info["source_tokenizer"]) == ("symbol", "char")
    assert ids(speaker, "speak", "CatÉx") == [2, 3, 4, 5, 0] == ids(speaker, "speak", "CatÉx", side="source")
    assert ids(speaker, "speak", "K AE1 T", side="target") == [2, 3, 4]
    assert text(speaker, "speak", [2, 3, 4, 1]) == "K AE1 T" == text(speaker, "speak", [2, 3, 4, 1], side="target")
    assert text(speaker, "speak", [2, 3, 0, 4, 1], side="source") == "ca\ufffdt"


def test_each_side_has_its_own_ids(speaker):
    n, m = len(GRAPHEMES), len(PHONEMES)
    assert text(speaker, "speak", [n - 1], side="source") == "é"
    expect(speaker.post("/detokenize", {"model": "speak", "tokens": [n], "side": "source"}), 422, "not_possible",
           "tokens[0]")
    expect(speaker.post("/detokenize", {"model": "speak", "tokens": [0, m]}), 422, "not_possible", "tokens[1]")


def test_frames_have_no_text(speaker):
    assert ids(speaker, "caption", "the cat") == [1, 2] == ids(speaker, "caption", "the cat", side="target")
    assert text(speaker, "caption", [10, 1, 2, 4, 11]) == "the cat ."
    answer = expect(speaker.post("/tokenize", {"model": "caption", "text": "the", "side": "source"}), 422,
                   "not_possible", "side")
    assert "takes frames, not text" in answer["error"]["message"]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("path,body", [("/tokenize", {"text": "K"}), ("/detokenize", {"tokens": [2]})])
def test_one_side_is_not_asked_for(speaker, path, body, side):
    answer = expect(speaker.post(path, {"model": "symbols", "side": side, **body}), 422, "not_possible", "side")
    assert "one vocabulary" in answer["error"]["message"]
    expect(speaker.post(path, {"model": "speak", "side": "both", **body}), 400, "malformed", "side")


def generate(daemon, **more):
    fields = {"model": "words", "input": "the cat", "max_tokens": 12, "seed": 3, **more}
    return daemon.ok("/generate", {**fields, "logit_bias": {"10": False, "11": False}})["choices"][0]


def test_drawn_words_continue_the_prompt(speaker):
    plain, echoed = generate(speaker), generate(speaker, echo=True)
    assert plain["text"] and echoed["text"] == "the cat" + plain["text"]
    assert plain["text"] == text(speaker, "words", [1, 2] + plain["tokens"])[len("the cat"):]
    assert ids(speaker, "words", echoed["text"])[:2] == [1, 2]
