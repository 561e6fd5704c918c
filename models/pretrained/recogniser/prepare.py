#!/usr/bin/python3
"""Makes the speech that `recogniser` is trained, validated and tested on: verses of the King James Bible spoken by espeak-ng.

    models/pretrained/kjv/prepare.py --out TEXTS
    models/pretrained/recogniser/prepare.py --kjv TEXTS --out DATA

Writes DATA/train.npz, val.npz and test.npz with `frames` [n, 24] (features.py), `labels` [n] (ids into `names`), `ends` (where each
utterance ends), `voices` and `texts`.  The parts share neither a voice nor a verse: a family of voices (klatt, klatt2 … are one) is
in one part, and verses come from the chapters that ../kjv/prepare.py gives to that part.  Every utterance has its own speed and pitch.
The label of a frame is the phoneme that espeak-ng speaks at the frame's middle; its mnemonics fold into 39 phonemes and `sil`.
human.npz has `frames`, `ends`, `texts` and `phonemes` of the five sentences of "Sense and Sensibility" that a person reads (LibriVox) in
Debian's pocketsphinx-testdata, with the phonemes that espeak-ng would speak: a test only.
Needs Debian's espeak-ng, bible-kjv, bible-kjv-text, pocketsphinx-testdata and python3-numpy.
"""
import argparse
import ctypes
import os
import random
import re
import sys
import wave

import numpy as np

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import features  # noqa: E402

# espeak-ng's mnemonics of American English -> phoneme, named as in the Arpabet
FOLD = {
    "sil": "_ _: _! _| _:: ?",
    "AA": "0 A: A@ A", "AE": "a aa", "AH": "V @ @2 @5 a# @-", "AO": "O: O@ o@ O O2 O3", "AW": "aU", "AY": "aI aI3 aI@",
    "EH": "E e@ E2", "ER": "3 3: VR", "EY": "eI", "IH": "I I2 I# i@3 i@", "IY": "i: i", "OW": "oU", "OY": "OI",
    "UH": "U U@", "UW": "u: u",
    "B": "b", "CH": "tS", "D": "d", "DH": "D", "F": "f", "G": "g", "HH": "h", "JH": "dZ", "K": "k", "L": "l l/ @L",
    "M": "m m-", "N": "n n-", "NG": "N", "P": "p", "R": "r r-", "S": "s", "SH": "S", "T": "t t2 t#", "TH": "T", "V": "v",
    "W": "w w#", "Y": "j ;", "Z": "z", "ZH": "Z",
}
NAMES = sorted(FOLD, key=lambda name: (name != "sil", name))
CLASS_OF = {mnemonic: NAMES.index(name) for name, mnemonics in FOLD.items() for mnemonic in mnemonics.split()}

# Variants of the voice en-us, by family.  Left out: whispers, and effects that distort the sound.
TEST = "adam Andrea f3 Gene Gene2 Lee linda m5 Mike robert steph steph2 steph3 victor".split()
VALIDATION = "Alicia Andy f5 iven iven2 iven3 iven4 m2 norbert travis".split()
TRAIN = """Alex anika Annie antonio aunty belinda benjamin boris caleb croak david Denis Diogo ed edward edward2 f1 f2 f4 grandma
    grandpa Henrique Hugo Jacky john klatt klatt2 klatt3 klatt4 m1 m3 m4 m6 m7 m8 marcelo Marco Mario max michael michel miguel
    Mr\\ serious pablo paul pedro quincy rob sandro shelby Storm Tweaky zac RicishayMax RicishayMax2 RicishayMax3""".replace("\\ ", "~").split()
MINUTES = {"train": 150, "val": 8, "test": 20}
HUMAN = "usr/share/pocketsphinx/test/data/librivox"

