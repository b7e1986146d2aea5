// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {AllianceBase} from "../src/AllianceBase.sol";
import {Ballot, RoundState, SealStatement, SeatView, Statement} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {IAllianceParts} from "./AllianceTest.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// What must hold at any moment; the empty string if it does.
abstract contract ConservationChecks is EvidenceTest {
    uint256 internal constant MEMBERS = 15;

    /// P6, as far as it can be checked after every transaction.
    function accountsError() internal returns (string memory) {
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        if (token.balanceOf(address(alliance)) != stakes + pool + owed) return "balance != stakes + pool + owed";
        uint256 sum = 0;
        for (uint256 i = 0; i < MEMBERS; ++i) {
            (,, uint128 stake,,, bool slashed,) = alliance.getMember(member(i));
            sum += stake;
            uint256 cut = uint256(params.seatStake) * params.provableSlashBps / 10_000;
            if (stake != 0 && stake != params.seatStake - (slashed ? cut : 0)) return "a stake neither whole nor slashed once";
        }
        if (sum != stakes) return "stakes != sum of the members' stakes";
        RoundState memory s = state();
        if (s.phase == 4) return pool == 0 ? "" : "closed with a pool";
        uint256 toCome = uint256(params.roundCount - s.settledRoundCount) * params.rewardPerRound;
        return pool + _refunded(s) < toCome ? "pool < budgets of the rounds to come" : "";
    }

    /// Refunds that the running round has paid already, out of its own budget.
    function _refunded(RoundState memory s) private view returns (uint256) {
        uint256 accept = (2 * uint256(params.validatorCount) + 2) / 3;
        uint256 count = (s.commitCount >= accept ? 2 : 0) + (ones(s.revealedPositions) >= accept ? 1 : 0);
        return s.phase == 0 ? 0 : count * (uint256(params.rewardPerRound) / 10 / 3);
    }

    function ones(uint256 mask) internal pure returns (uint256) {
        return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1);
    }

    /// P6 in full: what is owed is exactly what somebody can claim.
    function claimsError() internal returns (string memory) {
        uint256 sum = alliance.getCredit(creator) + alliance.getCredit(address(this));
        uint32 rounds = state().round + 1;
        for (uint256 i = 0; i < MEMBERS; ++i) {
            address owner = member(i);
            sum += alliance.getCredit(owner);
            for (uint32 r = 0; r < rounds; ++r) sum += alliance.getReward(owner, r);
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
    uint32[] private _settledRounds;

    constructor() {
        super.setUp();
        (params.penaltyWindowSeconds, params.unbondingSeconds) = (3, 20);
        params.voidCountMax = 5;
        alliance = create(params, 5);
        joinAll(params.seatCountMin);
    }

    function setUp() public pure override {}

    function wait_(uint256 duration) external {
        vm.warp(block.timestamp + bound(duration, 1, 30));
        ++reached["wait"];
    }

    function join_(uint256 i) external {
        i = bound(i, 0, MEMBERS - 1);
        (bool seated,, uint128 stake,) = alliance.getStake(member(i));
        if (seated || stake != 0 || state().phase == 4 || alliance.seatCount() == params.seatCountMax) return;
        if (state().round != type(uint32).max && alliance.getSeats(0, 1).length == 0) return;
        join(i, ++generations);
        ++reached["join"];
    }

    function leave_(uint256 i) external {
        address owner = member(bound(i, 0, MEMBERS - 1));
        (bool seated, uint16 seat,,) = alliance.getStake(owner);
        uint8 phase = state().phase;
        if (!seated || phase == 4 || (phase != 0 && alliance.getSeats(seat, 1)[0].leaving)) return;
        vm.prank(owner);
        alliance.leave();
        ++reached["leave"];
    }

    function registerKey_(uint256 i) external {
        i = bound(i, 0, MEMBERS - 1);
        (bool seated, uint16 seat,,) = alliance.getStake(member(i));
        if (!seated || state().phase == 4 || alliance.getSeats(seat, 1)[0].keyRound == state().round) return;
        vm.prank(member(i));
        alliance.registerKey(maskKey(i, ++generations));
        ++reached["registerKey"];
    }

    function withdraw_(uint256 i) external {
        address owner = member(bound(i, 0, MEMBERS - 1));
        (bool seated,, uint128 stake, uint64 releaseAt) = alliance.getStake(owner);
        if (stake == 0 || (seated && state().phase != 4)) return;
        if (block.timestamp < releaseAt) vm.warp(releaseAt);
        vm.prank(owner);
        alliance.withdraw();
        ++reached["withdraw"];
    }

    function claim_(uint256 i, uint32 round) external {
        i = bound(i, 0, MEMBERS + 1);
        address owner = i == MEMBERS ? creator : i == MEMBERS + 1 ? address(this) : member(i);
        uint32[] memory rounds = new uint32[](3);
        rounds[0] = uint32(bound(round, 0, 8));
        rounds[1] = rounds[0];
        rounds[2] = rounds[0] + 1;
        uint256 due = alliance.getCredit(owner) + alliance.getReward(owner, rounds[0])
            + alliance.getReward(owner, rounds[2]);
        if (due == 0) return;
        uint256 before = token.balanceOf(owner);
        vm.prank(owner);
        alliance.claimRounds(rounds);
        eq(token.balanceOf(owner) - before, due, "a claim pays what it said");
        ++reached["claim"];
    }

    function seal_(uint256 bitmap) external {
        RoundState memory s = state();
        if (s.phase != 1 || block.timestamp > s.sealDeadline) return;
        sealNow(bitmap | 7);
        ++reached["seal"];
    }

    function commit_(uint256 mask, uint256 votes) external {
        RoundState memory s = state();
        if (s.phase != 2) return;
        mask = mask & 7 & ~uint256(s.committedPositions);
        if (mask == 0) return;
        Ballot[] memory ballots = new Ballot[](ones(mask));
        uint256 n = 0;
        for (uint16 p = 0; p < 3; ++p) {
            if (mask >> p & 1 == 0) continue;
            // Mostly yes, sometimes no, unavailable or another aggregate.
            ballots[n] = ballotOf(p, votes >> 8 * p & 7 < 5 ? YES : uint8(votes >> 8 * p & 7) - 5);
            if (votes >> 8 * p & 0xf0 == 0) {
                ballots[n].aggregateDigests[0] = keccak256(abi.encode(p));
                signBallot(ballots[n]);
            }
            _ballots[p] = ballots[n++];
        }
        send(commitOf(ballots));
        ++reached["commit"];
    }

    function settle_(uint256 mask) external {
        RoundState memory s = state();
        if (s.phase != 3 || s.committedPositions == 0) return;
        mask = mask & s.committedPositions & ~uint256(s.revealedPositions);
        Ballot[] memory ballots = new Ballot[](ones(mask));
        uint256 n = 0;
        for (uint16 p = 0; p < 3; ++p) if (mask >> p & 1 == 1) ballots[n++] = _ballots[p];
        if (n == 0 && block.timestamp <= s.revealDeadline) vm.warp(s.revealDeadline + 1);
        alliance.settleRound(s.round, ballots);
        if (state().settledRoundCount > s.settledRoundCount) _settledRounds.push(s.round);
        ++reached[state().settledRoundCount > s.settledRoundCount ? bytes32("settle") : bytes32("reveal")];
    }

    function void_() external {
        RoundState memory s = state();
        if (s.phase == 0 || s.phase == 4 || s.committedPositions != 0) return;
        uint64 deadline = s.phase == 1 ? s.sealDeadline : s.commitDeadline;
        if (block.timestamp <= deadline) return;
        alliance.voidRound(s.round);
        ++reached["void"];
    }

    function close_(uint256 chance) external {
        if (state().phase != 0 || chance % 4 != 0) return;
        vm.warp(block.timestamp + 30 days + 1);
        alliance.close();
        ++reached["close"];
    }

    /// Somebody is caught; rarely, or nobody would be left.
    function slash_(uint256 i, uint256 chance) external {
        address owner = member(bound(i, 0, MEMBERS - 1));
        (,, uint128 stake,,, bool slashed, uint32 tenure) = alliance.getMember(owner);
        bool closed = state().phase == 4;
        if (stake == 0 || slashed || (!closed && chance % 3 != 0)) return;
        slashFor(owner, tenure + uint32(chance % 5));
        ++reached[closed ? bytes32("slash after closing") : bytes32("slash")];
    }

    function suspend_(uint256 i) external {
        uint256 settled = _settledRounds.length;
        if (settled < 2) return;
        // Whoever was not absent, or is leaving, is refused.
        for (uint256 k = 0; k < MEMBERS; ++k) {
            address owner = member((bound(i, 0, MEMBERS - 1) + k) % MEMBERS);
            try alliance.suspend(owner, _settledRounds[settled - 2], _settledRounds[settled - 1]) {
                ++reached["suspend"];
                return;
            } catch {}
        }
    }

    function reactivate_(uint256) external {
        for (uint256 i = 0; i < MEMBERS; ++i) {
            (bool seated,,,, bool suspended, bool slashed,) = alliance.getMember(member(i));
            if (seated || !suspended || slashed || state().phase == 4) continue;
            if (alliance.seatCount() == params.seatCountMax) return;
            vm.prank(member(i));
            alliance.reactivate(maskKey(i, ++generations));
            ++reached["reactivate"];
        }
    }

    function isClosed() external view returns (bool) {
        return state().phase == 4;
    }

    function requireAccounts() external {
        requireNoError(accountsError());
        requireNoError(seatsError());
    }

    function requireClaims() external {
        requireNoError(claimsError());
    }
}

/// P6 under any order of transactions. The handler never reverts, so no action is silently missing.
contract ConservationTest is EvidenceTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    ConservationHandler private handler;

    function setUp() public override {
        vm.warp(START);
        handler = new ConservationHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), _actions());
    }

    /// Twice what moves a round forward, so that rounds are finished.
    function _actions() private view returns (bytes4[] memory list) {
        list = new bytes4[](19);
        (list[0], list[1], list[2]) = (handler.wait_.selector, handler.join_.selector, handler.leave_.selector);
        (list[3], list[4]) = (handler.registerKey_.selector, handler.withdraw_.selector);
        (list[5], list[6]) = (handler.claim_.selector, handler.claim_.selector);
        (list[7], list[8]) = (handler.seal_.selector, handler.seal_.selector);
        (list[9], list[10]) = (handler.commit_.selector, handler.commit_.selector);
        (list[11], list[12]) = (handler.settle_.selector, handler.settle_.selector);
        (list[13], list[14]) = (handler.void_.selector, handler.close_.selector);
        (list[15], list[16]) = (handler.slash_.selector, handler.suspend_.selector);
        (list[17], list[18]) = (handler.reactivate_.selector, handler.suspend_.selector);
    }

    /// FLOCK would appear or vanish.
    function invariant_accounts() external {
        handler.requireAccounts();
    }

    /// After each campaign: FLOCK would be owed that nobody can claim, or claimed that is not there.
    function afterInvariant() external {
        handler.requireClaims();
    }

    /// The campaign would pass because it never settles, voids, swaps or pays anything.
    function test_handler__reaches_every_action() external {
        uint256 closed = 0;
        for (uint256 i = 0; i < 900; ++i) {
            bytes4[] memory actions = _actions();
            bytes32 random = keccak256(abi.encode("reach", i));
            bytes4 action = actions[uint256(random) % actions.length];
            (bool ok,) = address(handler).call(
                abi.encodePacked(action, keccak256(abi.encode(random)), uint256(uint32(uint256(random))))
            );
            check(ok, "an action reverted");
            if (i % 50 == 0) handler.requireClaims();
            _remember();
            // Some more after closing, then from the beginning.
            if (handler.isClosed()) ++closed;
            if (closed == 100 || i == 450) (handler, closed) = (new ConservationHandler(), 0);
        }
        for (uint256 a = 0; a < names.length; ++a) check(seen[names[a]], names[a]);
    }

    string[] private names = [
        "wait", "join", "leave", "registerKey", "withdraw", "claim", "seal", "commit", "reveal", "settle", "void",
        "slash", "slash after closing", "suspend", "reactivate"
    ];
    mapping(string name => bool) private seen;

    function _remember() private {
        for (uint256 a = 0; a < names.length; ++a) {
            if (handler.reached(bytes32(bytes(names[a]))) > 0) seen[names[a]] = true;
        }
    }
}

