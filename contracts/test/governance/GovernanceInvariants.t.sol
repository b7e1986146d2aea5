// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEmission} from "../../src/governance/interfaces/IEmission.sol";
import {IGmFlock} from "../../src/governance/interfaces/IGmFlock.sol";
import {GovernanceTest} from "./GovernanceTest.sol";

/// What must hold at any moment; the empty string if it does.
abstract contract GovernanceChecks is GovernanceTest {
    uint256 internal constant OWNERS = 5;
    uint256 internal constant POOLS = 2;
    uint256 internal constant GAUGES = 4;

    /// The weights in force from a moment on, as they were set; what the contract must divide by.
    struct Epoch {
        uint256 from;
        uint64[GAUGES] weights;
    }

    Epoch[] internal epochs;

    function owner(uint256 i) internal pure returns (address) {
        return address(uint160(0x0A00 + i));
    }

    function pool(uint256 i) internal pure returns (address) {
        return address(uint160(0x0B00 + i));
    }

    function gauge(uint256 i) internal view returns (address) {
        return i == 0 ? address(timelock) : address(uint160(0x0C00 + i));
    }

    function locksError() internal view returns (string memory) {
        uint256 amounts = 0;
        uint256 gms = 0;
        for (uint256 i = 0; i < OWNERS; ++i) {
            uint256 own = 0;
            (uint256[] memory ids, IGmFlock.Lock[] memory locks) = gm.locksOf(owner(i), 0, 256);
            for (uint256 k = 0; k < ids.length; ++k) {
                if (locks[k].owner != owner(i)) return "a lock in another's list";
                amounts += locks[k].amount;
                own += locks[k].gm;
            }
            if (own != gm.lockedGmOf(owner(i))) return "an owner's gm != that of its locks";
            gms += own;
        }
        if (amounts != gm.lockedTotal()) return "lockedTotal != sum of locks";
        if (amounts != token.balanceOf(address(gm))) return "FLOCK held != sum of locks";
        if (gms != gm.totalSupply()) return "gm supply != sum of locks";
        return "";
    }

    /// Votes are the gm of the locks of those that delegate to somebody, wherever the gm is staked.
    function votesError() internal view returns (string memory) {
        for (uint256 d = 0; d < OWNERS; ++d) {
            uint256 expected = 0;
            for (uint256 i = 0; i < OWNERS; ++i) {
                if (gm.delegates(owner(i)) == owner(d)) expected += gm.lockedGmOf(owner(i));
            }
            if (gm.getVotes(owner(d)) != expected) return "votes != locks delegated";
        }
        for (uint256 p = 0; p < POOLS; ++p) if (gm.getVotes(pool(p)) != 0) return "a staking contract has votes";
        return "";
    }

    function emissionError() internal view returns (string memory) {
        if (emission.mintedTotal() > emission.emitted()) return "minted > schedule";
        if (token.totalSupply() != SUPPLY + emission.mintedTotal()) return "supply != start + minted";
        uint256 minted = 0;
        for (uint256 g = 0; g < GAUGES; ++g) {
            minted += emission.mintedOf(gauge(g));
            uint256 had = emission.mintedOf(gauge(g)) + emission.accrued(gauge(g));
            uint256 share = shareOf(g);
            // Each epoch of the expected share is rounded down.
            if (had > share + epochs.length || had + 1 < share) return "a gauge got another share";
        }
        return minted == emission.mintedTotal() ? "" : "minted != sum of the gauges";
    }

    /// A gauge's share of every epoch, each rounded down: written without an index, on purpose.
    function shareOf(uint256 g) internal view returns (uint256 sum) {
        for (uint256 e = 0; e < epochs.length; ++e) {
            uint256 until = e + 1 < epochs.length ? epochs[e + 1].from : block.timestamp;
            uint256 total = 0;
            for (uint256 k = 0; k < GAUGES; ++k) total += epochs[e].weights[k];
            if (total == 0) continue;
            sum += (emission.emittedAt(until) - emission.emittedAt(epochs[e].from)) * epochs[e].weights[g] / total;
        }
    }

    function requireNoError(string memory error) internal pure {
        check(bytes(error).length == 0, error);
    }
}

