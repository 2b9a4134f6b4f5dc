// Runs the script of a page of edits without a browser: presses keys, and prints what comes of it.
// Arguments: the script, the page's data as JSON, the keys as a JSON list, marks to start with.
"use strict";

const fs = require("node:fs");
const vm = require("node:vm");

const [scriptFile, data, keys, stored] = process.argv.slice(2);
const listeners = {};
const elements = {};
let kept = stored ?? null;

function element() {
  return {
    textContent: "", value: "", dataset: {},
    classList: {add() {}, toggle() {}},
    addEventListener() {}, append() {}, blur() {}, focus() {}, replaceChildren() {},
    setAttribute() {},
    insertCell: element, insertRow: element, querySelectorAll: () => [],
  };
}

function byId(id) {
  elements[id] ??= element();
  return elements[id];
}

byId("audit").textContent = data;
const context = vm.createContext({
  document: {
    addEventListener: (name, listener) => { listeners[name] = listener; },
    body: element(),
    createElement: element,
    getElementById: byId,
    querySelectorAll: (selector) =>
      (selector === "article.edit" ? JSON.parse(data).edits.map(element) : []),
  },
  location: {protocol: "file:"},
  localStorage: {getItem: () => kept, setItem: (_, text) => { kept = text; }},
});
vm.runInContext(fs.readFileSync(scriptFile, "utf-8"), context);

setTimeout(() => {
  for (const key of JSON.parse(keys)) listeners.keydown({key, preventDefault() {}});
  const rates = context.rates().map((rate) => {
    const [low, high] = context.wilsonInterval(rate.count, rate.judged);
    return {...rate, share: rate.count / rate.judged, low, high};
  });
  const [state, progress] = [byId("state").textContent, byId("progress").textContent];
  console.log(JSON.stringify({kept, rates, state, progress}));
});
