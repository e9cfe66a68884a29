// What every queue for JavaScript is asked to do, whichever it is:
//   main.mjs ADAPTER AT COMMAND [ARGUMENTS AS JSON]
// add    {jobs, inFlight, url}        one job a call
// bulk   {jobs, size, url}            many jobs a call
// pace   {jobs, rate, url}            an open loop
// work   {concurrency}                until stdin is closed
// A job is {url, body}: whoever works posts the body to the url. The body carries the moment it was meant for.
import { setTimeout as sleep } from "node:timers/promises";

const [adapterName, at, command, text] = process.argv.slice(2);
const given = text ? JSON.parse(text) : {};
const adapter = await import(`./${adapterName}.mjs`);
const now = () => Number(process.hrtime.bigint()) / 1e9;
const headers = { "content-type": "application/json" };
const filler = "x".repeat(60);
const job = (when) => ({
  url: given.url,
  body: JSON.stringify({ payload: { at: when.toFixed(6).padStart(18, "0"), filler } }),
});

async function add() {
  const queue = await adapter.open(at);
  let left = given.jobs;
  const began = now();
  const one = async () => {
    while (left-- > 0) await queue.add(job(now()));
  };
  await Promise.all(Array.from({ length: given.inFlight }, one));
  const spent = now() - began;
  await queue.close();
  return { rate: given.jobs / spent, began };
}

async function bulk() {
  const queue = await adapter.open(at);
  const batches = Math.ceil(given.jobs / given.size);
  let left = batches;
  const began = now();
  const one = async () => {
    while (left-- > 0) await queue.addBulk(Array.from({ length: given.size }, () => job(now())));
  };
  await Promise.all(Array.from({ length: 4 }, one));
  const spent = now() - began;
  await queue.close();
  return { rate: (batches * given.size) / spent, began };
}

async function pace() {
  const queue = await adapter.open(at);
  const began = now();
  const waiting = [];
  for (let number = 0; number < given.jobs; number++) {
    const when = began + number / given.rate;
    await sleep(Math.max(0, (when - now()) * 1e3));
    waiting.push(queue.add(job(when)));
  }
  await Promise.all(waiting);
  await queue.close();
  return { began };
}

// Node posts with undici; Bun has only a shell of it, and a fetch of its own that is as fast.
async function poster(concurrency) {
  if (process.versions.bun) {
    return async (url, body) => {
      const answer = await fetch(url, { method: "POST", body, headers });
      await answer.arrayBuffer();
      return answer.status;
    };
  }
  const { Pool } = await import("undici");
  const pools = new Map();
  return async (url, body) => {
    const { origin, pathname } = new URL(url);
    let pool = pools.get(origin);
    if (!pool) pools.set(origin, (pool = new Pool(origin, { connections: concurrency })));
    const answer = await pool.request({ path: pathname, method: "POST", body, headers });
    await answer.body.dump();
    return answer.statusCode;
  };
}

async function work() {
  const post = await poster(given.concurrency);
  await adapter.work(at, given.concurrency, async ({ url, body }) => {
    const status = await post(url, body);
    if (status !== 200) throw new Error(`the receiver said ${status}`);
  });
}

if (command === "work") {
  process.stdin.on("end", () => process.exit(0)).resume();
  await work();
} else {
  console.log(JSON.stringify(await { add, bulk, pace }[command]()));
  process.exit(0);
}
