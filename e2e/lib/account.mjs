// People's own accounts in the browser: signing in by hand, what the page's own session may ask, passkeys.
import assert from 'node:assert/strict';

/** By the path alone: the wanted page stands in the address of the sign-in page too. */
export const arrivedAt = (page, path) => page.waitForURL((url) => url.pathname === path);
/** One request with the page's own session. */
export async function pageApi(page, method, path, body) {
  const reply = await page.evaluate(
    async ([method, path, body]) => {
      const response = await fetch(`/api/v1/${path}`, {
        method,
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body)
      });
      const text = await response.text();
      return { status: response.status, body: text ? JSON.parse(text) : undefined };
    },
    [method, path, body]
  );
  assert.ok(reply.status < 300, `${method} ${path}: ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body;
}
/** An authenticator inside Chromium, as a phone with a fingerprint reader has it. */
export async function authenticator(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      ctap2Version: 'ctap2_1',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true
    }
  });
  return {
    credentials: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    add: (credential) => cdp.send('WebAuthn.addCredential', { authenticatorId, credential }),
    touch: (enabled) => cdp.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled })
  };
}
/** Types a name and a password; what comes then is up to the account. */
export async function byPassword(page, login, password, next = '') {
  await page.goto(`/sign-in${next}`);
  await page.getByLabel('Phone number, e-mail or user name').fill(login);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}
/** The recovery codes that are shown once. */
export async function keepCodes(page) {
  await page.getByRole('heading', { name: 'Keep these recovery codes' }).waitFor();
  const shown = await page.locator('.codes code').allTextContents();
  assert.equal(shown.length, 10);
  return shown;
}
