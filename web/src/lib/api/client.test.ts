import { afterEach, describe, expect, it, vi } from 'vitest';
import { addressOf, ApiError, configureClient, request } from './client';

const reply = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(body === undefined ? null : JSON.stringify(body), { status, headers });

afterEach(() => configureClient({ reauthenticate: async () => false, language: () => 'en' }));

describe('request', () => {
  it('sends language, key, version and body', async () => {
    configureClient({ reauthenticate: async () => false, language: () => 'sw' });
    const send = vi.fn(async (_input: string, _init: RequestInit) => reply(200, { id: '1' }));
    await request('PUT', 'things/1', { body: { a: 1 }, idempotencyKey: 'k', ifVersion: 3 }, send);
    const [address, init] = send.mock.calls[0]!;
    expect(address).toBe('/api/v1/things/1');
    expect(init.body).toBe('{"a":1}');
    expect(init.headers).toMatchObject({ 'Accept-Language': 'sw', 'Idempotency-Key': 'k', 'If-Match': 'W/"3"' });
  });
  it('leaves out empty parameters', () => {
    expect(addressOf('patients', { q: '', limit: 5, cursor: undefined, ok: false })).toBe('/api/v1/patients?limit=5&ok=false');
  });
  it.each([
    [400, { code: 'date-future' }, 'date-future'],
    [422, {}, 'invalid'],
    [403, {}, 'denied'],
    [404, {}, 'not-found'],
    [412, {}, 'version-conflict'],
    [429, {}, 'throttled'],
    [503, {}, 'busy'],
    [500, {}, 'internal']
  ])('maps %i', async (status, body, code) => {
    const error = await request('GET', 'x', {}, async () => reply(status, body)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status, code });
  });
  it('keeps fields, details and the request id', async () => {
    const body = {
      code: 'slot-taken',
      request_id: 'r-1',
      errors: [{ field: '/start', code: 'slot-taken' }],
      details: { next_free: [{ start: 'a', end: 'b' }] },
      attempts_left: 2
    };
    const error = (await request('POST', 'x', {}, async () => reply(409, body)).catch((thrown) => thrown)) as ApiError;
    expect(error.requestId).toBe('r-1');
    expect(error.fields).toEqual(body.errors);
    expect(error.details).toEqual({ attempts_left: 2, next_free: [{ start: 'a', end: 'b' }] });
  });
  it('takes the wait of a throttled request from the header', async () => {
    const error = (await request('GET', 'x', {}, async () => reply(429, {}, { 'retry-after': '7' })).catch((thrown) => thrown)) as ApiError;
    expect(error.details.retry_after_s).toBe(7);
  });
  it('tells a lost line from a refusal', async () => {
    const error = (await request('GET', 'x', {}, async () => {
      throw new TypeError('Failed to fetch');
    }).catch((thrown) => thrown)) as ApiError;
    expect(error.offline).toBe(true);
    expect(error.code).toBe('offline');
  });
  it('does not take a captive portal for an answer', async () => {
    const error = (await request('GET', 'x', {}, async () => new Response('<html>Buy data</html>')).catch((thrown) => thrown)) as ApiError;
    expect(error.offline).toBe(true);
  });
  it('repeats once after a new sign-in, with the same key', async () => {
    const replies = [reply(401, {}), reply(201, { id: 'done' })];
    const send = vi.fn(async (_input: string, _init: RequestInit) => replies.shift()!);
    configureClient({ reauthenticate: async () => true, language: () => 'en' });
    expect(await request('POST', 'x', { idempotencyKey: 'same', body: {} }, send)).toEqual({ id: 'done' });
    expect(send.mock.calls.map(([, init]) => (init.headers as Record<string, string>)['Idempotency-Key'])).toEqual(['same', 'same']);
  });
  it('gives the refusal on when nobody signs in', async () => {
    await expect(request('GET', 'x', {}, async () => reply(401, {}))).rejects.toMatchObject({ status: 401 });
  });
  it('asks nobody to sign in during sign-in', async () => {
    const reauthenticate = vi.fn(async () => true);
    configureClient({ reauthenticate, language: () => 'en' });
    await expect(
      request('POST', 'auth/login', { anonymous: true }, async () => reply(401, { code: 'credentials-wrong' }))
    ).rejects.toMatchObject({ code: 'credentials-wrong' });
    expect(reauthenticate).not.toHaveBeenCalled();
  });
  it('asks once who the person is and repeats what needed it, with the same key', async () => {
    const need = { factors: ['totp'], minutes: 10 };
    const replies = [reply(403, { code: 'step-up-needed', details: need }), reply(204, undefined)];
    const send = vi.fn(async (_input: string, _init: RequestInit) => replies.shift()!);
    const stepUp = vi.fn(async () => true);
    configureClient({ reauthenticate: async () => false, language: () => 'en', stepUp });
    await request('POST', 'x', { idempotencyKey: 'same', body: {} }, send);
    expect(stepUp).toHaveBeenCalledExactlyOnceWith(need);
    expect(send.mock.calls.map(([, init]) => (init.headers as Record<string, string>)['Idempotency-Key'])).toEqual(['same', 'same']);
  });
  it('says so when the person does not want to show herself', async () => {
    const stepUp = async () => false;
    configureClient({ reauthenticate: async () => false, language: () => 'en', stepUp });
    const refusal = async () => reply(403, { code: 'step-up-needed', details: { factors: ['password'], minutes: 10 } });
    await expect(request('POST', 'x', {}, refusal)).rejects.toMatchObject({ code: 'step-up-cancelled' });
  });
  it('does not ask where no factor would do, nor for ever', async () => {
    const stepUp = vi.fn(async () => true);
    configureClient({ reauthenticate: async () => false, language: () => 'en', stepUp });
    const without = async () => reply(403, { code: 'step-up-needed', details: { factors: [], minutes: 10 } });
    await expect(request('POST', 'x', {}, without)).rejects.toMatchObject({ code: 'step-up-needed' });
    expect(stepUp).not.toHaveBeenCalled();
    const always = async () => reply(403, { code: 'step-up-needed', details: { factors: ['totp'], minutes: 10 } });
    await expect(request('POST', 'x', {}, always)).rejects.toMatchObject({ code: 'step-up-needed' });
    expect(stepUp).toHaveBeenCalledTimes(1);
  });
  it('tells of what is due before anything else', async () => {
    const due = vi.fn();
    configureClient({ reauthenticate: async () => false, language: () => 'en', due });
    const refusal = async () => reply(403, { code: 'password-change-needed' });
    await expect(request('GET', 'x', {}, refusal)).rejects.toMatchObject({ status: 403 });
    expect(due).toHaveBeenCalledExactlyOnceWith('password-change-needed');
  });
});
