/** The server's HTTP interface, and its troubles put in words. */

const KEY = "gemwright.key"; // in sessionStorage: the key is forgotten when the tab closes

/** Something went wrong: `message` says it in words, `status` is HTTP's (0: no answer, or one that was cut short). */
export class Trouble extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  const key = sessionStorage.getItem(KEY);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer. Is it still running, and is the network up?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { status } = response;
  let said = "";
  try {
    const body = await response.json();
    said = body.error?.message ?? (typeof body.detail === "string" ? body.detail : "");
  } catch {
    // No JSON: something between this page and the server answered, and the number has to do.
  }
  const wait = response.headers.get("Retry-After");
  const words = {
    401: "The server asks for a key.",
    403: "The server refuses this key.",
    404: "The server does not know this model or address.",
    413: "The request is larger than the server takes. Shorten the conversation, or leave pictures out.",
    429: "The server is busy.",
    503: "The server is busy, or about to stop.",
    504: "The server took too long.",
  };
  const start = words[status] ?? (status >= 500 ? `The server failed (${status}).` : `The server refused (${status}).`);
  const again = wait && /^\d+$/.test(wait) ? `Try again in ${wait} s.` : "";
  return new Trouble([start, said, again].filter(Boolean).join(" "), status);
}

/** The names of the models and adapters that the server offers. */
export async function models() {
  const body = await (await request("/v1/models")).json();
  return body.data.map((model) => model.id);
}

/** What the caches hold: {capacity, used, kept: {local, global, recurrent} in bytes, shared, sequences,
 * beginnings, waiting}: `used` by conversations at work, `kept` for later ones. */
export async function cache() {
  return (await request("/cache")).json();
}

/**
 * Ask for an answer and call `heard(text)` for each piece of it.
 * Returns {finish, usage}: why it ended, and its counts of tokens. Throws Trouble, or the AbortError of `signal`.
 */
export async function answer(question, signal, heard) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...question, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const result = { finish: null, usage: null };
  for await (const data of events(response.body)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Trouble(`The server stopped: ${chunk.error.message}`, Number(chunk.error.code) || 500);
    result.usage = chunk.usage ?? result.usage;
    const choice = chunk.choices?.[0];
    result.finish = choice?.finish_reason ?? result.finish;
    if (choice?.delta?.content) heard(choice.delta.content);
  }
  if (!result.finish) throw new Trouble("The connection ended before the answer was complete.");
  return result;
}

/** The data of each server-sent event. A network that fails midway ends the events: the caller sees what is missing. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return;
    }
    if (piece.done) return;
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop();
    for (const line of lines.map((one) => one.replace(/\r$/, ""))) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      else if (line === "" && data.length) {
        yield data.join("\n");
        data = [];
      }
    }
  }
}
