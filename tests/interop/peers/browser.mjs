// A person at a real Chromium: opens the page that it is told to, signs in, allows, and waits until
// the browser is back. Usage: browser.mjs URL, as a browser is started; CODE is what is typed,
// PICTURES where screenshots go, PACKAGES where the browser is.
import { createRequire } from "node:module";
import { join } from "node:path";

const from = createRequire(join(process.env.PACKAGES, "package.json"));
const { chromium } = from("playwright-core");
const shipped = (await import(from.resolve("@sparticuz/chromium"))).default;

const browser = await chromium.launch({
  executablePath: await shipped.executablePath(),
  args: shipped.args,
});
const scripts = [];
try {
  const page = await browser.newPage({ viewport: { width: 560, height: 720 } });
  page.on("console", (line) => scripts.push(line.text()));
  const shown = await page.goto(process.argv[2]);
  if (shown.status() !== 200) throw new Error(`the page answered ${shown.status()}`);
  await page.screenshot({ path: join(process.env.PICTURES, "consent.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: join(process.env.PICTURES, "consent-dark.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "light" });
  const code = page.locator("input:not([type=hidden])");
  if (await code.count()) await code.fill(process.env.CODE);
  await page.getByRole("button", { name: "Allow" }).click();
  await page.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\/callback/);
  await page.screenshot({ path: join(process.env.PICTURES, "back.png") });
  const refused = scripts.filter((text) => /Content Security Policy|Refused/.test(text));
  if (refused.length) throw new Error(refused.join("\n"));
} finally {
  await browser.close();
}
