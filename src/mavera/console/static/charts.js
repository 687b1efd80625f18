// Copy a chart as a picture. The server makes the chart as a file in light colours, and this module a PNG of it.

const SCALE = 2;

/**
 * Return the chart at `address` as a PNG, twice as large as on the page.
 * @param {string} address
 * @returns {Promise<Blob>}
 */
async function drawPng(address) {
  const answer = await fetch(address, { headers: { Accept: "image/svg+xml" } });
  if (!answer.ok) throw new Error(`The chart could not be loaded (${answer.status}).`);
  const text = await answer.text();
  const picture = new Image();
  // The policy allows pictures in data: and not in blob:.
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth * SCALE;
  canvas.height = picture.naturalHeight * SCALE;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser cannot draw.");
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture could not be made."))), "image/png");
  });
}

/** @param {string} address */
export const nameOf = (address) => {
  const path = new URL(address, "http://localhost").pathname;
  return `${decodeURIComponent(path.slice(path.lastIndexOf("/") + 1)) || "chart"}.png`;
};

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * Say `text` on a button for a moment.
 * @param {Element} button @param {string} text
 */
function say(button, text) {
  const label = button.getAttribute("data-label") ?? button.textContent ?? "";
  button.setAttribute("data-label", label);
  button.textContent = text;
  setTimeout(() => { button.textContent = label; }, 2500);
}

/**
 * Copy the chart at `address` as a picture. Plain http has no clipboard, so there the picture is saved as a file.
 * @param {string} address
 */
async function copy(address) {
  if (!navigator.clipboard?.write || typeof ClipboardItem === "undefined") {
    save(await drawPng(address), nameOf(address));
    return "Saved as PNG";
  }
  // The promise goes into the item, because Safari allows a copy only while the click lasts.
  await navigator.clipboard.write([new ClipboardItem({ "image/png": drawPng(address) })]);
  return "Copied";
}

/** @param {ParentNode} root */
export function addChartButtons(root) {
  for (const button of root.querySelectorAll("button[data-chart][hidden], button[data-chart-png][hidden]")) {
    button.removeAttribute("hidden");
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      const [toCopy, toSave] = [button.getAttribute("data-chart"), button.getAttribute("data-chart-png")];
      try {
        if (toCopy) say(button, await copy(toCopy));
        else if (toSave) save(await drawPng(toSave), nameOf(toSave));
      } catch {
        say(button, "This did not work. Use SVG.");
      }
    });
  }
}
