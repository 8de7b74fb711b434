"use strict";
const gone = document.getElementById("gone");
async function look() {
  try {
    const reply = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(4500) });
    if (!reply.ok) throw new Error(await reply.text());
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const main = page.querySelector("main");
    for (const open of document.querySelectorAll("details[open]")) {
      const same = page.getElementById(open.id);
      if (same) same.open = true;
    }
    document.querySelector("main").replaceWith(main);
    document.title = page.title;
    gone.hidden = true;
  } catch {
    if (gone.hidden) {
      const now = new Date().toLocaleTimeString("en-GB");
      gone.textContent = `✗ No answer since ${now}: below is what was known then.`;
      gone.hidden = false;
      document.title = "no answer: " + document.title;
    }
  }
  setTimeout(look, 5000);
}
setTimeout(look, 5000);
