// Follows the router: documents of /api/v1 once a second while the page is seen, and events as they happen.
// Everything that comes from the router is put in as text, never as markup.
"use strict";

const EVERY = 1000;        // milliseconds between two looks
const SELDOM = 5;          // looks between two at workers and sessions
const POINTS = 120;        // of a sparkline: two minutes
const EVENTS_KEPT = 200;
const SESSIONS_SHOWN = 50;
const COLUMNS = ["Member", "Address", "Role", "State", "Offered as", "Sessions", "Queued", "Lag", "Threads", "Why not"];
const NUMBERS = new Set(["Sessions", "Queued", "Lag", "Threads"]);
// The kinds of events that the router tells of, which the stream has as their names.
const KINDS = [
  "role", "member", "trust", "failover-begun", "failover-ended", "sessions-cut", "worker-died", "worker-started",
  "reloaded", "reload-refused", "mode", "session-killed", "unblocked", "draining",
];
const LATE = 5000;         // milliseconds after which a look is given up

const byId = (id) => document.getElementById(id);
const rates = new Map();   // route name -> { at, bytesIn, bytesOut, rateIn, rateOut, points }
let looks = 0;
let streaming = false;     // whether events come by themselves
let heard = null;          // instance and number of the latest event
let primaries = null;      // cluster name -> its primaries, of the look before

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(cells) {
  const made = element("tr");
  cells.forEach((cell, place) => {
    const [content, kind] = Array.isArray(cell) ? cell : [cell, ""];
    const box = element(place ? "td" : "th", content instanceof Node ? null : content ?? "–", kind);
    if (!place) box.scope = "row";
    if (content instanceof Node) box.append(content);
    made.append(box);
  });
  return made;
}

const number = (value) => [value === null || value === undefined ? "–" : value.toLocaleString("en"), "number"];

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) { value /= 1024; place += 1; }
  return `${value.toFixed(place && value < 100 ? 1 : 0)} ${units[place]}`;
}

function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

