// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ConservationHandler} from "./ConservationHandler.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

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

    /// More often what moves a round forward, so that rounds are finished.
    function _actions() private view returns (bytes4[] memory list) {
        list = new bytes4[](35);
        uint256 n = 0;
        for (; n < 4; ++n) list[n] = handler.seal_.selector;
        for (; n < 8; ++n) list[n] = handler.commit_.selector;
        for (; n < 12; ++n) list[n] = handler.settle_.selector;
        (list[12], list[13], list[14]) = (handler.wait_.selector, handler.join_.selector, handler.join_.selector);
        (list[15], list[16]) = (handler.leave_.selector, handler.registerKey_.selector);
        (list[17], list[18], list[19]) = (handler.withdraw_.selector, handler.claim_.selector, handler.claim_.selector);
        (list[20], list[21], list[30]) = (handler.void_.selector, handler.close_.selector, handler.close_.selector);
        (list[22], list[23], list[24]) =
            (handler.slash_.selector, handler.suspend_.selector, handler.reactivate_.selector);
        (list[25], list[26], list[27]) =
            (handler.challenge_.selector, handler.challenge_.selector, handler.answer_.selector);
        (list[28], list[29], list[31]) =
            (handler.slashAbsence_.selector, handler.suspend_.selector, handler.reactivate_.selector);
        (list[32], list[33], list[34]) =
            (handler.suspect_.selector, handler.suspect_.selector, handler.commit_.selector);
    }

    /// FLOCK would appear or vanish.
    function invariant_accounts() external {
        handler.requireAccounts();
    }

    /// After each campaign: FLOCK would be owed that nobody can claim, or claimed that is not there.
    function afterInvariant() external {
        handler.requireClaims();
    }

    /// The campaign would pass because it never settles, voids, swaps, pays or challenges anything. Prints the call table:
    /// forge test --match-test reaches_every_action -vv
    function test_handler__reaches_every_action() external {
        uint256 closed = 0;
        for (uint256 i = 0; i < ACTIONS_MAX && (i < ACTIONS_MIN || i % 100 != 0 || !_reachedAll()); ++i) {
            bytes4[] memory actions = _actions();
            bytes32 random = keccak256(abi.encode("reach", i));
            bytes4 action = actions[uint256(random) % actions.length];
            (bool ok,) = address(handler).call(
                abi.encodePacked(action, keccak256(abi.encode(random)), keccak256(abi.encode(random, i)))
            );
            check(ok, "an action reverted");
            phases[handler.phase()] += 1;
            if (i % 50 == 0) {
                handler.requireAccounts();
                handler.requireClaims();
            }
            // Some more after closing, then from the beginning.
            if (handler.phase() == 4) ++closed;
            if (closed < 30) continue;
            _count();
            vm.warp(START);
            (handler, closed) = (new ConservationHandler(), 0);
        }
        _count();
        for (uint256 p = 0; p < 5; ++p) print(string.concat("actions in phase ", vm.toString(p)), phases[p]);
        for (uint256 a = 0; a < names.length; ++a) {
            print(names[a], counts[a]);
            check(counts[a] > 0, names[a]);
        }
    }

    // Roles are drawn, so the walk goes on until everything was reached, within bounds.
    uint256 private constant ACTIONS_MIN = 1500;
    uint256 private constant ACTIONS_MAX = 6000;
    string[] private names = [
        "wait", "join", "leave", "registerKey", "withdraw", "claim", "claim after closing", "seal", "commit", "reveal",
        "settle", "bonus", "pay by grade", "score target", "void", "close", "slash", "slash after closing", "suspend",
        "reactivate", "challenge", "challenge after closing", "answer", "slash absence", "slash absence after closing",
        "suspect", "refuse the suspected"
    ];
    uint256[27] private counts;
    uint256[5] private phases;

    function _reachedAll() private view returns (bool) {
        for (uint256 a = 0; a < names.length; ++a) {
            if (counts[a] + handler.reached(bytes32(bytes(names[a]))) == 0) return false;
        }
        return true;
    }

    function _count() private {
        for (uint256 a = 0; a < names.length; ++a) counts[a] += handler.reached(bytes32(bytes(names[a])));
    }
}
