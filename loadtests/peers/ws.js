// ws 8 as projects use it: Redis → a loop over the clients, send(text). node ws.js PORT REDIS_PORT
const { WebSocketServer } = require("ws");
const Redis = require("ioredis");

const [, , port, redisPort] = process.argv;
const sockets = new WebSocketServer({
  host: "127.0.0.1",
  port: +port,
  backlog: 4096,
  perMessageDeflate: false,
});

sockets.on("connection", (socket) => {
  socket.on("message", (text) => {
    socket.user = JSON.parse(text).userId;
    socket.send(JSON.stringify({ type: "registered", userId: socket.user }));
  });
});

const redis = new Redis(+redisPort, "127.0.0.1");
redis.on("message", (channel, text) => {
  for (const socket of sockets.clients) if (socket.readyState === 1) socket.send(text);
});
redis.subscribe("broadcast").then(() => console.log("ready"));
