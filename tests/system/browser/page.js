// What stands around an example of docs/reference/protocol.md in a page: it is appended to this.
import { EventSource } from "undici";

const given = JSON.parse(process.argv[2]);
const { server, gateway, token } = given;
let { lastId } = given;
const handle = (...what) => console.log(JSON.stringify(what));
process.on("exit", () => handle("ended", lastId));