SYNCHRONOUS, WITH_PHONEMES = 2, 1
PHONEME_EVENT, RATE, PITCH, RANGE, UTF8 = 7, 1, 3, 4, 1


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h"""

    class Id(ctypes.Union):
        _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]

    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", Id)]


class Speaker:
    """espeak-ng as a library, which says when each phoneme begins."""

    def __init__(self):
        try:
            self.library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            sys.exit("libespeak-ng.so.1 is missing: apt-get install espeak-ng")
        rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, None, WITH_PHONEMES)
        assert rate == features.RATE, "espeak-ng speaks %d samples a second" % rate
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
        self.callback = kind(self.heard)  # kept: the library does not
        self.library.espeak_SetSynthCallback(self.callback)

    def heard(self, samples, n, events):
        if n:
            self.sound.append(np.ctypeslib.as_array(samples, (n,)).copy())
        at = 0
        while events[at].type:
            if events[at].type == PHONEME_EVENT:
                name = ctypes.string_at(ctypes.addressof(events[at].id), 8).split(b"\0")[0].decode()
                self.begins.append((events[at].sample, name))
            at += 1
        return 0

    def say(self, variant, speed, pitch, pitch_range, text):
        """-> int16 samples, [(sample at which it begins, mnemonic)]"""
        self.sound, self.begins = [], []
        if self.library.espeak_SetVoiceByName(("en-us+" + variant).encode()) != 0:
            sys.exit("espeak-ng has no voice en-us+" + variant)
        for parameter, value in ((RATE, speed), (PITCH, pitch), (RANGE, pitch_range)):
            self.library.espeak_SetParameter(parameter, value, 0)
        raw = text.encode()
        self.library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, UTF8, None, None)
        return np.concatenate(self.sound), self.begins


def labels_of(begins, n_frames):
    """-> class of each frame: the phoneme spoken at its middle"""
    starts = np.array([start for start, _ in begins])
    classes = np.array([CLASS_OF[name] for _, name in begins], np.uint8)
    middles = np.arange(n_frames) * features.HOP + features.WINDOW // 2
    return classes[np.maximum(0, np.searchsorted(starts, middles, "right") - 1)]


def sentences(path):
    """-> pieces of verses of 4 to 14 words, in the order of the text"""
    with open(path, encoding="utf-8") as f:
        pieces = re.split(r"[\n:;.?!]+", f.read())
    return [piece.strip(" ,()") for piece in pieces if 4 <= len(piece.split()) <= 14]


def speak(speaker, voices, texts, minutes, seed):
    """-> arrays of one part: voices take turns, until `minutes` are full"""
    draw = random.Random(seed)
    texts = draw.sample(texts, len(texts))
    frames, labels, ends, said, spoken = [], [], [], [], []
    total, wanted = 0, minutes * 60 * features.RATE // features.HOP
    while total < wanted:
        variant, text = voices[len(said) % len(voices)].replace("~", " "), texts[len(said)]
        sound, begins = speaker.say(variant, draw.randint(120, 210), draw.randint(25, 75), draw.randint(30, 70), text)
        part = features.log_mel(sound)
        frames.append(part)
        labels.append(labels_of(begins, len(part)))
        total += len(part)
        ends.append(total)
        said.append(variant)
        spoken.append(text)
    return {"frames": np.concatenate(frames), "labels": np.concatenate(labels), "ends": np.array(ends),
            "voices": np.array(said), "texts": np.array(spoken), "names": np.array(NAMES)}


def at_our_rate(samples, rate):
    """Sound of another rate, as its spectrum has it"""
    n = len(samples) * features.RATE // rate
    spectrum = np.fft.rfft(samples)
    return np.fft.irfft(np.pad(spectrum, (0, max(0, n // 2 + 1 - len(spectrum))))[:n // 2 + 1], n) * n / len(samples)


def read_aloud(speaker, folder):
    """-> arrays of what a person reads, in the order of the transcription"""
    frames, ends, texts, phonemes = [], [], [], []
    with open(os.path.join(folder, "transcription"), encoding="utf-8") as f:
        lines = [re.fullmatch(r"<s> (.*) </s> \((.*)\)\n", line).groups() for line in f]
    for text, name in lines:
        with wave.open(os.path.join(folder, name + ".wav")) as f:
            sound = at_our_rate(np.frombuffer(f.readframes(f.getnframes()), "<i2"), f.getframerate())
        frames.append(features.log_mel(sound))
        ends.append(sum(map(len, frames)))
        texts.append(text)
        classes = [CLASS_OF[mnemonic] for _, mnemonic in speaker.say("Alex", 160, 50, 50, text)[1]]
        phonemes.append(" ".join(NAMES[now] for now, before in zip(classes, [None] + classes) if now != before and NAMES[now] != "sil"))
    return {"frames": np.concatenate(frames), "ends": np.array(ends), "texts": np.array(texts), "phonemes": np.array(phonemes)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the three parts")
    parser.add_argument("--kjv", required=True, help="folder that kjv/prepare.py made")
    parser.add_argument("--root", default="/", help="where pocketsphinx-testdata was unpacked (default: installed)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    speaker = Speaker()
    for part, voices in (("train", TRAIN), ("val", VALIDATION), ("test", TEST)):
        made = speak(speaker, voices, sentences(os.path.join(args.kjv, part + ".txt")), MINUTES[part], args.seed)
        np.savez_compressed(os.path.join(args.out, part + ".npz"), **made)
        print("%s: %d utterances of %d voices, %d frames" % (part, len(made["ends"]), len(voices), len(made["frames"])))
    np.savez_compressed(os.path.join(args.out, "human.npz"), **read_aloud(speaker, os.path.join(args.root, HUMAN)))


if __name__ == "__main__":
    main()
