// @ts-check
// What this node is doing now, and the running round as a timeline of its steps.

import { Badge, html, Section } from "./parts.mjs";
import { clockText, counted, formatBytes, formatSeconds } from "./format.mjs";
import { ACTIVITIES, STEP_STATES, STEPS, WORKS } from "./words.mjs";

/** @typedef {import("./types.mjs").Alliance} Alliance */
/** @typedef {import("./types.mjs").Step} Step */

/** @param {{alliance: Alliance, nowMs: number, isPast: boolean, ended: import("./types.mjs").Round | null}} props
 * `isPast`: no round runs, and the last one is shown; `ended`: the newest round that ended */
export function Round({ alliance, nowMs, isPast, ended }) {
  const { running } = alliance;
  let title = running ? `Round ${running.round}` : alliance.closed ? "All rounds are over" : "No round runs";
  const steps = running && isPast ? stepsAtEnd(running.steps, ended?.round === running.round ? ended.outcome : "") : running?.steps;
  if (isPast) title += " is over";
  return html`<${Section} id="round" title=${title} className=${isPast ? "past" : ""}>
    <${Now} alliance=${alliance} nowMs=${nowMs} isPast=${isPast} />
    ${running && steps ? html`<${Timeline} steps=${steps} nowMs=${nowMs} isExact=${isPast || running.is_exact} isPast=${isPast} />` : null}
  <//>`;
}

/** How far the steps of a round came that is over. @param {Step[]} steps @param {string} outcome @returns {Step[]} */
function stepsAtEnd(steps, outcome) {
  return steps.map((step) => (step.state === "done" ? step : { ...step, state: outcome === "voided" ? "unreached" : "done", deadline_ms: null }));
}

/** Who this node is in the round and what it is doing, with its progress. @param {{alliance: Alliance, nowMs: number, isPast: boolean}} props */
function Now({ alliance, nowMs, isPast }) {
  const { running, activity } = alliance;
  const seat = alliance.own_seat === null ? "no seat" : `seat ${alliance.own_seat}`;
  const role = running && running.role !== "none" ? running.role : "";
  let text = `Your node ${ACTIVITIES[activity] ?? `reports “${activity}”.`}`;
  if (activity === "aside" && alliance.activity_text) text += ` Why: ${alliance.activity_text}.`;
  if (activity === "awaiting_seats") {
    text += ` ${alliance.seats} of ${alliance.seat_count_min} seats are taken; the first round begins when all are.`;
  }
  if (activity === "catching_up") {
    text += ` It holds the model after ${alliance.model_rounds} of ${counted(alliance.opened_rounds, "round")}`;
    text += alliance.activity_text ? `: ${alliance.activity_text}.` : ".";
  }
  const since = alliance.activity_since_ms;
  const works = isPast ? [] : running?.work ?? [];
  const isLong = !works.length && ["training", "judging"].includes(activity) && since !== null;
  return html`<div class="now">
    <p class="own-role"><strong>You</strong> ${seat}${role ? html` · <span class="role">${role}</span>` : null}</p>
    <div class="own-work">
      <p class="activity">${text}${isLong ? ` ${formatSeconds((nowMs - (since ?? nowMs)) / 1000)} so far.` : null}</p>
      ${activity === "awaiting_seats"
        ? html`<progress max=${alliance.seat_count_min} value=${alliance.seats} aria-label="Seats taken" />` : null}
      ${works.map((work) => html`<${WorkBar} key=${work.what} work=${work} nowMs=${nowMs} />`)}
    </div>
  </div>`;
}

