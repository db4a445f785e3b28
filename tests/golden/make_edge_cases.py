#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the cases of edge_data: sequences without tokens, gates that forget everything (a log decay
of -infinity, a decay of 0), level weights of either sign and 0, keys of 0, strengths of 0, 1 and 2.

Every case is the definition written out once more in another language, with whole matrices and no
hierarchy: o_t = sum_{s <= t} lambda[t][bit_length(t ^ s)] q_t^T A_t ... A_{s+1} C_s. Gradients go
back through that sum by hand, and some of their coefficients are compared with central differences
before anything is written.

    python3 make_edge_cases.py edge_data
"""

import json
import math
import os
import random
import sys

draw = random.Random(20240)
FORGET = -math.inf


def transpose(m):
    return [list(row) for row in zip(*m)]


def matrix_product(a, b):
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]


def apply(m, v):
    return [sum(x * y for x, y in zip(row, v)) for row in m]


def outer(u, v):
    return [[x * y for y in v] for x in u]


def add(a, b):
    return [[x + y for x, y in zip(r, s)] for r, s in zip(a, b)]


def scale(factor, m):
    return [[factor * x for x in row] for row in m]


def dot(a, b):
    return sum(x * y for r, s in zip(a, b) for x, y in zip(r, s))


def diagonal(d):
    return [[d[i] if i == j else 0.0 for j in range(len(d))] for i in range(len(d))]


def removal(k, beta):
    """I - beta k k^T"""
    return add(diagonal([1.0] * len(k)), scale(-beta, outer(k, k)))


def token(rule, x, t):
    """A_t and C_t."""
    k, v = x["k"][t], x["v"][t]
    if rule == "delta_product":
        a, c = scale(math.exp(x["g"][t]), diagonal([1.0] * len(k[0]))), None
        for key, value, beta in zip(k, v, x["beta"][t]):
            h, leaf = removal(key, beta), scale(beta, outer(key, value))
            a, c = matrix_product(h, a), leaf if c is None else add(matrix_product(h, c), leaf)
        return a, c
    leaf = outer(k, v)
    if rule == "rwkv7":
        kappa = x["kappa"][t]
        removed = outer([p * q for p, q in zip(x["a"][t], kappa)], kappa)
        return add(diagonal(x["w"][t]), scale(-1, removed)), leaf
    if rule == "vector_gate":
        return diagonal([math.exp(g) for g in x["g"][t]]), leaf
    if rule == "kda":  # the delta rule on what has decayed
        alpha = diagonal([math.exp(g) for g in x["g"][t]])
        return matrix_product(removal(k, x["beta"][t]), alpha), scale(x["beta"][t], leaf)
    decay = math.exp(x["g"][t])
    if rule == "gated_delta":
        return scale(decay, removal(k, x["beta"][t])), scale(x["beta"][t], leaf)
    return diagonal([decay] * len(k)), scale(x["i"][t], leaf) if rule == "input_gate" else leaf


def reads(tokens, x):
    out = []
    for t in range(len(tokens)):
        query, o = x["q"][t], [0.0] * len(tokens[t][1][0])
        for s in range(t, -1, -1):
            weight = x["lambda"][t][(t ^ s).bit_length()]
            o = [a + weight * b for a, b in zip(o, apply(transpose(tokens[s][1]), query))]
            query = apply(transpose(tokens[s][0]), query)
        out.append(o)
    return out


def final_levels(tokens, levels):
    """The levels that the last token reads: level 0 is its own leaf."""
    held = [None] * levels
    for t, (a, c) in enumerate(tokens):
        carry, l = held[0], 1
        while t > 0 and held[l] is not None:
            carry, held[l], l = add(held[l], carry), None, l + 1
        if t > 0:
            held[l] = carry
        held = [c] + [m and matrix_product(a, m) for m in held[1:]]
    return [m or scale(0, tokens[0][1]) for m in held]


def gradients(rule, x, d_o):
    """Of sum(d_o * o), for the scalar gate and the gated delta rule."""
    tokens = [token(rule, x, t) for t in range(len(d_o))]
    d_a = [scale(0, a) for a, _ in tokens]
    d_c = [scale(0, c) for _, c in tokens]
    d = {"d_q": [], "d_k": [], "d_v": [], "d_g": [], "d_lambda": scale(0, x["lambda"])}
    for t in range(len(d_o)):
        queries, query = {}, x["q"][t]
        for s in range(t, -1, -1):
            queries[s], query = query, apply(transpose(tokens[s][0]), query)
        back = [0.0] * len(query)  # with respect to the query as it meets what is older than s
        for s in range(t + 1):
            level = (t ^ s).bit_length()
            weight, seen = x["lambda"][t][level], apply(tokens[s][1], d_o[t])
            d["d_lambda"][t][level] += sum(p * q for p, q in zip(queries[s], seen))
            d_c[s] = add(d_c[s], scale(weight, outer(queries[s], d_o[t])))
            d_a[s] = add(d_a[s], outer(queries[s], back))
            back = [weight * p + q for p, q in zip(seen, apply(tokens[s][0], back))]
        d["d_q"].append(back)
    for t, (a, _) in enumerate(tokens):
        k, v = x["k"][t], x["v"][t]
        beta = x["beta"][t] if rule == "gated_delta" else 1.0
        d_key, d["d_v"] = apply(d_c[t], v), d["d_v"] + [apply(transpose(scale(beta, d_c[t])), k)]
        d["d_g"].append(dot(d_a[t], a))
        if rule == "scalar_gate":
            d["d_k"].append(d_key)
            continue
        decay = math.exp(x["g"][t])
        both = apply(add(d_a[t], transpose(d_a[t])), k)
        d["d_k"].append([beta * (p - decay * q) for p, q in zip(d_key, both)])
        d.setdefault("d_beta", []).append(
            sum(p * q for p, q in zip(k, d_key)) - decay * dot(d_a[t], outer(k, k)))
    return d


def require_gradients(rule, x, d_o, d):
    def loss():
        return dot(reads([token(rule, x, t) for t in range(len(d_o))], x), d_o)

    for name, gradient in d.items():
        for _ in range(4):
            row, of_row = draw.randrange(len(d_o)), (x[name[2:]], gradient)
            if isinstance(gradient[0], list):
                of_row, row = [m[row] for m in of_row], draw.randrange(len(gradient[0]))
            at = of_row[0][row]
            if at == FORGET:
                assert of_row[1][row] == 0
                continue
            sides = []
            for h in (1e-5, -1e-5):
                of_row[0][row] = at + h
                sides.append(loss())
            of_row[0][row] = at
            assert abs((sides[0] - sides[1]) / 2e-5 - of_row[1][row]) < 1e-6, (rule, name)


def normal():
    return draw.gauss(0, 1)


def matrix(rows, columns, number):
    return [[number() for _ in range(columns)] for _ in range(rows)]


def key(d):
    x = [normal() for _ in range(d)]
    factor = draw.choice([1, 1, 1, 0.7, 0]) / math.sqrt(sum(y * y for y in x))
    return [factor * y for y in x]


def log_decay():
    return draw.choice([FORGET, 0.0, -800.0, -1e-3, -0.2, -0.2, -0.5, -3.0])


def strength():
    return draw.choice([0.0, 1.0, 2.0, 0.5, draw.random()])


def level_weight():
    return draw.choice([0.0, 1.0, -1.0, normal(), normal()])


def inputs(rule, length, d_k, d_v):
    levels = max(length - 1, 0).bit_length() + 2  # the last column is never read
    x = {"q": matrix(length, d_k, normal), "k": [key(d_k) for _ in range(length)],
         "v": matrix(length, d_v, normal), "lambda": matrix(length, levels, level_weight)}
    if rule == "delta_product":
        x["k"] = [[key(d_k), key(d_k)] for _ in range(length)]
        x["v"] = [matrix(2, d_v, normal) for _ in range(length)]
        x["beta"] = matrix(length, 2, strength)
    if rule in ("gated_delta", "kda"):
        x["beta"] = [strength() for _ in range(length)]
    if rule == "input_gate":
        x["i"] = [strength() for _ in range(length)]
    if rule == "rwkv7":
        x["w"] = matrix(length, d_k, lambda: draw.choice([0.0, 1.0, 1e-300, 0.9, 0.5]))
        x["a"] = matrix(length, d_k, lambda: draw.choice([0.0, 1.0, draw.random()]))
        x["kappa"] = [key(d_k) for _ in range(length)]
    elif rule in ("vector_gate", "kda"):
        x["g"] = matrix(length, d_k, log_decay)
    else:
        x["g"] = [log_decay() for _ in range(length)]
    return x


def shape(array):
    sizes = []
    while isinstance(array, list):
        sizes.append(len(array))
        array = array[0] if array else None
    return sizes


def flat(array):
    return [x for part in array for x in flat(part)] if isinstance(array, list) else [array]


def write(folder, family, rule, arrays, shapes=None):
    length = len(arrays["q"])
    name = f"{family}_{rule}_T{length}_edge"
    arrays = {n: {"shape": (shapes or {}).get(n) or shape(x), "data": flat(x)}
              for n, x in arrays.items()}
    case = {"case": name, "about": "made by make_edge_cases.py",
            "config": {"family": family, "rule": rule, "T": length}, "arrays": arrays}
    with open(os.path.join(folder, name + ".json"), "w") as file:
        json.dump(case, file)


def write_sequence(folder, rule):
    x = inputs(rule, 37, 3, 4)
    tokens = [token(rule, x, t) for t in range(37)]
    levels = len(x["lambda"][0])
    write(folder, "sequence", rule,
          x | {"o": reads(tokens, x), "final_levels": final_levels(tokens, levels)})


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for rule in ("scalar_gate", "input_gate", "vector_gate", "gated_delta", "delta_product",
                 "rwkv7"):
        write_sequence(folder, rule)
    for rule in ("scalar_gate", "gated_delta"):
        x, d_o = inputs(rule, 34, 4, 3), matrix(34, 3, normal)
        d = gradients(rule, x, d_o)
        require_gradients(rule, x, d_o, d)
        write(folder, "grad", rule, x | d | {"d_o": d_o})
    write(folder, "sequence", "gated_delta", {"q": [], "k": [], "v": [], "lambda": [], "g": [],
                                              "beta": [], "o": []},
          {"q": [0, 3], "k": [0, 3], "v": [0, 2], "lambda": [0, 1], "o": [0, 2]})
    write_sequence(folder, "kda")


if __name__ == "__main__":
    main(sys.argv[1])
