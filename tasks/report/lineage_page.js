// The script of lineage.html, written into the page; what comes from records is set with textContent only.
"use strict";
const { nodes, target } = JSON.parse(document.getElementById("data").textContent);
const byId = new Map(nodes.map(node => [String(node.id), node]));
const canvas = document.getElementById("canvas");
const details = document.getElementById("details");
const drawings = [...document.querySelectorAll(".drawing")];
// MLflow shows artifacts in a frame without an origin that may open no windows: there only the browser's own ways to
// open a link in a new tab work (Ctrl, middle button, context menu), so that a plain click copies the address instead.
const framed = location.protocol !== "file:" && window.origin === "null";
let drawing, boxes, lines, above, below;
let chosen = null;

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function written(value) {
  if (typeof value === "number") {
    if (Number.isInteger(value)) return value.toLocaleString("en");
    return String(Number(value.toPrecision(4)));
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function part(title) {
  const block = make("div", undefined, { class: "part" });
  if (title) block.append(make("h3", title));
  details.append(block);
  return block;
}

function table(title, values) {
  const rows = Object.entries(values);
  if (!rows.length) return;
  const body = make("table");
  for (const [name, value] of rows) {
    const row = make("tr");
    row.append(make("td", name), make("td", written(value)));
    body.append(row);
  }
  part(title).append(body);
}

// A metric and its interval stand in one row.
function figures(metrics) {
  const rows = {};
  for (const [name, value] of Object.entries(metrics)) {
    if (/_(low|high)$/.test(name)) continue;
    const low = metrics[name + "_low"], high = metrics[name + "_high"];
    rows[name] = low === undefined || high === undefined ? written(value) : `${written(value)} (${written(low)} – ${written(high)})`;
  }
  return rows;
}

const OWN_PLACE = new Set(["id", "stage", "kind", "digest", "key", "metrics", "config", "mlflow_url", "prefect_url"]);

function addressOf(node) { return node.mlflow_url || node.prefect_url || ""; }

// Works in a frame without an origin, where navigator.clipboard does not.
function copied(field) {
  field.select();
  try { return document.execCommand("copy"); } catch { return false; }
}

function showAddress(head, address, copy) {
  const row = make("div", undefined, { class: "links" });
  const field = make("input", undefined, { class: "address", readonly: "", "aria-label": "Address of the run" });
  const button = make("button", "Copy the address", { type: "button" });
  const hint = make("p", "Ctrl+click or middle-click a box or link opens it in a new tab; MLflow's frame lets a page open nothing by itself.", { class: "hint" });
  field.value = address;
  field.addEventListener("focus", () => field.select());
  const done = () => { if (copied(field)) hint.textContent = "Address copied: paste it into a new tab. Ctrl+click or middle-click opens it at once."; };
  button.addEventListener("click", done);
  row.append(button);
  head.append(field, row, hint);
  if (copy) done();
}

function showGroup(box) {
  details.replaceChildren();
  const members = JSON.parse(box.dataset.members).map(id => byId.get(id));
  const head = part();
  head.append(make("h2", `${members[0].stage} × ${members.length}`), make("p", "Runs of this stage, newest first. Choose one to see its figures and links."));
  const list = part();
  list.style.breakInside = "auto";
  for (const node of members) {
    const entry = make("button", undefined, { class: "member", type: "button", "data-member": node.id });
    const [name, value] = Object.entries(figures(node.metrics || {}))[0] || ["", ""];
    entry.append(make("code", String(node.digest).slice(0, 12)), make("span", node.made || ""), make("span", `${name} ${value}`));
    entry.addEventListener("click", () => { chosen = { group: box.dataset.id, node: String(node.id) }; show(node); });
    list.append(entry);
  }
}

function show(node, copy = false) {
  details.replaceChildren();
  const head = part();
  head.append(make("h2", node.stage), make("p", node.kind));
  const links = make("div", undefined, { class: "links" });
  for (const [label, url] of [["MLflow run", node.mlflow_url], ["Prefect run", node.prefect_url]]) {
    if (url) links.append(make("a", label, { href: url, target: "_blank", rel: "noopener noreferrer" }));
  }
  if (links.childElementCount) head.append(links);
  if (framed && addressOf(node)) showAddress(head, addressOf(node), copy);
  part("content digest").append(make("code", node.digest));
  if (node.key) part("key").append(make("code", node.key));
  table("figures", figures(node.metrics || {}));
  table("settings", node.config || {});
  const rest = {};
  for (const [name, value] of Object.entries(node)) {
    if (OWN_PLACE.has(name)) continue;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) table(name, value);
    else rest[name.replaceAll("_", " ")] = value;
  }
  table("more", rest);
}

function reach(start, step) {
  const found = new Set([start]), waiting = [start];
  while (waiting.length) {
    const here = waiting.pop();
    for (const next of step(here)) if (!found.has(next)) { found.add(next); waiting.push(next); }
  }
  return found;
}

function trace(id) {
  const up = reach(id, node => above.get(node) || []), down = reach(id, node => below.get(node) || []);
  for (const box of boxes) box.classList.toggle("on", up.has(box.dataset.id) || down.has(box.dataset.id));
  for (const line of lines) {
    const { from, to } = line.dataset;
    line.classList.toggle("on", (up.has(from) && up.has(to)) || (down.has(from) && down.has(to)));
  }
  drawing.classList.add("tracing");
}

function boxOf(id) {
  return boxes.find(box => box.dataset.id === id) || boxes.find(box => box.dataset.members && JSON.parse(box.dataset.members).includes(id));
}

function tell(box, copy = false) {
  if (box.dataset.members) showGroup(box);
  else show(byId.get(box.dataset.id), copy);
}

function rest() {
  drawing.classList.remove("tracing");
  for (const line of lines) line.classList.remove("on");
  if (chosen) chosen.node ? show(byId.get(chosen.node)) : tell(boxOf(chosen.group));
}

// id: of a box; node: of one member of it
function choose(id, node = null, copy = false) {
  const box = boxOf(id);
  chosen = { group: box.dataset.id, node: node || (box.dataset.members ? null : id) };
  for (const other of boxes) other.classList.toggle("chosen", other === box);
  if (chosen.node) show(byId.get(chosen.node), copy);
  else tell(box);
  return box;
}

let pressed = null;  // where the pointer went down, to tell a drag from a click
let dragged = false;

for (const each of drawings) {
  for (const box of each.querySelectorAll(".node")) {
    const id = box.dataset.id;
    box.addEventListener("pointerenter", () => { if (!pressed) { trace(id); tell(box); } });
    box.addEventListener("pointerleave", () => { if (!pressed) rest(); });
    box.addEventListener("focusin", event => { if (event.target.matches(":focus-visible")) choose(id); });
    box.addEventListener("click", event => {
      const plain = !(event.ctrlKey || event.metaKey || event.shiftKey);
      if (dragged || (framed && plain)) event.preventDefault();
      if (!dragged) choose(id, null, framed && plain);
    });
  }
}

function use(shown) {
  drawing = shown;
  for (const each of drawings) each.toggleAttribute("hidden", each !== shown);
  boxes = [...drawing.querySelectorAll(".node")];
  lines = [...drawing.querySelectorAll(".edge")];
  above = new Map(); below = new Map();
  for (const { dataset: { from, to } } of lines) {
    above.set(to, [...(above.get(to) || []), from]);
    below.set(from, [...(below.get(from) || []), to]);
  }
}

let scale = 1;
// Keeps what is at the point (x, y) of the canvas where it is.
function zoom(to, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const { left, top } = canvas.getBoundingClientRect();
  const before = drawing.getBoundingClientRect();
  const at = [(left + x - before.left) / scale, (top + y - before.top) / scale];
  scale = Math.min(2.5, Math.max(0.05, to));
  const { width, height } = drawing.viewBox.baseVal;
  drawing.setAttribute("width", width * scale);
  drawing.setAttribute("height", height * scale);
  drawing.classList.toggle("far", scale < 0.42);
  const after = drawing.getBoundingClientRect();
  canvas.scrollLeft += after.left + at[0] * scale - (left + x);
  canvas.scrollTop += after.top + at[1] * scale - (top + y);
}
function fitting(most) {
  const { width, height } = drawing.viewBox.baseVal;
  return Math.min(most, (canvas.clientWidth - 24) / width, (canvas.clientHeight - 24) / height);
}
document.getElementById("in").addEventListener("click", () => zoom(scale * 1.25));
document.getElementById("out").addEventListener("click", () => zoom(scale / 1.25));
document.getElementById("fit").addEventListener("click", () => zoom(fitting(1)));
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const { left, top } = canvas.getBoundingClientRect();
  zoom(scale * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - left, event.clientY - top);
}, { passive: false });

