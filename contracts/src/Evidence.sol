// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {AllianceBase} from "./AllianceBase.sol";
import {Challenges} from "./Challenges.sol";
import {DealtShare, LeafProof, SealStatement, Statement} from "./Types.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IEvidence} from "./interfaces/IEvidence.sol";
import {Documents} from "./libraries/Documents.sol";
import {Messages} from "./libraries/Messages.sol";
import {SecretSharing} from "./libraries/SecretSharing.sol";
import {Sortition} from "./libraries/Sortition.sol";
import {Statements} from "./libraries/Statements.sol";
import {Survivors} from "./libraries/Survivors.sol";

/// @title Slashing of provable faults
/// @dev Run by Alliance through Members and delegatecall, on the alliance's own state; it does nothing at its own address.
/// p2p_flock/alliance/evidence.py is the same rule in Python; both run tests/vectors/evidence.json.
contract Evidence is AllianceBase, IEvidence {
    using Statements for Statement;
    using Statements for SealStatement;

    uint8 internal constant EQUIVOCATION = 1;
    uint8 internal constant SEAL_EQUIVOCATION = 2;
    uint8 internal constant INVALID_SEAL = 3;
    uint8 internal constant BAD_SHARE = 4;
    uint8 internal constant BAD_DEALING = 5;

    uint8 internal constant CONTRIBUTION = 1;
    uint8 internal constant UNMASKING = 2;
    // Contribution, Unmasking, BallotCommitment, Ballot: bits of the kinds that are said once per round number.
    uint256 internal constant SAID_ONCE = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7;

    uint256 internal constant SHARE_INDEX_MAX = 254; // the field has 255 points beside the secret's

    /// One secret of a dealer, and where its commitments are found.
    struct Dealing {
        uint16 dealer;
        uint16 secretOf;
        bytes32 root;
        bytes32 context;
        bytes32 sharing;
    }

    /// @notice Whose code answers what no other part defines; fixed for ever.
    address public immutable challenges;

    constructor(IERC20 token_, IBeacon beacon_, Challenges challenges_) AllianceBase(token_, beacon_) {
        challenges = address(challenges_);
    }

    /// Challenges' code on the alliance's state.
    fallback() external {
        _delegate(challenges);
    }

    /* CONTRADICTIONS */

    /// @inheritdoc IEvidence
    function slashEquivocation(Statement calldata first, Statement calldata second) external {
        _require(SAID_ONCE >> first.kind & 1 == 1, Reason.SAID_OFTEN);
        _require(
            first.round == second.round && first.kind == second.kind && first.seat == second.seat,
            Reason.DIFFERENT_MATTERS
        );
        _require(keccak256(first.body) != keccak256(second.body), Reason.SAME_STATEMENT);
        address signer = first.signerOf(_number());
        _require(signer == second.signerOf(_number()), Reason.DIFFERENT_SIGNERS);
        _slash(signer, first.round, EQUIVOCATION);
    }

    /// @inheritdoc IEvidence
    function slashSealEquivocation(
        SealStatement calldata first,
        bytes calldata firstSignature,
        SealStatement calldata second,
        bytes calldata secondSignature
    ) external {
        _require(first.round == second.round && first.leaderView == second.leaderView, Reason.DIFFERENT_MATTERS);
        (bytes32 one, bytes32 other) = (first.hashOf(_number()), second.hashOf(_number()));
        _require(one != other, Reason.SAME_STATEMENT);
        address signer = Statements.sealSignerOf(one, firstSignature);
        _require(signer == Statements.sealSignerOf(other, secondSignature), Reason.DIFFERENT_SIGNERS);
        _slash(signer, first.round, SEAL_EQUIVOCATION);
    }

    /* SEALS */

    /// @inheritdoc IEvidence
    function slashInvalidSeal(
        SealStatement calldata seal,
        bytes calldata beaconSignature,
        bytes calldata manifest,
        bytes[] calldata signatures
    ) external {
        bool invalid = _hasWrongSeed(seal, beaconSignature) || _hasWrongManifest(seal, manifest);
        _require(invalid, Reason.VALID_SEAL);
        bytes32 sealHash = seal.hashOf(_number());
        uint256 slashed = 0;
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = Statements.sealSignerOf(sealHash, signatures[i]);
            _requireSlashable(signer, seal.round);
            if (_members[signer].slashed) continue;
            _slash(signer, seal.round, INVALID_SEAL);
            ++slashed;
        }
        if (slashed == 0) revert AlreadySlashed();
    }

    /// A beacon round has one value for ever, so whoever signed another seed did not look at it.
    function _hasWrongSeed(SealStatement calldata seal, bytes calldata beaconSignature) private view returns (bool) {
        if (beaconSignature.length == 0) return false;
        bytes32 randomness = beacon.verify(seal.beaconRound, beaconSignature);
        return seal.seed != Sortition.computeSeed(address(this), _number(), seal.round, randomness);
    }

    function _hasWrongManifest(SealStatement calldata seal, bytes calldata data) private pure returns (bool) {
        if (sha256(data) != seal.manifestDigest) return false;
        Messages.Manifest memory manifest = Messages.readManifest(data, 0);
        if (!manifest.wellFormed || manifest.repeats || manifest.round != seal.round) return true;
        uint256 survivors = 0;
        for (uint256 i = 0; i < seal.survivors.length; ++i) survivors += Survivors.countBits(seal.survivors[i]);
        return manifest.count != survivors;
    }

    /* SHARES */

    /// @inheritdoc IEvidence
    function slashBadShare(
        Statement calldata unmasking,
        uint16 itemIndex,
        SealStatement calldata seal,
        bytes calldata manifest,
        bytes32 context,
        bytes32 commitment,
        uint16 shareIndex,
        LeafProof calldata proof
    ) external {
        Messages.Item memory item = _itemOf(unmasking, itemIndex, seal.hashOf(_number()));
        Dealing memory dealing =
            _dealing(item.dealer, item.secretOf, _sealedRoot(seal, manifest, item.dealer), context);
        _require(_commitShare(dealing, unmasking.seat, item.share) != commitment, Reason.RIGHT_SHARE);
        _requireShareLeaf(dealing, shareIndex, unmasking.seat, commitment, proof);
        _slash(unmasking.signerOf(_number()), unmasking.round, BAD_SHARE);
    }

    function _itemOf(Statement calldata unmasking, uint256 index, bytes32 sealHash)
        private
        pure
        returns (Messages.Item memory)
    {
        _require(unmasking.kind == UNMASKING, Reason.WRONG_KIND);
        (bool wellFormed, bool found, bytes32 answered, Messages.Item memory item) =
            Messages.readUnmasking(unmasking.body, index);
        _require(wellFormed, Reason.MALFORMED);
        _require(answered == sealHash, Reason.ANOTHER_SEAL);
        _require(found, Reason.NO_SUCH_ITEM);
        return item;
    }

    function _sealedRoot(SealStatement calldata seal, bytes calldata data, uint256 dealer)
        private
        pure
        returns (bytes32)
    {
        _require(sha256(data) == seal.manifestDigest, Reason.ANOTHER_MANIFEST);
        Messages.Manifest memory manifest = Messages.readManifest(data, dealer);
        _require(manifest.wellFormed, Reason.MALFORMED);
        _require(manifest.root != 0, Reason.NOT_SEALED);
        return manifest.root;
    }

    /* DEALINGS */

    /// @inheritdoc IEvidence
    function slashBadDealing(
        Statement calldata contribution,
        bytes32 context,
        uint16 secretOf,
        DealtShare[] calldata shares,
        bytes32 secretCommitment,
        bytes32 pairContext,
        LeafProof calldata secretProof
    ) external {
        Dealing memory dealing = _dealing(contribution.seat, secretOf, _rootOf(contribution), context);
        (bool onOneCurve, uint256 secret) = _interpolate(dealing, shares);
        if (onOneCurve) {
            bool isOther = _isOtherSecret(dealing, bytes32(secret), secretCommitment, pairContext, secretProof);
            _require(isOther, Reason.RIGHT_DEALING);
        }
        _slash(contribution.signerOf(_number()), contribution.round, BAD_DEALING);
    }

    function _rootOf(Statement calldata contribution) private pure returns (bytes32) {
        _require(contribution.kind == CONTRIBUTION, Reason.WRONG_KIND);
        (bool wellFormed, bytes32 root) = Messages.readContribution(contribution.body);
        _require(wellFormed, Reason.MALFORMED);
        return root;
    }

    /// Requires all shares to be committed under the root.
    function _interpolate(Dealing memory dealing, DealtShare[] calldata shares)
        private
        view
        returns (bool onOneCurve, uint256 secret)
    {
        uint256 threshold = _threshold();
        _require(shares.length >= threshold, Reason.TOO_FEW_SHARES);
        (uint256[] memory points, uint256[] memory values) =
            (new uint256[](shares.length), new uint256[](shares.length));
        uint256 next = 0;
        for (uint256 i = 0; i < shares.length; ++i) {
            DealtShare calldata dealt = shares[i];
            _require(dealt.index >= next && dealt.index <= SHARE_INDEX_MAX, Reason.UNORDERED_SHARES);
            bytes32 commitment = _commitShare(dealing, dealt.holder, dealt.share);
            _requireShareLeaf(dealing, dealt.index, dealt.holder, commitment, dealt.proof);
            next = uint256(dealt.index) + 1;
            (points[i], values[i]) = (next, uint256(dealt.share));
        }
        return SecretSharing.interpolate(points, values, threshold);
    }

    /// Whether the dealer committed to a secret other than this one.
    function _isOtherSecret(
        Dealing memory dealing,
        bytes32 secret,
        bytes32 committed,
        bytes32 pairContext,
        LeafProof calldata proof
    ) private pure returns (bool) {
        bool isSelfMask = dealing.secretOf == dealing.dealer;
        bytes32 right = isSelfMask
            ? Documents.commitSelfMask(dealing.sharing, secret)
            : Documents.commitPairSeed(pairContext, secret);
        if (right == committed) return false;
        bytes memory leaf = isSelfMask
            ? Documents.selfMaskLeaf(committed)
            : Documents.pairLeaf(dealing.secretOf, pairContext, committed);
        return Documents.isUnder(dealing.root, dealing.context, leaf, proof);
    }

    /* BOTH */

    function _require(bool holds, Reason reason) private pure {
        if (!holds) revert ProvesNothing(reason);
    }

    function _dealing(uint16 dealer, uint16 secretOf, bytes32 root, bytes32 context)
        private
        pure
        returns (Dealing memory)
    {
        return Dealing(dealer, secretOf, root, context, Documents.sharingContext(context, dealer, secretOf));
    }

    function _commitShare(Dealing memory dealing, uint16 holder, bytes32 share) private pure returns (bytes32) {
        return Documents.commitShare(dealing.sharing, holder, share);
    }

    function _requireShareLeaf(
        Dealing memory dealing,
        uint16 index,
        uint16 holder,
        bytes32 commitment,
        LeafProof calldata proof
    ) private pure {
        bytes memory leaf = Documents.shareLeaf(dealing.secretOf, index, holder, commitment);
        _require(Documents.isUnder(dealing.root, dealing.context, leaf, proof), Reason.NOT_UNDER_ROOT);
    }

    /* THE PENALTY */

    /// A tenure lasts from join to withdrawal, over suspensions. Whoever joined anew does not answer for the last one:
    /// its stake was free.
    function _requireSlashable(address owner, uint32 round) private view {
        Member storage member = _members[owner];
        if (member.stake == 0 || round < member.tenureRound) revert NotSlashable(owner);
    }

    function _slash(address owner, uint32 round, uint8 fault) private {
        _requireSlashable(owner, round);
        Member storage member = _members[owner];
        if (member.slashed) revert AlreadySlashed();
        member.slashed = true;
        _penalize(owner, _provableSlashBps(), round, fault, msg.sender);
        if (_status.phase != CLOSED && member.seated && !member.leaving) _queueRemoval(member, owner);
    }
}
