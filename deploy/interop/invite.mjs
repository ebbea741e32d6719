// Opens an invite's link in Chromium, as somebody it is not for, and then as whom it is for, who accepts it:
// node invite.mjs LINK OTHER-SUBJECT SUBJECT [SCREENSHOT]. Prints what the page showed, as JSON.
import { chromium as engine } from 'playwright-core'

process.env.TMPDIR = import.meta.dirname // where the browser is unpacked to, which is nobody else's
const { default: chromium } = await import('@sparticuz/chromium')
const [link, other, subject, screenshot] = process.argv.slice(2)
const browser = await engine.launch({ executablePath: await chromium.executablePath(), args: ['--no-sandbox', '--disable-gpu'], headless: true })
const seen = { errors: [] }
try {
  const open = async (page) => {
    await page.goto(link)
    await page.waitForSelector('h2')
  }
  const signIn = async (page, as) => {
    await page.click('a.primary')
    await page.click(`button[value="${as}"]`)
    await page.waitForURL('**/invite')
    await page.waitForSelector('h2')
  }
  const titled = (page) => page.textContent('h2')
  const page = await (await browser.newContext({ viewport: { width: 800, height: 500 } })).newPage()
  page.on('pageerror', (e) => seen.errors.push(String(e)))
  page.on('console', (m) => m.type() === 'error' && !m.text().startsWith('Failed to load resource') && seen.errors.push(m.text()))
  await open(page)
  seen.first = await titled(page)
  seen.address = page.url()
  await signIn(page, other)
  seen.other = await titled(page)
  await page.click('form button')
  await page.waitForURL((url) => url.pathname !== '/invite')
  await open(page)
  await signIn(page, subject)
  seen.offer = await titled(page)
  seen.lines = await page.locator('#state p').allTextContents()
  if (screenshot) await page.screenshot({ path: screenshot })
  await page.click('button.primary')
  await page.waitForSelector('text=You are in')
  await open(page)
  seen.again = await titled(page)
} finally {
  await browser.close()
}
console.log(JSON.stringify(seen))
