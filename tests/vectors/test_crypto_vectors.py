"""Runs shamir.json, masking.json, fixed_point.json and merkle.json against ``crypto/``."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from p2p_flock.crypto import fixed_point, merkle
from p2p_flock.crypto.masking import Engine, choose_engine, lane_dtype, masks_into
from p2p_flock.crypto.ring import Ring, Words
from p2p_flock.crypto.secret_sharing import combine_shares, find_wrong_shares, split_secret
from p2p_flock.errors import CryptoError, P2PFlockError, ParameterError, UsageError

FOLDER = Path(__file__).parent
ERRORS: dict[str, type[P2PFlockError]] = {error.__name__: error for error in (CryptoError, ParameterError, UsageError)}

Case = dict[str, object]


def cases_of(name: str) -> list[object]:
    cases = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case, id=case["name"]) for case in cases]


def check_error(case: Case, action: Callable[[], object]) -> bool:
    """Whether the case is one that must raise; if so, that it does."""
    if "error" not in case:
        return False
    with pytest.raises(ERRORS[str(case["error"])]):
        action()
    return True


def test_vectors__are_what_the_generator_writes() -> None:
    """A vector changed by hand, or a generator changed without its files, tests nothing."""
    script = FOLDER.parents[1] / "scripts" / "make_vectors.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("case", cases_of("shamir"))
def test_shamir__vector(case: dict) -> None:
    """Shares of another implementation would not combine with ours, or a liar would go unnamed."""
    secret, context = bytes.fromhex(case["secret"]), bytes.fromhex(case["context"])
    threshold, holders = case["threshold"], case["holders"]
    if case["operation"] == "split":

        def split() -> tuple[bytes, ...]:
            return split_secret(secret, context, threshold, holders)

        if not check_error(case, split):
            assert [share.hex() for share in split()] == case["shares"]
        return
    shares = {int(holder): bytes.fromhex(share) for holder, share in case["shares"].items()}
    if case["operation"] == "find":
        assert list(find_wrong_shares(shares, threshold)) == case["wrong"]
    elif not check_error(case, lambda: combine_shares(shares, threshold)):
        assert combine_shares(shares, threshold) == secret


@pytest.fixture(params=[Engine.PLAIN, Engine.ACCELERATED])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    choose_engine(request.param)
    yield request.param
    choose_engine(Engine.AUTO)


@pytest.mark.parametrize("case", cases_of("masking"))
def test_masking__vector(case: dict, engine: Engine) -> None:
    """Masks of another implementation, or of a machine with an accelerator, would not cancel against ours."""
    keys = [(bytes.fromhex(key), sign) for key, sign in case["keys"]]

    def mask() -> list[int]:
        bits = case["lane_bits"]
        lanes: Words = np.array(case["lanes"], dtype=np.dtype("<u8") if bits == 64 else lane_dtype(bits))
        masks_into(lanes, keys, case["offset"])
        return lanes.tolist()

    if not check_error(case, mask):
        assert mask() == case["masked"]


@pytest.mark.parametrize("case", cases_of("fixed_point"))
def test_fixed_point__vector(case: dict) -> None:
    """Two nodes would decode different models from one sum."""
    if case["operation"] == "decode":
        total = np.array(case["total"], dtype=np.int64)
        arguments = (total, float.fromhex(case["clip_norm"]), case["levels"], case["weight_total"])
        if not check_error(case, lambda: fixed_point.decode_mean(*arguments)):
            assert [value.hex() for value in fixed_point.decode_mean(*arguments).tolist()] == case["mean"]
            assert str(fixed_point.compute_squared_norm(total)) == case["squared_norm"]
        return
    if case["operation"] == "lift":
        ring, sum_bound = Ring(case["lane_bits"]), case["sum_bound"]
        words: Words = np.array(case["words"], dtype=ring.dtype)
        assert ring.is_in_range(words, case["lane_count"], sum_bound) is (case["integers"] is not None)
        if case["integers"] is not None:
            assert ring.lift(words, case["lane_count"], sum_bound).tolist() == case["integers"]
        return
    values = np.array([float.fromhex(value) if value != "nan" else math.nan for value in case["values"]])
    dither, bits, levels, weight = bytes.fromhex(case["dither"]), case["lane_bits"], case["levels"], case["weight"]

    def encode() -> list[int]:
        if "bounds" in case:
            bounds = np.array([float.fromhex(bound) for bound in case["bounds"]])
            return fixed_point.encode_statistics(values, bounds, levels, weight, dither, bits).tolist()
        clip_norm = float.fromhex(case["clip_norm"])
        return fixed_point.encode_update(values, clip_norm, levels, weight, dither, bits).tolist()

    if not check_error(case, encode):
        assert encode() == case["lanes"]


@pytest.mark.parametrize("case", cases_of("merkle"))
def test_merkle__vector(case: dict) -> None:
    """A proof made here could not be checked elsewhere, or a forged one would pass."""
    root, domain, payload = (bytes.fromhex(case[name]) for name in ("root", "domain", "payload"))
    proof = [bytes.fromhex(node) for node in case["proof"]]
    assert merkle.verify_proof(root, domain, case["count"], case["index"], payload, proof) is case["accepted"]
    if case["accepted"]:
        payloads = [bytes.fromhex(leaf) for leaf in case["payloads"]]
        assert merkle.compute_root(domain, payloads) == root
        assert merkle.compute_proof(domain, payloads, case["index"]) == tuple(proof)
