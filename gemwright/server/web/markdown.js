/**
 * The Markdown that models write, as elements: paragraphs, headings, lists, quotes, tables, code, bold, italics, links.
 * Every piece of text reaches the document as a text node. Pictures become links: the page fetches nothing by itself.
 */

import { copy, make } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}>\s?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+|$)(.*)$/;
const DIVIDER = /^\s*\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?\s*$/;
const DEEPEST = 12; // quotes in lists in quotes: deeper than this they are shown as they were written
const PROTOCOLS = ["http:", "https:", "mailto:"];

// A span ends within this many characters: a model that loops over an opening mark must not cost the square of its text.
const INLINE = new RegExp(
  [
    /(?<!`)(?<ticks>`+)(?!`)(?<code>[^]{0,2000}?[^`])\k<ticks>(?!`)/,
    /\\(?<escaped>[\\`*_{}[\]()#+\-.!|~>$])/,
    /\*\*(?=\S)(?<bold>[^]{0,2000}?\S)\*\*(?!\*)/,
    /(?<!\w)__(?=\S)(?<underBold>[^]{0,2000}?\S)__(?!\w)/,
    /\*(?![\s*])(?<italic>[^*]*?[^\s*])\*(?!\*)/,
    /(?<!\w)_(?![\s_])(?<underItalic>[^_]*?[^\s_])_(?!\w)/,
    /~~(?=\S)(?<struck>[^]{0,2000}?\S)~~/,
    /!?\[(?<label>[^[\]]{1,500})\]\((?<target>[^()\s]+(?:\([^()\s]*\))?)(?:\s+"[^"]*")?\)/,
    /(?<bare>https?:\/\/[^\s<>"'`)\]]*[^\s<>"'`)\].,;:!?*_])/,
  ]
    .map((part) => part.source)
    .join("|"),
  "g",
);

/**
 * Bring `element` up to `text`. Blocks whose source did not change keep their elements, so that an answer that grows
 * costs the work of its last block, and what a reader has selected above stays selected. Returns the blocks' sources.
 */
export function render(element, text) {
  if (element.markdownText === text) return element.markdownBlocks.map((block) => block.source);
  const blocks = parse(text.split("\n"), 0);
  const before = element.markdownBlocks ?? [];
  let same = 0;
  while (same < before.length && same < blocks.length && before[same].source === blocks[same].source) same += 1;
  const grown = before.length === same + 1 && blocks[same]?.kind === "code" && before[same].kind === "code";
  if (grown && before[same].language === blocks[same].language) {
    element.children[same].querySelector("code").textContent = blocks[same].text;
    same += 1;
  }
  while (element.children.length > same) element.lastElementChild.remove();
  element.append(...blocks.slice(same).map(build));
  element.markdownBlocks = blocks;
  element.markdownText = text;
  return blocks.map((block) => block.source);
}

function parse(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = oneBlock(lines, at, depth);
    block.source = lines.slice(at, block.end).join("\n");
    blocks.push(block);
    at = block.end;
  }
  return blocks;
}

function oneBlock(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return codeBlock(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", level: heading[1].length, text: heading[2], end: at + 1 };
  if (RULE.test(line)) return { kind: "rule", end: at + 1 };
  if (depth < DEEPEST && QUOTE.test(line)) return quoteBlock(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return listBlock(lines, at, depth);
  if (tableStarts(lines, at)) return tableBlock(lines, at);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !interrupts(lines, end, depth)) end += 1;
  return { kind: "paragraph", text: lines.slice(at, end).join("\n"), end };
}

function interrupts(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || tableStarts(lines, at)) return true;
  return depth < DEEPEST && (QUOTE.test(line) || ITEM.test(line));
}

function codeBlock(lines, at, fence) {
  const mark = fence[1];
  const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}\\s*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  return { kind: "code", language: fence[2], text: lines.slice(at + 1, end).join("\n"), end: end + 1 };
}

function quoteBlock(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { kind: "quote", blocks: parse(inside, depth + 1), end };
}

/** Items at one indent; what stands deeper belongs to the item above, other lists included. */
function listBlock(lines, at, depth) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const line = lines[end];
    const item = ITEM.exec(line);
    const deep = line.length - line.trimStart().length > indent.length;
    const blank = !line.trim();
    if (item && item[1].length <= indent.length + 1) {
      if (/\d/.test(item[2]) !== ordered || RULE.test(line)) break;
      items.push([item[3]]);
    } else if (blank) {
      const next = lines.slice(end + 1).find((later) => later.trim());
      const goesOn = next && (next.length - next.trimStart().length > indent.length || ITEM.test(next));
      if (!goesOn) break;
      items.at(-1).push("");
    } else if (deep || !interrupts(lines, end, depth)) {
      if (!deep && !lines[end - 1].trim()) break;
      items.at(-1).push(line);
    } else break;
    end += 1;
  }
  const start = ordered ? Number.parseInt(mark, 10) : null;
  return { kind: "list", start, items: items.map((item) => parse(undented(item), depth + 1)), end };
}

