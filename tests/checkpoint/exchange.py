#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads and writes safetensors with nothing but the standard library, and compares both ways.

exchange.py PROGRAM, where PROGRAM is built from exchange.cpp.
"""
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction

CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "U64": "Q", "I32": "i", "U8": "B"}
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U8": 1}
CARRIED = ("F4", "C64", "F8_E8M0", "Q13 of tomorrow")  # never converted


def bf16_bits(value):
    """The BF16 nearest to a finite number, ties to even, by exact arithmetic."""
    sign = 0x8000 if math.copysign(1, value) < 0 else 0
    exact = abs(Fraction(value))
    if exact == 0:
        return sign
    exponent = max(math.frexp(value)[1] - 8, -133)
    unit = Fraction(2) ** exponent
    count = exact / unit
    near = round(count)  # ties to even
    if near == 0:
        return sign
    # near * unit as a float is exact; BF16 is its upper half.
    return sign | struct.unpack("<I", struct.pack("<f", float(near * unit)))[0] >> 16


def pack(dtype, values):
    if dtype == "BF16":
        return b"".join(struct.pack("<H", bf16_bits(v)) for v in values)
    return struct.pack("<%d%s" % (len(values), CODES[dtype]), *values)


def unpack(dtype, data):
    count = len(data) // SIZES[dtype]
    if dtype == "BF16":
        bits = struct.unpack("<%dH" % count, data)
        return [struct.unpack("<f", struct.pack("<I", b << 16))[0] for b in bits]
    return list(struct.unpack("<%d%s" % (count, CODES[dtype]), data))


def write(path, tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes), written in the order given."""
    header, end = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            out.write(data)


def read(path):
    """The same back, and the metadata. Checks what the format promises."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0, "the data are not aligned"
    assert content[8:9] == b"{"
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end, "a hole or an overlap before " + name
        if entry["dtype"] not in CARRIED:
            assert begin % SIZES[entry["dtype"]] == 0, name + " is not aligned"
            assert stop - begin == SIZES[entry["dtype"]] * math.prod(entry["shape"]), name
        tensors[name] = (entry["dtype"], entry["shape"], data[begin:stop])
        end = stop
    assert end == len(data)
    return tensors, metadata


def check_conversions(run, folder):
    draw = random.Random(7)
    wide = [0.0, -0.0, 1.0, 1 / 3, -2 / 3, 65504.0, 65519.999, 1 + 2**-11, 1 + 3 * 2**-11,
            1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-40, 2**-24, 2**-25, 2**-25 * 1.001, 3 * 2**-25,
            2**-133, 2**-134, 2**-134 * 1.0001, 1e-300, 1 + 2**-24, 1 + 2**-24 + 2**-50]
    wide += [draw.choice((-1, 1)) * draw.uniform(1, 2) * 2.0 ** draw.randint(-30, 15) for _ in range(2000)]
    halves = struct.unpack("<1000e", b"".join(struct.pack("<H", draw.randrange(0x7C00)) for _ in range(1000)))
    uppers = unpack("BF16", b"".join(struct.pack("<H", draw.randrange(0x7F80)) for _ in range(1000)))
    given = {
        "odd": ("U8", [3], bytes([1, 2, 255])),  # what follows is not aligned, which is legal
        "wide": ("F64", [2, len(wide) // 2], pack("F64", wide)),
        "single": ("F32", [3, 1, 2], pack("F32", [1.5, -2.25, 3e-45, 1e38, 0.1, -0.0])),
        "half": ("F16", [1000], pack("F16", halves)),
        "upper": ("BF16", [10, 100], pack("BF16", uppers)),
        "signed": ("I64", [], pack("I64", [-12345678901])),
        "unsigned": ("U64", [0, 4], b""),
        "pairs": ("C64", [2], bytes(range(16))),
        "nibbles": ("F4", [2, 3], bytes([1, 2, 3])),
        "exponents": ("F8_E8M0", [5], bytes([0, 127, 255, 1, 2])),
        "unheard of": ("Q13 of tomorrow", [3, 3], bytes(range(17))),
        "": ("F32", [1], pack("F32", [2.5])),
        "näme \"with\" \\ and \n": ("I32", [2], pack("I32", [-1, 2**31 - 1])),
    }
    write(folder + "/given", given, {"who": "python", "naïve": "\u2713"})
    run("convert", folder + "/given", folder + "/made")
    made, metadata = read(folder + "/made")
    assert metadata == {"who": "python", "naïve": "\u2713"}
    for name, (dtype, shape, data) in given.items():
        assert made[name] == (dtype, shape, data), name
        if dtype in CARRIED:
            continue
        assert made[name + ".double"][2] == pack("F64", [float(v) for v in unpack(dtype, data)]), name
        if dtype in ("F32", "F16", "BF16", "U8"):
            assert made[name + ".float"][2] == pack("F32", unpack(dtype, data)), name
    for dtype in ("F32", "F16", "BF16"):
        assert made["wide." + dtype] == (dtype, [2, len(wide) // 2], pack(dtype, wide)), dtype


def check_layer(run, folder):
    draw = random.Random(8)

    def weights(count):
        return [draw.uniform(-1, 1) for _ in range(count)]

    key, gate = weights(32), weights(4)
    write(folder + "/weights", {
        "attention.k_proj.weight": ("BF16", [8, 4], pack("BF16", key)),
        "gate": ("F16", [4], pack("F16", gate)),
        "w_value": ("F32", [8, 4], pack("F32", weights(32))),
        "w_query": ("F64", [8, 4], pack("F64", weights(32))),
        "w_lambda": ("F32", [5, 1, 4], pack("F32", weights(20))),
        "another": ("F64", [1], pack("F64", [float("nan")])),
    })
    run("run", folder + "/weights", folder + "/layer")
    tensors, metadata = read(folder + "/layer")
    assert metadata["inner"] == "gla(gate_bias=3)" and metadata["format"] == "loglinear"
    assert tensors["w_key"] == ("F32", [8, 4], pack("F32", unpack("BF16", pack("BF16", key))))
    assert tensors["w_gate"] == ("F32", [1, 4], pack("F32", unpack("F16", pack("F16", gate))))
    size, buffered = (unpack(tensors[n][0], tensors[n][2])[0] for n in ("state.size", "state.buffered"))
    assert size + buffered == 11
    assert tensors["state.buffered_keys"][1] == [buffered, 8]

    # Another order of the tensors and of the header's keys, other spaces, more metadata: the same.
    order = list(tensors)
    draw.shuffle(order)
    write(folder + "/shuffled", {name: tensors[name] for name in order}, {**metadata, "note": "from Python"})
    run("reload", folder + "/shuffled", folder + "/again")
    with open(folder + "/layer", "rb") as one, open(folder + "/again", "rb") as other:
        assert one.read() == other.read()


def main():
    def run(*arguments):
        subprocess.run([sys.argv[1], *arguments], check=True)

    with tempfile.TemporaryDirectory() as folder:
        check_conversions(run, folder)
        check_layer(run, folder)
        assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]


main()
