// Each line that is marked must not type-check.
import type { components } from "./schema.js";

type Notification = components["schemas"]["Notification"];

export const good: Notification = { type: "room", userId: 1, target: ["a", 2], data: { a: 1 } };
export const nulls: Notification = { type: "broadcast", userId: 1, message: "m", data: null };
export const noTarget: Notification = { type: "private", userId: 1, message: "m" }; // wrong
export const target: Notification = { type: "broadcast", userId: 1, target: 1 }; // wrong
export const kind: Notification = { type: "mail", userId: 1, message: "m" }; // wrong
export const lane: Notification = { type: "broadcast", userId: 1, priority: "urgent" }; // wrong
export const sender: Notification = { type: "broadcast", message: "m" }; // wrong
export const scopes: components["schemas"]["NewClient"] = { name: "n", email: "e", scopes: ["x"] }; // wrong
