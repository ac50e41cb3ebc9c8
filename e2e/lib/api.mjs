// What tests do over the API beside the browser: to get to where a person's work begins, and to see what it changed.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { PASSWORD, URL_BASE, sms, until } from './world.mjs';

/** One request; `json` is undefined where the answer is none. */
export async function call(method, path, token, body, headers = {}) {
  const response = await fetch(`${URL_BASE}${path}`, {
    method,
    headers: { ...(body ? { 'content-type': 'application/json' } : {}), ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body)
  });
  const text = await response.text();
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, text, json };
}

/** The answer of `/api/v1/…`, which must be a good one. */
export async function api(method, route, token, body, headers = {}) {
  const reply = await call(method, `/api/v1/${route}`, token, body, headers);
  assert.ok(reply.status < 300, `${method} ${route}: ${reply.status} ${reply.text}`);
  return reply.json;
}

/** A session over the API; whoever signs in too often from one address waits as long as the server says. */
export async function signedIn(login, password = PASSWORD) {
  const reply = await until('session', async () => {
    const tried = await call('POST', '/api/v1/auth/login?token=true', undefined, { login, password });
    return tried.status === 429 ? undefined : tried;
  });
  assert.equal(reply.status, 200, reply.text);
  return reply.json;
}

/** A patient with an account, registered as people do it. `phone`: digits with the country's code. */
export async function registered({ phone, given, family, password }) {
  const begun = await api('POST', 'auth/register', undefined, {
    given,
    family,
    birth_date: '1991-02-14',
    sex: 'female',
    phone: `+${phone}`,
    password,
    language: 'en',
    accept_terms: true
  });
  const message = await sms(phone, /\b\d{6}\b/);
  await api('POST', `auth/register/${begun.registration_id}/confirm`, undefined, { code: message.text.match(/\b\d{6}\b/)[0] });
  const { token, user } = await signedIn(`+${phone}`, password);
  return { phone, token, id: user.patient_id, name: `${given} ${family}`, family, login: `+${phone}` };
}

/** Whatever the hour, this provider sees people. */
export async function openAlways(kind, settings, token, provider) {
  const schedule = await api('GET', `providers/${provider}/schedule`, token);
  const weekly = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'].map((day) => ({ day, start: '00:00', end: '23:50' }));
  const kinds = { ...schedule.kinds, [kind]: { ...settings, weekly, exceptions: [] } };
  await api('PUT', `providers/${provider}/schedule`, token, { kinds, version: schedule.version });
}

/** RFC 6238 with SHA-1, six digits, 30 s, `ahead` steps from now. */
export function totp(base32, ahead = 0) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let bits = '';
  for (const letter of base32.replace(/[^A-Z2-7]/gi, '').toUpperCase()) bits += alphabet.indexOf(letter).toString(2).padStart(5, '0');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
  const hash = createHmac('sha1', key).update(counter).digest();
  const at = hash[19] & 15;
  return String((hash.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}
