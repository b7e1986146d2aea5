// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord, RoundState, SealStatement, SeatView} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {Sortition} from "../src/libraries/Sortition.sol";
import {EvidenceTest} from "./EvidenceTest.sol";
import {Vm} from "./Forge.sol";

/// What must hold at any moment; the empty string if it does.
abstract contract ConservationChecks is EvidenceTest {
    uint256 internal constant MEMBERS = 15;

    uint32[] internal settledRounds;
    // Of the present tenure, as the log tells it.
    mapping(address owner => uint256) private _slashedAmount;
    mapping(address owner => uint256) private _faults; // provable ones
    mapping(address owner => uint256) private _absences;
    mapping(address owner => uint256) internal rejections; // in a row
    mapping(address owner => bool) private _suspected;
    mapping(uint32 round => address[]) private _frozen; // owners by seat
    string private _suspicionError;

    function onLog(Vm.Log memory log) internal override {
        if (log.emitter != address(alliance)) return;
        if (log.topics.length < 2) return;
        uint32 round = uint32(uint256(log.topics[1]));
        if (log.topics[0] == IAllianceEvents.RoundOpened.selector) _freeze(round, log.data);
        if (log.topics[0] == IAllianceEvents.RoundSettled.selector) _countRejections(round, log.data);
        if (log.topics[0] == IAllianceEvents.SeatSuspected.selector) {
            _suspect(address(uint160(uint256(log.topics[2]))));
        }
        address owner = address(uint160(uint256(log.topics[1])));
        if (log.topics[0] == IAllianceEvents.StakeWithdrawn.selector) {
            (_slashedAmount[owner], _faults[owner], _absences[owner]) = (0, 0, 0);
            (rejections[owner], _suspected[owner]) = (0, false);
        }
        if (log.topics[0] != IAllianceEvents.Slashed.selector) return;
        (, uint8 fault, uint128 amount) = abi.decode(log.data, (uint16, uint8, uint128));
        _slashedAmount[owner] += amount;
        if (fault == 6) ++_absences[owner];
        else ++_faults[owner];
    }

    /// Logs are read before the next round opens, so the table's first seats are those that the round froze.
    function _freeze(uint32 round, bytes memory data) private {
        (uint16 seatCount,,) = abi.decode(data, (uint16, uint64, uint64));
        SeatView[] memory seats = alliance.getSeats(0, seatCount);
        for (uint256 i = 0; i < seatCount; ++i) _frozen[round].push(seats[i].owner);
    }

    /// Forwards through the history and by position, where the contract goes by owner through the records it is shown.
    function _countRejections(uint32 round, bytes memory data) private {
        settledRounds.push(round);
        (uint8[] memory outcomes,,,,,,, RoundRecord memory record) =
            abi.decode(data, (uint8[], bytes32[], uint16[], uint16[], bytes32, bool, uint256[], RoundRecord));
        uint256 trainers = record.seatCount - params.validatorCount;
        for (uint256 cohort = 0; cohort < outcomes.length; ++cohort) {
            if (outcomes[cohort] != 1 && outcomes[cohort] != 2) continue;
            uint256 end = (cohort + 1) * trainers / outcomes.length;
            for (uint256 t = cohort * trainers / outcomes.length; t < end; ++t) {
                if (record.survivors[t / 256] >> t % 256 & 1 == 0) continue;
                uint256 position = params.validatorCount + t;
                address owner = _frozen[round][Sortition.seatAt(record.seed, position, record.seatCount)];
                rejections[owner] = outcomes[cohort] == 1 ? 0 : rejections[owner] + 1;
            }
        }
    }

    function _suspect(address owner) private {
        if (params.suspicionBound == 0) _suspicionError = "suspected in an alliance without suspicion";
        if (rejections[owner] < params.suspicionBound) _suspicionError = "suspected without the rejections in a row";
        if (_suspected[owner]) _suspicionError = "suspected twice in a tenure";
        _suspected[owner] = true;
    }

    /// Whoever was suspected had the rejections, and is out until it withdraws.
    function suspicionError() internal returns (string memory) {
        readLogs();
        if (bytes(_suspicionError).length != 0) return _suspicionError;
        for (uint256 i = 0; i < MEMBERS; ++i) {
            (bool seated, uint16 seat,,,,,, bool suspected) = alliance.getMember(member(i));
            if (suspected != _suspected[member(i)]) return "a suspicion that was not logged, or was forgotten";
            if (!suspected || !seated || state().phase == 4) continue;
            if (!alliance.getSeats(seat, 1)[0].leaving) return "a suspected seat that stays";
        }
        return "";
    }

    /// P6, as far as it can be checked after every transaction.
    function accountsError() internal returns (string memory) {
        readLogs();
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        if (token.balanceOf(address(alliance)) != stakes + pool + owed) return "balance != stakes + pool + owed";
        uint256 sum = 0;
        for (uint256 i = 0; i < MEMBERS; ++i) {
            string memory error;
            uint256 stake;
            (error, stake) = _stakeError(member(i));
            if (bytes(error).length != 0) return error;
            sum += stake;
        }
        if (sum != stakes) return "stakes != sum of the members' stakes";
        if (openBonds() > owed) return "bonds that are not owed";
        RoundState memory s = state();
        if (s.phase == 4) return pool == 0 ? "" : "closed with a pool";
        uint256 toCome = uint256(params.roundCount - s.settledRoundCount) * params.rewardPerRound;
        return pool < toCome ? "pool < budgets of the rounds to come" : "";
    }

    function _stakeError(address owner) private view returns (string memory, uint256) {
        (,, uint128 stake,,, bool slashed,,) = alliance.getMember(owner);
        if (stake == 0) return ("", 0);
        if (stake != params.seatStake - _slashedAmount[owner]) return ("a stake neither whole nor slashed as logged", 0);
        uint256 most = uint256(params.seatStake) * (params.provableSlashBps + 3 * params.absenceSlashBps) / 10_000;
        if (_slashedAmount[owner] > most) return ("more slashed than the parameters allow", 0);
        if (_faults[owner] != (slashed ? 1 : 0)) return ("slashed more than once for what is provable", 0);
        if (_absences[owner] > 3) return ("slashed more than three times for absence", 0);
        return ("", stake);
    }

    function bondOf() internal view returns (uint256) {
        return uint256(params.seatStake) * params.absenceSlashBps / 10_000;
    }

    function openBonds() internal returns (uint256 sum) {
        if (params.absenceSlashBps == 0) return 0;
        for (uint256 i = 0; i < MEMBERS; ++i) {
            (,, uint64 deadline) = alliance.getChallenge(member(i));
            if (deadline != 0) sum += bondOf();
        }
    }

    function ones(uint256 mask) internal pure returns (uint256) {
        return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1);
    }

    /// P6 in full: what is owed is exactly what somebody can claim, and the bonds of open challenges.
    function claimsError() internal returns (string memory) {
        readLogs();
        uint256 sum = alliance.getCredit(creator) + alliance.getCredit(address(this)) + openBonds();
        for (uint256 i = 0; i < MEMBERS; ++i) sum += alliance.getCredit(member(i));
        for (uint256 r = 0; r < settledRounds.length; ++r) {
            RoundRecord memory record = recordOf(settledRounds[r]);
            for (uint256 i = 0; i < MEMBERS; ++i) sum += alliance.getReward(member(i), record);
            sum += alliance.getReward(address(this), record);
        }
        (,, uint256 owed) = alliance.getAccounts();
        return sum == owed ? "" : "owed != sum of all claims";
    }

    /// The seat table and the members' records agree, and every owner has one seat at most.
    function seatsError() internal view returns (string memory) {
        SeatView[] memory seats = alliance.getSeats(0, ALL);
        for (uint256 i = 0; i < seats.length; ++i) {
            (bool seated, uint16 seat, uint128 stake,) = alliance.getStake(seats[i].owner);
            if (state().phase != 4 && (!seated || stake == 0)) return "a seat without member or stake";
            if (seat != i) return "a seat whose owner sits elsewhere";
        }
        RoundState memory s = state();
        if (s.phase % 4 != 0 && s.seatCount > seats.length) return "a frozen seat is missing";
        return "";
    }

    function requireNoError(string memory error) internal pure {
        check(bytes(error).length == 0, error);
    }
}

