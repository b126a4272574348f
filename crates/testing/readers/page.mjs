// Drives Chromium for tests of the web page: one command a line on standard input, `[name, ...arguments]`, one answer a line on standard output.
// Playwright waits until an element is visible, stable and enabled before it acts.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, executablePath] = process.argv.slice(2);
const require = createRequire(`${packages}/node_modules/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-precise-memory-info"],
});
let context, page;
/** Errors of scripts, refused requests and messages of the console: a view has none. */
let complaints = [];

const commands = {
  /** A new profile: no cookies, nothing cached. */
  async profile(options) {
    await context?.close();
    complaints = [];
    context = await browser.newContext(options);
    context.setDefaultTimeout(60_000);
    page = await context.newPage();
    watch(page);
  },
  /** Headers of every request from now on, such as a token. */
  async headers(values) { await context.setExtraHTTPHeaders(values); },
  async goto(url) { await page.goto(url, { waitUntil: "load" }); },
  async reload() { await page.reload({ waitUntil: "load" }); },
  async click(selector) { await page.locator(selector).first().click(); },
  async dblclick(selector) { await page.locator(selector).first().dblclick(); },
  async fill(selector, text) { await page.locator(selector).first().fill(text); },
  async select(selector, value) { await page.locator(selector).first().selectOption(value); },
  async check(selector) { await page.locator(selector).first().check(); },
  async press(key) { await page.keyboard.press(key); },
  async wheel(y) { await page.mouse.wheel(0, y); },
  async hover(selector) { await page.locator(selector).first().hover(); },
  async visible(selector) { await page.locator(selector).first().waitFor({ state: "visible" }); },
  async gone(selector) { await page.locator(selector).first().waitFor({ state: "hidden" }); },
  async text(selector) { return page.locator(selector).first().innerText(); },
  async texts(selector) { return page.locator(selector).allInnerTexts(); },
  async count(selector) { return page.locator(selector).count(); },
  async attribute(selector, name) { return page.locator(selector).first().getAttribute(name); },
  /** The value of an expression in the page; `argument` is its `argument`. */
  async evaluate(expression, argument) { return page.evaluate(`(async (argument) => (${expression}))(${JSON.stringify(argument ?? null)})`); },
  /** Waits until an expression is true. */
  async until(expression) {
    // Not `waitForFunction`: it evaluates texts in the page again and again, which the page's content security policy forbids. A navigation ends an
    // evaluation, and the next one is in the new page.
    for (const deadline = Date.now() + 60_000; !(await page.evaluate(expression).catch(() => false)); await new Promise((resolve) => setTimeout(resolve, 20))) {
      if (Date.now() > deadline) throw new Error(`never true: ${expression}`);
    }
  },
  async url() { return page.url(); },
  async title() { return page.title(); },
  async accept_dialogs() { page.on("dialog", (dialog) => dialog.accept()); },
  async media(options) { await page.emulateMedia(options); },
  async size(width, height) { await page.setViewportSize({ width, height }); },
  async offline(is) { await context.setOffline(is); },
  async cookies() { return context.cookies(); },
  async clear_cookies() { await context.clearCookies(); },
  async screenshot(path, full) { await page.screenshot({ path, fullPage: full }); },
  async pdf(path) { await page.pdf({ path }); },
  /** Violations of accessibility rules (WCAG 2.2 A and AA, and best practice). */
  async axe() {
    // Not as an element, which the content security policy refuses.
    await page.evaluate(axe);
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
  },
  async complaints() { return complaints; },
  async forget_complaints() { complaints = []; },
  async cdp(method, params) { const session = await context.newCDPSession(page); return session.send(method, params); },
  /** The heap of JavaScript and the private memory of the page's process, in bytes. */
  async memory() {
    const session = await context.newCDPSession(page);
    await session.send("HeapProfiler.collectGarbage");
    const browserSession = await browser.newBrowserCDPSession();
    const { processInfo } = await browserSession.send("SystemInfo.getProcessInfo");
    const privateBytes = (pid) => {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      return [...rollup.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, [, kb]) => sum + 1024 * Number(kb), 0);
    };
    const renderers = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => privateBytes(id));
    const heap = await page.evaluate("performance.memory.usedJSHeapSize");
    return { heap, private: Math.max(...renderers) };
  },
  /** The next page that a click opens becomes the current one; `back` returns to the first. */
  async follow_popup(selector) {
    const opened = context.waitForEvent("page");
    await page.locator(selector).first().click();
    page = await opened;
    await page.waitForLoadState("load");
    watch(page);
  },
  async back() { page = context.pages()[0]; await page.bringToFront(); },
};

function watch(page) {
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // Chromium reports each refused call of the API, which the page shows to its reader.
    const isRefusal = message.text().startsWith("Failed to load resource") && /\(4\d\d|status of 4\d\d/.test(message.text()) && message.location().url.includes("/api/v1/");
    if (["error", "warning"].includes(message.type()) && !isRefusal) complaints.push(`console: ${message.text()}`);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[name](...args)) ?? null };
  } catch (error) {
    answer = { error: String(error.message ?? error), url: page?.url() };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
