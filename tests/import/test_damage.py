"""Files that are cut, flipped, or made to do harm: an error in words, nothing half-done, no harm."""
import io
import os
import pickle
import pickletools
import random
import struct
import zipfile

import pytest

from test_torch import file_of


def flipped(data, rng, n):
    data = bytearray(data)
    for _ in range(n):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def import_bytes(rnnd, tmp_path, data, name="x.pt"):
    (tmp_path / name).write_bytes(data)
    run = rnnd("import", "--out", "m", name)
    assert run.returncode in (0, 1)
    if run.returncode == 0:  # what was hit does not matter to the numbers, or is one of them
        for left in os.listdir(tmp_path / "m"):
            os.unlink(tmp_path / "m" / left)
        os.rmdir(tmp_path / "m")
    else:
        assert run.err.startswith("rnnd: ")
    assert os.listdir(tmp_path) == [name]
    return run


@pytest.mark.parametrize("name", ["state", "legacy", "whole", "stored"])
def test_cut_files(rnnd, tmp_path, name):
    data = open(file_of(name), "rb").read()
    for keep in [0, 1, 3, 8, len(data) // 3, len(data) // 2, len(data) - 200, len(data) - 1]:
        run = import_bytes(rnnd, tmp_path, data[:keep])
        assert run.returncode == 1, keep


@pytest.mark.parametrize("name", ["state", "legacy", "checkpoint", "deflated"])
def test_flipped_bits(rnnd, tmp_path, name):
    data = open(file_of(name), "rb").read()
    rng = random.Random(7)
    for i in range(25):
        import_bytes(rnnd, tmp_path, flipped(data, rng, 1 + i % 5))


# ---- Pickles that would do something if they were run


def container(pkl, **storages):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("m/data.pkl", pkl)
        z.writestr("m/version", "3\n")
        for key, data in storages.items():
            z.writestr("m/data/" + key, data)
    return out.getvalue()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_is_called(rnnd, tmp_path, tmp_path_factory):
    mark = tmp_path_factory.mktemp("mark") / "ran"
    pkl = pickle.dumps({"a": Evil(mark), "b": [1, 2]}, protocol=2)
    run = import_bytes(rnnd, tmp_path, container(pkl))
    assert "there are no tensors in it" in run.err
    assert not mark.exists()


def tensor(name, shape, stride, offset=0, numel=None, key="0", storage="FloatStorage"):
    """SETITEM of one tensor, as PyTorch's pickle has it, for a dictionary on the stack."""
    def number(n):
        return b"J" + struct.pack("<i", n) if -2**31 <= n < 2**31 else b"\x8a\x08" + struct.pack("<q", n)

    def text(t):
        return b"X" + struct.pack("<I", len(t)) + t.encode()

    def tuple_of(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    numel = numel if numel is not None else max(1, shape[0] * (shape[1] if len(shape) > 1 else 1))
    persistent = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text(key) + text("cpu") + number(numel) + b"tQ"
    return (text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + number(offset) + tuple_of(shape)
            + tuple_of(stride) + b"\x89ccollections\nOrderedDict\n)RtR" + b"s")


def state(*tensors):
    return b"\x80\x02}" + b"".join(tensors) + b"."


@pytest.mark.parametrize("entry,words", [
    (tensor("w", (4, 4), (4, 1), offset=1), "lead past the 16 numbers"),
    (tensor("w", (4, 4), (5, 1)), "lead past the 16 numbers"),
    (tensor("w", (4, 4), (4, 1), numel=10**6), "its storage wants 4000000"),
    (tensor("w", (4, 4), (4, -1)), "no sizes"),
    (tensor("w", (4, -4), (4, 1), numel=16), "no sizes"),
    (tensor("w", (4, 4), (4, 1), key="../../etc/passwd"), "there is no entry"),
    (tensor("w", (4, 4), (4, 1), storage="WeirdStorage"), "no known type"),
    (tensor("w", (2**20, 2**20), (0, 0), numel=1), "unfolds into more than"),
    (tensor("w", (2**31, 2**31), (0, 0), numel=1), "it is too large"),
    (tensor("w", (2**62, 2**62), (0, 0), numel=1), "overflow"),
])
def test_tensors_that_lie(rnnd, tmp_path, entry, words):
    run = import_bytes(rnnd, tmp_path, container(state(entry), **{"0": bytes(64)}))
    assert words in run.err, run.err


def test_strides_of_zero_are_read(rnnd, tmp_path):
    """One number seen as many: legal, and expanded."""
    run = import_bytes(rnnd, tmp_path, container(state(tensor("w", (100, 100), (0, 0), numel=1)), **{"0": bytes(4)}))
    assert "there is no recurrent layer in it" in run.err


@pytest.mark.parametrize("pkl,words", [
    (b"", "it is cut"),
    (b"\x80\x02", "it is cut"),
    (b"\x80\x02.", "no value"),
    (b"\x80\x02}h\x05.", "never made"),
    (b"\x80\x02}.garbage", "goes on behind its end"),
    (b"\x80\x02X\xff\xff\xff\xff.", "bytes in a string"),
    (b"\x80\x02X\x00\x00\x00\x03ab.", "it is cut"),
    (b"\x80\x02\x8b\xff\xff\xff\x7f.", "bytes in a string"),
    (b"\x80\x09}.", "a protocol from after 5"),
    (b"I1\n.", "opcode 0x49"),
    (b"\x80\x02ccollections\n", "it is cut"),
    (b"\x80\x02(K\x01d.", "a key without a value"),
    (b"\x80\x02K\x01K\x02a.", "holds none of that kind"),
])
def test_pickles_that_are_none(rnnd, tmp_path, pkl, words):
    run = import_bytes(rnnd, tmp_path, container(pkl))
    assert words in run.err, run.err


def test_circles_and_towers(rnnd, tmp_path):
    """A list in itself; a tower of dictionaries in which every floor has the one below it twenty times."""
    ring = []
    ring.append(ring)
    assert "no tensors" in import_bytes(rnnd, tmp_path, container(pickle.dumps({"a": ring}, 2))).err
    floor = {}
    for _ in range(30):
        floor = {f"k{i}": floor for i in range(20)}
    assert "without end" in import_bytes(rnnd, tmp_path, container(pickle.dumps(floor, 2))).err


def test_deep_nesting(rnnd, tmp_path):
    pkl = b"\x80\x02" + b"]" * 200000 + b"a" * 199999 + b"."
    assert list(pickletools.genops(pkl))[0][0].name == "PROTO"
    assert "no tensors" in import_bytes(rnnd, tmp_path, container(pkl)).err


def test_a_bomb(rnnd, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("m/data.pkl", state(tensor("w", (2**23, 10), (10, 1))))
        with z.open("m/data/0", "w", force_zip64=True) as f:
            for _ in range(320):
                f.write(bytes(2**20))
    assert len(out.getvalue()) < 2**20
    assert "unfolds into more than" in import_bytes(rnnd, tmp_path, out.getvalue()).err


@pytest.mark.parametrize("data,words", [
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    (b"GGUF" + bytes(100), "GGUF"),
    (pickle.dumps({"a": 1}, 2), "not PyTorch's"),
    (pickle.dumps({"a": 1}, 4), "not PyTorch's"),
    (b"hello", "no known format"),
    (b"", "no known format"),
])
def test_files_of_other_kinds_are_named(rnnd, tmp_path, data, words):
    assert words in import_bytes(rnnd, tmp_path, data).err


def test_names_cannot_speak_to_the_terminal(rnnd, tmp_path):
    pkl = state(tensor("\x1b[31mred\nline", (4, 4), (4, 1)))
    run = import_bytes(rnnd, tmp_path, container(pkl, **{"0": bytes(64)}))
    assert "\x1b" not in run.out and "\x1b" not in run.err


def test_a_pipe_is_not_waited_for(rnnd, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in rnnd.fails("import", "--out", "m", "pipe")
