// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IGmFlock} from "../../src/governance/interfaces/IGmFlock.sol";
import {LockMath} from "../../src/governance/libraries/LockMath.sol";
import {GovernanceTest, IGm} from "./GovernanceTest.sol";

/// A token that calls back in the middle of a transfer. FLOCK never does; gmFLOCK must not rely on it.
contract CallingToken is ERC20("FLOCK", "FLOCK") {
    bytes private _call;
    address private _target;
    bool public succeeded;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function arm(address target, bytes calldata call) external {
        (_target, _call) = (target, call);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        (succeeded,) = target.call(_call);
    }
}

contract GmFlockTest is GovernanceTest {
    uint256 private constant STAKER_KEY = 0x57A4E6;

    address private staker = vm.addr(STAKER_KEY);
    address private pool = vm.addr(0x9001);

    function setUp() public override {
        super.setUp();
        give(staker, 10_000 ether);
    }

    /// A lock would give another amount than Python's exact fractions of FLock's formula.
    function test_gmFor__vectors() external view {
        string memory json = vm.readFile("../tests/vectors/governance.json");
        uint256 i = 0;
        for (; has(json, "locks", i); ++i) {
            uint256 amount = vm.parseJsonUint(json, path("locks", i, "amount"));
            uint256 expected = vm.parseJsonUint(json, path("locks", i, "gm"));
            eq(gm.gmFor(amount, vm.parseJsonUint(json, path("locks", i, "seconds"))), expected, "gm");
        }
        check(i > 100, "vectors");
    }

    /// FLock's published multiples would not come out.
    function test_gmFor__multiples() external view {
        uint256[2][7] memory table = [
            [uint256(1), 100], [uint256(30), 100], [uint256(60), 118], [uint256(90), 136], [uint256(180), 190],
            [uint256(270), 244], [uint256(365), 301]
        ];
        for (uint256 i = 0; i < 7; ++i) eq(gm.gmFor(100 ether, table[i][0] * 1 days), table[i][1] * 1 ether, "gm");
        eq(gm.gmFor(100 ether, type(uint256).max), 301 ether, "never more");
        eq(gm.gmFor(1, 365 days), 3, "rounded down");
    }

    /// A longer or larger lock would give less, or two locks more than one of both.
    function testFuzz_gmFor__monotone(uint256 amount, uint256 lockSeconds, uint256 more) external view {
        amount = bound(amount, 1, 400_000_000 ether);
        lockSeconds = bound(lockSeconds, 1 days, 400 days);
        check(gm.gmFor(amount, lockSeconds + more % 400 days) >= gm.gmFor(amount, lockSeconds), "longer");
        more = bound(more, 1, 400_000_000 ether);
        uint256 both = gm.gmFor(amount + more, lockSeconds);
        uint256 apart = gm.gmFor(amount, lockSeconds) + gm.gmFor(more, lockSeconds);
        check(both >= apart && both <= apart + 1, "apart");
    }

    /// A lock out of bounds would be made, or asked for with another answer than the lock gives.
    function test_lock__bounds() external {
        uint256[2] memory amounts = [uint256(0), LockMath.AMOUNT_MAX + 1];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IGmFlock.WrongAmount.selector, amounts[i]));
            gm.gmFor(amounts[i], 30 days);
            vm.prank(staker);
            vm.expectRevert(abi.encodeWithSelector(IGmFlock.WrongAmount.selector, amounts[i]));
            gm.lock(amounts[i], 30 days);
        }
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.LockTooShort.selector, 1 days - 1));
        gm.lock(1, 1 days - 1);
    }

    /// A lock would give gm without FLOCK.
    function test_lock__not_approved_or_not_there() external {
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(gm), 0, 1 ether));
        gm.lock(1 ether, 30 days);
        vm.prank(stranger);
        token.approve(address(gm), 1 ether);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, stranger, 0, 1 ether));
        gm.lock(1 ether, 30 days);
        eq(gm.balanceOf(staker) + gm.balanceOf(stranger), 0, "no gm");
    }

    /// A lock would not be found again, hold longer than asked, or not vote at once.
    function test_lock__books() external {
        vm.prank(staker);
        token.approve(address(gm), 1000 ether);
        vm.expectEmit();
        emit IVotes.DelegateChanged(staker, address(0), staker);
        vm.expectEmit();
        emit IGmFlock.Locked(staker, 2, 1000 ether, 1900 ether, uint64(block.timestamp + 180 days));
        vm.prank(staker);
        uint256 id = gm.lock(1000 ether, 180 days);
        eq(id, 2, "the second lock of all");
        eq(gm.lockCount(), 2, "count");
        IGmFlock.Lock memory made = gm.getLock(id);
        eq(made.owner, staker, "owner");
        eq(made.amount, 1000 ether, "amount");
        eq(made.gm, 1900 ether, "gm");
        eq(made.unlocksAt, block.timestamp + 180 days, "time");
        eq(gm.balanceOf(staker), 1900 ether, "balance");
        eq(gm.lockedGmOf(staker), 1900 ether, "voting units");
        eq(gm.getVotes(staker), 1900 ether, "votes");
        eq(gm.lockedTotal(), VOTER_LOCK + 1000 ether, "FLOCK locked");
        eq(token.balanceOf(address(gm)), VOTER_LOCK + 1000 ether, "FLOCK held");
        eq(gm.decimals(), 18, "decimals");
        eq(gm.token(), address(token), "token");
        eq(gm.timelock(), address(timelock), "timelock");
    }

    /// Who asks for ten years would wait ten for what one gives.
    function test_lock__longer_than_a_year() external {
        uint256 id = lockFor(staker, 100 ether, 3650 days);
        eq(gm.getLock(id).gm, 301 ether, "gm of a year");
        eq(gm.getLock(id).unlocksAt, block.timestamp + 365 days, "held for a year");
    }

    /// A permit would not do, or could be broken by who sends it first.
    function test_lockWithPermit__also_when_copied() external {
        for (uint256 nonce = 0; nonce < 2; ++nonce) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(STAKER_KEY, _permit(7 ether, nonce));
            // The second time somebody else sends the permit before.
            if (nonce == 1) token.permit(staker, address(gm), 7 ether, block.timestamp, v, r, s);
            vm.prank(staker);
            uint256 id = gm.lockWithPermit(7 ether, 30 days, block.timestamp, v, r, s);
            eq(gm.getLock(id).amount, 7 ether, "locked");
            eq(token.allowance(staker, address(gm)), 0, "nothing left over");
        }
    }

    /// A permit of somebody else would lock its FLOCK.
    function test_lockWithPermit__not_the_senders() external {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(STAKER_KEY, _permit(7 ether, 0));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(gm), 0, 7 ether));
        gm.lockWithPermit(7 ether, 30 days, block.timestamp, v, r, s);
    }

    function _permit(uint256 value, uint256 nonce) private view returns (bytes32) {
        bytes32 permit = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                staker,
                address(gm),
                value,
                nonce,
                block.timestamp
            )
        );
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), permit));
    }

    /// A lock would open early, late, twice, for another, or for another amount.
    function test_unlock__in_time_and_once() external {
        uint256 id = lockFor(staker, 100 ether, 60 days);
        uint64 end = uint64(block.timestamp + 60 days);
        vm.warp(end - 1);
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.StillLocked.selector, id, end));
        gm.unlock(one(id));
        vm.warp(end);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.NotYourLock.selector, id));
        gm.unlock(one(id));
        vm.expectEmit();
        emit IGmFlock.Unlocked(staker, id, 100 ether, 118 ether);
        unlockFor(staker, id);
        eq(token.balanceOf(staker), 10_000 ether, "all FLOCK back");
        eq(gm.balanceOf(staker), 0, "all gm burnt");
        eq(gm.getVotes(staker), 0, "no votes");
        eq(gm.lockedGmOf(staker), 0, "no units");
        eq(gm.getLock(id).owner, address(0), "gone");
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.NotYourLock.selector, id));
        gm.unlock(one(id));
    }

    /// Several locks would be undone in part, or one twice.
    function test_unlock__all_or_none() external {
        uint256[] memory ids = new uint256[](3);
        ids[0] = lockFor(staker, 100 ether, 30 days);
        ids[1] = lockFor(staker, 200 ether, 90 days);
        ids[2] = lockFor(staker, 300 ether, 1 days);
        uint64 last = gm.getLock(ids[1]).unlocksAt;
        vm.warp(block.timestamp + 40 days);
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.StillLocked.selector, ids[1], last));
        gm.unlock(ids);
        eq(gm.lockCountOf(staker), 3, "none");
        vm.prank(staker);
        vm.expectRevert(IGmFlock.NothingToUnlock.selector);
        gm.unlock(new uint256[](0));
        uint256[] memory twice = new uint256[](2);
        (twice[0], twice[1]) = (ids[0], ids[0]);
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.NotYourLock.selector, ids[0]));
        gm.unlock(twice);
        vm.warp(last);
        vm.prank(staker);
        gm.unlock(ids);
        eq(token.balanceOf(staker), 10_000 ether, "all");
        eq(gm.lockCountOf(staker), 0, "no lock left");
    }

    /// The CLI could not list locks, or only all of a thousand at once.
    function test_locksOf__pages() external {
        for (uint256 i = 1; i <= 5; ++i) lockFor(staker, i * 1 ether, 30 days);
        (uint256[] memory ids, IGmFlock.Lock[] memory locks) = gm.locksOf(staker, 0, 3);
        eq(ids.length, 3, "a page");
        eq(ids[2], 4, "the voter has lock 1");
        eq(locks[2].amount, 3 ether, "its amount");
        (ids, locks) = gm.locksOf(staker, 3, 256);
        eq(ids.length, 2, "the rest");
        eq(locks[1].amount, 5 ether, "the last");
        (ids,) = gm.locksOf(staker, 5, 1);
        eq(ids.length, 0, "beyond");
        (ids,) = gm.locksOf(staker, type(uint256).max, 256);
        eq(ids.length, 0, "far beyond");
        uint256[2] memory wrong = [uint256(0), 257];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IGmFlock.WrongPage.selector, wrong[i]));
            gm.locksOf(staker, 0, wrong[i]);
        }
        vm.warp(block.timestamp + 30 days);
        unlockFor(staker, 2);
        (ids,) = gm.locksOf(staker, 0, 256);
        eq(ids.length, 4, "one less");
    }

    /// gmFLOCK would be sold, or trapped in a contract that was taken off the list.
    function test_transfer__only_staking_contracts() external {
        lockFor(staker, 100 ether, 30 days);
        _refused(staker, stranger, 1 ether);
        _refused(staker, pool, 1 ether);
        vm.expectEmit();
        emit IGmFlock.StakingContractSet(pool, true);
        setStaking(pool, true);
        check(gm.isStakingContract(pool) && gm.wasStakingContract(pool), "listed");
        _move(staker, pool, 60 ether);
        _refused(staker, stranger, 1 ether);
        _move(pool, staker, 10 ether);
        setStaking(pool, false);
        check(!gm.isStakingContract(pool) && gm.wasStakingContract(pool), "was listed");
        _refused(staker, pool, 1 ether);
        _move(pool, staker, 50 ether);
        eq(gm.balanceOf(staker), 100 ether, "all back");
    }

    function _move(address from, address to, uint256 amount) private {
        vm.prank(from);
        gm.transfer(to, amount);
    }

    function _refused(address from, address to, uint256 amount) private {
        vm.prank(from);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.NotTransferable.selector, from, to));
        gm.transfer(to, amount);
        vm.prank(from);
        gm.approve(stranger, amount);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IGmFlock.NotTransferable.selector, from, to));
        gm.transferFrom(from, to, amount);
    }

    /// Somebody would open gmFLOCK to a market of its own.
    function test_setStakingContract__only_the_timelock() external {
        address[3] memory others = [stranger, holder, address(governor)];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(IGmFlock.NotTimelock.selector);
            gm.setStakingContract(others[i], true);
        }
    }

    /// A lock would be undone while its gm is staked, and the gm be used twice.
    function test_unlock__gm_is_staked() external {
        uint256 id = lockFor(staker, 100 ether, 30 days);
        setStaking(pool, true);
        _move(staker, pool, 1 ether);
        vm.warp(block.timestamp + 30 days);
        vm.prank(staker);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, staker, 99 ether, 100 ether));
        gm.unlock(one(id));
        _move(pool, staker, 1 ether);
        unlockFor(staker, id);
    }

    /// Staking would cost the vote, or give it to the staking contract and who runs it.
    function test_votes__follow_the_lock() external {
        lockFor(staker, 100 ether, 30 days);
        setStaking(pool, true);
        _move(staker, pool, 100 ether);
        vm.prank(pool);
        gm.delegate(pool);
        eq(gm.getVotes(staker), 100 ether, "the staker votes");
        eq(gm.getVotes(pool), 0, "the contract does not");
        _move(pool, stranger, 100 ether);
        vm.prank(stranger);
        gm.delegate(stranger);
        eq(gm.getVotes(stranger), 0, "nor who has gm without a lock");
        eq(gm.balanceOf(stranger), 100 ether, "who holds it all the same");
    }

    /// Votes could not be given to another, would be counted twice, or not be taken back.
    function test_votes__delegation() external {
        lockFor(staker, 100 ether, 30 days);
        vm.prank(staker);
        gm.delegate(stranger);
        eq(gm.getVotes(stranger), 100 ether, "given");
        eq(gm.getVotes(staker), 0, "not kept");
        uint256 id = lockFor(staker, 50 ether, 1 days);
        eq(gm.getVotes(stranger), 150 ether, "later locks too");
        eq(gm.delegates(staker), stranger, "a lock does not change the choice");
        vm.warp(block.timestamp + 1 days);
        unlockFor(staker, id);
        eq(gm.getVotes(stranger), 100 ether, "unlocking takes them");
        vm.prank(staker);
        gm.delegate(address(0));
        eq(gm.getVotes(stranger), 0, "taken back");
        lockFor(staker, 50 ether, 1 days);
        eq(gm.getVotes(staker), 0, "who has locks and delegates to nobody chose so");
    }

    /// A vote could be counted at another time than that of its locks.
    function test_votes__of_the_past() external {
        uint256 before = block.timestamp;
        vm.warp(before + 10);
        uint256 id = lockFor(staker, 100 ether, 1 days);
        vm.warp(before + 2 days);
        unlockFor(staker, id);
        vm.warp(before + 3 days);
        eq(gm.getPastVotes(staker, before + 9), 0, "before");
        eq(gm.getPastVotes(staker, before + 10), 100 ether, "from the lock");
        eq(gm.getPastVotes(staker, before + 2 days - 1), 100 ether, "to the unlock");
        eq(gm.getPastVotes(staker, before + 2 days), 0, "after");
        eq(gm.getPastTotalSupply(before + 10), gm.gmFor(VOTER_LOCK, 365 days) + 100 ether, "of all");
        eq(gm.clock(), block.timestamp, "ERC-6372");
        eq(keccak256(bytes(gm.CLOCK_MODE())), keccak256("mode=timestamp"), "ERC-6372");
    }

    /// gm would grow or shrink with time, or be made by anybody without a lock (audit: an admin mints gm to whom it likes).
    function test_audit__no_gm_without_lock() external {
        lockFor(staker, 100 ether, 365 days);
        vm.warp(block.timestamp + 3650 days);
        eq(gm.balanceOf(staker), 301 ether, "no decay");
        eq(gm.getVotes(staker), 301 ether, "votes neither");
        string[4] memory calls =
            ["mint(address,uint256)", "mintTo(address,uint256)", "burn(uint256)", "burnFrom(address,uint256)"];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(address(timelock));
            (bool ok,) = address(gm).call(abi.encodeWithSignature(calls[i], staker, 1));
            check(!ok, calls[i]);
        }
    }

    /// What a lock gives would depend on anything but its amount and time (audit: shares that ignore time).
    function testFuzz_lock__and_back(uint256 amount, uint256 lockSeconds, uint256 waited) external {
        amount = bound(amount, 1, 10_000 ether);
        lockSeconds = bound(lockSeconds, 1 days, 500 days);
        uint256 held = lockSeconds < 365 days ? lockSeconds : 365 days;
        waited = bound(waited, 0, 1000 days);
        uint256 id = lockFor(staker, amount, lockSeconds);
        uint256 given = gm.balanceOf(staker);
        check(given >= amount && given <= amount * 301 / 100, "between 1 and 3.01");
        vm.warp(block.timestamp + waited);
        if (waited < held) {
            vm.prank(staker);
            vm.expectRevert(
                abi.encodeWithSelector(IGmFlock.StillLocked.selector, id, uint64(block.timestamp - waited + held))
            );
            gm.unlock(one(id));
            return;
        }
        unlockFor(staker, id);
        eq(token.balanceOf(staker), 10_000 ether, "FLOCK back");
        eq(gm.balanceOf(staker) + gm.getVotes(staker), 0, "gm burnt");
    }

    /// FLOCK would be paid twice by a token that calls in the middle of paying.
    function test_unlock__reentered() external {
        CallingToken calling = new CallingToken();
        IGm made = IGm(vm.deployCode("GmFlock.sol:GmFlock", abi.encode(calling, address(this))));
        calling.mint(address(this), 100 ether);
        calling.mint(address(made), 100 ether);
        calling.approve(address(made), 100 ether);
        uint256 id = made.lock(100 ether, 1 days);
        vm.warp(block.timestamp + 1 days);
        calling.arm(address(this), abi.encodeCall(this.unlockAgain, (made, id)));
        made.unlock(one(id));
        check(!calling.succeeded(), "unlocked twice");
        eq(calling.balanceOf(address(this)), 100 ether, "paid once");
    }

    function unlockAgain(IGm made, uint256 id) external {
        made.unlock(one(id));
    }
}