/** One piece of work and how far it is. @param {{work: import("./types.mjs").Work, nowMs: number}} props */
function WorkBar({ work, nowMs }) {
  const name = WORKS[work.what] ?? work.what;
  const isBytes = work.unit === "bytes";
  const amount = isBytes
    ? `${formatBytes(work.done)} of ${formatBytes(work.total)}` : `${work.done} of ${work.total} ${work.unit}`;
  const spent = Math.max(0, nowMs - work.started_ms) / 1000;
  const share = work.total > 0 ? work.done / work.total : 0;
  const left = share > 0.05 && share < 1 ? `, about ${formatSeconds(spent / share - spent)} left` : "";
  return html`<div class="work">
    <span>${name}</span>
    <progress max=${work.total || 1} value=${work.done} aria-label=${`${name}: ${amount}`} />
    <span class="note">${amount} · ${formatSeconds(spent)} so far${left}</span>
  </div>`;
}

/** @param {{steps: Step[], nowMs: number, isExact: boolean, isPast: boolean}} props */
function Timeline({ steps, nowMs, isExact, isPast }) {
  return html`<ol class="timeline" aria-label="Steps of the round">
      ${steps.map((step) => html`<${StepCard} key=${step.step} step=${step} nowMs=${nowMs} isExact=${isExact} />`)}
    </ol>
    ${isPast ? html`<p class="note">The next round begins when it is opened on chain; nothing needs to be done.</p>` : isExact ? null : html`<p class="note">Your node does not see how far the validators of this round are: a step that is “unseen” may have begun or ended.</p>`}`;
}

/** @param {{step: Step, nowMs: number, isExact: boolean}} props */
function StepCard({ step, nowMs, isExact }) {
  const [title, what] = STEPS[step.step] ?? [step.step, ""];
  let [mark, word] = STEP_STATES[step.state] ?? ["?", step.state];
  const isRunning = step.state === "running";
  const isPast = isRunning && step.deadline_ms !== null && nowMs >= step.deadline_ms;
  const over = isPast && isExact; // who cannot see a step's end blames nobody for it
  if (isPast && !isExact) [mark, word] = ["?", "may be over"];
  const tone = over ? "bad" : isPast ? "dim" : { done: "good", running: "busy" }[step.state] ?? "dim";
  return html`<li class=${`step step-${step.state}${over ? " step-over" : ""}`} aria-current=${isRunning ? "step" : undefined}>
    <div class="step-name"><strong>${title}</strong> <${Badge} mark=${over ? "!" : mark} word=${over ? "over its time" : word} tone=${tone} /></div>
    <${StepBar} step=${step} nowMs=${nowMs} title=${title} />
    <p class="step-time">${timeText(step, nowMs, isExact)}</p>
    <p class="step-what">${what}</p>
  </li>`;
}

/** The share of its time that a step has used. @param {{step: Step, nowMs: number, title: string}} props */
function StepBar({ step, nowMs, title }) {
  const { started_ms: started, deadline_ms: deadline } = step;
  const isKnown = step.state === "running" && started !== null && deadline !== null && deadline > started;
  if (!isKnown) return html`<div class=${`step-line line-${step.state}`} />`;
  return html`<progress class="step-line" max=${deadline - started} value=${Math.min(deadline, Math.max(started, nowMs)) - started}
    aria-label=${`${title}: time used`} />`;
}

/** @param {Step} step @param {number} nowMs @param {boolean} isExact */
function timeText(step, nowMs, isExact) {
  const { started_ms: started, ended_ms: ended, deadline_ms: deadline } = step;
  const clock = (/** @type {number} */ ms) => html`<span class="clock">${clockText(ms)}</span>`;
  if (step.state === "done") {
    if (started === null) return "";
    if (ended === null) return html`from ${clock(started)}`;
    return html`${clock(started)} · took ${formatSeconds((ended - started) / 1000)}`;
  }
  if (step.state === "running") {
    if (deadline === null) return started === null ? "running" : html`since ${clock(started)}, no deadline yet`;
    const left = Math.floor((deadline - nowMs) / 1000);
    return left >= 0 ? html`<strong>${formatSeconds(left)} left</strong>, until ${clock(deadline)}`
      : !isExact ? html`was due ${clock(deadline)}` : html`<strong>${formatSeconds(-left)} over</strong>, was due ${clock(deadline)}`;
  }
  return deadline === null ? "" : html`until ${clock(deadline)} at the latest`;
}
