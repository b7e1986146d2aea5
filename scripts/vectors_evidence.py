"""Section of ``make_vectors.py`` for evidence: what convicts, and what looks like it and must not.

A case holds the call of the contract as calldata (of the ABI in ``contracts/src/interfaces/IEvidence.sol``) and the
owners that it convicts, in order; none in a ``bad_*`` case, which must be refused. The contract's tests seat the owners
whose keys are in ``owner_secrets`` and run the calls; ``tests/vectors/test_evidence_vectors.py`` decodes them and runs
``check_evidence``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from p2p_flock.alliance.accusing import prove_leaf
from p2p_flock.alliance.evidence import (
    NO_PROOF,
    BadDealing,
    BadShare,
    DealtShare,
    Equivocation,
    Evidence,
    InvalidSeal,
    LeafProof,
    SealEquivocation,
    SealStatement,
    hash_seal,
)
from p2p_flock.alliance.sortition import compute_seed
from p2p_flock.crypto.secret_sharing import split_secret
from p2p_flock.crypto.signing import address_of, envelope_digest, seal_digest, sign
from p2p_flock.secagg.document import get_pair_commitment, get_share_commitment, pair_leaf, self_mask_leaf, share_leaf
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Contribution, Envelope, PairSeedShare, SelfMaskShare, Unmasking
from tests.unit.secagg_cohort import Cohort, digest_of, make_cohort

Case = dict[str, object]

STATEMENT = "(uint32,uint8,uint16,bytes,bytes)"
SEAL = "(uint32,uint32,uint64,bytes32,bytes32,uint256[])"
PROOF = "(uint32,uint32,bytes32[])"
SHARE = f"(uint16,uint16,bytes32,{PROOF})"
FUNCTIONS = {
    "slashEquivocation": [STATEMENT, STATEMENT],
    "slashSealEquivocation": [SEAL, "bytes", SEAL, "bytes"],
    "slashInvalidSeal": [SEAL, "bytes", "bytes", "bytes[]"],
    "slashBadShare": [STATEMENT, "uint16", SEAL, "bytes", "bytes32", "bytes32", "uint16", PROOF],
    "slashBadDealing": [STATEMENT, "bytes32", "uint16", f"{SHARE}[]", "bytes32", "bytes32", PROOF],
}
OWNERS = {seat: digest_of("evidence owner", seat) for seat in (1, 4, 7, 10, 13)}
STRANGER = digest_of("stranger")
BEACON_ROUND, UNKNOWN_BEACON_ROUND, RANDOMNESS = 77, 78, digest_of("randomness")
BEACON_SIGNATURE = b"".join(digest_of("beacon signature", part) for part in range(3))  # 96 bytes: a point of G1
THRESHOLD = 3


def _statement(e: Envelope) -> tuple[object, ...]:
    return (e.round, e.kind, e.seat, e.body, e.signature)


def _seal(s: SealStatement) -> tuple[object, ...]:
    return (s.round, s.view, s.beacon_round, s.seed, s.manifest_digest, list(s.words))


def _proof(p: LeafProof) -> tuple[object, ...]:
    return (p.count, p.index, list(p.siblings))


def encode_call(evidence: Evidence) -> tuple[str, bytes]:
    """Name of the contract's function, and its calldata."""
    e = evidence
    values: tuple[object, ...]
    match e:
        case Equivocation():
            name, values = "slashEquivocation", (_statement(e.first), _statement(e.second))
        case SealEquivocation():
            name = "slashSealEquivocation"
            values = (_seal(e.first), e.first_signature, _seal(e.second), e.second_signature)
        case InvalidSeal():
            name, values = "slashInvalidSeal", (_seal(e.seal), e.beacon_signature, e.manifest, list(e.signatures))
        case BadShare():
            name = "slashBadShare"
            values = (
                *(_statement(e.unmasking), e.item_index, _seal(e.seal), e.manifest, e.context, e.commitment),
                *(e.share_index, _proof(e.proof)),
            )
        case BadDealing():
            name = "slashBadDealing"
            shares = [(s.index, s.holder, s.share, _proof(s.proof)) for s in e.shares]
            values = (
                *(_statement(e.contribution), e.context, e.secret_of, shares, e.secret_commitment),
                *(e.pair_context, _proof(e.secret_proof)),
            )
    types = FUNCTIONS[name]
    return name, keccak(text=f"{name}({','.join(types)})")[:4] + abi_encode(types, values)


