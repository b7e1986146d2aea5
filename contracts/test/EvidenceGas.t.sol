// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DealtShare, LeafProof, SealStatement, Statement} from "../src/Types.sol";
import {IEvidence} from "../src/interfaces/IEvidence.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// Every kind of evidence in a cohort of 5 and in the largest one of 32, as transactions of their own, kept in snapshots/.
/// The dealings and answers here are also shown innocent while they are: the same material without the fault is refused.
/// forge-config: default.isolate = true
contract EvidenceGasTest is EvidenceTest {
    uint64 private constant BEACON_ROUND = 12_345;

    function _setUp(uint16 n, uint8 threshold) private {
        params.threshold = threshold;
        (params.cohortCount, params.levels) = (1, 1024);
        (params.seatCountMin, params.seatCountMax) = (n + 3, n + 3);
        alliance = create(params, 1);
        joinAll(6);
    }

    function _snap(string memory what, uint256 n) private {
        vm.snapshotGasLastCall(string.concat(what, ", n = ", vm.toString(n)));
    }

    function _refuse(IEvidence.Reason reason) private {
        vm.expectRevert(abi.encodeWithSelector(IEvidence.ProvesNothing.selector, reason));
    }

    /// An answer of 3/4 of n dealers for the others as dropouts.
    function _share(uint256 n, address owner, bool lies) private {
        bytes32[] memory shares = dealt(n, params.threshold);
        Document memory d = documentOf(n, 1, 1, shares, secretDealt());
        uint256 count = 3 * n / 4;
        bytes memory manifest = manifestOf(0, count, rootOf(d));
        SealStatement memory seal = validSeal(0, BEACON_ROUND, manifest, count);
        bytes32 share = lies ? bytes32("lie") : shares[2];
        bytes memory body = unmaskingOf(hashOf(seal), count, n - count, share);
        Statement memory answer = signed(Statement(0, 2, 2, body, ""), owner);
        uint16 item = uint16(1 + n - count); // the first of dealer 1
        bytes32 commitment = shareCommitment(1, 1, 2, shares[2]);
        LeafProof memory proof = proofOf(d, d.shareLeaf + 2);
        if (!lies) _refuse(IEvidence.Reason.RIGHT_SHARE);
        alliance.slashBadShare(answer, item, seal, manifest, CONTEXT, commitment, 2, proof);
    }

    /// `bent`: one share is off the curve. Else the dealer committed to `secret`.
    function _dealing(uint256 n, address owner, uint16 secretOf, bool bent, bytes32 secret) private {
        bytes32[] memory shares = dealt(n, params.threshold);
        if (bent) shares[params.threshold] ^= bytes32(uint256(1));
        Document memory d = documentOf(n, 1, secretOf, shares, secret);
        Statement memory message = signed(Statement(0, 1, 1, contribution(rootOf(d)), ""), owner);
        DealtShare[] memory list = dealtShares(d, params.threshold + (bent ? 1 : 0));
        if (!bent && secret == secretDealt()) _refuse(IEvidence.Reason.RIGHT_DEALING);
        LeafProof memory proof;
        if (!bent) proof = proofOf(d, d.secretLeaf);
        bytes32 committed = bent ? bytes32(0) : d.secretCommitment;
        alliance.slashBadDealing(
            message, CONTEXT, secretOf, list, committed, bent ? bytes32(0) : PAIR_CONTEXT, proof
        );
    }

    function _seals(uint256 n) private {
        bytes memory manifest = manifestOf(0, n, MANIFEST);
        SealStatement memory seal = validSeal(0, BEACON_ROUND, manifest, n - 1); // one survivor less than named
        bytes[] memory signatures = new bytes[](2);
        signatures[0] = sign(member(3), typed(hashOf(seal)));
        signatures[1] = sign(member(4), typed(hashOf(seal)));
        alliance.slashInvalidSeal(seal, "", manifest, signatures);
    }

    function _measure(uint256 n) private {
        slashFor(member(0), 0);
        _snap("slashEquivocation", n);
        _seals(n);
        _snap("slashInvalidSeal, two signers", n);
        if (n == 5) _share(n, member(1), false);
        _share(n, member(1), true);
        _snap("slashBadShare", n);
        _dealing(n, member(2), 1, false, secretDealt());
        _dealing(n, member(2), 1, false, MODEL);
        _snap("slashBadDealing, other secret", n);
        if (n == 5) _dealing(n, member(5), 0, false, secretDealt());
        _dealing(n, member(5), 0, true, secretDealt());
        _snap("slashBadDealing, no polynomial", n);
    }

    /// Evidence would cost more than a block takes, so the largest cohorts' members could cheat.
    function test_gas__of_evidence_in_a_cohort_of_5() external {
        _setUp(5, 3);
        _measure(5);
    }

    function test_gas__of_evidence_in_a_cohort_of_32() external {
        _setUp(32, 17);
        _measure(32);
    }
}
