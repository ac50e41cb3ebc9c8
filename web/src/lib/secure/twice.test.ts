import { expect, test } from 'vitest';
import { mayOf, partOf, waits } from './twice';
import type { AccountChange } from './types';

const change = (more: Partial<AccountChange>) =>
  ({ asked_by: '1', user_id: '2', act: 'password', state: 'waiting', to_collect: false, ...more }) as AccountChange;
const NOW = Date.parse('2026-11-22T12:00:00Z');

test('only a third person agrees', () => {
  expect(partOf(change({}), '1', NOW)).toMatchObject({ own: true, agree: false, refuse: true, alone: false });
  expect(partOf(change({}), '2', NOW)).toMatchObject({ about: true, agree: false, refuse: true });
  expect(partOf(change({}), '3', NOW)).toMatchObject({ own: false, about: false, agree: true, refuse: true });
  expect(partOf(change({ state: 'expired' }), '3', NOW)).toMatchObject({ agree: false, refuse: false });
});

test('who asked does it alone once its time has come', () => {
  const later = change({ alone_from: '2026-11-22T12:00:01Z' });
  expect(partOf(later, '1', NOW).alone).toBe(false);
  expect(partOf(later, '1', NOW + 1_000).alone).toBe(true);
  expect(partOf(later, '3', NOW + 1_000).alone).toBe(false);
});

test('what was agreed to is fetched by who asked', () => {
  const agreed = change({ state: 'agreed', to_collect: true });
  expect([partOf(agreed, '1', NOW).collect, partOf(agreed, '3', NOW).collect]).toEqual([true, false]);
});

test('what an application may do by itself is told as it will be and as it is', () => {
  const may = (before: string, after: string) =>
    mayOf({ scopes: after.split(' '), scopes_before: before.split(' ').filter(Boolean) }).map((part) => [
      part.kind,
      part.scopes.map((one) => (one.isNew ? '+' : '') + one.text).join(' ')
    ]);
  expect(may('', 'system/*.rs openid user/*.rs')).toEqual([['may', 'system/*.rs']]);
  expect(may('system/*.rs openid', 'system/*.rs')).toEqual([['may', 'system/*.rs']]);
  expect(may('system/Patient.r system/Slot.r', 'system/Slot.r sens/HIV')).toEqual([
    ['then', 'system/Slot.r +sens/HIV'],
    ['now', 'system/Patient.r system/Slot.r']
  ]);
  expect(may('patient/*.rs', 'patient/*.rs system/Task.r')).toEqual([['may', 'system/Task.r']]);
});

test('an answer that waits is told from one that is done', () => {
  expect(waits(change({}))).toBe(true);
  expect(waits({ user: {}, one_time_password: 'x' })).toBe(false);
  expect(waits(undefined)).toBe(false);
});