/// Does anything that owners, staking contracts and the timelock can do, whenever they may, so that nothing reverts.
contract GovernanceHandler is GovernanceChecks {
    mapping(bytes32 action => uint256) public reached;
    mapping(address owner => mapping(address pool => uint256)) private _staked;

    constructor() {
        deployGenesis();
        epochs.push();
        epochs[0].from = block.timestamp;
        epochs[0].weights[0] = 1;
        for (uint256 i = 0; i < OWNERS; ++i) {
            give(owner(i), 1_000_000 ether);
            vm.prank(owner(i));
            token.approve(address(gm), type(uint256).max);
        }
    }

    function setUp() public pure override {}

    function wait_(uint256 duration, bool long) external {
        vm.warp(block.timestamp + bound(duration, 1, long ? 200 days : 2 hours));
        ++reached[long ? bytes32("wait long") : bytes32("wait")];
    }

    function lock_(uint256 i, uint256 amount, uint256 lockSeconds) external {
        address who = owner(bound(i, 0, OWNERS - 1));
        uint256 balance = token.balanceOf(who);
        if (balance == 0 || gm.lockCountOf(who) == 256) return;
        amount = bound(amount, 1, balance);
        lockSeconds = bound(lockSeconds, 1 days, 400 days);
        bool first = gm.delegates(who) == address(0) && gm.lockCountOf(who) == 0;
        vm.prank(who);
        gm.lock(amount, lockSeconds);
        if (first) check(gm.delegates(who) == who, "a first lock votes");
        ++reached[first ? bytes32("first lock") : bytes32("lock")];
    }

    function unlock_(uint256 i, uint256 count) external {
        address who = owner(bound(i, 0, OWNERS - 1));
        uint256 open = gm.lockCountOf(who);
        if (open == 0) return;
        (uint256[] memory ids, IGmFlock.Lock[] memory locks) = gm.locksOf(who, 0, bound(count, 1, 3));
        uint256 gms = 0;
        uint256 amounts = 0;
        for (uint256 k = 0; k < ids.length; ++k) {
            if (block.timestamp < locks[k].unlocksAt) {
                if (count % 2 == 0) return;
                vm.warp(locks[k].unlocksAt);
            }
            (gms, amounts) = (gms + locks[k].gm, amounts + locks[k].amount);
        }
        if (gm.balanceOf(who) < gms) {
            ++reached["unlock refused while staked"];
            return;
        }
        uint256 before = token.balanceOf(who);
        vm.prank(who);
        gm.unlock(ids);
        eq(token.balanceOf(who) - before, amounts, "the same FLOCK back");
        ++reached[ids.length > 1 ? bytes32("unlock several") : bytes32("unlock")];
    }

    function list_(uint256 p, bool listed) external {
        setStaking(pool(bound(p, 0, POOLS - 1)), listed);
        ++reached[listed ? bytes32("list") : bytes32("delist")];
    }

    function stake_(uint256 i, uint256 p, uint256 amount) external {
        (address who, address to) = (owner(bound(i, 0, OWNERS - 1)), pool(bound(p, 0, POOLS - 1)));
        if (!gm.isStakingContract(to) || gm.balanceOf(who) == 0) return;
        amount = bound(amount, 1, gm.balanceOf(who));
        uint256 votes = gm.getVotes(who);
        vm.prank(who);
        gm.transfer(to, amount);
        eq(gm.getVotes(who), votes, "staking costs no vote");
        _staked[who][to] += amount;
        ++reached["stake"];
    }

    function unstake_(uint256 i, uint256 p) external {
        (address who, address from) = (owner(bound(i, 0, OWNERS - 1)), pool(bound(p, 0, POOLS - 1)));
        uint256 amount = _staked[who][from];
        if (amount == 0) return;
        _staked[who][from] = 0;
        vm.prank(from);
        gm.transfer(who, amount);
        ++reached[gm.isStakingContract(from) ? bytes32("unstake") : bytes32("unstake after delisting")];
    }

    function delegate_(uint256 i, uint256 to) external {
        address who = owner(bound(i, 0, OWNERS - 1));
        to = bound(to, 0, OWNERS);
        vm.prank(who);
        gm.delegate(to == OWNERS ? address(0) : owner(to));
        ++reached["delegate"];
    }

    function weigh_(uint256 g, uint64 weight, uint256 h, uint64 other) external {
        (g, h) = (bound(g, 0, GAUGES - 1), bound(h, 0, GAUGES - 1));
        if (weight % 3 == 0) weight = 0;
        if (other % 3 == 0) other = 0;
        IEmission.GaugeWeight[] memory list = new IEmission.GaugeWeight[](2);
        list[0] = IEmission.GaugeWeight(gauge(g), weight);
        list[1] = IEmission.GaugeWeight(gauge(h), other);
        vm.prank(address(timelock));
        emission.setWeights(list);
        epochs.push(epochs[epochs.length - 1]);
        Epoch storage e = epochs[epochs.length - 1];
        e.from = block.timestamp;
        (e.weights[g], e.weights[h]) = (weight, other);
        if (g == h) e.weights[g] = other;
        ++reached[emission.totalWeight() == 0 ? bytes32("weigh nobody") : bytes32("weigh")];
    }

    function mint_(uint256 g) external {
        g = bound(g, 0, GAUGES - 1);
        uint256 due = emission.accrued(gauge(g));
        if (due == 0) return;
        eq(emission.mint(gauge(g)), due, "mints what it said");
        ++reached[emission.weightOf(gauge(g)) == 0 ? bytes32("mint of a removed gauge") : bytes32("mint")];
    }

    function requireAll() external view {
        requireNoError(locksError());
        requireNoError(votesError());
        requireNoError(emissionError());
    }
}