/// Mistakes somebody could make in Members or Evidence; everything else is the real code.
contract LeakyMembers is AllianceBase {
    using SafeERC20 for IERC20;

    address private immutable REAL;

    constructor(IERC20 token_, IBeacon beacon_, address real) AllianceBase(token_, beacon_) {
        REAL = real;
    }

    /// Planted: the round is not marked as claimed.
    function claimRounds(uint32[] calldata rounds) external {
        uint256 amount = IAlliance(address(this)).getReward(msg.sender, rounds[0]);
        _owed -= uint128(amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// Planted: the sum of stakes is not lowered.
    function withdraw() external {
        uint128 stake = _members[msg.sender].stake;
        _members[msg.sender].stake = 0;
        token.safeTransfer(msg.sender, stake);
    }

    /// Planted: what is slashed goes nowhere.
    function slashEquivocation(Statement calldata, Statement calldata) external {
        _members[msg.sender].slashed = true;
        _members[msg.sender].stake -= 1;
        _stakes -= 1;
    }

    /// Planted: an offender loses its part as often as somebody asks. The books are right each time.
    function slashInvalidSeal(SealStatement calldata, bytes calldata, bytes[] calldata) external {
        uint128 cut = uint128(uint256(_members[msg.sender].stake) * _params().provableSlashBps / BPS);
        _members[msg.sender].slashed = true;
        _members[msg.sender].stake -= cut;
        _stakes -= cut;
        _pool += cut;
    }

    fallback() external {
        _delegate(REAL);
    }
}

contract PlantedBugTest is ConservationChecks {
    function setUp() public override {
        super.setUp();
        address evidence = vm.deployCode("out/Evidence.sol/Evidence.json", abi.encode(token, beacon));
        address real = vm.deployCode("out/Members.sol/Members.json", abi.encode(token, beacon, evidence));
        address leaky = address(new LeakyMembers(IERC20(address(token)), beacon, real));
        address implementation = vm.deployCode("out/Alliance.sol/Alliance.json", abi.encode(token, beacon, leaky));
        uint256 pool = uint256(params.rewardPerRound) * params.roundCount;
        address clone = Clones.cloneWithImmutableArgs(
            implementation, abi.encode(params, 1, creator, keccak256(abi.encode(params)))
        );
        IAllianceParts(clone).initialize(pool);
        token.transfer(clone, pool);
        alliance = IAlliance(clone);
        joinAll(11);
        requireNoError(accountsError());
        playRound(ALL, YES);
        requireNoError(accountsError());
        requireNoError(claimsError());
    }

    function _requireError(string memory error, string memory expected) private pure {
        eq(keccak256(bytes(error)), keccak256(bytes(expected)), string.concat("the check is blind; it said: ", error));
    }

    /// The check would not see rewards that are paid without being marked as claimed.
    function test_checks__see_a_reward_paid_twice() external {
        uint32[] memory rounds = new uint32[](1);
        vm.prank(member(0));
        alliance.claimRounds(rounds);
        _requireError(claimsError(), "owed != sum of all claims");
    }

    /// The check would not see stakes that are paid without being booked.
    function test_checks__see_an_unbooked_withdrawal() external {
        vm.prank(member(0));
        alliance.withdraw();
        _requireError(accountsError(), "balance != stakes + pool + owed");
    }

    /// The check would not see a slash that is taken and not given.
    function test_checks__see_a_slash_that_vanishes() external {
        Statement memory any = said(member(0), 0, 1, "any");
        vm.prank(member(0));
        alliance.slashEquivocation(any, any);
        _requireError(accountsError(), "balance != stakes + pool + owed");
    }

    /// The check would not see a slash that is taken twice.
    function test_checks__see_a_second_slash() external {
        SealStatement memory any;
        for (uint256 i = 0; i < 2; ++i) {
            requireNoError(accountsError());
            vm.prank(member(0));
            alliance.slashInvalidSeal(any, "", new bytes[](0));
        }
        _requireError(accountsError(), "a stake neither whole nor slashed once");
    }

    /// The check would not see a seat whose stake is gone.
    function test_checks__see_a_seat_without_stake() external {
        vm.prank(member(0));
        alliance.withdraw();
        _requireError(seatsError(), "a seat without member or stake");
    }
}
