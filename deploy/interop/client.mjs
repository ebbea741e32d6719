// Uses the example client in Chromium: node client.mjs PAGE-URL SUBJECT. Prints what the page showed, as JSON.
import { chromium as engine } from 'playwright-core'

process.env.TMPDIR = import.meta.dirname // where the browser is unpacked to, which is nobody else's
const { default: chromium } = await import('@sparticuz/chromium')
const [url, subject] = process.argv.slice(2)
const browser = await engine.launch({ executablePath: await chromium.executablePath(), args: ['--no-sandbox', '--disable-gpu'], headless: true })
const seen = { errors: [] }
try {
  const page = await browser.newPage()
  page.on('pageerror', (e) => seen.errors.push(String(e)))
  await page.goto(url)
  await page.click('#sign-in')
  await page.click(`button[value="${subject}"]`)
  await page.waitForURL(`${url}**`)
  await page.waitForFunction(() => document.getElementById('status').textContent !== '…')
  seen.status = await page.textContent('#status')
  if (seen.status !== 'Signed in.') throw new Error(seen.status)
  seen.before = await page.textContent('#name')
  seen.sections = await page.locator('#sections tr td:first-child').allTextContents()
  seen.refused = await page.textContent('#refused')
  await page.fill('#new-name', 'Renamed by a client')
  await page.click('#rename button')
  await page.waitForFunction(() => document.getElementById('status').textContent !== 'Signed in.')
  seen.afterRename = await page.textContent('#status')
  seen.after = await page.textContent('#name')
  seen.query = new URL(page.url()).search
} finally {
  await browser.close()
}
console.log(JSON.stringify(seen))