canvas.addEventListener("pointerdown", event => {
  dragged = false;
  if (event.button === 0 && event.pointerType !== "touch") pressed = [event.clientX, event.clientY, canvas.scrollLeft, canvas.scrollTop];
});
window.addEventListener("pointermove", event => {
  if (!pressed) return;
  const [x, y, scrolledX, scrolledY] = pressed;
  if (!dragged && Math.hypot(event.clientX - x, event.clientY - y) < 5) return;
  dragged = true;
  canvas.classList.add("held");
  canvas.scrollLeft = scrolledX - (event.clientX - x);
  canvas.scrollTop = scrolledY - (event.clientY - y);
});
window.addEventListener("pointerup", () => { pressed = null; canvas.classList.remove("held"); });
canvas.addEventListener("dragstart", event => event.preventDefault());  // of the links, which moving would pick up

document.getElementById("search").addEventListener("input", event => {
  const wanted = event.target.value.trim().toLowerCase();
  const hit = wanted && nodes.find(node =>
    [node.stage, node.kind, node.digest, node.key].some(text => String(text || "").toLowerCase().includes(wanted)));
  if (hit) choose(String(hit.id), String(hit.id)).scrollIntoView({ block: "center", inline: "center" });
});

// Starts at a readable size with the subject in view; "Fit" shows everything.
function begin(shown) {
  use(shown);
  zoom(Math.max(0.6, fitting(1.1)));
  const subject = chosen && chosen.node || target;
  if (subject !== null && byId.has(subject)) choose(subject, subject).scrollIntoView({ block: "center", inline: "center" });
}
const view = document.getElementById("view");
if (drawings.length > 1) {
  view.hidden = false;
  view.addEventListener("click", () => { begin(drawings.find(each => each !== drawing)); name(); });
}
function name() { view.textContent = drawing.id === "grouped" ? "Show every run" : "Show by stage"; }
begin(drawings[0]);
name();
