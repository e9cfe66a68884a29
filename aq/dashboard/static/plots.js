// The plots: uPlot on the series of /series, brought up to date by the stream's numbers between two readings.
(() => {
  "use strict";
  const host = document.querySelector("[data-window]");
  if (!host) return;
  const places = [...document.querySelectorAll(".plot")];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const span = (ms) => ms == null ? "–" : ms < 1000 ? `${ms < 10 ? +ms.toFixed(1) : Math.round(ms)} ms` : ms < 60000 ? `${+(ms / 1000).toFixed(1)} s` : ms < 3600000 ? `${+(ms / 60000).toFixed(1)} min` : `${+(ms / 3600000).toFixed(1)} h`;
  const rate = (value) => value == null ? "–" : value === 0 ? "0" : value >= 10 ? `${Math.round(value)}/s` : value >= 0.1 ? `${+value.toFixed(2)}/s` : `${+(value * 60).toFixed(1)}/min`;
  const kinds = {
    flow: { words: rate, lines: [["created", "--soft", (it) => it.created], ["completed", "--good", (it) => it.completed]] },
    trouble: { words: rate, lines: [["failed for good", "--bad", (it) => it.failed], ["will be retried", "--warn", (it) => it.retried]] },
    late: { words: span, log: true, lines: [["p99", "--warn", (it) => it.late && it.late.p99], ["p95", "--blue", (it) => it.late && it.late.p95], ["p50", "--soft", (it) => it.late && it.late.p50]] },
  };
  let data = null, plots = [], reading = false;

  const read = async () => {
    if (reading) return;
    reading = true;
    const queue = host.dataset.queue ? `&queue=${encodeURIComponent(host.dataset.queue)}` : "";
    try {
      const answer = await fetch(`/series?window=${host.dataset.window}${queue}`, { headers: { Accept: "application/json" } });
      if (answer.ok) { data = await answer.json(); draw(); }
    } catch (error) { /* the frame says that nothing is live */ } finally { reading = false; }
  };
  const columns = (kind, now) => {
    const last = data.series.length - 1, times = data.series.map((point) => Date.parse(point.at) / 1000);
    const open = Math.min(data.step, Math.max(1, now - times[last]));
    const lines = kind.lines.map(([, , value]) => data.series.map((point, place) => {
      if (kind.log) return value({ late: point.lateness_ms });
      return value(point) / (place === last ? open : data.step);
    }));
    return [times, ...lines];
  };
  const latest = (line) => line && line.findLast((value) => value != null);
  const options = (kind, width) => ({
    width, height: 170, cursor: { sync: { key: "aq" }, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { live: true, markers: { width: 0, fill: (u, place) => u.series[place].stroke(u, place) } }, padding: [10, 12, 0, 0],
    scales: { x: { time: true }, y: kind.log ? { distr: 3, range: (u, low, high) => low == null ? [0.1, 1000] : [Math.min(low, 1), Math.max(high * 1.5, 10)] } : { range: (u, low, high) => [0, Math.max(high * 1.15, 0.1)] } },
    axes: [
      { stroke: colour("--soft"), grid: { show: false }, ticks: { show: false }, font: "11px sans-serif", size: 26, space: 70, values: (u, at) => at.map((it) => new Date(it * 1000).toTimeString().slice(0, 5)) },
      { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px sans-serif", size: 58, space: 36, values: (u, at) => at.map((it) => it == null ? null : kind.words(it)),
        ...(kind.log ? { splits: (u, axis, low, high) => [0.1, 1, 10, 100, 1000, 10000, 60000, 600000, 3600000, 86400000].filter((it) => it >= low && it <= high), filter: (u, at) => at } : {}) },
    ],
    series: [{ value: (u, at) => at == null ? "" : new Date(at * 1000).toTimeString().slice(0, 8) },
      ...kind.lines.map(([label, name]) => ({ label, stroke: colour(name), width: 1.6, points: { show: kind.log ? (u, line, from, to) => to - from < 200 : false, size: 3, fill: colour(name) }, value: (u, value, line, at) => kind.words(at == null ? latest(u.data[line]) : value) }))],
  });
  const draw = () => {
    const now = Date.now() / 1000 + offset;
    places.forEach((place, number) => {
      const kind = kinds[place.dataset.kind], drawn = columns(kind, now);
      const quiet = drawn.slice(1).every((line) => line.every((value) => !value));
      place.querySelector(".quiet").hidden = !quiet;
      if (plots[number]) plots[number].setData(drawn);
      else plots[number] = new uPlot(options(kind, place.clientWidth - 16), drawn, place);
    });
  };
  const again = () => { plots.forEach((plot) => plot.destroy()); plots = []; if (data) draw(); };
  const offset = (Number(document.body.dataset.now) - Date.now()) / 1000;

  new ResizeObserver(() => plots.forEach((plot, number) => {
    const width = places[number].clientWidth - 16;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: 170 });
  })).observe(host);
  document.addEventListener("aq:theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  document.addEventListener("aq:pulse", ({ detail }) => {
    if (!data) return;
    const last = data.series[data.series.length - 1], at = Date.parse(detail.at);
    if (at >= Date.parse(last.at) + data.step * 1000) read();
    else if (!host.dataset.queue) { for (const [name, number] of Object.entries(detail.last_second)) last[name] += number; draw(); }
    else if (at % 5000 < 1000) read();
  });
  read();
})();
