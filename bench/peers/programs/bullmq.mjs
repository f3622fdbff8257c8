// BullMQ: a worker (`worker`) and a client (`client KIND COUNT RESULT`), as bench/peers/programs/protocol.py
// describes it. Flows are trees of jobs made by the FlowProducer: a parent runs when its children have.
// The last step of a flow is a job of the queue `flows`, the others are jobs of `steps`.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.BENCH_PEER_HOME}/`);
const { FlowProducer, Queue, QueueEvents, WaitingChildrenError, Worker } = require("bullmq");

const connection = { path: new URL(process.env.BENCH_PEER_URL).pathname };
const CONCURRENCY = 100; // "Something between 100 and 300 is a quite standard setting"
const FIRST = 1; // what every flow starts with

const sum = (values) => Object.values(values).reduce((total, value) => total + value, 0);

// ------------------------------------------------------------------------------------------- worker

async function step(job) {
  const [before] = Object.values(await job.getChildrenValues());
  return before ?? job.data.x;
}

async function join(job) {
  return sum(await job.getChildrenValues());
}

// "A common use case is to add children at runtime and then wait for the children to complete"
async function items(job, token, steps) {
  if (job.data.phase !== "join") {
    const given = Array(job.data.count).fill(job.data.x);
    const parent = { id: job.id, queue: job.queueQualifiedName };
    await steps.addBulk(given.map((x) => ({ name: "step", data: { x }, opts: { parent } })));
    await job.updateData({ ...job.data, phase: "join" });
    if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
  }
  return join(job);
}

async function work() {
  const steps = new Queue("steps", { connection });
  const kinds = { step, join, items };
  const process_ = (job, token) => kinds[job.name](job, token, steps);
  const workers = ["flows", "steps"].map(
    (queue) => new Worker(queue, process_, { connection, concurrency: CONCURRENCY }),
  );
  for (const worker of workers) {
    worker.on("error", (error) => console.error(error));
    worker.on("failed", (job, error) => console.error(`${job?.name} failed`, error));
  }
  process.on("SIGTERM", async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    process.exit(0);
  });
}

// ------------------------------------------------------------------------------------------- client

const stepJob = (children) => ({ name: "step", queueName: "steps", data: { x: FIRST }, children });

function flow(kind, count) {
  if (kind === "items") return { name: "items", queueName: "flows", data: { x: FIRST, count } };
  if (kind === "join") {
    const children = Array.from({ length: count }, () => stepJob([]));
    return { name: "join", queueName: "flows", data: {}, children };
  }
  let tree = [];
  for (let left = count; left > 1; left -= 1) tree = [stepJob(tree)];
  return { ...stepJob(tree), queueName: "flows" };
}

async function serve(kind, count, result) {
  const producer = new FlowProducer({ connection });
  // From the first event on, so that none is missed that is told before we listen.
  const events = new QueueEvents("flows", { connection, lastEventId: "0-0" });
  await events.waitUntilReady();

  // Results are told by job; one may be told before we know its job.
  const told = new Map();
  let waiting = { missing: 0, done: () => {} };
  events.on("completed", ({ jobId, returnvalue }) => {
    told.set(jobId, returnvalue);
    if ((waiting.missing -= 1) === 0) waiting.done();
  });
  events.on("failed", ({ jobId, failedReason }) => fail(`job ${jobId} failed: ${failedReason}`));

  async function run(flows) {
    told.clear();
    const all = new Promise((done) => (waiting = { missing: flows, done }));
    const started = performance.now();
    const trees = await producer.addBulk(Array.from({ length: flows }, () => flow(kind, count)));
    await all;
    const seconds = (performance.now() - started) / 1000;
    const wrong = trees.filter(({ job }) => told.get(job.id) !== result);
    if (wrong.length) fail(`${wrong.length} of ${flows} flows came to a wrong result`);
    return seconds;
  }

  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    if (request.do === "burst") say({ seconds: await run(request.flows) });
    else if (request.do === "alone") {
      const times = [];
      for (let left = request.flows; left > 0; left -= 1) times.push((await run(1)) * 1000);
      say({ times_ms: times });
    } else fail(`a client cannot ${request.do}`);
  }
  process.exit(0);
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

function fail(why) {
  console.error(`bullmq: ${why}`);
  process.exit(1);
}

const [role, kind, count, result] = process.argv.slice(2);
await (role === "worker" ? work() : serve(kind, Number(count), Number(result)));
