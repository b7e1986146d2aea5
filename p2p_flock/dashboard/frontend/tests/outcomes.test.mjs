import assert from "node:assert/strict";
import { test } from "node:test";
import { curveText, explainRound, outcomeOf, scoreCurve, survivorsTexts, votesTexts } from "../../static/outcomes.mjs";

const round = (more) => ({
  round: 1, outcome: "settled", cohort_outcomes: ["adopted"], trainers: 4, survivors: 4, votes_for: [3], votes_against: [0],
  model_digest: null, seconds: 9, role: "trainer", judgement: null, ...more,
});
const judged = (before, score, after, accepted) => ({
  loss_before: before, score_before: score, losses_after: { 0: after }, scores_after: { 0: null }, accepted: { 0: accepted },
});

test("outcomeOf: one adopted cohort makes the round adopted, no verdict makes it void", () => {
  assert.equal(outcomeOf(round({ cohort_outcomes: ["rejected", "adopted"] })), "adopted");
  assert.equal(outcomeOf(round({ cohort_outcomes: ["void", "rejected"] })), "rejected");
  assert.equal(outcomeOf(round({ cohort_outcomes: ["void"] })), "void");
  assert.equal(outcomeOf(round({ outcome: "voided", cohort_outcomes: [] })), "voided");
});

test("explainRound: each cohort has its own words and votes", () => {
  const told = explainRound(round({ cohort_outcomes: ["adopted", "rejected"], votes_for: [3, 1], votes_against: [0, 2] }));
  assert.match(told[0], /^Cohort 0: 3 validators for it, 0 against/);
  assert.match(told[1], /^Cohort 1: 1 validator for it, 2 against.*worse/);
});

test("explainRound: the node's own reasons come first, without the word that the badge says", () => {
  const told = explainRound(round({ reasons: ["Adopted: 3 of 3 voted for it."], judgement: judged(0.5, null, 0.4, true) }));
  assert.deepEqual(told, ["3 of 3 voted for it.", "Your node voted for it: on your private data the loss is lower with it."]);
});

test("explainRound: a void round blames nobody", () => {
  assert.match(explainRound(round({ outcome: "voided", cohort_outcomes: [] }))[0], /model stays as it was/);
});

test("votesTexts and survivorsTexts: of each cohort, nothing where nothing was sealed", () => {
  assert.deepEqual(votesTexts(round({ votes_for: [3, 0], votes_against: [0, 2], abstentions: [0, 1] })), ["3 : 0", "0 : 2, 1 neither"]);
  assert.deepEqual(votesTexts(round({ votes_for: [], votes_against: [] })), []);
  assert.deepEqual(survivorsTexts(round({ trainers_by_cohort: [4, 5], survivors_by_cohort: [4, 3] })), ["4 of 4", "3 of 5"]);
  assert.deepEqual(survivorsTexts(round({})), []);
});

test("scoreCurve: own scores, else what was measured before the next round", () => {
  const rounds = [
    round({ round: 3, judgement: judged(0.4, 0.8, 0.3, true) }),
    round({ round: 1, own_score: 0.6, local_only_score: 0.55 }),
    round({ round: 2 }),
  ];
  const curve = scoreCurve(rounds, "AUC");
  assert.deepEqual(curve.points, [
    { round: 1, alliance: 0.6, local: 0.55 }, { round: 2, alliance: 0.8, local: null }, { round: 3, alliance: null, local: null },
  ]);
  assert.equal(curve.name, "AUC");
  assert.ok(curve.has_local && !curve.is_loss);
  assert.match(curveText(curve), /After round 2: AUC 0\.800, from 0\.600 after round 1\. Trained on your own data alone: 0\.550 \(round 1\)/);
});

test("scoreCurve: losses where there is no score", () => {
  const curve = scoreCurve([round({ round: 2, judgement: judged(0.4, null, 0.3, true) }), round({ round: 1 })], null);
  assert.deepEqual(curve.points[0], { round: 1, alliance: 0.4, local: null });
  assert.ok(curve.is_loss);
  assert.match(curveText(curve), /Lower is better/);
});

test("scoreCurve: nothing yet", () => assert.match(curveText(scoreCurve([], "AUC")), /No score yet/));
