// @ts-check
// The network as this node sees it: a graph that the keyboard can walk through, and the same as a table.

import { Component } from "./vendor/preact.mjs";
import { Badge, html, Identifier, Section, Table } from "./parts.mjs";
import { counted, formatSeconds, shortOwner, shortPeer } from "./format.mjs";

/** @typedef {import("./types.mjs").MeshPeer} Peer */

const WIDTH = 420;
const HEIGHT = 290;
const RING_MAX = 18; // peers on one ring; beyond that they stand closer, on up to four rings

/** Where each peer stands: around this node, by seat, always in the same place. @param {Peer[]} peers */
function places(peers) {
  const ordered = [...peers].sort((one, other) => (one.seat ?? 1e9) - (other.seat ?? 1e9) || one.peer_id.localeCompare(other.peer_id));
  const rings = ordered.length > RING_MAX ? Math.min(4, Math.ceil(ordered.length / 32)) : 1;
  return ordered.map((peer, index) => {
    const angle = (2 * Math.PI * index) / Math.max(1, ordered.length) - Math.PI / 2;
    const reach = 1 - 0.2 * (index % rings);
    return { peer, x: WIDTH / 2 + Math.cos(angle) * 170 * reach, y: HEIGHT / 2 + Math.sin(angle) * 104 * reach };
  });
}

/** [mark, word, tone] of a link. @param {Peer} peer @returns {[string, string, string]} */
function linkOf(peer) {
  if (!peer.is_connected) return ["○", "not connected", "warn"];
  return peer.in_mesh ? ["●", "in the mesh", "good"] : ["◐", "connected", "plain"];
}

/** @param {Peer} peer */
const nameOf = (peer) => (peer.seat === null ? shortPeer(peer.peer_id) : `seat ${peer.seat}`);

/** Beside its mark in the graph. @param {Peer} peer */
const labelOf = (peer) => (peer.seat === null ? "not a member" : `seat ${peer.seat}`);

/** @param {Peer} peer */
function describe(peer) {
  const parts = [peer.role ?? (peer.seat === null ? "not a member of the alliance" : "no role in this round"), linkOf(peer)[1]];
  if (peer.is_connected && peer.direction) parts.push(peer.direction);
  if (peer.round_trip_ms !== null) parts.push(`${Math.round(peer.round_trip_ms)} ms round trip`);
  if (!peer.is_connected) parts.push(peer.seen_seconds_ago === null ? "never seen" : `seen ${formatSeconds(peer.seen_seconds_ago)} ago`);
  return `${nameOf(peer)}: ${parts.join(", ")}`;
}