class Maker:
    """Collects cases about one cohort whose members are all seated."""

    def __init__(self) -> None:
        self.cohort = make_cohort(5, THRESHOLD, lane_count=4)
        self.domain = self.cohort.context.domain
        self.round = self.cohort.context.round
        self.seed = compute_seed(self.domain, self.round, RANDOMNESS)
        self.cases: list[Case] = []

    def say(self, seat: int, body: bytes, kind: int = 1, **changes: int | bytes) -> Envelope:
        """A message as the owner of ``seat`` signs it."""
        terms = {"round": self.round, "secret": OWNERS[seat], **changes}
        number, secret = terms["round"], terms["secret"]
        assert isinstance(number, int)
        assert isinstance(secret, bytes)
        digest = envelope_digest(self.domain, kind, number, seat, body)
        return Envelope(kind, number, seat, body, sign(secret, digest))

    def seal(self, manifest: bytes, survivors: int, **changes: int | bytes) -> SealStatement:
        words = survivors.to_bytes(32, "big")
        digest = hashlib.sha256(manifest).digest()
        return replace(SealStatement(self.round, 0, BEACON_ROUND, self.seed, digest, words), **changes)

    def sign_seal(self, secret: bytes, seal: SealStatement) -> bytes:
        return sign(secret, seal_digest(self.domain, hash_seal(self.domain, seal)))

    def add(self, name: str, evidence: Evidence, *culprits: int) -> None:
        """A case; without culprits it must be refused."""
        assert name.startswith("bad_") is not bool(culprits), name
        function, calldata = encode_call(evidence)
        owners = [address_of(OWNERS[seat]).hex() for seat in culprits]
        self.cases.append({"name": name, "function": function, "calldata": calldata.hex(), "culprits": owners})

    # --- messages and seals ------------------------------------------------------------------------------------

    def add_equivocations(self) -> None:
        one, two = (encode(Contribution(digest_of("root", n), digest_of("document", n))) for n in (1, 2))
        for kind in (1, 2, 6, 7):
            name = f"equivocation_kind_{kind}"
            self.add(name, Equivocation(self.say(4, one, kind), self.say(4, two, kind)), 4)
        first = self.say(4, one)
        refused = {
            "same_body": self.say(4, one),
            "other_round": self.say(4, two, round=self.round + 1),
            "other_kind": self.say(4, two, 2),
            "other_seat": self.say(7, two, secret=OWNERS[4]),
            "other_signer": self.say(4, two, secret=OWNERS[7]),
            "broken_signature": replace(self.say(4, two), signature=bytes(64) + b"\x1b"),
            "unsigned_body": replace(self.say(4, one), body=two),
        }
        for name, second in refused.items():
            self.add(f"bad_equivocation_{name}", Equivocation(first, second))
        for kind in (0, 3, 4, 5, 8):
            evidence = Equivocation(self.say(4, one, kind), self.say(4, two, kind))
            self.add(f"bad_equivocation_kind_{kind}", evidence)
        stranger = Equivocation(self.say(4, one, secret=STRANGER), self.say(4, two, secret=STRANGER))
        self.add("bad_equivocation_of_a_stranger", stranger)

    def add_seal_equivocations(self) -> None:
        first, second = self.seal(b"one", 0b11111), self.seal(b"two", 0b11111)

        def judge(other: SealStatement, secret: bytes = OWNERS[7]) -> SealEquivocation:
            signatures = self.sign_seal(OWNERS[7], first), self.sign_seal(secret, other)
            return SealEquivocation(first, signatures[0], other, signatures[1])

        self.add("seals_of_two_manifests", judge(second), 7)
        self.add("seals_of_two_survivor_sets", judge(replace(first, survivors=(15).to_bytes(32, "big"))), 7)
        self.add("seals_of_two_seeds", judge(replace(first, seed=digest_of("seed"))), 7)
        self.add("bad_seals_same", judge(first))
        self.add("bad_seals_other_view", judge(replace(second, view=1)))
        self.add("bad_seals_other_round", judge(replace(second, round=self.round + 1)))
        self.add("bad_seals_other_signer", judge(second, OWNERS[4]))

    def add_invalid_seals(self) -> None:
        sealed = (1, 4, 7, 10)
        good = self.cohort.manifest(sealed)
        entry = good.entries[0]
        data = encode(good)
        twice = replace(good, entries=(entry, *good.entries[:3]))
        wrong = {
            "not_msgpack": b"\xc1",
            "empty": b"",
            "truncated": data[:-1],
            "trailing_byte": data + b"\x00",
            "long_integer": data[:1] + b"\xcd\x00" + data[1:],
            "short_root": data.replace(b"\xc4\x20" + entry.root, b"\xc4\x1f" + entry.root[:31]),
            "text_for_bytes": data.replace(b"\xc4\x20" + entry.root, b"\xd9\x20" + b"a" * 32),
            "missing_field": data.replace(b"\x94" + bytes([entry.seat]), b"\x93", 1),
            "no_entries": b"\x92" + bytes([self.round]) + b"\x90",
            "other_round": encode(replace(good, round=self.round + 1)),
            "seat_twice": encode(twice),
            "fewer_entries": encode(replace(good, entries=good.entries[:3])),
        }
        signers = (1, 4)

        def judge(seal: SealStatement, manifest: bytes, beacon_signature: bytes = b"") -> InvalidSeal:
            signatures = tuple(self.sign_seal(OWNERS[seat], seal) for seat in signers)
            return InvalidSeal(seal, beacon_signature, manifest, signatures)

        for name, bytes_ in wrong.items():
            if bytes_:
                self.add(f"invalid_seal_{name}", judge(self.seal(bytes_, 0b1111), bytes_), *signers)
        self.add("invalid_seal_more_survivors", judge(self.seal(data, 0b11111), data), *signers)
        twice_sealed = (self.seal(wrong["seat_twice"], 0b1111), wrong["seat_twice"])
        false_seed = self.seal(data, 0b1111, seed=digest_of("seed"))
        self.add("invalid_seal_seed", judge(false_seed, b"", BEACON_SIGNATURE), *signers)
        self.add("invalid_seal_manifest_under_a_right_seed", judge(*twice_sealed, BEACON_SIGNATURE), *signers)
        self.add("bad_invalid_seal_no_beacon_signature", judge(false_seed, b""))
        self.add("bad_invalid_seal_wrong_beacon_signature", judge(false_seed, b"", BEACON_SIGNATURE[::-1]))
        self.add("bad_invalid_seal_right_seed", judge(self.seal(data, 0b1111), data, BEACON_SIGNATURE))
        self.add("bad_invalid_seal_good", judge(self.seal(data, 0b1111), data))
        self.add("bad_invalid_seal_no_manifest", judge(self.seal(data, 0b1111), b""))
        self.add("bad_invalid_seal_another_manifest", judge(self.seal(data, 0b1111), wrong["seat_twice"]))
        unknown = replace(false_seed, beacon_round=UNKNOWN_BEACON_ROUND)
        self.add("bad_invalid_seal_unknown_beacon", judge(unknown, b"", BEACON_SIGNATURE))
        one_broken = judge(false_seed, b"", BEACON_SIGNATURE)
        broken = replace(one_broken, signatures=(bytes(64) + b"\x1b", one_broken.signatures[1]))
        self.add("bad_invalid_seal_broken_signature", broken)

    # --- shares and dealings -----------------------------------------------------------------------------------

    def add_bad_shares(self) -> None:
        cohort, context = self.cohort, self.cohort.context
        sealed, dropout, holder = (1, 4, 7, 10), 13, 4
        manifest = encode(cohort.manifest(sealed))
        seal = self.seal(manifest, 0b1111)
        digest = hash_seal(self.domain, seal)
        right = cohort.unmasking(holder, sealed, digest)

        def judge(index: int, answer: Unmasking, **changes: object) -> BadShare:
            item = right.items[index]
            secret_of = item.owner if isinstance(item, SelfMaskShare) else item.dropout
            received, place = cohort.made[item.owner].received, context.place(secret_of, holder)
            committed = get_share_commitment(context, received, secret_of, holder)
            leaf = share_leaf(secret_of, place, holder, committed)
            proof = prove_leaf(context, received, leaf)
            message = self.say(holder, encode(answer), 2)
            evidence = BadShare(message, index, seal, manifest, context.digest, committed, place, proof)
            return replace(evidence, **changes)

        def lie(index: int) -> Unmasking:
            items = list(right.items)
            items[index] = replace(items[index], share=digest_of("lie"))
            return Unmasking(digest, tuple(items))

        kinds = [type(item) for item in right.items]
        self_mask, pair = kinds.index(SelfMaskShare), kinds.index(PairSeedShare)
        last = len(kinds) - 1
        for name, index in {"self_mask": self_mask, "pair_seed": pair, "last_item": last}.items():
            self.add(f"share_of_{name}", judge(index, lie(index)), holder)
        nested = b"\x92\x00\x92\x01\xc4\x20" + bytes(26)  # what an item begins with, as a share
        inner = replace(right.items[0], share=nested)
        self.add("share_that_looks_like_an_item", judge(0, Unmasking(digest, (inner, *right.items[1:]))), holder)
        bad = lie(pair)
        good = judge(pair, bad)
        self.add("bad_share_right_one", judge(pair, right))
        self.add("bad_share_another_item", judge(self_mask, bad))
        self.add("bad_share_beyond_the_last_item", judge(pair, bad, item_index=len(right.items)))
        self.add("bad_share_of_a_have", judge(pair, bad, unmasking=self.say(holder, encode(bad), 3)))
        self.add("bad_share_other_seal", judge(pair, bad, seal=replace(seal, view=1)))
        self.add("bad_share_other_manifest", judge(pair, bad, manifest=encode(cohort.manifest((1, 4, 7)))))
        self.add("bad_share_other_context", judge(pair, bad, context=digest_of("context")))
        self.add("bad_share_other_commitment", judge(pair, bad, commitment=digest_of("commitment")))
        self.add("bad_share_other_index", judge(pair, bad, share_index=good.share_index + 1))
        self.add("bad_share_other_leaf", judge(pair, bad, proof=replace(good.proof, index=good.proof.index + 1)))
        self.add("bad_share_short_proof", judge(pair, bad, proof=replace(good.proof, siblings=good.proof.siblings[1:])))
        without = encode(cohort.manifest((4, 7, 10)))
        unsealed = self.seal(without, 0b111)
        answer = replace(bad, seal=hash_seal(self.domain, unsealed))
        self.add(
            "bad_share_dealer_not_sealed", judge(0, replace(lie(0), seal=answer.seal), seal=unsealed, manifest=without)
        )
        trailing = self.say(holder, encode(bad) + b"\x00", 2)
        self.add("bad_share_trailing_byte", judge(pair, bad, unmasking=trailing))
        assert right.items[pair].dropout == dropout

    def add_bad_dealings(self) -> None:
        dealer, other = 7, 1
        honest = self.cohort
        secret = honest.made[dealer].secrets.self_mask
        sharing = honest.context.sharing_context(dealer, dealer)
        right = split_secret(secret, sharing, THRESHOLD, 5)
        pair_seed = next(n.pair_seed for n in honest.made[dealer].secrets.neighbors if n.neighbor == other)
        pair_right = split_secret(pair_seed, honest.context.sharing_context(dealer, other), THRESHOLD, 5)
        false = split_secret(digest_of("other secret"), sharing, THRESHOLD, 5)
        bent = (*right[:4], digest_of("bent"))
        cheats = {
            "other_secret": (dealer, false, (0, 1, 2), True),
            "other_secret_upper_holders": (dealer, false, (1, 2, 4), True),
            "other_pair_seed": (other, false, (0, 2, 3), True),
            "bent": (dealer, bent, (0, 1, 2, 4), False),
            "bent_pair_seed": (other, (digest_of("bent"), *pair_right[1:]), (0, 1, 2, 3), False),
            "bent_all_shares": (dealer, bent, (0, 1, 2, 3, 4), False),
        }
        for name, (secret_of, shares, places, with_secret) in cheats.items():
            cohort = honest.with_dealing(dealer, secret_of, shares)
            self.add(
                f"dealing_{name}", self.judge_dealing(cohort, dealer, secret_of, shares, places, with_secret), dealer
            )
        cohort = honest.with_dealing(dealer, dealer, bent)
        good = self.judge_dealing(cohort, dealer, dealer, bent, (0, 1, 2, 4), with_secret=False)
        refused: dict[str, BadDealing] = {
            "right": self.judge_dealing(honest, dealer, dealer, right, (0, 1, 2), with_secret=True),
            "right_all_shares": self.judge_dealing(honest, dealer, dealer, right, (0, 1, 2, 3, 4), with_secret=True),
            "right_pair_seed": self.judge_dealing(honest, dealer, other, pair_right, (0, 1, 4), with_secret=True),
            "right_without_secret": self.judge_dealing(honest, dealer, dealer, right, (0, 1, 2, 3), with_secret=False),
            "too_few_shares": replace(good, shares=good.shares[2:]),
            "only_the_first_shares": replace(good, shares=good.shares[:3]),
            "share_twice": replace(good, shares=(*good.shares, good.shares[-1])),
            "out_of_order": replace(good, shares=good.shares[::-1]),
            "uncommitted_share": replace(
                good, shares=(replace(good.shares[0], share=digest_of("forged")), *good.shares[1:])
            ),
            "other_holder": replace(good, shares=(*good.shares[:3], replace(good.shares[3], holder=10))),
            "other_index": replace(good, shares=(*good.shares[:3], replace(good.shares[3], index=3))),
            "other_context": replace(good, context=digest_of("context")),
            "other_secret_named": replace(good, secret_of=other),
            "other_message": replace(good, contribution=self.say(dealer, good.contribution.body, 2)),
            "of_anothers_root": replace(
                good, contribution=self.say(other, self.contribution(honest, other), secret=OWNERS[other])
            ),
        }
        wrong_secret = self.judge_dealing(
            honest.with_dealing(dealer, dealer, false), dealer, dealer, false, (0, 1, 2), with_secret=True
        )
        refused["commitment_not_under_the_root"] = replace(wrong_secret, secret_commitment=digest_of("commitment"))
        pair = self.judge_dealing(honest, dealer, other, pair_right, (0, 1, 2), with_secret=True)
        refused["other_pair_context"] = replace(pair, pair_context=digest_of("pair context"))
        for name, evidence in refused.items():
            self.add(f"bad_dealing_{name}", evidence)

    def contribution(self, cohort: Cohort, seat: int) -> bytes:
        return encode(Contribution(cohort.made[seat].root, cohort.made[seat].document_digest))

    def judge_dealing(
        self,
        cohort: Cohort,
        dealer: int,
        secret_of: int,
        shares: tuple[bytes, ...],
        places: tuple[int, ...],
        with_secret: bool,
    ) -> BadDealing:
        context, received = cohort.context, cohort.made[dealer].received
        document = received.document
        holders = context.holders(secret_of)

        def path(leaf: bytes) -> LeafProof:
            return prove_leaf(context, received, leaf)

        def commitment_at(place: int) -> bytes:
            return get_share_commitment(context, received, secret_of, holders[place])

        dealt = tuple(
            DealtShare(p, holders[p], shares[p], path(share_leaf(secret_of, p, holders[p], commitment_at(p))))
            for p in places
        )
        said = self.say(dealer, self.contribution(cohort, dealer))
        blank = bytes(32)
        if not with_secret:
            return BadDealing(said, context.digest, secret_of, dealt, blank, blank, NO_PROOF)
        if secret_of == dealer:
            committed, pair_context = document.self_mask_commitment, blank
            leaf = self_mask_leaf(committed)
        else:
            committed = get_pair_commitment(context, document, secret_of)
            pair_context = context.pair_context(dealer, secret_of)
            leaf = pair_leaf(secret_of, pair_context, committed)
        return BadDealing(said, context.digest, secret_of, dealt, committed, pair_context, path(leaf))


def make_evidence() -> dict[str, object]:
    """Every fault in its forms, and what must not convict."""
    maker = Maker()
    sections: tuple[Callable[[], None], ...] = (
        maker.add_equivocations,
        maker.add_seal_equivocations,
        maker.add_invalid_seals,
        maker.add_bad_shares,
        maker.add_bad_dealings,
    )
    for add in sections:
        add()
    domain = maker.domain
    return {
        "about": "evidence as calldata, and whom it convicts; a bad_ case must be refused. Owners are the seats in "
        "ascending order; the beacon takes beacon_signature for beacon_round only, which gives randomness",
        "chain_id": domain.chain_id,
        "contract": domain.contract.hex(),
        "alliance": domain.alliance,
        "threshold": THRESHOLD,
        "round": maker.round,
        "beacon_round": BEACON_ROUND,
        "beacon_signature": BEACON_SIGNATURE.hex(),
        "randomness": RANDOMNESS.hex(),
        "functions": FUNCTIONS,
        "owner_secrets": [secret.hex() for secret in OWNERS.values()],
        "cases": maker.cases,
    }