async function get(path) {
  const reply = await fetch(path, { signal: AbortSignal.timeout(LATE), cache: "no-store" });
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${reply.statusText}`);
  return reply.json();
}

function say(text, kind) {
  const state = byId("state");
  if (state.textContent !== text) { state.textContent = text; state.className = kind; }
}

function memberRow(member, sessions) {
  const offered = member.offered
    ? [member.offered, "good"]
    : ["not offered", member.state === "ONLINE" ? "wary" : "bad"];
  const lag = member.lag_seconds === null || member.lag_seconds === undefined ? "–" : span(member.lag_seconds);
  return row([
    member.name, member.classic, member.role, [member.state, member.state === "ONLINE" ? "" : "bad"], offered,
    number(sessions), number(member.transactions_queued), [lag, "number"], number(member.threads_running),
    [[member.mode, member.reason].filter(Boolean).join("; "), "reason"],
  ]);
}

function showClusters(clusters, routes) {
  const parts = [];
  for (const [name, cluster] of Object.entries(clusters)) {
    const title = element("h3", `${name}: `);
    title.append(element("span", cluster.trust, cluster.trust === "quorum" ? "good" : "bad"));
    const age = cluster.age_seconds === null ? "never seen" : `${span(cluster.age_seconds)} old`;
    const words = [cluster.flavour, `topology ${cluster.version}, ${age}`, cluster.reason].filter(Boolean).join("; ");
    const wide = element("div", null, "wide");
    const table = element("table");
    table.append(element("caption", words));
    const head = element("tr");
    for (const column of COLUMNS) {
      const cell = element("th", column, NUMBERS.has(column) ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    }
    const thead = element("thead");
    thead.append(head);
    const body = element("tbody");
    for (const member of cluster.members) {
      const counts = routes.filter((one) => one.cluster === name).map((one) => one.by_member[member.name] || 0);
      body.append(memberRow(member, counts.reduce((sum, one) => sum + one, 0)));
    }
    table.append(thead, body);
    wide.append(table);
    parts.push(title, wide);
  }
  byId("clusters").replaceChildren(...parts);
}

function spark(points, words) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 120 28");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", words);
  const line = document.createElementNS(space, "polyline");
  const most = Math.max(1, ...points);
  line.setAttribute("points", points.map((value, at) =>
    `${(120 * (at + POINTS - points.length) / (POINTS - 1)).toFixed(1)},${(26 - 24 * value / most).toFixed(1)}`).join(" "));
  svg.append(line);
  return svg;
}

function rate(route, now) {
  const before = rates.get(route.name);
  const next = { at: now, bytesIn: route.bytes_in_total, bytesOut: route.bytes_out_total, rateIn: 0, rateOut: 0, points: [] };
  if (before && now > before.at) {
    const seconds = (now - before.at) / 1000;
    next.rateIn = Math.max(0, next.bytesIn - before.bytesIn) / seconds;
    next.rateOut = Math.max(0, next.bytesOut - before.bytesOut) / seconds;
    next.points = [...before.points, next.rateIn + next.rateOut].slice(-POINTS);
  }
  rates.set(route.name, next);
  return next;
}

function showRoutes(routes) {
  const now = performance.now();
  byId("routes").replaceChildren(...routes.map((route) => {
    const { rateIn, rateOut, points } = rate(route, now);
    const words = `${bytes(rateIn + rateOut)} a second now, ${bytes(Math.max(0, ...points))} at most`;
    return row([
      route.name,
      route.listening ? route.listen : [`${route.listen} (closed)`, "bad"],
      `${route.destination}, ${route.strategy}`,
      number(route.sessions), [String(route.parked), route.parked ? "number wary" : "number"],
      number(route.accepted_total), number(route.refused_total), number(route.cut_total),
      [`${bytes(rateIn)}/s`, "number"], [`${bytes(rateOut)}/s`, "number"], spark(points, words),
    ]);
  }));
}

function showWorkers(workers) {
  byId("workers").replaceChildren(...workers.map((one) => row([
    String(one.pid), one.state, [span(one.age_seconds), "number"], number(one.sessions),
    [`${(1000 * one.loop_lag_seconds).toFixed(1)} ms`, "number"], [bytes(one.resident_bytes), "number"],
  ])));
}

function showSessions(documents) {
  byId("sessions-summary").textContent = `Show sessions (${documents.total})`;
  const busiest = [...documents.sessions].sort((one, other) => other.bytes_out - one.bytes_out).slice(0, SESSIONS_SHOWN);
  byId("sessions").replaceChildren(...busiest.map((one) => row([
    String(one.id), one.client, one.route, one.member, one.phase, [span(one.age_seconds), "number"],
    [bytes(one.bytes_in), "number"], [bytes(one.bytes_out), "number"],
  ])));
}

function tell(event) {
  const line = element("li");
  const time = element("time", event.time.slice(11, 19));
  time.dateTime = event.time;
  const kind = /failover|died|trust|refused|cut/.test(event.kind) ? "wary" : "";
  line.append(time, element("span", event.cluster ? `${event.cluster}: ${event.text}` : event.text, kind));
  const list = byId("events");
  list.prepend(line);
  while (list.children.length > EVENTS_KEPT) list.lastElementChild.remove();
  byId("no-events").hidden = true;
}

// Without a stream of events the page sees by itself who became the primary.
function compare(clusters) {
  const now = Object.fromEntries(Object.entries(clusters).map(([name, cluster]) =>
    [name, cluster.members.filter((one) => one.offered === "PRIMARY").map((one) => one.name).join(", ")]));
  for (const [name, writer] of Object.entries(now)) {
    if (streaming || !primaries || primaries[name] === undefined || primaries[name] === writer) continue;
    const text = writer ? `${writer} takes writes` : `no primary: ${primaries[name]} is not offered any more`;
    tell({ time: new Date().toISOString(), kind: "failover", cluster: name, text });
  }
  primaries = now;
}

let looking = false;
let again = false;

async function look() {
  if (looking) { again = true; return; }
  looking = true;
  try {
    const seldom = looks % SELDOM === 0;
    const sessions = seldom && byId("sessions-shown").open;
    const [topology, routes, ready, workers, shown] = await Promise.all([
      get("/api/v1/topology"), get("/api/v1/routes"),
      fetch("/readyz", { signal: AbortSignal.timeout(LATE) }).then((reply) => reply.text()),
      seldom ? get("/api/v1/workers") : null, sessions ? get("/api/v1/sessions") : null,
    ]);
    looks += 1;
    compare(topology.clusters);
    showClusters(topology.clusters, routes.routes);
    showRoutes(routes.routes);
    if (workers) showWorkers(workers.workers);
    if (shown) showSessions(shown);
    say(ready.trim(), ready.trim() === "ready" ? "good" : "wary");
  } catch (error) {
    say(`no answer: ${error.message}`, "bad");
  } finally {
    looking = false;
    if (again) { again = false; look(); }
  }
}

function follow() {
  const source = new EventSource("/api/v1/events?after=0");
  source.onopen = () => { streaming = true; };
  source.onerror = () => {
    streaming = false;
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 10 * EVERY);
  };
  const hear = (message) => {
    // A stream that is opened anew begins with all that there is; numbers are of one process of the router.
    const event = JSON.parse(message.data);
    const instance = message.lastEventId.split(":")[0];
    if (heard && heard.instance === instance && event.id <= heard.id) return;
    heard = { instance, id: event.id };
    tell(event);
    look();
  };
  for (const kind of ["message", ...KINDS]) source.addEventListener(kind, hear);
}

byId("sessions-shown").addEventListener("toggle", () => { looks = 0; look(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
setInterval(() => { if (!document.hidden) look(); }, EVERY);
follow();
look();
setTimeout(() => byId("events").removeAttribute("aria-busy"), EVERY);  // what happened before is not read out
