"""Writes TensorFlow checkpoints of the second version, after tensor_bundle.h and LevelDB's table format: what
rnnd-import reads, made by nobody's code but this.  Arrays are numpy's."""
import struct

import numpy as np

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
MAGIC = 0xdb4775248b80fb57


def _table():
    rows = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        rows.append(n)
    return rows


ROWS = _table()


def checksum(data):
    """CRC-32C, masked."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = ROWS[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xFFFFFFFF


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array, shard, offset, data, sliced=False):
    shape = b"".join(field(2, field(1, n)) for n in array.shape)
    out = field(1, TYPES[array.dtype.name]) + field(2, shape) + (field(3, shard) if shard else b"")
    out += (field(4, offset) if offset else b"") + field(5, len(data))
    out += varint(6 << 3 | 5) + struct.pack("<I", checksum(data))
    return out + (field(7, b"") if sliced else b"")


def block(items, interval=16):
    """Entries with shared beginnings, and restart points every `interval` of them."""
    out, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(items):
        shared = 0
        if i % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    for at in restarts or [0]:
        out += struct.pack("<I", at)
    return bytes(out) + struct.pack("<I", max(1, len(restarts)))


class Table:
    def __init__(self, packing=0):
        self.data, self.packing = bytearray(), packing

    def add(self, content):
        handle = varint(len(self.data)) + varint(len(content))
        tail = bytes([self.packing])
        self.data += content + tail + struct.pack("<I", checksum(content + tail))
        return handle

    def close(self, handles):
        meta = self.add(block([]))
        index = self.add(block(handles, 1))
        self.data += (meta + index).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
        return bytes(self.data)


def write(prefix, arrays, shards=1, per_block=3, packing=0, endianness=0, sliced=(), strings=()):
    """prefix.index and prefix.data-….  arrays: name → array; strings: names of entries that are no numbers."""
    parts = [bytearray() for _ in range(shards)]
    items = [(b"", field(1, shards) + (field(2, endianness) if endianness else b"") + field(3, field(1, 1)))]
    for i, name in enumerate(sorted(set(arrays) | set(strings), key=str.encode)):
        if name in strings:
            items.append((name.encode(), field(1, 7) + field(5, 3)))
            continue
        array = np.ascontiguousarray(arrays[name])
        data, part = array.tobytes(), parts[i % shards]
        items.append((name.encode(), entry(array, i % shards, len(part), data, name in sliced)))
        part += data
    table = Table(packing)
    handles = []
    for at in range(0, len(items), per_block):
        chunk = items[at:at + per_block]
        handles.append((chunk[-1][0] + b"\0", table.add(block(chunk))))
    with open(f"{prefix}.index", "wb") as f:
        f.write(table.close(handles))
    for i, part in enumerate(parts):
        with open(f"{prefix}.data-{i:05}-of-{shards:05}", "wb") as f:
            f.write(part)
