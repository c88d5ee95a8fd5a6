// What a newcomer would write with the types that openapi-typescript makes of /openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Notification = components["schemas"]["Notification"];
type InboxItem = components["schemas"]["InboxItem"];
type Problem = components["schemas"]["Problem"];

function caller(baseUrl: string, key: string) {
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
}

/** Make a client application, and return its first key. */
export async function makeClient(baseUrl: string, operatorKey: string): Promise<string> {
  const { data, error } = await caller(baseUrl, operatorKey).POST("/clients", {
    body: { name: "typed", email: "typed@example.com", scopes: ["notify", "read"] },
  });
  if (!data) throw new Error(error.detail);
  return data.apiKey;
}

/** Send a notification, and return its id. */
export async function send(baseUrl: string, key: string, user: string): Promise<string> {
  const body: Notification = { type: "private", userId: 1, target: user, message: "typed" };
  const { data, error } = await caller(baseUrl, key).POST("/notify", {
    body,
    params: { header: { "Idempotency-Key": `typed-${user}` } },
  });
  if (!data) throw new Error(error.detail);
  return Array.isArray(data) ? data.map((one) => one.id).join() : data.id;
}

/** Send something that is refused, and return where it is wrong. */
export async function sendWrong(baseUrl: string, key: string): Promise<string[]> {
  const { error } = await caller(baseUrl, key).POST("/notify", {
    body: [{ type: "broadcast", userId: 1, message: "" }],
  });
  const problem: Problem | undefined = error;
  return (problem?.errors ?? []).map((one) => `${problem?.code} ${one.pointer}`);
}

/** Read a user's inbox. */
export async function inbox(baseUrl: string, key: string, user: string): Promise<InboxItem[]> {
  const { data, error } = await caller(baseUrl, key).GET("/users/{id}/notifications", {
    params: { path: { id: user }, query: { limit: 10, unread: true } },
  });
  if (!data) throw new Error(error.detail);
  return data.notifications;
}

/** Tell what became of a notification. */
export async function story(baseUrl: string, key: string, id: string): Promise<string[]> {
  const { data, error } = await caller(baseUrl, key).GET("/notifications/{id}", {
    params: { path: { id } },
  });
  if (!data) throw new Error(error.detail);
  return data.channels.map((one) =>
    one.status === "published" ? `${one.channel} ${one.offset}` : one.reason,
  );
}
