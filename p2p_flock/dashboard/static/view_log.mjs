// @ts-check
// The node's log with filters by level, round and text. Paused, it stands still while lines go on to be collected.

import { Component } from "./vendor/preact.mjs";
import { FoldingSection, html } from "./parts.mjs";
import { clockText, dateTimeText } from "./format.mjs";

/** @typedef {import("./types.mjs").LogLine} LogLine */
/** @typedef {{lines: LogLine[]}} Props */

const LEVELS = ["debug", "info", "warning", "error", "critical"];
const SHOWN_MAX = 300;
/** @type {Record<string, [string, string]>} */
const MARKS = { warning: ["!", "warn"], error: ["✗", "bad"], critical: ["✗", "bad"] };

/** Lines that pass the filters. @param {LogLine[]} lines @param {{level: string, round: string, text: string}} filter */
export function filterLines(lines, filter) {
  const least = LEVELS.indexOf(filter.level);
  const words = filter.text.toLowerCase();
  return lines.filter((line) =>
    LEVELS.indexOf(line.level.toLowerCase()) >= least
    && (filter.round === "" || String(line.round ?? "") === filter.round)
    && (words === "" || `${line.logger} ${line.round_id ?? ""} ${line.message} ${fieldsText(line)}`.toLowerCase().includes(words)));
}

/** `bytes=12 seat=3`. @param {LogLine} line */
function fieldsText(line) {
  return Object.entries(line.fields ?? {}).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
}

/** `a1-r7`: the round's name in every log and file of every node. @param {LogLine} line */
const roundText = (line) => line.round_id ?? (line.round === null ? "" : `round ${line.round}`);

/** @extends {Component<Props, {level: string, round: string, text: string, held: LogLine[] | null}>} */
export class Log extends Component {
  state = { level: "info", round: "", text: "", held: /** @type {LogLine[] | null} */ (null) };
  /** @type {HTMLElement | null} */ place = null;
  isAtEnd = true;

  componentDidMount() {
    this.toEnd();
  }

  componentDidUpdate() {
    if (this.isAtEnd && !this.state.held) this.toEnd();
  }

  toEnd() {
    if (this.place) this.place.scrollTop = this.place.scrollHeight;
  }

  setPlace = (/** @type {HTMLElement | null} */ place) => {
    this.place = place;
    if (this.isAtEnd) this.toEnd();
  };

  /** Whoever reads further up is not pulled down by new lines. */
  note = () => {
    const place = this.place;
    if (place) this.isAtEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 30;
  };

  render() {
    const { level, round, text, held } = this.state;
    const lines = held ?? this.props.lines;
    const found = filterLines(lines, this.state);
    const rounds = [...new Set(lines.map((line) => line.round).filter((number) => number !== null))].sort((one, other) => Number(other) - Number(one));
    const newer = held ? this.props.lines.filter((line) => line.sequence > (held[held.length - 1]?.sequence ?? 0)).length : 0;
    const value = (/** @type {Event} */ event) => /** @type {HTMLInputElement} */ (event.target).value;
    return html`<${FoldingSection} id="log" title="Log" note="from the node's last 200 lines on; the whole log is a file in its folder">
      <div class="filters">
        <label>Level <select value=${level} onChange=${(/** @type {Event} */ event) => this.setState({ level: value(event) })}>
          <option value="info">all</option><option value="warning">warnings and errors</option><option value="error">errors</option></select></label>
        <label>Round <select value=${round} onChange=${(/** @type {Event} */ event) => this.setState({ round: value(event) })}>
          <option value="">all</option>${rounds.map((number) => html`<option key=${number} value=${String(number)}>${number}</option>`)}</select></label>
        <label class="grow">Text <input type="search" value=${text} maxlength="100" onInput=${(/** @type {Event} */ event) => this.setState({ text: value(event) })} /></label>
        <button type="button" aria-pressed=${held !== null} onClick=${() => this.setState({ held: held ? null : this.props.lines })}>
          ${held ? `Go on${newer ? ` (${newer} new)` : ""}` : "Pause"}</button>
        <span class="note">${found.length} of ${lines.length} lines${found.length > SHOWN_MAX ? `, the last ${SHOWN_MAX} shown` : ""}</span>
      </div>
      <div class="log-lines" tabindex="0" role="region" aria-label="Lines of the log" ref=${this.setPlace} onScroll=${this.note}>
        ${found.length ? html`<ol>${found.slice(-SHOWN_MAX).map((line) => html`<${Line} key=${line.sequence} line=${line} />`)}</ol>` : html`<p class="empty">No line passes these filters.</p>`}
      </div>
    <//>`;
  }
}

/** @extends {Component<{line: LogLine}>} */
class Line extends Component {
  /** A line never changes. */
  shouldComponentUpdate() {
    return false;
  }

  render() {
    const { line } = this.props;
    const level = line.level.toLowerCase();
    const [mark, tone] = MARKS[level] ?? ["", ""];
    const fields = fieldsText(line);
    return html`<li><time class="dim" title=${dateTimeText(line.time * 1000)}>${clockText(line.time * 1000)}</time> ${mark ? html`<span class=${tone}><span aria-hidden="true">${mark} </span>${level}</span> ` : null}${roundText(line) ? html`<span class="dim" title=${line.alliance}>${roundText(line)}</span> ` : null}<span class="message">${line.message}</span>${fields ? html` <span class="dim">${fields}</span>` : null}</li>`;
  }
}
