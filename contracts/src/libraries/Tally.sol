// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Counting votes that arrive in several transactions
/// @dev A question is a cohort (0 to 15) or the base model (16); a yes names a digest. At most 64 votes each.
/// For every question the book holds the digest with the most votes and its count; the counts of all other digests
/// lie in a mapping, which an undisputed vote never touches. Counts are packed, 8 bits each. A new round starts from
/// empty counts and writes over the old ones: clearing them first would make every store one to a fresh slot.
library Tally {
    uint256 internal constant QUESTION_COUNT = 17;
    uint256 internal constant BASE_MODEL = 16;

    struct Book {
        uint256 votesFor; // of the leading digest, 8 bits for each question
        uint256 votesAgainst; // 8 bits for each question
        bytes32[QUESTION_COUNT] leading; // meaningless where votesFor is 0
        mapping(bytes32 key => uint256 votes) others; // key: round, question, digest
    }

    /// The counts while one transaction works on them.
    struct Counts {
        uint256 votesFor;
        uint256 votesAgainst;
    }

    function read(Book storage book) internal view returns (Counts memory) {
        return Counts(book.votesFor, book.votesAgainst);
    }

    function write(Book storage book, Counts memory counts) internal {
        book.votesFor = counts.votesFor;
        book.votesAgainst = counts.votesAgainst;
    }

    function addFor(Book storage book, Counts memory counts, uint32 round, uint256 question, bytes32 digest) internal {
        uint256 votes = countOf(counts.votesFor, question);
        if (votes == 0) {
            book.leading[question] = digest;
        } else if (book.leading[question] != digest) {
            bytes32 key = _key(round, question, digest);
            uint256 others = book.others[key] + 1;
            book.others[key] = others;
            if (others <= votes) return;
            // The challenger has one vote more than the leader: they change places.
            book.others[_key(round, question, book.leading[question])] = votes;
            book.leading[question] = digest;
        }
        counts.votesFor += 1 << (8 * question);
    }

    function addAgainst(Counts memory counts, uint256 question) internal pure {
        counts.votesAgainst += 1 << (8 * question);
    }

    /// The leading digest of a question, or zero if nobody voted for any.
    function leadingOf(Book storage book, Counts memory counts, uint256 question) internal view returns (bytes32) {
        return countOf(counts.votesFor, question) == 0 ? bytes32(0) : book.leading[question];
    }

    function countOf(uint256 packed, uint256 question) internal pure returns (uint256) {
        return (packed >> (8 * question)) & 0xff;
    }

    function _key(uint32 round, uint256 question, bytes32 digest) private pure returns (bytes32) {
        return keccak256(abi.encode(round, question, digest));
    }
}
