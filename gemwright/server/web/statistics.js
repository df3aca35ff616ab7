/** The line below an answer: how fast it came, what was read and written, and why it ended where it did. */

/**
 * What is kept about an answer: `first` and `last` are the seconds from asking to its first and its last piece (null
 * where none came), `finish` and `usage` what `api.answer` returned (null for an answer without an end).
 */
export function statsOf({ first, last, finish = null, usage = null }) {
  return {
    first,
    span: first === null ? null : last - first,
    finish,
    prompt: usage?.prompt_tokens ?? null,
    cached: usage?.prompt_tokens_details?.cached_tokens ?? null,
    answered: usage?.completion_tokens ?? null,
  };
}

/** Short phrases; what was not measured has none. */
export function statistics({ stats, state }) {
  const words = [];
  if (stats) {
    // The first token comes with the reading of the prompt, so that the others are counted over the time after it.
    if (stats.answered > 1 && stats.span > 0) words.push(`${rate((stats.answered - 1) / stats.span)} tokens/s`);
    if (stats.first !== null) words.push(`first token after ${seconds(stats.first)}`);
    if (stats.prompt !== null) words.push(`${count(stats.prompt)} tokens read${cachedOf(stats)}`);
    if (stats.answered !== null) words.push(`${count(stats.answered)} written`);
    if (stats.finish === "length") words.push("ended at the limit of tokens");
  }
  if (state === "stopped") words.push("stopped");
  return words;
}

function cachedOf({ cached }) {
  return cached ? `, ${count(cached)} of them from the cache` : "";
}

function count(tokens) {
  return tokens.toLocaleString("en");
}

function rate(perSecond) {
  return perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

function seconds(value) {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}
