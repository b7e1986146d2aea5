// @ts-check
// The link to the node: the session, and the stream of events that is opened again and again. Says honestly how it is.

import { SILENT_AFTER_MS } from "./store.mjs";

/** @typedef {import("./types.mjs").Link} Link */
/** @typedef {{onEvent: (kind: string, data: unknown) => void, onLink: (link: Link) => void}} Listener */

const KINDS = ["watch", "mesh", "log", "history"];
const RETRY_MS = [500, 1000, 2000, 3000]; // the last again and again
const PROBE_TIMEOUT_MS = 4000;
const LOOK_MS = 2000;

/** Trade the token of the link for a cookie and take it out of the address bar, where others may read it.
 * @returns {Promise<"opened" | "refused" | "none" | "unreachable">} */
export async function openSession() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return "none";
  history.replaceState(null, "", location.pathname + location.search);
  try {
    const answer = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    return answer.ok ? "opened" : "refused";
  } catch {
    return "unreachable";
  }
}

/** How the node is where the stream broke. @returns {Promise<Link>} */
async function probe() {
  try {
    const answer = await fetch("/api/v1/status", { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    if (answer.status === 401 || answer.status === 403) return "locked";
    return answer.status === 503 ? "busy" : "reconnecting";
  } catch {
    return "stopped";
  }
}

/** Follow the node until the page goes. @param {Listener} listener */
export function follow(listener) {
  let tries = 0;
  let heardAt = performance.now();
  let isSilent = false;
  /** @type {EventSource | null} */
  let stream = null;

  const open = () => {
    heardAt = performance.now();
    const source = new EventSource("/api/v1/events");
    stream = source;
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        tries = 0;
        isSilent = false;
        if (kind === "watch") heardAt = performance.now();
        listener.onEvent(kind, JSON.parse(/** @type {MessageEvent} */ (event).data));
      });
    }
    source.addEventListener("error", () => void again(source));
  };

  /** @param {EventSource} source */
  const again = async (source) => {
    if (source !== stream) return;
    source.close(); // our own retries: the browser's say nothing of why
    stream = null;
    if (tries === 0) listener.onLink("reconnecting");
    const link = await probe();
    listener.onLink(link);
    if (link === "locked") return; // only a new link helps
    const wait = RETRY_MS[Math.min(tries, RETRY_MS.length - 1)];
    tries += 1;
    setTimeout(open, link === "busy" ? 5000 : wait);
  };

  setInterval(() => {
    const source = stream;
    if (!source || performance.now() - heardAt < SILENT_AFTER_MS) return;
    if (!isSilent) listener.onLink("silent");
    isSilent = true;
    if (performance.now() - heardAt > 2 * SILENT_AFTER_MS) void again(source);
  }, LOOK_MS);
  open();
}
