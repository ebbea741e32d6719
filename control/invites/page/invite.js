// The page that an invite's link opens: it signs in, shows what the invite is for, and accepts it. The link's text stands
// behind the #, which no server sees; while the browser is away to sign in, it is kept in this tab.
"use strict";

const kept = "invite";
const $ = (id) => document.getElementById(id);
const roles = {
  account_admin: "administer the account",
  account_viewer: "view the account",
  section_admin: "administer the section",
  end_user: "use the section",
};

function element(tag, text, more) {
  return Object.assign(document.createElement(tag), { textContent: text }, more);
}

function show(title, lines, actions = []) {
  $("state").replaceChildren(element("h2", title), ...lines.map((l) => element("p", l)));
  $("actions").replaceChildren(...actions);
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.detail || `The server answered ${response.status}.`), { status: response.status });
  return body;
}

const post = (path, csrf, body, header = {}) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf, ...header }, body: JSON.stringify(body) }).then(answer);

const signIn = () => element("a", "Sign in", { href: "/auth/login?return=" + encodeURIComponent(location.pathname), className: "button primary" });

function signOut(csrf) {
  const form = element("form", "", { method: "post", action: "/auth/logout" });
  form.append(element("input", "", { type: "hidden", name: "csrf_token", value: csrf }), element("button", "Sign out"));
  return form;
}

function accepted(offer) {
  sessionStorage.removeItem(kept);
  const home = element("a", "Open the cockpit", { href: "/", className: "button primary" });
  show("You are in", [`You may now ${roles[offer.role]} ${place(offer)}.`], offer.role === "end_user" ? [] : [home]);
}

const place = (offer) => (offer.section ? `${offer.section.key} of ${offer.account_name}` : offer.account_name);

function acceptButton(token, csrf) {
  const b = element("button", "Accept", { type: "button", className: "primary" });
  const key = crypto.randomUUID ? crypto.randomUUID() : token;
  b.onclick = async () => {
    b.disabled = true;
    try {
      accepted(await post("/v1/invites/accept", csrf, { token }, { "Idempotency-Key": key }));
    } catch (error) {
      b.disabled = false;
      show("That did not work", [error.message], [b]);
    }
  };
  return b;
}

async function open() {
  const token = location.hash.slice(1) || sessionStorage.getItem(kept);
  if (!token) return show("No invitation", ["Open the link that you were sent: this one is not whole."]);
  sessionStorage.setItem(kept, token);
  history.replaceState(null, "", location.pathname); // out of the address, and so of the browser's history
  const session = await fetch("/auth/session").then(answer).catch((error) => (error.status === 401 ? null : Promise.reject(error)));
  if (!session) return show("You are invited", ["Sign in to see to what, and to accept."], [signIn()]);
  const offer = await post("/v1/invites/look", session.csrf_token, { token });
  const by = offer.invited_by ? `${offer.invited_by.name} invites` : "The platform invites";
  const lines = [`${by} ${offer.email} to ${roles[offer.role]} ${place(offer)}.`];
  if (offer.state === "accepted" && offer.yours) return accepted(offer);
  if (offer.state !== "pending") return show(`The invitation is ${offer.state}`, [...lines, "Ask for another one."]);
  if (!offer.yours) return show("This is for somebody else", [...lines, `You are signed in as ${session.name}, with another e-mail. Sign out, and open the link again.`], [signOut(session.csrf_token)]);
  lines.push(`Good until ${new Date(offer.expires_at).toLocaleString()}.`);
  show(`Join ${offer.account_name}`, lines, [acceptButton(token, session.csrf_token), signOut(session.csrf_token)]);
}

open().catch((error) => {
  if (error.status === 404) show("No such invitation", ["It was sent again, and this link is an old one, or it is not whole."]);
  else show("That did not work", [error.message], [element("a", "Try again", { href: location.pathname, className: "button" })]);
});
