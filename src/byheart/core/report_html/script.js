"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const reveal = () => {
    let id = "";
    try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const target = id && document.getElementById(id);
    if (!target) return;
    for (let node = target; node; node = node.parentElement) {
      if (node instanceof HTMLDetailsElement) node.open = true;
    }
    target.scrollIntoView();
  };
  for (const box of all(".buttons")) box.hidden = false;
  for (const button of all("[data-all]")) {
    button.addEventListener("click", () => {
      for (const d of all("details.section")) d.open = button.dataset.all === "open";
    });
  }
  const save = document.getElementById("download");
  save.hidden = false;
  save.addEventListener("click", () => {
    const text = document.getElementById("report-data").textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "report.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  let shut = [];
  addEventListener("beforeprint", () => {
    shut = all("details:not([open], .long)");
    for (const d of shut) d.open = true;
  });
  addEventListener("afterprint", () => { for (const d of shut) d.open = false; });
  addEventListener("hashchange", reveal);
  reveal();
})();