/// Does anything that a member can do, whenever it may, so that nothing reverts.
contract ConservationHandler is ConservationChecks {
    uint256 public generations;
    mapping(bytes32 action => uint256) public reached;
    mapping(uint256 position => Ballot) private _ballots;

    /// Every action reads its own logs: what an earlier call recorded is not there any more.
    modifier logged() {
        vm.recordLogs();
        _;
        readLogs();
    }

    constructor() {
        super.setUp();
        (params.penaltyWindowSeconds, params.unbondingSeconds, params.absenceSlashBps) = (25, 51, 100);
        (params.voidCountMax, params.roundCount, params.scoreTargetMicro) = (5, 5, 900_000);
        (params.joinDeadline, params.suspicionBound) = (uint64(START + 2500), 2);
        alliance = create(params, 5);
        token.approve(address(alliance), type(uint256).max);
        joinAll(params.seatCountMin);
        readLogs();
    }

    function setUp() public pure override {}

    function wait_(uint256 duration) external {
        vm.warp(block.timestamp + (duration % 4 == 0 ? 60 : bound(duration, 1, 20)));
        ++reached["wait"];
    }

    /* SEATS */

    function join_(uint256 i) external logged {
        i = bound(i, 0, MEMBERS - 1);
        (bool seated,, uint128 stake,) = alliance.getStake(member(i));
        if (seated || stake != 0 || state().phase == 4 || alliance.seatCount() == params.seatCountMax) return;
        if (block.timestamp > params.joinDeadline) return;
        join(i, ++generations);
        ++reached["join"];
    }

    /// Rarely while the alliance has no seat to spare, or it would spend its life waiting.
    function leave_(uint256 i, uint256 chance) external logged {
        if (chance % 2 != 0 && alliance.seatCount() < 9) return;
        address owner = member(bound(i, 0, MEMBERS - 1));
        (bool seated, uint16 seat,,) = alliance.getStake(owner);
        uint8 phase = state().phase;
        if (!seated || phase == 4 || (phase != 0 && alliance.getSeats(seat, 1)[0].leaving)) return;
        vm.prank(owner);
        alliance.leave();
        ++reached["leave"];
    }

    function registerKey_(uint256 i) external logged {
        i = bound(i, 0, MEMBERS - 1);
        (bool seated, uint16 seat,,) = alliance.getStake(member(i));
        if (!seated || state().phase == 4 || alliance.getSeats(seat, 1)[0].keyRound == state().round) return;
        vm.prank(member(i));
        alliance.registerKey(maskKey(i, ++generations));
        ++reached["registerKey"];
    }

    function withdraw_(uint256 i) external logged {
        address owner = member(bound(i, 0, MEMBERS - 1));
        (bool seated,, uint128 stake, uint64 releaseAt) = alliance.getStake(owner);
        if (stake == 0 || (seated && state().phase != 4) || _isChallenged(owner)) return;
        if (block.timestamp < releaseAt && state().phase % 4 != 0) return;
        if (block.timestamp < releaseAt) vm.warp(releaseAt);
        vm.prank(owner);
        alliance.withdraw();
        ++reached["withdraw"];
    }

    /* MONEY */

    /// Claims two settled rounds, one of them twice.
    function claim_(uint256 i, uint256 round) external logged {
        i = bound(i, 0, MEMBERS + 1);
        address owner = i == MEMBERS ? creator : i == MEMBERS + 1 ? address(this) : member(i);
        uint256 settled = settledRounds.length;
        RoundRecord[] memory records = new RoundRecord[](settled == 0 ? 0 : 3);
        uint256 due = alliance.getCredit(owner);
        if (settled > 0) {
            round = round % settled;
            records[0] = recordOf(settledRounds[round]);
            records[1] = records[0];
            records[2] = recordOf(settledRounds[(round + 1) % settled]);
            due += alliance.getReward(owner, records[0]);
            if (settled > 1) due += alliance.getReward(owner, records[2]);
        }
        if (due == 0) return;
        check(claimAs(owner, records) == due, "paid something else than what was due");
        ++reached[state().phase == 4 ? bytes32("claim after closing") : bytes32("claim")];
    }

    /* ROUNDS */

    function seal_(uint256 bitmap) external logged {
        RoundState memory s = state();
        if (s.phase == 1 && block.timestamp > s.sealDeadline) return _void();
        if (s.phase != 1) return;
        sealNow(bitmap | (bitmap >> 200 & 1 == 1 ? bitmap >> 128 : 0) | 7);
        ++reached["seal"];
    }

    function commit_(uint256 mask, uint256 votes) external logged {
        RoundState memory s = state();
        if (s.phase != 2) return;
        uint256 missing = 7 & ~uint256(s.committedPositions);
        mask = mask & missing == 0 || mask & 8 == 8 ? missing : mask & missing;
        Ballot[] memory ballots = new Ballot[](ones(mask));
        uint256 n = 0;
        for (uint16 p = 0; p < 3; ++p) {
            if (mask >> p & 1 == 0) continue;
            ballots[n] = _randomBallot(p, votes >> 16 * p);
            // Now and then all want to reject a cohort or both, or report the score that ends the alliance: chance alone
            // would hardly have them agree, or twice in a row.
            if (votes >> 66 & 15 == 15) setScore(ballots[n], 900_000);
            for (uint256 k = 0; k < 2; ++k) if (votes >> 64 + k & 5 == 5) setVerdict(ballots[n], k, NO, 0);
            _ballots[p] = ballots[n++];
        }
        send(commitOf(ballots));
        ++reached["commit"];
    }

    /// Mostly yes, sometimes no, unavailable or another aggregate, with any grades; sometimes at the score target.
    function _randomBallot(uint16 position, uint256 random) private view returns (Ballot memory ballot) {
        ballot = ballotOf(position, YES);
        for (uint256 k = 0; k < 2; ++k) {
            uint256 kind = random >> 4 * k & 15;
            uint8 verdict = kind < 11 - 3 * k ? YES : kind < 14 ? NO : UNAVAILABLE;
            setVerdict(ballot, k, verdict, verdict == YES ? uint8(random >> 5 * k & 15) : 0);
            if (kind == 0) ballot.aggregateDigests[k] = keccak256(abi.encode(position));
        }
        if (random >> 8 & 7 == 0) setScore(ballot, 900_000);
        if (random >> 11 & 15 == 0) ballot.baseModelDigest = 0;
    }

    /// Brings what `mask` says, and everything that was opened before if that ends the round.
    function settle_(uint256 mask) external logged {
        RoundState memory s = state();
        if (s.phase == 3 && s.committedPositions == 0) return _void();
        if (s.phase != 3) return;
        uint256 closed_ = uint256(s.committedPositions) & ~uint256(s.revealedPositions);
        mask = mask & 24 == 24 ? closed_ : mask & closed_;
        if (mask == 0 && block.timestamp <= s.revealDeadline) vm.warp(s.revealDeadline + 1);
        bool ends = block.timestamp > s.revealDeadline || (mask | s.revealedPositions) == s.committedPositions;
        if (ends) mask |= s.revealedPositions;
        Ballot[] memory ballots = new Ballot[](ones(mask));
        uint256 n = 0;
        for (uint16 p = 0; p < 3; ++p) if (mask >> p & 1 == 1) ballots[n++] = _ballots[p];
        settle(s.round, ballots);
        check(state().settledRoundCount == s.settledRoundCount + (ends ? 1 : 0), "ended");
        ++reached[ends ? bytes32("settle") : bytes32("reveal")];
        if (!ends) return;
        RoundRecord memory record = recordOf(s.round);
        for (uint256 p = 0; p < 3; ++p) {
            if (record.validatorRewards[p] > uint256(params.rewardPerRound) * 4 / 10 / 3) ++reached["bonus"];
        }
        if (record.trainerRewards[0] != record.trainerRewards[1] && record.trainerRewards[1] > 0) ++reached["pay by grade"];
        if (state().phase == 4 && state().settledRoundCount < params.roundCount) ++reached["score target"];
    }

    function void_() external logged {
        _void();
    }

    function _void() private {
        RoundState memory s = state();
        if (s.phase == 0 || s.phase == 4 || s.committedPositions != 0) return;
        uint64 deadline = s.phase == 1 ? s.sealDeadline : s.commitDeadline;
        if (block.timestamp <= deadline) return;
        alliance.voidRound(s.round);
        ++reached["void"];
    }

    function close_(uint256 chance) external logged {
        if (state().phase != 0) return;
        if (block.timestamp <= params.joinDeadline) {
            if (chance % 2 != 0) return;
            vm.warp(params.joinDeadline + 1);
        }
        alliance.close();
        ++reached["close"];
    }

    /* STRIKES AND SLASHES */

    /// Somebody is caught; rarely, or nobody would be left.
    function slash_(uint256 i, uint256 chance) external logged {
        address owner = member(bound(i, 0, MEMBERS - 1));
        (,, uint128 stake,,, bool slashed, uint32 tenure,) = alliance.getMember(owner);
        bool closed = state().phase == 4;
        if (stake == 0 || slashed || (!closed && chance % 8 != 0)) return;
        slashFor(owner, tenure + uint32(chance % 5));
        ++reached[closed ? bytes32("slash after closing") : bytes32("slash")];
    }

    function suspend_(uint256 i) external logged {
        uint256 settled = settledRounds.length;
        if (settled < 2) return;
        (RoundRecord memory first, RoundRecord memory second) =
            (recordOf(settledRounds[settled - 2]), recordOf(settledRounds[settled - 1]));
        // Whoever was not absent, or is leaving, is refused.
        for (uint256 k = 0; k < MEMBERS; ++k) {
            address owner = member((bound(i, 0, MEMBERS - 1) + k) % MEMBERS);
            try alliance.suspend(owner, first, second) {
                ++reached["suspend"];
                return;
            } catch {}
        }
    }

    function reactivate_(uint256) external logged {
        for (uint256 i = 0; i < MEMBERS; ++i) {
            (bool seated,,,, bool suspended, bool slashed,,) = alliance.getMember(member(i));
            (,,,,,,, bool suspected) = alliance.getMember(member(i));
            if (!seated && suspected && state().phase != 4) {
                vm.expectRevert(IAllianceErrors.SeatIsSuspected.selector);
                vm.prank(member(i));
                alliance.reactivate(maskKey(i, generations + 1));
                ++reached["refuse the suspected"];
            }
            if (seated || !suspended || slashed || state().phase == 4) continue;
            if (alliance.seatCount() == params.seatCountMax) return;
            vm.prank(member(i));
            alliance.reactivate(maskKey(i, ++generations));
            ++reached["reactivate"];
        }
    }

    /// All records of its tenure suspend an owner just when it has the rejections, and a seat that it has not given up.
    function suspect_(uint256 i) external logged {
        bool done = false;
        RoundRecord[] memory all = new RoundRecord[](settledRounds.length);
        for (uint256 r = 0; r < all.length; ++r) all[r] = recordOf(settledRounds[r]);
        for (uint256 k = 0; k < MEMBERS && !done; ++k) {
            address owner = member((bound(i, 0, MEMBERS - 1) + k) % MEMBERS);
            if (k > 0 && rejections[owner] == 0) continue; // one of those will do
            (bool seated, uint16 seat,,,,, uint32 tenure,) = alliance.getMember(owner);
            bool stays = seated && state().phase != 4 && !alliance.getSeats(seat, 1)[0].leaving;
            try alliance.suspendSuspected(owner, _recordsSince(all, tenure)) {
                done = true;
            } catch {}
            check(done == (stays && rejections[owner] >= params.suspicionBound), "suspected otherwise than by the rule");
        }
        if (done) ++reached["suspect"];
    }

    function _recordsSince(RoundRecord[] memory all, uint32 first)
        private
        pure
        returns (RoundRecord[] memory records)
    {
        uint256 skipped = 0;
        while (skipped < all.length && all[skipped].round < first) ++skipped;
        records = new RoundRecord[](all.length - skipped);
        for (uint256 i = 0; i < records.length; ++i) records[i] = all[skipped + i];
    }

    /* CHALLENGES */

    function _isChallenged(address owner) private view returns (bool) {
        (,, uint64 deadline) = alliance.getChallenge(owner);
        return deadline != 0;
    }

    /// Whoever was no survivor, was challenged before, or holds no stake is refused.
    function challenge_(uint256 i, uint256 round) external logged {
        if (settledRounds.length == 0) return;
        RoundRecord memory record = recordOf(settledRounds[round % settledRounds.length]);
        for (uint256 k = 0; k < MEMBERS; ++k) {
            address owner = member((bound(i, 0, MEMBERS - 1) + k) % MEMBERS);
            try alliance.challengeAbsence(owner, record) {
                ++reached[state().phase == 4 ? bytes32("challenge after closing") : bytes32("challenge")];
                return;
            } catch {}
        }
    }

    function answer_(uint256 i) external logged {
        for (uint256 k = 0; k < MEMBERS; ++k) {
            address owner = member((bound(i, 0, MEMBERS - 1) + k) % MEMBERS);
            (uint32 round,, uint64 deadline) = alliance.getChallenge(owner);
            if (deadline == 0 || block.timestamp > deadline) continue;
            SealStatement memory seal = sealedIn(round);
            alliance.answerAbsence(owner, seal, said(owner, round, 2, unmaskingOf(hashOf(seal), 1, 0, "share")));
            ++reached["answer"];
            return;
        }
    }

    function slashAbsence_(uint256 i) external logged {
        for (uint256 k = 0; k < MEMBERS; ++k) {
            address owner = member((bound(i, 0, MEMBERS - 1) + k) % MEMBERS);
            (,, uint64 deadline) = alliance.getChallenge(owner);
            if (deadline == 0) continue;
            if (block.timestamp <= deadline) vm.warp(deadline + 1);
            alliance.slashAbsence(owner);
            ++reached[state().phase == 4 ? bytes32("slash absence after closing") : bytes32("slash absence")];
            return;
        }
    }

    function phase() external view returns (uint256) {
        return state().phase;
    }

    function requireAccounts() external {
        requireNoError(accountsError());
        requireNoError(seatsError());
        requireNoError(suspicionError());
    }

    function requireClaims() external {
        requireNoError(claimsError());
    }
}
