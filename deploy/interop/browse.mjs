// Signs in and out of a cockpit in Chromium: node browse.mjs COCKPIT-URL ISSUER-URL. Prints what it saw, as JSON.
import { chromium as engine } from 'playwright-core'

process.env.TMPDIR = import.meta.dirname // where the browser is unpacked to, which is nobody else's
const { default: chromium } = await import('@sparticuz/chromium')
const [cockpit, issuer] = process.argv.slice(2)
const browser = await engine.launch({ executablePath: await chromium.executablePath(), args: ['--no-sandbox', '--disable-gpu'], headless: true })
const seen = {}
try {
  const signIn = async (context) => {
    const page = await context.newPage()
    await page.goto(`${cockpit}/auth/login?return=/back/here?x=1`)
    if (await page.locator('input[name=login]').count()) {
      await page.fill('input[name=login]', 'admin@acme')
      await page.fill('input[name=password]', 'any')
      await page.click('button[type=submit]')
    }
    if (page.url().startsWith(issuer)) await page.click('button[type=submit]') // consent
    await page.waitForURL(`${cockpit}/back/here?x=1`)
    return [page, await session(page)]
  }
  const session = (page) => page.evaluate(async () => (await fetch('/auth/session')).json())
  const status = (page, path, init) => page.evaluate(async ([p, i]) => (await fetch(p, i)).status, [path, init])

  const context = await browser.newContext()
  const [page, first] = await signIn(context)
  seen.session = { ...first, csrf_token: undefined }
  seen.cookies = (await context.cookies(cockpit)).filter((c) => c.name.startsWith('cockpit')).map((c) => ({ httpOnly: c.httpOnly, sameSite: c.sameSite, length: c.value.length }))
  seen.script = await page.evaluate(() => document.cookie)
  seen.withoutToken = await status(page, '/auth/logout', { method: 'POST', redirect: 'manual' })

  // another page of another origin posts a form: the cookie does not go along, and the session stays
  const evil = await context.newPage()
  await evil.goto(`${issuer}/.well-known/openid-configuration`)
  await evil.setContent(`<form method=post action="${cockpit}/auth/logout"><button>x</button></form>`)
  await evil.click('button')
  await evil.waitForLoadState()
  seen.afterForgery = await status(page, '/auth/session')

  // the issuer ends its own session, and says so over the back channel
  const elsewhere = await context.newPage()
  await elsewhere.goto(`${issuer}/session/end`)
  await elsewhere.click('button[value=yes]')
  await elsewhere.waitForLoadState()
  seen.afterBackChannel = await status(page, '/auth/session')

  // signed in again, and out by the cockpit, which ends the issuer's session too
  const again = await browser.newContext()
  const [second, mine] = await signIn(again)
  await second.evaluate(([token]) => {
    const form = document.createElement('form')
    form.method = 'post'
    form.action = '/auth/logout'
    form.innerHTML = '<input name=csrf_token>'
    form.firstChild.value = token
    document.body.append(form)
    form.submit()
  }, [mine.csrf_token])
  await second.waitForURL(`${issuer}/session/end**`)
  await second.click('button[value=yes]')
  await second.waitForURL(`${cockpit}/`)
  seen.afterLogout = (await session(second)).code
} finally {
  await browser.close()
}
console.log(JSON.stringify(seen))
