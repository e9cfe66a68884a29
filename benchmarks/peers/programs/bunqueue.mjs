// bunqueue: a server of its own on SQLite; workers over TCP. `at` is "HTTP port:TCP port"; jobs come over HTTP.
import { Queue, Worker } from "bunqueue/client";

const connection = (at) => ({ host: "127.0.0.1", port: Number(at.split(":")[1]) });
const options = { durable: true, removeOnComplete: true };

export async function open(at) {
  const queue = new Queue("bench", { connection: connection(at) });
  return {
    add: (data) => queue.add("post", data, options),
    addBulk: (jobs) => queue.addBulk(jobs.map((data) => ({ name: "post", data, opts: options }))),
    close: () => queue.close(),
  };
}

export async function work(at, concurrency, handle) {
  const settings = { connection: connection(at), concurrency, batchSize: 100 };
  new Worker("bench", (job) => handle(job.data), settings);
}