/** @extends {Component<{mesh: import("./types.mjs").Mesh | null, ownSeat: number | null, ownRole: string}, {chosen: string | null}>} */
export class Network extends Component {
  state = { chosen: null };
  render() {
    const { mesh, ownSeat, ownRole } = this.props;
    if (!mesh) return html`<${Section} id="network" title="Network"><p class="empty">The node has not told of its connections yet.</p><//>`;
    if (!mesh.peers.length) return html`<${Section} id="network" title="Network"><p class="empty">The node knows no other node yet.</p><//>`;
    const placed = places(mesh.peers);
    const chosen = mesh.peers.find((peer) => peer.peer_id === this.state.chosen);
    const choose = (/** @type {string | null} */ id) => () => this.setState({ chosen: id });
    const connected = mesh.peers.filter((peer) => peer.is_connected).length;
    const isDense = placed.length > RING_MAX;
    const reach = isDense ? 12 : 19; // of a label, from the middle of its mark
    const own = ownSeat === null ? "you" : `you, seat ${ownSeat}`;
    return html`<${Section} id="network" title="Network" note="Only what this node itself sees">
      <p>${connected} of ${counted(mesh.peers.length, "known peer")} connected, ${mesh.peers.filter((peer) => peer.in_mesh).length} of them in the alliance's mesh.</p>
      <svg class=${`mesh ${isDense ? "dense" : ""}`} viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="group" aria-label="Graph of this node's connections">
        <g aria-hidden="true">${placed.map(({ peer, x, y }) => html`<line key=${peer.peer_id} class=${edgeClass(peer)} x1=${WIDTH / 2} y1=${HEIGHT / 2} x2=${x} y2=${y} />`)}</g>
        <g class="node own" role="img" aria-label=${`This node: ${own}`}><${Shape} role=${ownRole} x=${WIDTH / 2} y=${HEIGHT / 2} size="9" />
          <text x=${WIDTH / 2} y=${HEIGHT / 2 + 28}>you</text></g>
        ${placed.map(({ peer, x, y }) => html`<g key=${peer.peer_id} class=${`node ${peer.is_connected ? "" : "gone"} ${peer.peer_id === this.state.chosen ? "chosen" : ""}`}
          tabindex="0" role="button" aria-label=${describe(peer)} aria-pressed=${peer.peer_id === this.state.chosen}
          onFocus=${choose(peer.peer_id)} onMouseEnter=${choose(peer.peer_id)} onClick=${choose(peer.peer_id)}>
          <circle class="reach" cx=${x} cy=${y} r=${isDense ? 9 : 15} /><${Shape} role=${peer.role} x=${x} y=${y} size=${isDense ? 5 : 9} />
          <text x=${x} y=${y < HEIGHT / 2 - 20 ? y - reach : y + reach + 9}>${labelOf(peer)}</text></g>`)}
      </svg>
      <p class="mesh-detail">${chosen ? describe(chosen) : "Point at a node, or walk through them with the tab key."}</p>
      <p class="note">Square: validator, circle: trainer, diamond: neither${placed.some(({ peer }) => peer.seat === null) ? " (a bootstrap node, for example, is not a member)" : ""}. Thick line: in the mesh, which passes the alliance's messages on; thin: connected, dotted: not connected.</p>
      <details><summary>The same as a table</summary><${Table} caption="Peers of this node" className="cards" columns=${COLUMNS} rows=${placed.map(({ peer }) => row(peer))} /></details>
    <//>`;
  }
}

/** @param {Peer} peer */
const edgeClass = (peer) => (!peer.is_connected ? "edge edge-gone" : peer.in_mesh ? "edge edge-mesh" : "edge");

/** The role is told by shape, not by colour. @param {{role: string | null, x: number, y: number, size: number}} props */
function Shape({ role, x, y, size }) {
  const half = Number(size) - 0.8; // a square's side; a diamond's corners reach further, for all to look equally large
  const far = Number(size) + 1.2;
  if (role === "trainer") return html`<circle class="shape" cx=${x} cy=${y} r=${size} />`;
  if (role === "validator") return html`<rect class="shape" x=${x - half} y=${y - half} width=${2 * half} height=${2 * half} />`;
  return html`<path class="shape" d=${`M${x} ${y - far}L${x + far} ${y}L${x} ${y + far}L${x - far} ${y}Z`} />`;
}

const COLUMNS = [
  { title: "Seat", isNumber: true }, { title: "Peer" }, { title: "Role" }, { title: "Link" }, { title: "Round trip", isNumber: true },
  { title: "Connected for" }, { title: "Last seen" }, { title: "Address" },
];

/** @param {Peer} peer */
function row(peer) {
  const [mark, word, tone] = linkOf(peer);
  const who = html`<${Identifier} label="Peer" short=${shortPeer(peer.peer_id)} full=${peer.peer_id} /> ${
    peer.owner ? html`<${Identifier} label="Owner" short=${shortOwner(peer.owner)} full=${peer.owner} />` : null}`;
  return {
    key: peer.peer_id,
    cells: [
      peer.seat ?? "–", who, peer.role ?? "–", html`<${Badge} mark=${mark} word=${word} tone=${tone} />${peer.direction ? ` ${peer.direction}` : ""}`,
      peer.round_trip_ms === null ? "–" : `${Math.round(peer.round_trip_ms)} ms`,
      peer.connected_seconds === null ? "–" : formatSeconds(peer.connected_seconds),
      peer.seen_seconds_ago === null ? "never" : `${formatSeconds(peer.seen_seconds_ago)} ago`,
      html`<span class="address">${peer.address ?? "–"}</span>`,
    ],
  };
}
