import { expect, test } from 'vitest';
import { isLook, needsObject, shortId, thingOf } from './audit';

test('what an audit row is about', () => {
  expect(thingOf('')).toBeUndefined();
  expect(thingOf('Patient/019abc')).toEqual({ kind: 'Patient', id: '019abc' });
  expect(thingOf('account/7')).toEqual({ kind: 'account', id: '7' });
  expect(thingOf('Observation?patient=1&code=http%3A%2F%2Floinc.org%7C8867-4')).toEqual({
    kind: 'Observation',
    about: 'patient=1, code=http://loinc.org|8867-4'
  });
  expect(thingOf('Invoice?status=issued&_sort=-date&_count=100')).toEqual({ kind: 'Invoice', about: 'status=issued' });
  expect(thingOf('Patient?_id=a,b,c')).toEqual({ kind: 'Patient', about: 'audit.records' });
  expect(thingOf('Patient?_text=isaac+ali')).toEqual({ kind: 'Patient', about: '“isaac ali”' });
  expect(thingOf('Patient?_sort=name')).toEqual({ kind: 'Patient', about: undefined });
  expect(thingOf('Patient?name=%E0%A4%A')).toEqual({ kind: 'Patient', about: 'name=%E0%A4%A' });
  expect(thingOf('import')).toEqual({ kind: 'import', id: undefined });
});

test('short ids and actions that speak for themselves', () => {
  expect(shortId('019a3f52-5f3e-7000-8000-1b1b1b1b1b1b')).toBe('019a3f52…');
  expect(shortId('UZ-000123')).toBe('UZ-000123');
  expect(needsObject('read')).toBe(true);
  expect(needsObject('appointment.book')).toBe(false);
  expect(needsObject('login')).toBe(false);
});

test('looking is told from doing', () => {
  for (const look of ['read', 'query', 'history', 'account.list', 'patient.candidates']) expect(isLook(look), look).toBe(true);
  for (const change of ['create', 'update', 'login', 'payment.cash', 'note.sign']) expect(isLook(change), change).toBe(false);
});