/// Sums of money and votes under any order of transactions. The handler never reverts, so no action is silently missing.
contract GovernanceInvariantsTest is GovernanceTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    GovernanceHandler private handler;
    string[] private names = [
        "wait", "wait long", "first lock", "lock", "unlock", "unlock several", "unlock refused while staked", "list", "delist",
        "stake", "unstake", "unstake after delisting", "delegate", "weigh", "weigh nobody", "mint", "mint of a removed gauge"
    ];

    function setUp() public override {
        vm.warp(START);
        handler = new GovernanceHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), _actions());
    }

    function _actions() private view returns (bytes4[] memory list) {
        list = new bytes4[](12);
        (list[0], list[1], list[2]) = (handler.wait_.selector, handler.lock_.selector, handler.lock_.selector);
        (list[3], list[4], list[5]) = (handler.unlock_.selector, handler.list_.selector, handler.stake_.selector);
        (list[6], list[7], list[8]) = (handler.unstake_.selector, handler.delegate_.selector, handler.weigh_.selector);
        (list[9], list[10], list[11]) = (handler.mint_.selector, handler.stake_.selector, handler.unlock_.selector);
    }

    /// FLOCK, gm or votes would appear or vanish, or a gauge get another share than that of its weight and time.
    function invariant_locks_votes_and_emission() external view {
        handler.requireAll();
    }

    /// The campaign would pass because it never unlocks, stakes, reweighs or mints anything.
    function test_handler__reaches_every_action() external {
        for (uint256 i = 0; i < 600; ++i) {
            bytes32 random = keccak256(abi.encode("reach", i));
            bytes4 action = _actions()[uint256(random) % 12];
            (bool ok,) = address(handler).call(
                abi.encodePacked(
                    action, keccak256(abi.encode(random)), uint256(keccak256(abi.encode(random, 0))) % 2,
                    keccak256(abi.encode(random, 1)) >> 192, uint256(random) >> 192
                )
            );
            check(ok, "an action reverted");
            if (i % 50 == 0) handler.requireAll();
        }
        for (uint256 a = 0; a < names.length; ++a) {
            check(handler.reached(bytes32(bytes(names[a]))) > 0, names[a]);
        }
    }
}

/// The checks see what they are there to see. Each test breaks one sum from outside.
contract GovernancePlantedTest is GovernanceChecks {
    function setUp() public override {
        super.setUp();
        deployGenesis();
        epochs.push();
        (epochs[0].from, epochs[0].weights[0]) = (block.timestamp, 1);
        give(owner(0), 10 ether);
        lockFor(owner(0), 4 ether, 30 days);
        requireNoError(locksError());
        requireNoError(votesError());
        vm.warp(block.timestamp + 1 days);
        emission.mint(address(timelock));
        requireNoError(emissionError());
    }

    function _requireError(string memory error, string memory expected) private pure {
        eq(keccak256(bytes(error)), keccak256(bytes(expected)), string.concat("the check is blind; it said: ", error));
    }

    /// The check would not see FLOCK that is no lock's.
    function test_checks__see_unbooked_flock() external {
        give(address(gm), 1);
        _requireError(locksError(), "FLOCK held != sum of locks");
    }

    /// The check would not see gm or a lock that none of the owners has.
    function test_checks__see_a_lock_of_nobody() external {
        give(stranger, 1 ether);
        lockFor(stranger, 1 ether, 30 days);
        _requireError(locksError(), "lockedTotal != sum of locks");
    }

    /// The check would not see votes that come from nowhere, or a staking contract that has some.
    function test_checks__see_votes_without_locks() external {
        give(stranger, 1 ether);
        lockFor(stranger, 1 ether, 30 days);
        vm.prank(stranger);
        gm.delegate(owner(1));
        _requireError(votesError(), "votes != locks delegated");
        vm.prank(stranger);
        gm.delegate(pool(0));
        _requireError(votesError(), "a staking contract has votes");
    }

    /// The check would not see FLOCK that the schedule did not release.
    function test_checks__see_a_mint_beside_the_schedule() external {
        vm.prank(address(emission));
        token.mint(stranger, 1);
        _requireError(emissionError(), "supply != start + minted");
    }

    /// The check would not see a gauge that gets what is another's.
    function test_checks__see_another_share() external {
        setWeight(gauge(1), 1);
        vm.warp(block.timestamp + 1);
        _requireError(emissionError(), "a gauge got another share");
    }
}
