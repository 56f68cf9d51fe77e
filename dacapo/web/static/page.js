// Everything on the pages works without this script, but for values under the pointer, keys, and updates as runs train.
"use strict";

const root = document.documentElement;
const find = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// Theme: that of the system, until one is chosen.
const stored = (() => { try { return localStorage.getItem("dacapo-theme"); } catch { return null; } })();
if (stored === "dark" || stored === "light") root.dataset.theme = stored;

function toggleTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("dacapo-theme", root.dataset.theme); } catch { /* storage is blocked: the choice lasts for this page */ }
}

// Charts: the values at the pointer, or at the place that the arrow keys move.
function showValues(chart, place) {
  chart.lines ??= JSON.parse(chart.dataset.lines);
  const places = [...new Set(chart.lines.flatMap((line) => line.px))].sort((a, b) => a - b);
  if (!places.length) return;
  const at = places.reduce((best, one) => (Math.abs(one - place) < Math.abs(best - place) ? one : best));
  chart.at = places.indexOf(at);
  chart.places = places;
  const box = chart.viewBox.baseVal;
  let cursor = find(".cursor", chart);
  if (!cursor) {
    cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    chart.append(cursor);
  }
  for (const [name, value] of Object.entries({ x1: at, x2: at, y1: 12, y2: box.height - 48 })) cursor.setAttribute(name, value);
  const near = (line) => line.px.reduce((best, one, i) => (Math.abs(one - at) < Math.abs(line.px[best] - at) ? i : best), 0);
  const rows = chart.lines.filter((line) => line.px.length).map((line) => [line, near(line)])
    .filter(([line, i]) => Math.abs(line.px[i] - at) < 12);
  const several = chart.lines.length > 1;
  const tip = find(".tip", chart.parentElement) ?? chart.parentElement.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.textContent = [`iteration ${rows[0][0].x[rows[0][1]]}`,
    ...rows.map(([line, i]) => (several ? `${line.name}: ` : "") + line.y[i])].join("\n");
  const left = chart.offsetLeft ?? 0;
  const x = (at / box.width) * chart.clientWidth;
  tip.style.left = `${x > chart.clientWidth / 2 ? Math.max(0, left + x - tip.offsetWidth - 14) : left + x + 14}px`;
  tip.style.top = `${chart.getBoundingClientRect().top - chart.parentElement.getBoundingClientRect().top + 14}px`;
}

function hideValues(chart) {
  find(".cursor", chart)?.remove();
  find(".tip", chart.parentElement)?.remove();
}

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart[data-lines]");
  for (const other of all(".chart[data-lines]")) if (other !== chart && find(".cursor", other)) hideValues(other);
  if (!chart) return;
  const box = chart.getBoundingClientRect();
  showValues(chart, ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width);
});
document.addEventListener("focusout", (event) => event.target.matches?.(".chart[data-lines]") && hideValues(event.target));

function moveInChart(chart, key) {
  if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) return false;
  const begun = Boolean(find(".cursor", chart));
  if (!chart.places) showValues(chart, 0);
  if (!chart.places) return true; // a chart without values
  const last = chart.places.length - 1;
  const next = { ArrowLeft: begun ? chart.at - 1 : last, ArrowRight: begun ? chart.at + 1 : 0, Home: 0, End: last }[key];
  showValues(chart, chart.places[Math.max(0, Math.min(last, next))]);
  return true;
}

// The list: filter, sorting and choice are in the address, so that a reload or a link shows the same.
const live = () => find("#live");
let reading = 0;
let tag = live()?.dataset.tag ?? null;

async function reread(address, record) {
  const turn = ++reading;
  const known = address === location.pathname + location.search && tag ? { "If-None-Match": tag } : {};
  if (record) history.replaceState(null, "", address);
  let answer;
  try {
    answer = await fetch(address, { headers: known, credentials: "same-origin" });
  } catch {
    live().classList.add("gone"); // the server was stopped; the page keeps what it shows
    return;
  }
  if (turn !== reading || answer.status === 304) return live().classList.remove("gone");
  if (!answer.ok) return live().classList.add("gone");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (turn !== reading || !find("#live", fresh)) return;
  tag = answer.headers.get("ETag");
  replaceLive(find("#live", fresh));
}

function replaceLive(fresh) {
  const open = all("details[id][open]", live()).map((one) => one.id);
  const row = find("tr.at", live())?.dataset.run;
  const focused = live().contains(document.activeElement) ? document.activeElement : null;
  let again = focused?.id ? find(`#${CSS.escape(focused.id)}`, fresh) : null;
  if (again?.type === "search") { // keep what is being typed while the answer comes
    again.replaceWith(focused);
    again = focused;
  }
  for (const place of all("[data-load]", fresh)) {
    const loaded = all("[data-load]", live()).find((one) => one.dataset.load === place.dataset.load && one.dataset.done);
    if (loaded) place.replaceWith(loaded);
  }
  live().replaceWith(fresh);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  all("tr[data-run]", fresh).find((one) => one.dataset.run === row)?.classList.add("at");
  again?.focus({ preventScroll: true });
  load();
}

function addressOf(form) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value) fields.append(name, value);
  const query = fields.toString();
  return location.pathname + (query ? `?${query}` : "");
}

let waiting;
document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.form?.matches("form[data-live]")) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => reread(addressOf(field.form), true), field.type === "search" ? 150 : 0);
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-live]") || event.submitter?.formAction.includes("/compare")) return;
  event.preventDefault();
  reread(addressOf(event.target), true);
});

// Parts that take time, such as pictures of the data, come after the page.
async function load() {
  for (const place of all("[data-load]:not([data-done])")) {
    place.dataset.done = "yes";
    try {
      const answer = await fetch(place.dataset.load, { credentials: "same-origin" });
      const part = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...(find("main", part) ?? part.body).childNodes);
    } catch {
      place.textContent = "The pictures could not be read.";
    }
  }
}

// Keys.
function moveTo(step) {
  const rows = all("tr[data-run]");
  const now = rows.findIndex((row) => row.classList.contains("at"));
  const next = rows[Math.max(0, Math.min(rows.length - 1, now + step))];
  rows[now]?.classList.remove("at");
  next?.classList.add("at");
  next?.scrollIntoView({ block: "nearest" });
}

const keys = {
  "/": () => find("#filter")?.focus(),
  j: () => moveTo(1),
  k: () => moveTo(-1),
  x: () => find("tr.at input[type=checkbox]")?.click(),
  Enter: () => find("tr.at td.name a")?.click(),
  c: () => find("#compare")?.click(),
  h: () => find("header .brand")?.click(),
  t: toggleTheme,
  "?": () => find("#keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && target.matches("input")) return target.blur();
  if (target.matches("input:not([type=checkbox]), select, textarea")) return;
  if (target.matches(".chart[data-lines]") && moveInChart(target, event.key)) return event.preventDefault();
  if (event.key === "Enter" && target !== document.body) return;
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-do]");
  if (button) ({ theme: toggleTheme, keys: keys["?"] })[button.dataset.do]?.();
});

load();
const every = Number(live()?.dataset.every ?? 0);
if (every) setInterval(() => document.hidden || reread(location.pathname + location.search, false), every * 1000);
