// @ts-check
// How rounds ended, in words, and the points of the score's curve. Pure.

import { capital, counted, formatScore } from "./format.mjs";
import { OUTCOMES } from "./words.mjs";

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
  if (outcome === "adopted") return `${votes}. Its sum is part of the model now.`;
  if (outcome === "rejected") return `${votes}. They found the model worse with it on their private data; it stays without it.`;
  if (outcome === "undecided") return `${votes}, too few either way. The model stays without it.`;
  return "Its sum could not be opened or tested, because too few updates, answers or votes came in time. Nobody is blamed for it.";
}

/** How this node itself judged, if it did; the figures stand in a column of their own. @param {EndedRound} round @param {number} cohort */
function explainJudgement(round, cohort) {
  const judged = round.judgement;
  const loss = judged?.losses_after[String(cohort)];
  if (!judged || loss === undefined) return "";
  const better = loss < judged.loss_before ? "lower" : "not lower";
  return `Your node voted ${judged.accepted[String(cohort)] ? "for" : "against"} it: on your private data the loss is ${better} with it.`;
}

/** The sentences of a round: the node's own words where it sent them, and how it judged itself.
 * @param {EndedRound} round */
export function explainRound(round) {
  if (round.reasons?.length) {
    const own = round.cohort_outcomes.map((_, cohort) => explainJudgement(round, cohort));
    const said = OUTCOMES[outcomeOf(round)]?.[1] ?? ""; // the badge says it
    const told = round.reasons.map((text) => (text.toLowerCase().startsWith(`${said}: `) ? capital(text.slice(said.length + 2)) : text));
    return [...told, ...own.filter(Boolean)];
  }
  if (round.outcome === "voided") {
    return ["No seal or no settlement reached the chain in time. The model stays as it was, and the next round begins."];
  }
  const many = round.cohort_outcomes.length > 1;
  return round.cohort_outcomes.map((_, cohort) => {
    const own = explainJudgement(round, cohort);
    return `${many ? `Cohort ${cohort}: ` : ""}${explainCohort(round, cohort)}${own ? ` ${own}` : ""}`;
  });
}

/** `3 : 0` of each cohort, with those who gave neither vote. @param {EndedRound & {abstentions?: number[]}} round */
export function votesTexts(round) {
  return round.votes_for.map((yes, cohort) => {
    const silent = round.abstentions?.[cohort] ?? 0;
    return `${yes} : ${round.votes_against[cohort] ?? 0}${silent ? `, ${silent} neither` : ""}`;
  });
}

/** `4 of 5` of each cohort: whose updates are in, of those that train. Nothing where an older node does not tell it, or
 * where nothing was sealed. @param {EndedRound} round */
export const survivorsTexts = (round) => (round.survivors_by_cohort ?? []).map((count, cohort) => `${count} of ${round.trainers_by_cohort?.[cohort] ?? "?"}`);

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
