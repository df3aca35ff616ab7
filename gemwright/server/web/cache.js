/** What the caches hold, drawn live: a bar per kind of layer, fainter what is kept for later, what sequences share, and
 * the last minute. */

import { cache } from "./api.js";
import { bytesInWords, find, make } from "./dom.js";

const EVERY = 1000; // milliseconds between two looks
const AFTER_TROUBLE = 5000;
const HISTORY = 60; // looks that the curve shows
const KINDS = [
  { kind: "global", label: "Global layers", hint: "every token of the conversations" },
  { kind: "local", label: "Local layers", hint: "the last tokens, within the window" },
  { kind: "recurrent", label: "Recurrent layers", hint: "a state of fixed size" },
];

const section = find("#cache");
const bars = find("#cache-bars");
const words = find("#cache-words");
const curve = find("#cache-curve");
const history = [];
let timer = null;

/** Look while the page and the section are seen, and stop while they are not. */
export function watchCache() {
  const look = () => {
    clearTimeout(timer);
    timer = null;
    if (!document.hidden && section.checkVisibility()) step();
  };
  document.addEventListener("visibilitychange", look);
  new IntersectionObserver(look).observe(section);
  return look;
}

async function step() {
  let wait = EVERY;
  try {
    draw(await cache());
  } catch (trouble) {
    words.textContent = trouble.status === 404 ? "This server does not report its cache." : trouble.message;
    section.classList.add("unknown");
    if (trouble.status === 404 || trouble.status === 401) return;
    wait = AFTER_TROUBLE;
  }
  if (document.hidden || !section.checkVisibility()) return;
  clearTimeout(timer);
  timer = setTimeout(step, wait);
}

function draw({ capacity, used, kept, shared, sequences, beginnings, waiting }) {
  section.classList.remove("unknown");
  const held = KINDS.filter(({ kind }) => capacity[kind] > 0);
  const total = held.reduce((sum, { kind }) => sum + used[kind] + kept[kind], 0);
  const rows = held.map(({ kind, ...row }) => ({ kind, ...row, value: used[kind], later: kept[kind], of: capacity[kind] }));
  const note = "counted once, used by more than one";
  rows.push({ kind: "shared", label: "Shared", hint: note, value: shared, later: 0, of: total, among: "held" });
  for (const row of rows) drawBar(row);
  const waits = waiting ? `, ${waiting} waiting` : "";
  const keeps = beginnings ? `, ${beginnings} kept for later (fainter)` : "";
  words.textContent = `${sequences} ${sequences === 1 ? "sequence" : "sequences"}${keeps}${waits}`;
  const room = held.reduce((sum, { kind }) => sum + capacity[kind], 0);
  drawCurve(room ? total / room : 0);
}

function drawBar({ kind, label, hint, value, later, of, among }) {
  const row = bars.querySelector(`[data-kind=${kind}]`) ?? addBar(kind, label, hint);
  const share = (bytes) => (of ? Math.min(bytes / of, 1) : 0);
  const text = `${bytesInWords(value + later)} of ${bytesInWords(of)}${among ? ` ${among}` : ""}`;
  row.querySelector(".amount").textContent = text;
  const bar = row.querySelector("[role=meter]");
  bar.setAttribute("aria-valuenow", Math.round(share(value + later) * 100));
  bar.setAttribute("aria-valuetext", later ? `${text}, ${bytesInWords(later)} of it kept for later` : text);
  bar.firstElementChild.style.setProperty("--share", share(value + later));
  bar.lastElementChild.style.setProperty("--share", share(value));
}

function addBar(kind, label, hint) {
  const bar = make(
    "div",
    { className: "bar", role: "meter", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100" },
    make("div", { className: "filled later" }),
    make("div", { className: "filled" }),
  );
  const head = make("div", { className: "bar-head" }, make("span", { textContent: label }), make("span", { className: "amount" }));
  const row = make("li", { title: hint }, head, bar);
  row.dataset.kind = kind;
  bars.append(row);
  return row;
}

/** The filled share over time, the newest at the right, in a box of 60 × 32. */
function drawCurve(share) {
  history.push(share);
  if (history.length > HISTORY) history.shift();
  const points = history.map((value, index) => `${HISTORY - history.length + index},${(31 - 30 * value).toFixed(2)}`);
  const ground = `${HISTORY - 1},32 ${HISTORY - history.length},32`;
  curve.querySelector("polyline").setAttribute("points", points.join(" "));
  curve.querySelector("polygon").setAttribute("points", `${points.join(" ")} ${ground}`);
  const percent = (100 * share).toFixed(share < 0.1 ? 1 : 0);
  curve.setAttribute("aria-label", `${percent}% of the cache is full`);
  find("#cache-share").textContent = `${percent}% full`;
}
