// Talking to the service. Every address is relative to where these files come from, so a prefix makes no difference.

const ROOT = new URL("../../", import.meta.url);

export const session = new EventTarget(); // "ended" when a key is needed

export const url = (path) => new URL(path, ROOT).href;

/** A refusal, in the service's own words (RFC 9457). `status` 0: it could not be reached. */
export class Problem extends Error {
  constructor(status, words, wait = 0) {
    super(words);
    this.status = status;
    this.wait = wait; // seconds
  }
}

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, signal: AbortSignal.timeout(30_000) };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer, text;
  try {
    answer = await fetch(url(path), options);
    text = await answer.text();
  } catch {
    throw new Problem(0, "The service cannot be reached.");
  }
  let found = null;
  try {
    found = text ? JSON.parse(text) : null;
  } catch {
    if (answer.ok) throw new Problem(answer.status, "The answer could not be read.");
  }
  if (answer.ok) return found;
  if (answer.status === 401) session.dispatchEvent(new Event("ended"));
  const field = found?.errors?.[0];
  const words = field
    ? `${field.field}: ${field.problem}`
    : (found?.detail ?? `The service answered ${answer.status}.`);
  throw new Problem(answer.status, words, Number(answer.headers.get("Retry-After")) || 0);
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}, headers) => call("POST", path, body, headers);

/** Starts a run. Its key makes it safe to send the same again when no answer has come. */
export async function ask(conversation, words) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  for (let attempt = 0; ; attempt++) {
    try {
      return await post(`api/v1/conversations/${conversation}/runs`, words, { "Idempotency-Key": key });
    } catch (problem) {
      if (problem.status !== 0 || attempt === 4) throw problem;
      await pause(500 * 2 ** attempt);
    }
  }
}

/** All events of a run so far, each with its `id`. */
export async function events(run) {
  const found = [];
  for (let after = `${run}:0`; ;) {
    const page = await get(`api/v1/runs/${run}/events?limit=1000&after=${after}`);
    found.push(...page.events);
    if (page.events.length < 1000) return found;
    after = page.last_event_id;
  }
}

/** Waits; less long when the network or the reader comes back. */
export function pause(milliseconds) {
  return new Promise((resolve) => {
    const through = () => {
      clearTimeout(timer);
      removeEventListener("online", through);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    };
    const seen = () => document.hidden || through();
    const timer = setTimeout(through, milliseconds);
    addEventListener("online", through);
    document.addEventListener("visibilitychange", seen);
  });
}
