// @ts-check
// What the node sends, as types only; the fields are explained in daemon/CONTROL.md. Fields that an older node does not
// send are optional here: the page then shows less, and says so.

/** @typedef {"light" | "dark" | "auto"} Theme */
/** @typedef {"lost" | "late" | "awaited" | "done" | "away" | "working"} ParticipantState */
/** @typedef {{fault: string, round: number, amount: string, transaction: string}} Slash */
/** @typedef {{noise_multiplier: number, delta: number, rounds: number, epsilon: number | null, rounds_spent: number,
 *   epsilon_spent: number | null}} Privacy */
/** @typedef {{step: string, state: string, started_ms: number | null, ended_ms: number | null,
 *   deadline_ms: number | null}} Step */
/** @typedef {{seat: number, peer_id: string, owner: string, role: string, cohort: number | null, is_eligible: boolean,
 *   is_own: boolean, is_connected: boolean, seen_seconds_ago: number | null, is_awaited: boolean,
 *   items: Record<string, string>}} Participant */
/** @typedef {{cohort: number, trainers: number, held: number | null, survivors: number | null,
 *   answered: number | null, threshold: number}} Cohort */
/** @typedef {{what: string, done: number, total: number, unit: string, started_ms: number}} Work */
/** @typedef {{round: number, stage: string, role: string, step: string, is_exact: boolean, steps: Step[],
 *   participants: Participant[], participant_count: number, cohorts: Cohort[], work?: Work[]}} Running */
/** @typedef {{loss_before: number, score_before: number | null, losses_after: Record<string, number>,
 *   scores_after: Record<string, number | null>, accepted: Record<string, boolean>}} Judgement */
/** @typedef {{round: number, outcome: string, cohort_outcomes: string[], trainers: number, survivors: number,
 *   trainers_by_cohort?: number[], survivors_by_cohort?: number[],
 *   votes_for: number[], votes_against: number[], model_digest: string | null, seconds: number | null,
 *   role: string | null, judgement: Judgement | null, own_score?: number | null, local_only_score?: number | null,
 *   score_name?: string | null}} EndedRound */
/** @typedef {{what: string, owner: string, seat: number | null, is_own: boolean, text: string, rounds: number[],
 *   fault: string | null, amount: string | null, transaction: string, at_s: number}} Happening */
/** @typedef {{what: string, transaction: string, block: number, at_s: number, sender: string | null,
 *   is_own: boolean}} Transaction */
/** @typedef {EndedRound & {started_at_s?: number, ended_at_s?: number, abstentions?: number[], reasons?: string[],
 *   money?: {trainer: string, validator: string, refunds: string, total: string, is_claimed: boolean | null} | null,
 *   penalties?: Happening[], events?: Happening[], transactions?: Transaction[],
 *   transactions_left_out?: number}} Round */
/** @typedef {{adopted: number, rejected: number, undecided: number, voided: number}} Counts */
/** @typedef {{stake: string, claimable: string, eth: string, flock: string, as_of_s: number,
 *   earned_total?: string, claimed_total?: string, gas_spent_wei?: string, gas_since_s?: number}} Holdings */
/** @typedef {{alliance: string, task: string, round_count: number, settled_rounds: number, model_rounds: number,
 *   opened_rounds: number, seats: number, seat_count_min: number, closed: boolean, counts: Counts,
 *   model_digest: string, own_seat: number | null, activity: string, activity_text: string,
 *   activity_since_ms: number | null, running: Running | null, rounds: EndedRound[], strikes: number | null,
 *   rejections: number | null, suspicion_bound: number, privacy: Privacy | null, holdings: Holdings | null,
 *   standing: string, release_at_s: number | null, suspended_for: number[], suspected_for: number[],
 *   slashed: Slash | null, score_name?: string | null, local_only_note?: string | null}} Alliance */
/** @typedef {{cpu_seconds: number, memory_bytes: number | null, worker_cpu_seconds: number | null,
 *   worker_memory_bytes: number | null, bytes_sent: number, bytes_received: number}} Cost */
/** @typedef {{format: number, now_ms: number, peer_id: string, address: string, uptime_s: number,
 *   connected_peers: number, chain_id: number, block: number | null, chain_time_s: number | null, warnings: string[],
 *   cost: Cost, alliance: Alliance | null}} Watch */
/** @typedef {{peer_id: string, seat: number | null, owner: string | null, role: string | null, is_connected: boolean,
 *   in_mesh: boolean, direction: string | null, address: string | null, round_trip_ms: number | null,
 *   connected_seconds: number | null, seen_seconds_ago: number | null}} MeshPeer */
/** @typedef {{own: Record<string, unknown>, peers: MeshPeer[]}} Mesh */
/** @typedef {{sequence: number, time: number, level: string, logger: string, message: string,
 *   alliance: string | null, round: number | null, round_id?: string | null, fields: Record<string, unknown> | null}} LogLine */

/** Everything that the page shows, see store.mjs.
 * @typedef {object} State
 * @property {Link} link
 * @property {Watch | null} watch
 * @property {number} watch_at_ms when it came, on the browser's monotonic clock
 * @property {{running: Running, now_ms: number} | null} last the last round that ran as its last frame told it
 * @property {Mesh | null} mesh
 * @property {Round[]} rounds newest first
 * @property {LogLine[]} log oldest first
 * @property {Sample[]} samples oldest first
 */
/** @typedef {"connecting" | "live" | "silent" | "reconnecting" | "stopped" | "busy" | "locked"} Link */
/** One look at what the node used, for rates. @typedef {{at_ms: number, cost: Cost, uptime_s: number}} Sample */

export {};
