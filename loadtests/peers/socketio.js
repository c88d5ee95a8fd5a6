// Socket.IO 4.8 with its Redis adapter, WebSocket only. node socketio.js PORT REDIS_PORT
const http = require("http");
const Redis = require("ioredis");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");

const [, , port, redisPort] = process.argv;
const server = http.createServer();
const publisher = new Redis(+redisPort, "127.0.0.1");
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
});
io.adapter(createAdapter(publisher, publisher.duplicate()));
io.on("connection", (socket) => {
  const user = socket.handshake.auth.user;
  if (user) socket.join("user:" + user);
});
server.listen({ port: +port, host: "127.0.0.1", backlog: 4096 }, () => console.log("ready"));
