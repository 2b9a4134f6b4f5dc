"use strict";

const Z = 1.959964; // as in audit_marks.py
const audit = JSON.parse(document.getElementById("audit").textContent);
const cards = [...document.querySelectorAll("article.edit")];
const served = location.protocol.startsWith("http");
const storageKey = `hdsynth-audit ${audit.fingerprint} ${audit.edits.map(keyOf).join(" ")}`;

let marks = new Map(); // from the key of an edit to {verdict, reason, note}
let earlier = []; // what `undo` goes back to: {index, key, mark}
let current = 0;
let saving = Promise.resolve();

function keyOf(edit) {
  return `${edit.sample}:${edit.position}`;
}

function currentKey() {
  return keyOf(audit.edits[current]);
}

// Rates

function wilsonInterval(count, total) {
  const middle = (count + Z * Z / 2) / (total + Z * Z);
  const reach = Z / (total + Z * Z) * Math.sqrt(count * (total - count) / total + Z * Z / 4);
  return [Math.max(0, middle - reach), Math.min(1, middle + reach)];
}

function rates() {
  const judged = audit.edits.filter((edit) => marks.has(keyOf(edit)));
  const isRight = (edit) => marks.get(keyOf(edit)).verdict === "right";
  const rows = [];
  const add = (group, name, count, total) => rows.push({group, name, count, judged: total});
  const addNames = (group, nameOf) => {
    for (const name of [...new Set(judged.map(nameOf))].sort()) {
      const own = judged.filter((edit) => nameOf(edit) === name);
      add(group, name, own.filter(isRight).length, own.length);
    }
  };
  addNames("all", () => "all");
  addNames("operation", (edit) => edit.op);
  addNames("class", (edit) => edit.class_name);
  const wrong = judged.filter((edit) => !isRight(edit));
  const given = wrong.map((edit) => marks.get(keyOf(edit)).reason ?? audit.noReason);
  for (const name of [...Object.values(audit.reasons), audit.noReason]) {
    const count = given.filter((reason) => reason === name).length;
    if (count) add("reason", name, count, judged.length);
  }
  return rows;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function showRates() {
  const body = document.getElementById("rates");
  body.replaceChildren();
  let group = null;
  for (const rate of rates()) {
    if (rate.group !== group) {
      group = rate.group;
      const head = body.insertRow();
      head.className = "group";
      const cell = document.createElement("th");
      cell.colSpan = 3;
      cell.textContent = {
        all: "right", operation: "right, by operation", class: "right, by class",
        reason: "wrong, by reason",
      }[group];
      head.append(cell);
    }
    const [low, high] = wilsonInterval(rate.count, rate.judged);
    const row = body.insertRow();
    row.insertCell().textContent = rate.name;
    row.insertCell().textContent = `${rate.count} of ${rate.judged}`;
    row.insertCell().textContent =
      `${percent(rate.count / rate.judged)} (${percent(low)} to ${percent(high)})`;
  }
}

// What is shown

function show(index) {
  current = Math.min(Math.max(index, 0), cards.length - 1);
  cards.forEach((card, place) => card.classList.toggle("current", place === current));
  for (const image of cards[Math.min(current + 1, cards.length - 1)].querySelectorAll("img")) {
    image.loading = "eager"; // so that the next card is there at once
  }
  const mark = marks.get(currentKey());
  const states = {right: mark?.verdict === "right", wrong: mark?.verdict === "wrong"};
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", states[button.dataset.verdict]);
  }
  for (const button of document.querySelectorAll("[data-reason]")) {
    button.disabled = !states.wrong;
    button.setAttribute("aria-pressed", states.wrong && mark.reason === button.dataset.reason);
  }
  const note = document.getElementById("note");
  note.disabled = !mark;
  note.value = mark?.note ?? "";
  document.getElementById("progress").textContent =
    `edit ${current + 1} of ${cards.length}, ${marks.size} judged`;
  document.getElementById("bar").value = marks.size;
  showRates();
}

function say(text) {
  document.getElementById("state").textContent = text;
}

// Marks

function change(key, mark) {
  if (mark) marks.set(key, mark);
  else marks.delete(key);
  save();
}

function judge(verdict) {
  const key = currentKey();
  const mark = marks.get(key);
  earlier.push({index: current, key, mark});
  const reason = verdict === "wrong" ? mark?.reason ?? null : null;
  change(key, {verdict, reason, note: mark?.note ?? ""});
  show(verdict === "right" ? current + 1 : current); // a reason may follow what is wrong
}

function give(reason) {
  const key = currentKey();
  const mark = marks.get(key);
  if (mark?.verdict !== "wrong") return;
  earlier.push({index: current, key, mark});
  change(key, {...mark, reason});
  show(current + 1);
}

