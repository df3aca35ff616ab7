/** Pictures on their way into a message: from a drop, the clipboard or the file picker, checked before they are kept. */

import { Trouble } from "./api.js";
import { bytesInWords, freshName, icon, make } from "./dom.js";

const READ = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"]; // what the server decodes
const LIMIT = { bytes: 8 * 2 ** 20, together: 20 * 2 ** 20, pixels: 52_000_000, count: 8 };

/**
 * The pictures of a message that is being written, shown as thumbnails in `tray`. `refused(words)` hears why a file was
 * not taken, `changed()` that the tray holds others than before.
 */
export class Tray {
  #tray;
  #refused;
  #changed;
  pictures = []; // {id, name, size, url}

  constructor(tray, { refused, changed }) {
    this.#tray = tray;
    this.#refused = refused;
    this.#changed = changed;
  }

  /** Take those of the files that pass; the others are refused in words, together. */
  async take(files) {
    const refusals = [];
    for (const file of files) {
      try {
        if (this.pictures.length >= LIMIT.count) {
          throw new Trouble(`${file.name} was left out: a message holds ${LIMIT.count} pictures.`);
        }
        const picture = await admit(file);
        const together = this.pictures.reduce((sum, { size }) => sum + size, picture.size);
        if (together > LIMIT.together) {
          const sizes = `${bytesInWords(together)}, and the limit is ${bytesInWords(LIMIT.together)}`;
          throw new Trouble(`${picture.name} was left out: the pictures of this message would have ${sizes}.`);
        }
        this.pictures.push(picture);
      } catch (trouble) {
        if (!(trouble instanceof Trouble)) throw trouble;
        refusals.push(trouble.message);
      }
    }
    if (refusals.length) this.#refused(refusals.join(" "));
    this.#draw();
  }

  /** Hand the pictures over and be empty. */
  empty() {
    const { pictures } = this;
    this.pictures = [];
    this.#draw();
    return pictures;
  }

  #draw() {
    this.#tray.replaceChildren(...this.pictures.map((picture) => this.#thumbnail(picture)));
    this.#tray.hidden = this.pictures.length === 0;
    this.#changed();
  }

  #thumbnail(picture) {
    const remove = () => {
      this.pictures = this.pictures.filter((other) => other !== picture);
      this.#draw();
    };
    const label = `Remove ${picture.name}`;
    const button = make("button", { type: "button", "aria-label": label, title: label, onclick: remove }, icon("close"));
    return make("li", {}, make("img", { src: picture.url, alt: picture.name }), button);
  }
}

/** A file as {id, name, size, url}, or Trouble that says what is wrong with it and what to do. */
async function admit(file) {
  const name = file.name || "The pasted picture";
  if (!READ.includes(file.type)) {
    throw new Trouble(`${name} is not a picture that can be read. PNG, JPEG, WebP, GIF and BMP can.`);
  }
  if (file.size > LIMIT.bytes) {
    const sizes = `${bytesInWords(file.size)}, and the limit is ${bytesInWords(LIMIT.bytes)}`;
    throw new Trouble(`${name} is too large: ${sizes}. Save it smaller, or as JPEG.`);
  }
  const url = await dataUrl(file, name);
  const { width, height } = await sizeOf(url, name);
  if (width * height > LIMIT.pixels) {
    const millions = `${Math.ceil((width * height) / 1e6)} million pixels, and the limit is ${LIMIT.pixels / 1e6} million`;
    throw new Trouble(`${name} is too large: ${millions}. Make it smaller.`);
  }
  return { id: freshName(), name, size: file.size, url };
}

function dataUrl(file, name) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Trouble(`${name} could not be read from the disk.`));
    reader.readAsDataURL(file);
  });
}

async function sizeOf(url, name) {
  const image = make("img", { src: url });
  try {
    await image.decode();
  } catch {
    throw new Trouble(`${name} is damaged, or is not the picture that its name promises.`);
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}

/** Call `take(files)` for files that are dropped on the page, pasted into `text` or chosen with `picker`. */
export function listen({ text, picker, take }) {
  const area = document.body; // all of it: a file that is dropped where nobody listens replaces the page
  text.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault(); // a browser would paste the file's name as well
    take(files);
  });
  picker.addEventListener("change", async () => {
    const files = [...picker.files];
    picker.value = ""; // so that the same file can be chosen again
    await take(files);
    text.focus();
  });
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  area.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    area.classList.add("dropping");
  });
  for (const over of ["dragleave", "drop"]) {
    area.addEventListener(over, (event) => {
      if (over === "drop" || !area.contains(event.relatedTarget)) area.classList.remove("dropping");
    });
  }
  area.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}
