"use strict";
// Finds attempts, and opens the doors for print. The page is whole without it.
const field = document.getElementById("find");
if (field) {
  const found = document.getElementById("found");
  const rows = [...document.querySelectorAll("table.refusals tbody tr")];
  const words = rows.map((row) => row.textContent.toLowerCase());
  field.closest("p").hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, at) => {
      row.hidden = wanted !== "" && !words[at].includes(wanted);
      shown += row.hidden ? 0 : 1;
    });
    document.querySelectorAll("details.door-fold").forEach((fold) => {
      const some = fold.querySelector("tbody tr:not([hidden])") !== null;
      fold.hidden = !some;
      fold.open = wanted !== "" && some;
    });
    found.textContent = wanted === "" ? "" : `${shown} of ${rows.length}`;
  });
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details.door-fold:not([open]), details.work-fold:not([open])")];
  closed.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => closed.forEach((fold) => { fold.open = false; }));
