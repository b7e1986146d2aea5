// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title gmFLOCK: what locked FLOCK gives, and with it the vote
/// @notice Who locks n FLOCK for t seconds gets gm = n up to 30 days, n · (1 + 2.19 · (t − 30 d) / 365 d) above, and
/// n · 3.01 from 365 days on (see LockMath). It does not decay. Each lock has an ID of its own and is unlocked whole,
/// for the same amount of gmFLOCK and FLOCK. Nobody else can unlock, move or shorten it, nor mint gmFLOCK without a lock.
/// @dev An ERC-20 (18 decimals) that moves only to staking contracts which the timelock lists, and back from them.
/// The votes (ERC-5805, clock in Unix seconds per ERC-6372) follow the LOCKS, not the balance: an owner has the sum of gm
/// of its locks as voting units, wherever the gmFLOCK is staked, and a staking contract collects none. A lock votes
/// until it is unlocked, also after its time.
interface IGmFlock {
    struct Lock {
        address owner;
        uint64 unlocksAt; // Unix seconds; the lock can be undone from this second on
        uint128 amount; // FLOCK, wei
        uint128 gm; // gmFLOCK that it gave and that undoing it burns, wei
    }

    /// Only the timelock, that is: a proposal that was voted for, queued and executed.
    error NotTimelock();
    /// Between 1 wei and 1,000,000,000 FLOCK, the cap of the token.
    error WrongAmount(uint256 amount);
    /// A lock holds for a day at least.
    error LockTooShort(uint256 lockSeconds);
    /// There is no such lock of the sender: never made, another's, or unlocked already.
    error NotYourLock(uint256 id);
    /// Its time is not over.
    error StillLocked(uint256 id, uint64 unlocksAt);
    /// The list of IDs is empty.
    error NothingToUnlock();
    /// gmFLOCK moves only to a listed staking contract, or from one that is or was listed.
    error NotTransferable(address from, address to);
    /// A page has 1 to 256 locks.
    error WrongPage(uint256 count);

    event Locked(address indexed owner, uint256 indexed id, uint256 amount, uint256 gm, uint64 unlocksAt);
    event Unlocked(address indexed owner, uint256 indexed id, uint256 amount, uint256 gm);
    event StakingContractSet(address indexed stakingContract, bool listed);

    /// @notice Locks `amount` FLOCK of the sender, which it has approved to this contract, for `lockSeconds`.
    /// @dev `lockSeconds` above 365 days count as 365 days, for the release too: longer would give nothing more.
    /// An owner without locks that has delegated to nobody delegates to itself, so that a first lock votes at once.
    /// @return id counts from 1, over all owners
    function lock(uint256 amount, uint256 lockSeconds) external returns (uint256 id);

    /// @notice The same with an ERC-2612 permit of exactly `amount` for this contract, in place of an approval.
    /// @dev A permit that fails is ignored: who copied it from the mempool has set the allowance all the same.
    function lockWithPermit(uint256 amount, uint256 lockSeconds, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        returns (uint256 id);

    /// @notice Undoes some locks of the sender, all or none: burns their gm from its balance and pays out their FLOCK.
    /// @dev Reverts with ERC20InsufficientBalance while too much of the gm is staked elsewhere.
    function unlock(uint256[] calldata ids) external;

    /// @notice Allows gmFLOCK to move to a staking contract, or stops that. Only the timelock.
    /// @dev What has once been listed can always be withdrawn from: taking a contract off the list traps nothing.
    function setStakingContract(address stakingContract, bool listed) external;

    /// @notice Whether gmFLOCK can move to this address now.
    function isStakingContract(address account) external view returns (bool);

    /// @notice Whether gmFLOCK can move from this address: it is or was listed.
    function wasStakingContract(address account) external view returns (bool);

    /// @notice A lock by ID; all zero if it was never made or is unlocked.
    function getLock(uint256 id) external view returns (Lock memory);

    /// @notice How many locks an owner has.
    function lockCountOf(address owner) external view returns (uint256);

    /// @notice Up to `count` locks of an owner from the `first` on, in an order that changes when one is unlocked.
    function locksOf(address owner, uint256 first, uint256 count)
        external
        view
        returns (uint256[] memory ids, Lock[] memory locks);

    /// @notice Sum of gm of an owner's locks: its voting units, whoever it delegates them to.
    function lockedGmOf(address owner) external view returns (uint256);

    /// @notice FLOCK in all locks, wei.
    function lockedTotal() external view returns (uint256);

    /// @notice Locks made so far; the last one's ID.
    function lockCount() external view returns (uint256);

    /// @notice What locking would give: see LockMath. Same bounds and errors as lock.
    function gmFor(uint256 amount, uint256 lockSeconds) external pure returns (uint256);

    /// @notice The token that is locked.
    function token() external view returns (address);

    /// @notice Who lists staking contracts.
    function timelock() external view returns (address);
}
