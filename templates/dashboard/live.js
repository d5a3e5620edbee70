// The stream of events. EventSource can't show a token, so that it is read with fetch: `Last-Event-ID`, pauses and all.

import { headers } from "./api.js";

/** The coordinator says something every 15 seconds; who is silent for longer is gone. */
const SILENCE = 40_000;
const [SHORTEST_PAUSE, LONGEST_PAUSE] = [300, 10_000];

/** Splits a stream's text into events; what is not whole yet waits. */
export function parser(take) {
  let rest = "";
  return (text) => {
    rest += text;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { id: null, name: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, field, value] = /^([^:]*): ?(.*)$/.exec(line) || [];
        if (field === "id") event.id = value;
        else if (field === "event") event.name = value;
        else if (field === "data") event.data += value;
      }
      if (event.data) take(event);
    }
  };
}

/** Follows for good. `said(event)` for each event, `stands(state)` with `live`, `lost` or `refused` when that changes. */
export function follow(said, stands) {
  let last = null;
  let pause = SHORTEST_PAUSE;
  let wake = () => {};
  addEventListener("online", () => wake());
  const rest = (time) => new Promise((resolve) => { wake = resolve; setTimeout(resolve, time); });
  async function once() {
    const stop = new AbortController();
    let watch = setTimeout(() => stop.abort(), SILENCE);
    try {
      const response = await fetch("v1/events", { cache: "no-store", credentials: "omit", signal: stop.signal, headers: headers(last ? { "last-event-id": last } : {}) });
      if (response.status === 401) return "refused";
      if (!response.ok) return "lost";
      stands("live");
      pause = SHORTEST_PAUSE;
      const parse = parser((event) => { last = event.id || last; said(event); });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return "ended";
        clearTimeout(watch);
        watch = setTimeout(() => stop.abort(), SILENCE);
        parse(value);
      }
    } catch {
      return "lost";
    } finally {
      clearTimeout(watch);
      stop.abort();
    }
  }
  (async () => {
    for (;;) {
      const how = await once();
      if (how === "refused") { stands("refused"); return; }
      // A stream that ended is asked for again at once: it ends by itself after an hour.
      if (how === "lost") stands("lost");
      await rest(pause * (0.75 + Math.random() / 2));
      pause = Math.min(LONGEST_PAUSE, pause * 1.7);
    }
  })();
}
