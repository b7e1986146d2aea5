// @ts-check
// How rounds ended, in words, and the points of the score's curve. Pure.

import { counted, formatChange, formatScore } from "./format.mjs";

/** @typedef {import("./types.mjs").Round} EndedRound */

/** One word for a whole round. @param {EndedRound} round */
export function outcomeOf(round) {
  if (round.outcome === "voided") return "voided";
  for (const word of ["adopted", "rejected", "undecided"]) if (round.cohort_outcomes.includes(word)) return word;
  return "void";
}

/** What befell one cohort. @param {EndedRound} round @param {number} cohort */
function explainCohort(round, cohort) {
  const outcome = round.cohort_outcomes[cohort];
  const [yes, no] = [round.votes_for[cohort] ?? 0, round.votes_against[cohort] ?? 0];
  const votes = `${counted(yes, "validator")} for it, ${no} against`;
  if (outcome === "adopted") return `Adopted: ${votes}. Its sum is part of the model now.`;
  if (outcome === "rejected") return `Rejected: ${votes}. They found the model worse with it on their private data; it stays without it.`;
  if (outcome === "undecided") return `Undecided: ${votes}, too few either way. The model stays without it.`;
  return "Void: its sum could not be opened or tested, because too few updates, answers or votes came in time. Nobody is blamed for it.";
}

/** What this node itself measured, if it judged. @param {EndedRound} round @param {number} cohort @param {string} scoreName */
function explainJudgement(round, cohort, scoreName) {
  const judged = round.judgement;
  const loss = judged?.losses_after[String(cohort)];
  if (!judged || loss === undefined) return "";
  const score = judged.scores_after[String(cohort)];
  const parts = [`loss ${formatChange(judged.loss_before, loss)}`];
  if (score !== null && score !== undefined) parts.push(`${scoreName} ${formatChange(judged.score_before, score)}`);
  const vote = judged.accepted[String(cohort)] ? "voted for it" : "voted against it";
  return `Your node ${vote}: ${parts.join(", ")} on your private data.`;
}

/** The sentences of a round: the node's own words where it sent them, and what it measured itself.
 * @param {EndedRound} round @param {string} scoreName */
export function explainRound(round, scoreName) {
  if (round.reasons?.length) {
    const own = round.cohort_outcomes.map((_, cohort) => explainJudgement(round, cohort, scoreName));
    return [...round.reasons, ...own.filter(Boolean)];
  }
  if (round.outcome === "voided") {
    return ["Void: no seal or no settlement reached the chain in time. The model stays as it was, and the next round begins."];
  }
  const many = round.cohort_outcomes.length > 1;
  return round.cohort_outcomes.map((_, cohort) => {
    const own = explainJudgement(round, cohort, scoreName);
    return `${many ? `Cohort ${cohort}: ` : ""}${explainCohort(round, cohort)}${own ? ` ${own}` : ""}`;
  });
}

/** `2 of 3 for` and the like, per cohort. @param {EndedRound} round */
export function votesText(round) {
  if (!round.votes_for.length) return "–";
  return round.votes_for.map((yes, cohort) => `${yes} : ${round.votes_against[cohort] ?? 0}`).join(", ");
}

/** @typedef {{round: number, alliance: number | null, local: number | null}} Point */
/** @typedef {{points: Point[], name: string, is_loss: boolean, has_local: boolean}} Curve */

/** The curve of the alliance's model on this node's private data, with the local-only model beside it. A round's own
 * score where the node measured one; else what a validator measured before the next round, which is the same model.
 * Losses where there is no score at all.
 * @param {EndedRound[]} rounds any order @param {string | null | undefined} scoreName @returns {Curve} */
export function scoreCurve(rounds, scoreName) {
  const ordered = [...rounds].sort((one, other) => one.round - other.round);
  const next = new Map(ordered.map((entry) => [entry.round - 1, entry.judgement]));
  const scores = ordered.map((entry) => ({
    round: entry.round,
    alliance: entry.own_score ?? next.get(entry.round)?.score_before ?? null,
    local: entry.local_only_score ?? null,
  }));
  const has_local = scores.some((point) => point.local !== null);
  if (has_local || scores.some((point) => point.alliance !== null)) {
    return { points: scores, name: scoreName || "score", is_loss: false, has_local };
  }
  const losses = ordered.map((entry) => ({
    round: entry.round,
    alliance: next.get(entry.round)?.loss_before ?? null,
    local: null,
  }));
  return { points: losses, name: "loss", is_loss: true, has_local: false };
}

/** One sentence on what the curve shows. @param {Curve} curve */
export function curveText(curve) {
  const known = curve.points.filter((point) => point.alliance !== null);
  const last = known[known.length - 1];
  if (!last) return "No score yet: your node measures the model on its private test data after a round.";
  const first = /** @type {Point} */ (known[0]);
  let text = `After round ${last.round}: ${curve.name} ${formatScore(last.alliance)}`;
  if (known.length > 1) text += `, from ${formatScore(first.alliance)} after round ${first.round}`;
  const local = [...curve.points].reverse().find((point) => point.local !== null);
  if (local) text += `. Trained on your own data alone: ${formatScore(local.local)} (round ${local.round})`;
  return `${text}.${curve.is_loss ? " Lower is better." : ""}`;
}
