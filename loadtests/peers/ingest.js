// POST /notify → validate → LPUSH. node ingest.js PORT REDIS_PORT express|fastify
// express: ioredis as it comes; fastify: with autopipelining, the fastest that was found on Node.
const Redis = require("ioredis");

const [, , port, redisPort, framework] = process.argv;
const redis = new Redis(+redisPort, "127.0.0.1", { enableAutoPipelining: framework === "fastify" });
const schema = {
  type: "object",
  required: ["userId", "type", "message"],
  properties: {
    userId: { type: ["integer", "string"] },
    type: { enum: ["private", "room", "broadcast"] },
    target: { type: ["integer", "string"] },
    message: { type: "string", maxLength: 65536 },
    email: { type: "string", maxLength: 320 },
    data: { type: "object" },
  },
};
let id = 0;

function startExpress() {
  const express = require("express");
  const isId = (value) => Number.isInteger(value) || (typeof value === "string" && value !== "");
  const isValid = (body) =>
    body &&
    isId(body.userId) &&
    schema.properties.type.enum.includes(body.type) &&
    (body.target === undefined || isId(body.target)) &&
    typeof body.message === "string" &&
    body.message.length <= 65536;
  const app = express();
  app.disable("x-powered-by");
  app.use(express.json());
  app.post("/notify", async (request, response) => {
    if (!isValid(request.body)) return response.status(422).json({ error: "invalid" });
    await redis.lpush("jobs", JSON.stringify(request.body));
    response.status(202).json({ id: String(id++), status: "queued" });
  });
  app.listen(+port, "127.0.0.1", 1024, () => console.log("ready"));
}

function startFastify() {
  const app = require("fastify")();
  app.post("/notify", { schema: { body: schema } }, async (request, reply) => {
    await redis.lpush("jobs", JSON.stringify(request.body));
    reply.code(202);
    return { id: String(id++), status: "queued" };
  });
  app.listen({ port: +port, host: "127.0.0.1" }).then(() => console.log("ready"));
}

({ express: startExpress, fastify: startFastify })[framework]();
