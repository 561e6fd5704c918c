"""State files (GET and PUT /sessions/{id}/state) as numbers, and back."""
import array
import hashlib
import json
import struct

FACTS = ("format", "fingerprint", "position", "seed", "draws", "stream")


def header_of(file):
    n = struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8:8 + n]), 8 + n


def numbers_of(file):
    """{tensor: its floats}"""
    header, at = header_of(file)
    return {name: array.array("f", file[at + entry["data_offsets"][0]:at + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def with_numbers(file, numbers):
    """The file with other floats in some of its tensors, and the checksum that belongs to them."""
    header, at = header_of(file)
    data, facts = bytearray(file[at:]), header["__metadata__"]
    for name, values in numbers.items():
        begin, end = header[name]["data_offsets"]
        assert end - begin == 4 * len(values)
        data[begin:end] = array.array("f", values).tobytes()
    lines = "".join(facts[fact] + "\n" for fact in FACTS).encode()
    checksum = hashlib.sha256(lines + data).hexdigest()
    return file[:at].replace(facts["checksum"].encode(), checksum.encode()) + data
