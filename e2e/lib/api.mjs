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

/** The second person (the privacy officer of the demonstration) agrees to what waits; the answer is how it stands then. */
export async function agree(id) {
  const { token } = await signedIn('privacy');
  return await api('POST', `admin/account-changes/${id}/agree`, token, { note: 'Seen' });
}

/** As [api], for what may take two people: the second one agrees, and who asked fetches the link or the password. */
export async function byTwo(method, route, token, body) {
  const asked = await api(method, route, token, body);
  if (!asked?.asked_by) return asked;
  const agreed = await agree(asked.id);
  const got = agreed.to_collect ? await api('POST', `admin/account-changes/${asked.id}/collect`, token, {}) : {};
  return { ...agreed, ...got, user: { id: agreed.user_id } };
}

/** The newest change that waits for a second person. */
export async function waiting() {
  const { token } = await signedIn('privacy');
  const { items } = await api('GET', 'admin/account-changes?open=true', token);
  assert.ok(items.length > 0, 'nothing waits');
  return items.at(-1);
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

/** A visit in person at this doctor, booked by the desk for today or tomorrow: with the next time that is free, or with the last (`late`), for who only comes into care by it. */
export async function bookedInPerson(doctor, provider, desk, patientId, late = false) {
  await openAlways('in-person', { slot_minutes: 5, lead_minutes: 0 }, doctor, provider);
  const today = new Date(Date.now() + 3 * 3_600_000).toISOString().slice(0, 10);
  const free = await api('GET', `providers/${provider}/availability?kind=in-person&from=${today}&days=2`, desk);
  const slots = free.days.flatMap((day) => day.slots);
  for (const { start } of late ? slots.slice(-40) : slots.slice(0, 40)) {
    const visit = { provider_id: provider, kind: 'in-person', start, reason: 'Cough for three days', patient_id: patientId };
    const booked = await call('POST', '/api/v1/appointments', desk, visit);
    if (booked.status === 201) return booked.json;
    // Somebody was quicker, or has a visit at that very time.
    assert.match(booked.text, /slot-taken|patient-busy|slot-not-offered/);
  }
  return assert.fail('no free time');
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