function undented([first, ...rest]) {
  const indents = rest.filter((line) => line.trim()).map((line) => line.length - line.trimStart().length);
  const least = Math.min(...indents, 8);
  return [first, ...rest.map((line) => line.slice(least))];
}

function tableStarts(lines, at) {
  return lines[at].includes("|") && at + 1 < lines.length && DIVIDER.test(lines[at + 1]);
}

function tableBlock(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const sides = cells(lines[at + 1]).map((cell) => {
    if (cell.endsWith(":")) return cell.startsWith(":") ? "centre" : "right";
    return "left";
  });
  return { kind: "table", head: cells(lines[at]), sides, rows: lines.slice(at + 2, end).map(cells), end };
}

function cells(line) {
  const inside = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inside.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function build(block) {
  const makers = { heading: buildHeading, code: buildCode, quote: buildQuote, list: buildList, table: buildTable };
  if (block.kind === "rule") return make("hr");
  if (block.kind === "paragraph") return make("p", {}, ...inline(block.text));
  return makers[block.kind](block);
}

function buildHeading(block) {
  const level = Math.min(block.level + 2, 6); // below the page's own two levels
  return make(`h${level}`, { className: `heading-${block.level}` }, ...inline(block.text));
}

function buildCode(block) {
  const code = make("code", { textContent: block.text });
  const button = make("button", { type: "button", className: "quiet", textContent: "Copy" });
  button.addEventListener("click", () => copy(code.textContent, button));
  const head = make("div", { className: "code-head" }, make("span", { textContent: block.language || "text" }), button);
  // A block that scrolls sideways must be reachable by keyboard.
  const text = make("pre", { tabIndex: 0, role: "group", "aria-label": `code, ${block.language || "text"}` }, code);
  return make("div", { className: "code" }, head, text);
}

function buildQuote(block) {
  return make("blockquote", {}, ...block.blocks.map(build));
}

function buildList(block) {
  const items = block.items.map((blocks) => {
    // An item of one paragraph is set tight, without the paragraph's margins.
    const children = blocks.flatMap((child, index) =>
      index === 0 && child.kind === "paragraph" ? inline(child.text) : [build(child)],
    );
    return make("li", {}, ...children);
  });
  if (block.start === null) return make("ul", {}, ...items);
  return make("ol", { start: block.start }, ...items);
}

function buildTable(block) {
  const row = (tag, texts) =>
    make(
      "tr",
      {},
      ...block.head.map((_, index) =>
        make(tag, { className: `side-${block.sides[index] ?? "left"}` }, ...inline(texts[index] ?? "")),
      ),
    );
  const head = make("thead", {}, row("th", block.head));
  const body = make("tbody", {}, ...block.rows.map((texts) => row("td", texts)));
  const table = make("table", {}, head, body);
  return make("div", { className: "table", tabIndex: 0, role: "group", "aria-label": "table" }, table);
}

function inline(text) {
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > done) nodes.push(text.slice(done, match.index));
    nodes.push(span(match[0], match.groups));
    done = match.index + match[0].length;
  }
  if (done < text.length) nodes.push(text.slice(done));
  return nodes;
}

function span(written, found) {
  if (found.code !== undefined) return make("code", { textContent: found.code.replace(/^ (.*\S.*) $/, "$1") });
  if (found.escaped !== undefined) return found.escaped;
  const bold = found.bold ?? found.underBold;
  if (bold !== undefined) return make("strong", {}, ...inline(bold));
  const italic = found.italic ?? found.underItalic;
  if (italic !== undefined) return make("em", {}, ...inline(italic));
  if (found.struck !== undefined) return make("s", {}, ...inline(found.struck));
  return link(written, found.label ?? found.bare, found.target ?? found.bare);
}

/** A link that opens elsewhere, or, for any protocol but the three safe ones, the text as it was written. */
function link(written, label, target) {
  if (!URL.canParse(target) || !PROTOCOLS.includes(new URL(target).protocol)) return written;
  return make("a", { href: target, target: "_blank", rel: "noopener noreferrer", textContent: label });
}
