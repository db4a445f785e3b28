#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the cases of rule_data: published rules, their outputs and all gradients.

Every rule is its recurrence as the paper writes it, a function from a state to the next. It is affine,
so that what a token wrote is followed alone: M_t = f_t(0), and M_s becomes f_t(M_s) - f_t(0). A layer
with a hierarchy reads sum_s lambda[t][bit_length(t ^ s)] M_s^T q_t, one with a single state
sum_s M_s^T q_t, and its output is tanh of that. Nothing is computed in chunks, merged or differentiated
by hand: a gradient is Im loss(w + ih) / h, which is exact to rounding for h = 1e-30.

The cases of Mamba-3 (arXiv:2603.15569) are sequences: its recurrence with rotations as matrices.

The cases of mLSTM (xLSTM, arXiv:2405.04517) are sequences: the definition with gates exp(log_input) and
exp(log_forget), without a stabiliser, in numbers of 80 bits, whose exponents reach 11,000.

    python3 make_rule_cases.py rule_data
"""

import json
import os
import sys

import numpy as np

d_model, d_k, d_v, tokens, levels = 4, 3, 2, 21, 5
h = 1e-30
draw = np.random.default_rng(2025)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.log(1 + np.exp(z))


def unit(z):
    return z / np.sqrt(np.sum(z * z))  # without the conjugate, so that it is analytic


def decay_of_mamba2(p, name, w):
    return np.exp(-np.exp(w["A_log"][0]) * softplus(p[name] + w["dt_bias"][0]))


class KDA:
    """Kimi Delta Attention, arXiv:2510.26692: S = (I - beta k k^T) diag(alpha) S + beta k v^T."""

    text, bias = "kda(beta_bias=-0.5)", -0.5
    rows, free = {"w_dt_vec": d_k, "w_beta_scalar": 1}, {"A_log": 1, "dt_bias": d_k}

    def step(self, p, w):
        k, beta = unit(p["w_key"]), sigmoid(p["w_beta_scalar"][0] + self.bias)
        alpha = decay_of_mamba2(p, "w_dt_vec", w)
        left = (np.eye(d_k) - beta * np.outer(k, k)) @ np.diag(alpha)
        return lambda s: left @ s + beta * np.outer(k, p["w_value"])

    def query(self, p):
        return unit(p["w_query"])


class TiedHGRN2:
    """HGRN2, arXiv:2404.07904: S = diag(f) S + (1 - f) v^T, f = l + (1 - l) sigmoid(z)."""

    text, low, bias = "tied_hgrn2(lower_bound=0.3, gate_bias=1)", 0.3, 1
    rows, free = {"w_hgrn2_gate": d_k}, {}

    def step(self, p, w):
        f = self.low + (1 - self.low) * sigmoid(p["w_hgrn2_gate"] + self.bias)
        return lambda s: np.diag(f) @ s + np.outer(1 - f, p["w_value"])

    def query(self, p):
        return p["w_query"]


class RGLRU:
    """RG-LRU, arXiv:2402.19427: h = a h + sqrt(1 - a^2) (i x), a = sigmoid(Lambda)^(8 r)."""

    text, gate_bias, input_bias = "rg_lru(gate_bias=1, input_bias=0.5)", 1, 0.5
    rows, free = {"w_alpha": d_v, "w_beta": d_v}, {"Lambda": d_v}

    def step(self, p, w):
        r, i = sigmoid(p["w_alpha"] + self.gate_bias), sigmoid(p["w_beta"] + self.input_bias)
        a = sigmoid(w["Lambda"][0]) ** (8 * r)
        return lambda s: a * s + np.sqrt(1 - a * a) * (i * p["w_value"])

    def query(self, p):
        return np.ones(1)


class GatedDeltaProduct:
    """Gated DeltaProduct, arXiv:2502.10297: S = g S, then S = S + b_j k_j (v_j - S^T k_j)^T."""

    text, bias = "gated_delta_product(n_compositions=2, reflections=true, beta_bias=0.2)", 0.2
    rows = {"w_dt": 1, "w_comp_keys": 2 * d_k, "w_comp_values": 2 * d_v, "w_comp_betas": 2}
    free = {"A_log": 1, "dt_bias": 1}

    def step(self, p, w):
        keys, values = p["w_comp_keys"].reshape(2, d_k), p["w_comp_values"].reshape(2, d_v)
        strengths = 2 * sigmoid(p["w_comp_betas"] + self.bias)
        g = decay_of_mamba2(p, "w_dt", w)[0]

        def next_state(s):
            s = g * s
            for k, v, b in zip(map(unit, keys), values, strengths):
                s = s + b * np.outer(k, v - s.T @ k)
            return s

        return next_state

    def query(self, p):
        return unit(p["w_query"])


def read(rule, w, x, has_levels):
    """The outputs, a row a token."""
    written, outputs = [], []
    for t in range(tokens):
        p = {name: w[name] @ x[t] + w[name + ".bias"][0]
             for name in w if name + ".bias" in w}
        step, q = rule.step(p, w), rule.query(p)
        empty = np.zeros((len(q), d_v), dtype=complex)
        written = [step(m) - step(empty) for m in written] + [step(empty)]
        weights = softplus(w["level_scale"][0] * p["w_lambda"]) if has_levels else None
        o = sum((weights[(t ^ s).bit_length()] if has_levels else 1) * (m.T @ q)
                for s, m in enumerate(written))
        outputs.append(np.tanh(o))
    return np.array(outputs)


def draw_weights(rule):
    rows = {"w_key": d_k, "w_value": d_v, "w_query": d_k, "w_lambda": levels + 1} | rule.rows
    free = {"level_scale": levels + 1} | rule.free
    w = {name: 0.7 * draw.standard_normal((n, d_model)) for name, n in rows.items()}
    w |= {name + ".bias": 0.3 * draw.standard_normal((1, n)) for name, n in rows.items()}
    w |= {name: 0.5 * draw.standard_normal((1, n)) for name, n in free.items()}
    return {name: array.astype(complex) for name, array in w.items()}


def gradient(loss, w):
    d = {}
    for name, array in w.items():
        d[name] = np.zeros(array.shape)
        for at in np.ndindex(array.shape):
            array[at] += 1j * h
            d[name][at] = loss().imag / h
            array[at] = array[at].real
    return d


def read_mlstm(x):
    """h_t, the sums over all tokens before written out."""
    reads = []
    for t in range(len(x["q"])):
        sums = np.zeros(d_v + 1, dtype=np.clongdouble)
        for s in range(t + 1):
            gate = np.exp(x["log_input"][s, 0] + np.sum(x["log_forget"][s + 1:t + 1, 0]))
            weight = x["lambda"][t, (t ^ s).bit_length()] * gate * (x["k"][s] @ x["q"][t])
            sums += weight * np.append(x["v"][s], 1)
        n = sums[d_v]
        reads.append(sums[:d_v] / max(n, -n, 1, key=np.real))
    return np.array(reads)


def write_mlstm(folder, name, offset, size):
    x = {n: draw.standard_normal((tokens, c)) for n, c in {"q": d_k, "k": d_k, "v": d_v}.items()}
    x["lambda"] = np.abs(draw.standard_normal((tokens, levels + 1)))
    x["log_input"] = offset + size * draw.standard_normal((tokens, 1))
    x["log_forget"] = -softplus(-draw.standard_normal((tokens, 1)) * size / 4)
    x = {n: array.astype(np.clongdouble) for n, array in x.items()}
    d_out = draw.standard_normal((tokens, d_v))
    d = gradient(lambda: np.sum(d_out * read_mlstm(x)), x)
    arrays = {n: array.real for n, array in x.items()} | {"d_" + n: a for n, a in d.items()}
    arrays |= {"d_out": d_out, "out": read_mlstm(x).real}
    write_case(folder, "mlstm_" + name, {"family": "mlstm"}, arrays)


def rotation(angles, size):
    """Turns coefficients 2i and 2i + 1 by the i-th angle."""
    r = np.eye(size, dtype=complex)
    for i, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        r[2 * i:2 * i + 2, 2 * i:2 * i + 2] = [[c, -s], [s, c]]
    return r


def read_mamba3(x, each):
    """Keys and values have `each` rows a token; an update is the trapezoidal one, with a rotation."""
    size = x["q"].shape[1]
    rows = lambda name, t: x[name][t * each:(t + 1) * each]
    written, reads = [], []
    for t in range(len(x["q"])):
        step, mix, alpha = x["dt"][t, 0], x["mix"][t, 0], np.exp(x["log_decay"][t, 0])
        turned = alpha * rotation(x["angles"][t], size)
        leaf = mix * step * rows("k", t).T @ rows("v", t)
        if t > 0:
            leaf = leaf + (1 - mix) * step * turned @ rows("k", t - 1).T @ rows("v", t - 1)
        written = [turned @ m for m in written] + [leaf]
        reads.append(sum(x["lambda"][t, (t ^ s).bit_length()] * (m.T @ x["q"][t])
                         for s, m in enumerate(written)))
    return np.array(reads)


def write_mamba3(folder, name, each):
    size = 5  # two angles, and a coefficient that is not turned
    x = {"q": draw.standard_normal((tokens, size)),
         "k": draw.standard_normal((each * tokens, size)),
         "v": draw.standard_normal((each * tokens, d_v)),
         "lambda": np.abs(draw.standard_normal((tokens, levels + 1))),
         "log_decay": -np.abs(draw.standard_normal((tokens, 1))) / 4,
         "dt": softplus(draw.standard_normal((tokens, 1))),
         "mix": sigmoid(draw.standard_normal((tokens, 1))),
         "angles": draw.standard_normal((tokens, 2))}
    x = {n: array.astype(complex) for n, array in x.items()}
    d_out = draw.standard_normal((tokens, d_v))
    d = gradient(lambda: np.sum(d_out * read_mamba3(x, each)), x)
    arrays = {n: array.real for n, array in x.items()} | {"d_" + n: a for n, a in d.items()}
    arrays |= {"d_out": d_out, "out": read_mamba3(x, each).real}
    write_case(folder, "mamba3_" + name, {"family": "mamba3"}, arrays)


def write(folder, rule):
    w = draw_weights(rule)
    x, d_out = draw.standard_normal((tokens, d_model)), draw.standard_normal((tokens, d_v))
    d = gradient(lambda: np.sum(d_out * read(rule, w, x, True)), w)
    name = "rule_" + rule.text.split("(")[0]
    arrays = {n: array.real for n, array in w.items()} | {"d_" + n: array for n, array in d.items()}
    arrays |= {"x": x, "d_out": d_out, "out": read(rule, w, x, True).real,
               "one_state_out": read(rule, w, x, False).real}
    write_case(folder, name, {"family": "rule", "mode": rule.text, "d_model": d_model,
                              "d_key": d_k, "d_value": d_v, "max_levels": levels}, arrays)


def write_case(folder, name, config, arrays):
    case = {"case": name, "about": "made by make_rule_cases.py", "config": config,
            "arrays": {n: {"shape": list(array.shape), "data": [float(c) for c in array.flat]}
                       for n, array in arrays.items()}}
    with open(os.path.join(folder, name + ".json"), "w") as file:
        json.dump(case, file)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    for rule in (KDA(), TiedHGRN2(), RGLRU(), GatedDeltaProduct()):
        write(sys.argv[1], rule)
    write_mlstm(sys.argv[1], "small_gates", 0, 2)
    write_mlstm(sys.argv[1], "large_gates", 900, 6)
    write_mamba3(sys.argv[1], "one_input", 1)
    write_mamba3(sys.argv[1], "three_inputs", 3)
