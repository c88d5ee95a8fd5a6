// Calls one function of the compiled program: node main.js NAME ARGUMENT…, and prints its answer.
import * as program from "./program.js";

const [name, ...given] = process.argv.slice(2);
console.log(JSON.stringify(await program[name](...given)));
