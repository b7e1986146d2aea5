// @ts-check
// Numbers, times and identifiers as text. Pure.

const WEI = 10n ** 18n;

/** `4 s`, `1 min 20 s`, `2 h 5 min`, `3 d 4 h`. @param {number} seconds */
export function formatSeconds(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  const [size, name, smaller, smallerName] = /** @type {[number, string, number, string]} */ (
    units.find(([size]) => whole >= Number(size))
  );
  const rest = Math.floor((whole % size) / smaller);
  return `${Math.floor(whole / size)} ${name}` + (rest ? ` ${rest} ${smallerName}` : "");
}

/** `980 B`, `1.2 MB`; powers of a thousand, as the terminal shows them. @param {number} count */
export function formatBytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = Math.max(0, count);
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Wei as a decimal text to `1,000.25 FLOCK`; rounded down, never shown as more than it is.
 * @param {string} wei @param {string} unit @param {number} digits */
export function formatMoney(wei, unit = "FLOCK", digits = 2) {
  if (!/^-?\d{1,60}$/.test(wei)) return `? ${unit}`;
  const value = BigInt(wei);
  const size = value < 0n ? -value : value;
  const part = (size % WEI).toString().padStart(18, "0");
  let shown = part.slice(0, digits).replace(/0+$/, "");
  if (!shown && size > 0n && size < WEI) shown = part.slice(0, part.search(/[1-9]/) + 2).replace(/0+$/, "");
  const whole = (size / WEI).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return `${value < 0n ? "−" : ""}${whole}${shown ? `.${shown}` : ""} ${unit}`;
}

/** `0.885`; a dash where it is not known. @param {number | null | undefined} value */
export function formatScore(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return Math.abs(value) >= 100 ? value.toPrecision(4) : value.toFixed(3);
}

/** `0.812 → 0.845`. @param {number | null | undefined} before @param {number | null | undefined} after */
export const formatChange = (before, after) => `${formatScore(before)} → ${formatScore(after)}`;

/** The end of a peer ID: all of them begin alike. @param {string} id */
export const shortPeer = (id) => `…${id.slice(-6)}`;

/** `0x1212…1212`. @param {string} address */
export const shortOwner = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

/** `0xcdcdcdcd…`. @param {string} digest */
export const shortDigest = (digest) => (digest.length > 12 ? `${digest.slice(0, 10)}…` : digest);

/** `flock:84530:0x5fc8…5707:1`. @param {string} id */
export const shortAlliance = (id) => id.replace(/0x[0-9a-f]{40}/i, shortOwner);

/** `14:03:22` in the reader's time zone. @param {number} ms Unix time */
export function clockText(ms) {
  return new Date(ms).toLocaleTimeString("en-GB", { hour12: false });
}

/** `2026-11-23 14:03:22`. @param {number} ms Unix time */
export function dateTimeText(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "?";
  return `${date.toLocaleDateString("sv-SE")} ${clockText(ms)}`;
}

/** `1 round`, `2 rounds`. @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** `a, b and c`. @param {string[]} parts */
export function joined(parts) {
  if (parts.length < 2) return parts.join("");
  return `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;
}
