// The dashboard's own script: live numbers, theme, keys, dialogs, copying. Pages work without it.
(() => {
  "use strict";
  const one = (query, root = document) => root.querySelector(query);
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const body = document.body;
  const clock = (at) => new Date(at).toTimeString().slice(0, 8);

  // -- live -------------------------------------------------------------------------------------------------
  // One stream for each window that is looked at: a hidden one closes it, so a browser's six connections to a
  // host are never used up by windows in the background.
  const STALE_MS = 4000, AGAIN_MS = 3000, TICK = 3, QUIET = 15;
  let source = null, again = 0, beat = Date.now(), pulses = 0, moved = false;
  const paused = () => sessionStorage.getItem("aq-paused") === "1";

  const show = (state) => {
    if (body.dataset.state === state) return;
    body.dataset.state = state;
    const words = { live: "Live", paused: "Paused", stale: "Not live" };
    one("[data-state-text]").textContent = words[state];
    one("[data-do=live]").setAttribute("aria-pressed", String(state !== "paused"));
    const told = one(".stale");
    told.hidden = state === "live";
    told.textContent = state === "paused" ? `Paused at ${clock(Date.now())}: nothing on this page moves.`
      : `Not live since ${clock(beat)}: what you see is from then. Trying to reach the service…`;
  };
  const close = () => { if (source) source.close(); source = null; clearTimeout(again); };
  const open = () => {
    close();
    if (!body.dataset.live || paused() || document.hidden) return;
    source = new EventSource(body.dataset.live);
    source.addEventListener("stats", (event) => { beat = Date.now(); show("live"); pulse(JSON.parse(event.data)); });
    source.addEventListener("task", () => body.dispatchEvent(new Event("aq:task")));
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        again = setTimeout(async () => {
          const answer = await fetch(body.dataset.live, { method: "HEAD" }).catch(() => null);
          if (answer && answer.status === 401) location.reload(); else open();
        }, AGAIN_MS);
      }
    };
  };
  const pulse = (stats) => {
    for (const place of all("[data-pulse]")) {
      const value = place.dataset.pulse.split(".").reduce((it, name) => it && it[name], stats);
      place.textContent = (as[place.dataset.as] || as.count)(value);
    }
    document.dispatchEvent(new CustomEvent("aq:pulse", { detail: stats }));
    moved = moved || stats.in_flight > 0 || stats.late > 0 || Object.values(stats.last_second).some(Boolean);
    if (++pulses % TICK) return;
    age();
    if (moved || pulses % QUIET === 0) { moved = false; body.dispatchEvent(new Event("aq:tick")); }
  };
  const as = {
    count: (value) => Number(value).toLocaleString("en"),
    rate: (value) => value === 0 ? "0" : value >= 1 ? `${value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 })}/s` : `${(value * 60).toFixed(1)}/min`,
    span: (value) => {
      if (value <= 0) return "0 s";
      if (value < 1) return `${Math.max(1, Math.round(value * 1000))} ms`;
      if (value < 60) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
      for (const [size, name, small, word] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]])
        if (value >= size) return `${Math.floor(value / size)} ${name} ${Math.floor(value % size / small)} ${word}`;
      return "";
    },
  };
  const offset = Number(body.dataset.now || Date.now()) - Date.now();
  const age = () => {
    for (const time of all("time[datetime]")) {
      const seconds = (new Date(time.dateTime) - Date.now() - offset) / 1000, past = seconds < 0, far = Math.abs(seconds);
      const [size, name] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => far >= size) || [0, ""];
      const told = size ? `${Math.floor(far / size)} ${name}` : "";
      time.textContent = !size ? "just now" : past ? `${told} ago` : `in ${told}`;
    }
  };
  if (body.dataset.live) {
    setInterval(() => { if (source && Date.now() - beat > STALE_MS) show("stale"); }, 1000);
    document.addEventListener("visibilitychange", () => { beat = Date.now(); open(); });
    if (paused()) show("paused");
    open();
  }

  // -- regions and dialogs, by htmx -------------------------------------------------------------------------
  const dialog = one("#dialog");
  body.addEventListener("htmx:beforeRequest", (event) => {
    const ticked = (event.detail.requestConfig.triggeringEvent || {}).type === "aq:tick", focus = document.activeElement;
    const busy = one("dialog[open]") || focus.matches("main :is(input, select, textarea)");
    if (ticked && busy) event.preventDefault();
  });
  body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target === dialog && !dialog.open) dialog.showModal();
    if (event.detail.target !== dialog) age();
  });
  body.addEventListener("htmx:responseError", (event) => {
    const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    toast((one(".problem .detail, .problem ul", answer) || { textContent: "The service answered with an error." }).textContent);
  });
  const toast = (text) => {
    const said = document.createElement("p");
    said.textContent = text.trim();
    one(".toasts").replaceChildren(said);
    setTimeout(() => said.remove(), 6000);
  };

  // -- clicks -----------------------------------------------------------------------------------------------
  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea");  // plain http has no clipboard
    field.value = text;
    (one("dialog[open]") || body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  };
  const deeds = {
    live: () => { sessionStorage.setItem("aq-paused", paused() ? "0" : "1"); if (paused()) { close(); show("paused"); } else { beat = Date.now(); show("live"); open(); } },
    help: () => { const help = one("#help"); if (help.open) help.close(); else help.showModal(); },
    theme: () => {
      const next = { auto: "light", light: "dark", dark: "auto" }[document.documentElement.dataset.theme];
      document.documentElement.dataset.theme = next;
      document.cookie = `aq_theme=${next}; path=/; max-age=31536000; samesite=strict`;
      one("[data-do=theme]").setAttribute("aria-label", `Theme: ${next}`);
      document.dispatchEvent(new Event("aq:theme"));
      toast({ auto: "Light or dark as the system has it", light: "Light", dark: "Dark" }[next]);
    },
    close: () => dialog.close(),
  };
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-do], [data-copy], [aria-disabled=true]");
    if (!pressed) return;
    if (pressed.getAttribute("aria-disabled") === "true") { event.preventDefault(); toast(pressed.title); }
    else if (pressed.dataset.copy) {
      copy(one(`#${pressed.dataset.copy}`).textContent.trim()).then(() => toast("Copied"), () => toast("Copying was refused by the browser"));
    } else { if (pressed.tagName === "A") event.preventDefault(); deeds[pressed.dataset.do](); }
  });

  // -- keys -------------------------------------------------------------------------------------------------
  const row = (step) => {
    const links = all("tbody tr, .rows > *").map((it) => one("a", it)).filter(Boolean);
    const at = links.findIndex((link) => link.closest("tr, .rows > *").contains(document.activeElement));
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
    if (next) next.focus();
  };
  const keys = { "?": deeds.help, r: deeds.live, n: () => row(1), p: () => row(-1), "/": () => { const field = one("[data-search]"); if (field) field.focus(); } };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !body.dataset.live) return;
    const field = event.target.closest("input, select, textarea");
    if (field) { if (event.key === "Escape" && !field.closest("dialog")) field.blur(); return; }
    if (one("dialog[open]") && event.key !== "?") return;
    const page = all("[data-key]").find((link) => link.dataset.key === event.key);
    if (page) page.click();
    else if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
})();
