// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";
import {IGmFlock} from "./interfaces/IGmFlock.sol";
import {LockMath} from "./libraries/LockMath.sol";

/// @title gmFLOCK, the receipt of locked FLOCK
contract GmFlock is IGmFlock, ERC20, Votes {
    using EnumerableSet for EnumerableSet.UintSet;
    using SafeERC20 for IERC20;

    uint256 private constant PAGE_MAX = 256;

    IERC20 private immutable _token;
    address public immutable timelock;

    /// @inheritdoc IGmFlock
    uint256 public lockCount;
    /// @inheritdoc IGmFlock
    uint256 public lockedTotal;
    /// @inheritdoc IGmFlock
    mapping(address owner => uint256) public lockedGmOf;
    /// @inheritdoc IGmFlock
    mapping(address account => bool) public isStakingContract;
    /// @inheritdoc IGmFlock
    mapping(address account => bool) public wasStakingContract;
    mapping(uint256 id => Lock) private _locks;
    mapping(address owner => EnumerableSet.UintSet) private _locksOf;

    constructor(IERC20 token_, address timelock_) ERC20("gmFLOCK", "gmFLOCK") EIP712("gmFLOCK", "1") {
        _token = token_;
        timelock = timelock_;
    }

    /// @inheritdoc IGmFlock
    function lock(uint256 amount, uint256 lockSeconds) public returns (uint256 id) {
        uint256 gm = gmFor(amount, lockSeconds);
        uint64 unlocksAt = uint64(block.timestamp + LockMath.clipped(lockSeconds));
        id = ++lockCount;
        if (delegates(msg.sender) == address(0) && _locksOf[msg.sender].length() == 0) {
            _delegate(msg.sender, msg.sender);
        }
        _locks[id] = Lock(msg.sender, unlocksAt, uint128(amount), uint128(gm));
        _locksOf[msg.sender].add(id);
        lockedTotal += amount;
        lockedGmOf[msg.sender] += gm;
        _transferVotingUnits(address(0), msg.sender, gm);
        _mint(msg.sender, gm);
        emit Locked(msg.sender, id, amount, gm, unlocksAt);
        _token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IGmFlock
    function lockWithPermit(uint256 amount, uint256 lockSeconds, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        returns (uint256 id)
    {
        try IERC20Permit(address(_token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        return lock(amount, lockSeconds);
    }

    /// @inheritdoc IGmFlock
    function unlock(uint256[] calldata ids) external {
        if (ids.length == 0) revert NothingToUnlock();
        uint256 amount = 0;
        uint256 gm = 0;
        for (uint256 i = 0; i < ids.length; ++i) {
            Lock memory undone = _locks[ids[i]];
            if (undone.owner != msg.sender) revert NotYourLock(ids[i]);
            if (block.timestamp < undone.unlocksAt) revert StillLocked(ids[i], undone.unlocksAt);
            delete _locks[ids[i]];
            _locksOf[msg.sender].remove(ids[i]);
            amount += undone.amount;
            gm += undone.gm;
            emit Unlocked(msg.sender, ids[i], undone.amount, undone.gm);
        }
        lockedTotal -= amount;
        lockedGmOf[msg.sender] -= gm;
        _transferVotingUnits(msg.sender, address(0), gm);
        _burn(msg.sender, gm);
        _token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IGmFlock
    function setStakingContract(address stakingContract, bool listed) external {
        if (msg.sender != timelock) revert NotTimelock();
        isStakingContract[stakingContract] = listed;
        if (listed) wasStakingContract[stakingContract] = true;
        emit StakingContractSet(stakingContract, listed);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from != address(0) && to != address(0) && !isStakingContract[to] && !wasStakingContract[from]) {
            revert NotTransferable(from, to);
        }
        super._update(from, to, value);
    }

    /// @dev What delegation moves: the gm of an owner's locks, not its balance.
    function _getVotingUnits(address owner) internal view override returns (uint256) {
        return lockedGmOf[owner];
    }

    /// @dev ERC-6372
    function clock() public view override returns (uint48) {
        return Time.timestamp();
    }

    /// @dev ERC-6372
    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    /// @inheritdoc IGmFlock
    function gmFor(uint256 amount, uint256 lockSeconds) public pure returns (uint256) {
        if (amount == 0 || amount > LockMath.AMOUNT_MAX) revert WrongAmount(amount);
        if (lockSeconds < LockMath.SECONDS_MIN) revert LockTooShort(lockSeconds);
        return LockMath.gmFor(amount, lockSeconds);
    }

    /// @inheritdoc IGmFlock
    function getLock(uint256 id) external view returns (Lock memory) {
        return _locks[id];
    }

    /// @inheritdoc IGmFlock
    function lockCountOf(address owner) external view returns (uint256) {
        return _locksOf[owner].length();
    }

    /// @inheritdoc IGmFlock
    function locksOf(address owner, uint256 first, uint256 count)
        external
        view
        returns (uint256[] memory ids, Lock[] memory locks)
    {
        if (count == 0 || count > PAGE_MAX) revert WrongPage(count);
        uint256 length = _locksOf[owner].length();
        if (first > length) first = length;
        ids = _locksOf[owner].values(first, first + count);
        locks = new Lock[](ids.length);
        for (uint256 i = 0; i < ids.length; ++i) locks[i] = _locks[ids[i]];
    }

    /// @inheritdoc IGmFlock
    function token() external view returns (address) {
        return address(_token);
    }
}
