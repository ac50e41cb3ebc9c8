import { expect, it } from 'vitest';
import { country, daysTo, size, typeOf } from './words';

it('writes sizes as people read them', () => {
  expect([size(999), size(12_400), size(3_440_000)]).toEqual(['999 B', '12 kB', '3.4 MB']);
});

it('counts days to a deadline and past it', () => {
  const now = Date.parse('2026-11-22T10:00:00Z');
  expect(daysTo('2026-11-24T09:00:00Z', now)).toBe(2);
  expect(daysTo('2026-11-20T10:00:00Z', now)).toBe(-2);
});

it('names countries and types', () => {
  expect([country('KE'), country('--'), country('')]).toEqual(['Kenya', '--', '']);
  expect(typeOf('Observation/12')).toBe('Observation');
});
