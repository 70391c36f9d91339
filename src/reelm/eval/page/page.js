"use strict";
const pick = name => document.getElementById(name);
const items = [...document.querySelectorAll("[data-state]")];
function filter() {
  const state = pick("state").value, tag = pick("tag").value, words = pick("words").value.toLowerCase();
  let shown = 0;
  for (const item of items) {
    const fits = (!state || item.dataset.state === state) && (!tag || JSON.parse(item.dataset.tags).includes(tag))
      && (!words || item.textContent.toLowerCase().includes(words));
    item.hidden = !fits;
    shown += fits;
  }
  for (const card of document.querySelectorAll(".card")) card.hidden = !card.querySelector("[data-state]:not([hidden])");
  pick("count").textContent = `${shown} of ${items.length} listed items shown`;
}
if (pick("filters")) {
  pick("filters").hidden = false;
  pick("filters").addEventListener("input", filter);
  pick("filters").addEventListener("submit", event => event.preventDefault());
  filter();
}
