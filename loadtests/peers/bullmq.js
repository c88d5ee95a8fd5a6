// BullMQ doing a PUBLISH per job.
//   node bullmq.js REDIS_PORT fill COUNT CHANNELS    puts jobs into the queue "jobs"
//   node bullmq.js REDIS_PORT work CONCURRENCY       one worker
const { Queue, Worker } = require("bullmq");
const Redis = require("ioredis");

const [, , redisPort, mode, first, second] = process.argv;
const connection = { host: "127.0.0.1", port: +redisPort, maxRetriesPerRequest: null };
const BATCH = 1000;

async function fill(count, channels) {
  const queue = new Queue("jobs", { connection });
  for (let i = 0; i < count; i += BATCH) {
    const jobs = [];
    for (let k = i; k < Math.min(i + BATCH, count); k++) {
      const data = { type: "room", userId: 1, target: k % channels, message: "x".repeat(120) };
      jobs.push({ name: "notify", data, opts: { removeOnComplete: true } });
    }
    await queue.addBulk(jobs);
  }
  await queue.close();
}

function work(concurrency) {
  const redis = new Redis(connection);
  const publish = (job) => redis.publish("room:" + job.data.target, JSON.stringify(job.data));
  const worker = new Worker("jobs", publish, { connection, concurrency });
  worker.waitUntilReady().then(() => console.log("ready"));
}

if (mode === "fill") fill(+first, +second);
else work(+first);