function write(note) {
  const key = currentKey();
  const mark = marks.get(key);
  if (!mark || mark.note === note) return;
  earlier.push({index: current, key, mark});
  change(key, {...mark, note});
}

function undo() {
  const last = earlier.pop();
  if (!last) return;
  change(last.key, last.mark);
  show(last.index);
}

// Files

function toText() {
  const judged = audit.edits.filter((edit) => marks.has(keyOf(edit)));
  const plain = judged.map(({sample, position, op, class_name}) => (
    {sample, position, op, class_name, ...marks.get(keyOf({sample, position}))}
  ));
  const content = {version: 1, fingerprint: audit.fingerprint, marks: plain};
  return `${JSON.stringify(content, null, 2)}\n`;
}

function fromText(text) {
  const content = JSON.parse(text);
  if (content.version !== 1 || !Array.isArray(content.marks)) {
    throw new Error("this is no file of marks");
  }
  if (content.fingerprint !== audit.fingerprint) {
    throw new Error("these are marks of another run");
  }
  const shown = new Set(audit.edits.map(keyOf));
  const found = new Map();
  for (const mark of content.marks) {
    if (!shown.has(keyOf(mark))) throw new Error("there are marks of edits that are not shown");
    const {verdict, reason = null, note = ""} = mark;
    const reasons = verdict === "wrong" ? [null, ...Object.values(audit.reasons)] : [null];
    if (!["right", "wrong"].includes(verdict) || !reasons.includes(reason)) {
      throw new Error("there are marks that mean nothing here");
    }
    found.set(keyOf(mark), {verdict, reason, note});
  }
  return found;
}

function save() {
  const text = toText();
  try {
    localStorage.setItem(storageKey, text);
    say("kept in this browser");
  } catch {
    say("this browser keeps nothing: save the marks before you leave");
  }
  if (served) saving = saving.then(() => send(text)); // one after the other, the last one wins
}

async function send(text) {
  try {
    const headers = {"Content-Type": "application/json"};
    const answer = await fetch("marks.json", {method: "PUT", headers, body: text});
    say(answer.ok ? "saved as marks.json" : `not saved as marks.json: ${answer.statusText}`);
  } catch {
    say("not saved as marks.json: the server has gone; use the button");
  }
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toText()], {type: "application/json"}));
  link.download = "marks.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function load(file) {
  try {
    marks = fromText(await file.text());
  } catch (error) {
    say(`not loaded: ${error.message}`);
    return;
  }
  earlier = [];
  save();
  show(firstLeft());
}

async function storedText() {
  if (served) {
    const answer = await fetch("marks.json");
    if (answer.ok) return answer.text();
  }
  return localStorage.getItem(storageKey);
}

function firstLeft() {
  const left = audit.edits.findIndex((edit) => !marks.has(keyOf(edit)));
  return left < 0 ? 0 : left;
}

// What the person does

const actions = {
  j: () => show(current + 1), ArrowRight: () => show(current + 1),
  k: () => show(current - 1), ArrowLeft: () => show(current - 1),
  1: () => judge("right"), " ": () => judge("right"),
  2: () => judge("wrong"), x: () => judge("wrong"),
  u: undo,
  n: () => document.getElementById("note").focus(),
};
for (const [key, reason] of Object.entries(audit.reasons)) actions[key] = () => give(reason);

function onKey(event) {
  const action = actions[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
}

function listen() {
  const note = document.getElementById("note");
  const file = document.getElementById("file");
  document.addEventListener("keydown", onKey);
  note.addEventListener("keydown", (event) => {
    event.stopPropagation(); // letters are text here
    if (event.key === "Enter" || event.key === "Escape") note.blur();
  });
  note.addEventListener("change", () => write(note.value));
  const clicks = {
    next: () => show(current + 1), previous: () => show(current - 1), undo, save: download,
    load: () => file.click(),
  };
  for (const [id, action] of Object.entries(clicks)) {
    document.getElementById(id).addEventListener("click", action);
  }
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.addEventListener("click", () => judge(button.dataset.verdict));
  }
  for (const button of document.querySelectorAll("[data-reason]")) {
    button.addEventListener("click", () => give(button.dataset.reason));
  }
  for (const button of document.querySelectorAll("button")) {
    button.addEventListener("click", () => button.blur()); // so that space means `right` again
  }
  file.addEventListener("change", () => {
    if (file.files.length) load(file.files[0]);
    file.value = "";
  });
}

async function start() {
  try {
    const text = await storedText();
    if (text) marks = fromText(text);
  } catch (error) {
    say(`earlier marks are not loaded: ${error.message}`);
  }
  document.body.classList.add("one");
  listen();
  show(firstLeft());
}

start();
