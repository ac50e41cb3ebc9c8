import { expect, test } from 'vitest';
import { keySetOf, readsForItself, redirectFits, scopeKind, scopesOf } from './clients';

test('redirect addresses are whole, and lead to their owner', () => {
  const good = ['https://charts.example/callback', 'http://127.0.0.1:8123/cb', 'http://localhost/cb', 'org.example.app:/callback'];
  const bad = ['http://charts.example/cb', 'charts.example', 'https://charts.example/#x', 'app:/cb', 'https://a:b@c.example/', 'javascript:alert(1)'];
  for (const one of good) expect(redirectFits(one), one).toBe(true);
  for (const one of bad) expect(redirectFits(one), one).toBe(false);
});

test('scopes come one by one, each once', () => {
  expect(scopesOf(' openid  patient/*.rs,\nopenid launch ')).toEqual(['openid', 'patient/*.rs', 'launch']);
  expect(['patient/*.rs', 'system/Observation.rs', 'fhirUser', 'offline_access', 'sens/HIV', 'x'].map(scopeKind)).toEqual([
    'patient',
    'system',
    'sign-in',
    'launch',
    'sealed',
    'other'
  ]);
});

test('what reads about patients for itself is told from what does not', () => {
  for (const one of ['system/*.rs', 'system/Observation.rs?category=laboratory', 'system/Slot.r system/Patient.r']) expect(readsForItself(scopesOf(one)), one).toBe(true);
  for (const one of ['user/*.cruds patient/*.rs', 'system/Slot.rs system/Practitioner.rs', 'sens/HIV']) expect(readsForItself(scopesOf(one)), one).toBe(false);
});

test('key sets hold public keys only', () => {
  expect(keySetOf('{"keys":[{"kty":"EC","crv":"P-384","x":"a","y":"b"}]}')).toEqual({
    keys: [{ kty: 'EC', crv: 'P-384', x: 'a', y: 'b' }]
  });
  expect(keySetOf('{"keys":[{"kty":"EC","d":"secret"}]}')).toBe('private');
  for (const text of ['', '{}', '{"keys":[]}', '[1]', '{"keys":[1]}']) expect(keySetOf(text), text).toBeUndefined();
});
