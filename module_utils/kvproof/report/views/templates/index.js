"use strict";
(() => {
  const form = document.getElementById("filter");
  const parts = [...document.querySelectorAll("[data-v]")];
  const text = new Map();
  const words = (part) => {
    if (!text.has(part)) text.set(part, part.textContent.toLowerCase());
    return text.get(part);
  };
  if (form) {
    const { verdict, finding, architecture, text: typed } = form.elements;
    const shown = document.getElementById("shown");
    const apply = () => {
      const wanted = typed.value.trim().toLowerCase();
      let clusters = 0, pairs = 0;
      for (const part of parts) {
        part.hidden = (verdict.value && part.dataset.v !== verdict.value)
          || (finding.value && !(part.dataset.f || "").split(" ").includes(finding.value))
          || (architecture?.value && !(part.dataset.a || "").split(" ").includes(architecture.value))
          || (wanted && !words(part).includes(wanted));
        if (!part.hidden) part.classList.contains("tile") ? clusters++ : pairs++;
      }
      shown.textContent = shown.dataset.text.replace("CLUSTERS", clusters).replace("PAIRS", pairs);
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
  }
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) {
      at.hidden = false;
      if (at.tagName === "DETAILS") at.open = true;
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
  const copied = async (string) => {
    try {
      await navigator.clipboard.writeText(string);
    } catch {
      const area = document.body.appendChild(document.createElement("textarea"));
      area.value = string;
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const card = button.closest(".card");
      const lines = [card.querySelector("h3").textContent.trim()];
      for (const term of card.querySelectorAll("dt")) lines.push(`${term.textContent}: ${term.nextElementSibling.textContent.trim()}`);
      await copied(lines.join("\n"));
      const before = button.textContent;
      button.textContent = button.dataset.copy;
      button.focus();
      setTimeout(() => { button.textContent = before; }, 2000);
    });
  }
  addEventListener("beforeprint", () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    if (closed.length > 200) return;
    for (const one of closed) one.open = true;
    addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }), { once: true });
  });
})();
