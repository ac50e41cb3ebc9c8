// An application of somebody else's: a small OAuth client on a socket of its own.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { api } from './api.mjs';
import { URL_BASE } from './world.mjs';

/** A SMART application: what it is sent back, and what it does with it. */
export class Application {
  static async open() {
    const app = new Application();
    app.server = createServer((request, response) => {
      const url = new URL(request.url, 'http://localhost');
      if (url.pathname === '/launch') {
        app.launched = Object.fromEntries(url.searchParams);
        const to = app.ask('launch openid fhirUser patient/Observation.rs', { launch: app.launched.launch });
        response.writeHead(302, { location: to }).end();
        return;
      }
      if (url.pathname === '/callback') app.answer = Object.fromEntries(url.searchParams);
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end('<!doctype html><html lang="en"><title>Growth charts</title><h1>Growth charts</h1><p>Back at the application</p></html>');
    });
    await new Promise((done) => app.server.listen(0, '127.0.0.1', done));
    app.base = `http://127.0.0.1:${app.server.address().port}`;
    return app;
  }
  /** Makes itself known to the clinic by an administrator. */
  async register(admin, name, scopes) {
    const made = await api('POST', 'admin/clients', admin, {
      name,
      authentication: 'none',
      redirect_uris: [`${this.base}/callback`],
      launch_url: `${this.base}/launch`,
      scopes
    });
    this.id = made.client.client_id;
    this.name = made.client.name;
  }
  close() {
    this.server.close();
  }
  /** Address of the authorization endpoint, with a fresh verifier. */
  ask(scope, more = {}) {
    this.verifier = randomBytes(32).toString('base64url');
    this.state = randomBytes(8).toString('hex');
    this.answer = undefined;
    const query = new URLSearchParams({
      response_type: 'code',
      client_id: this.id,
      redirect_uri: `${this.base}/callback`,
      scope,
      state: this.state,
      aud: `${URL_BASE}/fhir/R4`,
      code_challenge: createHash('sha256').update(this.verifier).digest('base64url'),
      code_challenge_method: 'S256',
      ...more
    });
    return `${URL_BASE}/oauth/authorize?${query}`;
  }
  async token() {
    assert.equal(this.answer?.state, this.state, JSON.stringify(this.answer));
    assert.equal(this.answer.iss, URL_BASE);
    const response = await fetch(`${URL_BASE}/oauth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code: this.answer.code,
        redirect_uri: `${this.base}/callback`,
        client_id: this.id,
        code_verifier: this.verifier
      })
    });
    const body = await response.json();
    assert.equal(response.status, 200, JSON.stringify(body));
    return body;
  }
}
