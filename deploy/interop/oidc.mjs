// An OpenID provider that nobody here wrote: node oidc.mjs PORT COCKPIT-URL PROJECT SECRET. Whoever signs in with any
// password is who the name says; admin@acme is admin of the organization org-acme.
import Provider from 'oidc-provider'

const [port, cockpit, project, secret] = process.argv.slice(2)
const roles = `urn:zitadel:iam:org:project:${project}:roles`
const issuer = `http://127.0.0.1:${port}`
const rolesOf = (id) => (id.startsWith('admin@') ? { account_admin: { [`org-${id.slice(6)}`]: `${id.slice(6)}.example` } } : {})

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'cockpit', client_secret: secret, grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      redirect_uris: [`${cockpit}/auth/callback`], post_logout_redirect_uris: [`${cockpit}/`], backchannel_logout_uri: `${cockpit}/auth/backchannel-logout`,
    },
    { client_id: 'alchemi-web', client_secret: secret, grant_types: ['client_credentials'], response_types: [], redirect_uris: [] },
  ],
  claims: { openid: ['sub'], profile: ['name'], email: ['email'], 'urn:zitadel:iam:org:projects:roles': [roles] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `The ${id}`, email: `${id}.example`, [roles]: rolesOf(id) }) }),
  issueRefreshToken: () => true,
  fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }), // its own refuses this machine's addresses
  ttl: { AccessToken: 10 },
  cookies: { keys: ['interop'] },
  pkce: { required: () => true },
  features: {
    backchannelLogout: { enabled: true },
    introspection: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx) => (ctx.oidc.client?.clientId === 'alchemi-web' ? project : undefined),
      getResourceServerInfo: () => ({ scope: '', audience: project, accessTokenFormat: 'jwt', accessTokenTTL: 600 }),
    },
  },
})
provider.on('backchannel.error', (_, err) => console.error('back channel:', err))
provider.listen(port, '127.0.0.1', () => console.log('ready'))
