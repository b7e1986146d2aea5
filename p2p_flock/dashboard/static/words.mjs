// @ts-check
// The words of the page: what each state means to somebody who runs a node. The same story as cli/watching/words.py.
// Pure; says nothing that the node did not say, and calls unseen what it cannot see.

/** Step: [title, what goes on in it]. @type {Record<string, [string, string]>} */
export const STEPS = {
  beacon: ["Draw", "a public random value draws who does what"],
  train: ["Train", "trainers train on their own data and publish masked updates"],
  seal: ["Seal", "validators agree on chain whose updates are in"],
  unmask: ["Open", "trainers answer, so that the sum, and only the sum, can be opened"],
  evaluate: ["Test", "validators test the sum on their own private data"],
  commit: ["Commit", "validators commit to their votes, still hidden"],
  settle: ["Settle", "votes are shown and counted; the contract adopts or rejects"],
};

/** State of a step: [mark, word]. @type {Record<string, [string, string]>} */
export const STEP_STATES = {
  done: ["✓", "done"],
  running: ["▶", "running"],
  coming: ["○", "to come"],
  hidden: ["?", "unseen"],
  unreached: ["–", "not reached"],
};

/** Activity of CONTROL.md: the sentence that begins with "Your node". @type {Record<string, string>} */
export const ACTIVITIES = {
  closed: "is done: the alliance has had all its rounds. Collect what it earned with `p2p-flock wallet claim`.",
  not_seated: "holds no seat in this alliance.",
  awaiting_seats: "waits for more members.",
  awaiting_round: "waits for the next round to open.",
  catching_up: "is fetching what it missed.",
  awaiting_beacon: "waits for the draw of roles.",
  joins_next_round: "takes part from the next round on.",
  starting: "is starting its part of this round.",
  no_mask_key: "sits this round out: its mask key is spent; a fresh one counts from the next round.",
  training: "trains on its own data.",
  publishing: "masks its update and stores it.",
  awaiting_seal: "has published its masked update.",
  fetching_bundles: "fetches the shares it needs to answer.",
  answered: "has answered; its work in this round is done.",
  aside: "stands aside in this round.",
  collecting: "collects the trainers' masked updates.",
  sealing: "agrees with the other validators on who is in.",
  opening: "gathers answers and opens the sum.",
  judging: "tests the opened sum on its own private data.",
  committing: "has voted; the vote is still hidden.",
  settling: "shows its vote.",
};

/** What is waited for where no participant is: the chain, or this node's own work. @type {Record<string, string>} */
export const WAITS = {
  awaiting_beacon: "the public random value",
  awaiting_seal: "the seal on chain. Which updates the validators hold yet is not visible to a trainer",
  answered: "the validators' verdict on chain. How far they are is not visible to a trainer",
  aside: "the end of the round",
  no_mask_key: "the end of the round",
  sealing: "the seal on chain",
  opening: "the opening of the sum",
  committing: "the votes' way onto the chain",
  settling: "the settlement on chain",
};

/** Item: [its name in the table, what is waited for from one, from several]. @type {Record<string, string[]>} */
export const ITEMS = {
  contribution: ["update", "the masked update of", "the masked updates of"],
  unmasking: ["answer", "the answer of", "the answers of"],
  have: ["list", "the list of updates held by", "the lists of updates held by"],
  commitment: ["vote", "the committed vote of", "the committed votes of"],
  ballot: ["ballot", "the ballot of", "the ballots of"],
  bundle: ["shares", "the shares dealt to you by", "the shares dealt to you by"],
};

/** What happens if an item has not come by its deadline. @type {Record<string, string>} */
export const WITHOUT = {
  contribution: "the round goes on without it, and the absent trainer earns nothing in it",
  unmasking: "the sum is opened with the answers that are here, as long as enough are",
  have: "the other validators seal without it",
  commitment: "the other validators' votes decide",
  ballot: "the votes that were shown decide",
  bundle: "your node answers with the shares that it has",
};

/** Receipt: [mark, word, tone]. @type {Record<string, [string, string, string]>} */
export const RECEIPTS = {
  here: ["✓", "here", "good"],
  on_chain: ["✓", "on chain", "good"],
  partial: ["…", "arriving", "busy"],
  awaited: ["…", "waited for", "busy"],
  refused: ["✗", "refused", "bad"],
  missed: ["✗", "missed", "bad"],
  not_due: ["·", "not due yet", "dim"],
  needless: ["–", "not needed", "dim"],
  unknown: ["?", "not visible from here", "dim"],
};

/** State of a participant: [mark, word, tone, what it means]. @type {Record<string, [string, string, string, string]>} */
export const PARTICIPANT_STATES = {
  late: ["!", "late", "bad", "waited for, and past its deadline or not connected"],
  lost: ["✗", "lost", "bad", "the round went on without it"],
  awaited: ["…", "waited for", "busy", "this node waits for it, in time"],
  away: ["○", "away", "warn", "not connected; this node is not waiting for it"],
  working: ["▸", "at work", "plain", "it has something to do in this round still"],
  done: ["✓", "done", "good", "nothing more is due from it"],
};

/** Outcome of a cohort or round: [mark, word, tone]. @type {Record<string, [string, string, string]>} */
export const OUTCOMES = {
  adopted: ["✓", "adopted", "good"],
  rejected: ["✗", "rejected", "bad"],
  undecided: ["–", "undecided", "warn"],
  void: ["○", "void", "warn"],
  voided: ["○", "void", "warn"],
};

/** What a unit of work is called while it is done. @type {Record<string, string>} */
export const WORKS = {
  training: "Training on your own data",
  fetching: "Fetching",
  unmasking: "Opening the sum",
  judging: "Testing on your own private data",
};

/** Link to the node: [mark, word, tone]. @type {Record<string, [string, string, string]>} */
export const LINKS = {
  connecting: ["…", "connecting", "busy"],
  live: ["●", "live", "good"],
  silent: ["!", "no news", "warn"],
  reconnecting: ["…", "reconnecting", "warn"],
  busy: ["!", "too many pages open", "warn"],
  stopped: ["✗", "node stopped", "bad"],
};
