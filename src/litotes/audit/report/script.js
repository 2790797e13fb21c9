"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Theme: what the system says, until somebody asks otherwise. Storage may be forbidden for files: then it is not kept.
  const button = one("#theme"), themes = ["auto", "light", "dark"], root = document.documentElement;
  const remembered = () => { try { return localStorage.getItem("litotes-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("litotes-theme", theme); } catch { /* forbidden */ } };
  const dress = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
    one("span", button).textContent = theme;
  };
  let theme = root.dataset.theme || (themes.includes(remembered()) ? remembered() : "auto");
  dress(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    dress(theme);
    remember(theme);
  });

  // One forest at a time.
  const tabs = one(".tabs");
  if (tabs) {
    const show = (chosen) => all("button", tabs).forEach((tab) => {
      tab.setAttribute("aria-pressed", String(tab === chosen));
      one("#" + tab.dataset.show).hidden = tab !== chosen;
    });
    all(".forest").forEach((table) => table.classList.add("alone"));
    tabs.hidden = false;
    tabs.addEventListener("click", (event) => { const tab = event.target.closest("button"); if (tab) show(tab); });
    show(one("button", tabs));
  }

  // Legends hide and show their series.
  all("figure").forEach((figure) => all(".key", figure).forEach((key) => key.addEventListener("click", () => {
    const shown = key.getAttribute("aria-pressed") !== "true";
    key.setAttribute("aria-pressed", String(shown));
    all("svg [data-series]", figure).filter((series) => series.dataset.series === key.dataset.series)
      .forEach((series) => { series.style.display = shown ? "" : "none"; });
  })));

  // Plots tell their numbers to the pointer and to the arrow keys.
  all(".plotbox").forEach((box) => {
    const stops = JSON.parse(one(".stops", box).textContent), pointer = one(".pointer", box), tip = one(".tip", box);
    if (!stops.length) return;
    let at = -1;
    const line = (title, text) => {
      const row = document.createElement("span"), name = document.createElement("i"), value = document.createElement("i");
      name.style.fontStyle = value.style.fontStyle = "normal";
      name.textContent = title; value.textContent = text;
      row.append(name, value);
      return row;
    };
    const point = (index) => {
      at = Math.max(0, Math.min(stops.length - 1, index));
      const stop = stops[at], head = document.createElement("b");
      head.textContent = stop.label;
      tip.replaceChildren(head, ...stop.values.map((value) => line(value.title, value.text)));
      pointer.hidden = tip.hidden = false;
      pointer.style.left = stop.x + "%";
      const place = box.clientWidth * stop.x / 100, left = place + 12 + tip.offsetWidth > box.clientWidth;
      tip.style.left = Math.max(0, left ? place - 12 - tip.offsetWidth : place + 12) + "px";
    };
    const leave = () => { pointer.hidden = tip.hidden = true; at = -1; };
    box.addEventListener("pointermove", (event) => {
      const box_ = box.getBoundingClientRect(), x = 100 * (event.clientX - box_.left) / box_.width;
      let nearest = 0;
      stops.forEach((stop, i) => { if (Math.abs(stop.x - x) < Math.abs(stops[nearest].x - x)) nearest = i; });
      if (nearest !== at) point(nearest);
    });
    box.addEventListener("pointerleave", leave);
    box.addEventListener("blur", leave);
    box.addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? stops.length - 1 : at - 1, Home: 0, End: stops.length - 1 }[event.key];
      if (event.key === "Escape") leave();
      if (to === undefined) return;
      event.preventDefault();
      point(to);
    });
  });

  // Examples: one at a time, of those that hold every word of the filter.
  const articles = all("#examples article");
  if (articles.length) {
    const texts = articles.map((article) => article.textContent.toLowerCase());
    const filter = one("#filter"), where = one("#where"), nothing = one("#nothing");
    let found = articles, at = 0;
    const show = () => {
      articles.forEach((article) => { article.hidden = article !== found[at]; });
      where.textContent = found.length ? `${at + 1} of ${found.length}` : "0 of 0";
      nothing.hidden = found.length > 0;
      one("#previous").disabled = one("#next").disabled = found.length < 2;
    };
    const turn = (by) => { if (found.length) { at = (at + by + found.length) % found.length; show(); } };
    one("#previous").addEventListener("click", () => turn(-1));
    one("#next").addEventListener("click", () => turn(1));
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = articles.filter((_, i) => words.every((word) => texts[i].includes(word)));
      at = 0;
      show();
    });
    one("#examples").addEventListener("keydown", (event) => {
      if (event.target === filter || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") turn(-1);
      if (event.key === "ArrowRight") turn(1);
    });
    one(".pager").hidden = false;
    show();
  }

  const copy = one("#copy");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(one(".recipe code").textContent);
        copy.textContent = "Copied";
      } catch { copy.textContent = "Copying is forbidden here"; }
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
  }
})();
