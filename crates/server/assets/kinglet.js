// Ticks relative times, and asks for the live part of the page again when the server has news.
"use strict";
(() => {
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  // The server's clock, as of this page: the visitor's may be wrong.
  const drift = Number(document.body.dataset.now) - Date.now();

  function tick() {
    for (const time of document.querySelectorAll("time[data-t]")) {
      const seconds = (Number(time.dataset.t) - Date.now() - drift) / 1000;
      const [size, unit] = units.find(([size]) => Math.abs(seconds) >= size) || units[3];
      const text = Math.abs(seconds) < 5 ? "just now" : words.format(Math.trunc(seconds / size), unit);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  const live = document.getElementById("live");
  const state = document.getElementById("state");
  let waiting = false;

  async function renew() {
    waiting = false;
    // Whoever reads with the keyboard keeps the place.
    if (live.contains(document.activeElement) || document.hidden) return;
    try {
      const answer = await fetch(live.dataset.from, { headers: { accept: "text/html" } });
      // The same server rendered and escaped this part as it did the page.
      // Logged out: the page itself leads to the login.
      if (answer.status === 401) location.reload();
      if (answer.ok) { live.innerHTML = await answer.text(); tick(); }
    } catch { /* The next event tries again. */ }
  }

  function soon() {
    if (!waiting) { waiting = true; setTimeout(renew, 1000); }
  }

  function say(on) {
    state.dataset.on = on ? "1" : "0";
    state.textContent = on ? "live" : "reconnecting";
  }

  tick();
  setInterval(tick, 1000);
  if (live && state) {
    const source = new EventSource(live.dataset.events);
    source.addEventListener("open", () => say(true));
    source.addEventListener("error", () => {
      say(false);
      // Refused for good, and not only lost: maybe the login has ended.
      if (source.readyState === EventSource.CLOSED) soon();
    });
    source.addEventListener("readings", soon);
    source.addEventListener("missed", soon);
    document.addEventListener("visibilitychange", soon);
  }
})();
