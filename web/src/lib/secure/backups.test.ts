import { expect, test } from 'vitest';
import { ageOf, percentOf } from './backups';

test('ages are said in the largest unit that has one', () => {
  const now = new Date('2026-11-22T12:00:00Z');
  const ages = ['2026-11-22T11:59:40Z', '2026-11-22T11:15:00Z', '2026-11-21T12:00:00Z', '2026-11-15T12:00:00Z', '2026-11-22T12:00:05Z'];
  expect(ages.map((at) => ageOf(at, now))).toEqual([
    { unit: 'now', count: 0 },
    { unit: 'minutes', count: 45 },
    { unit: 'hours', count: 24 },
    { unit: 'days', count: 7 },
    { unit: 'now', count: 0 }
  ]);
});

test('progress is known when the whole is', () => {
  expect([percentOf(1, 3), percentOf(5, 3), percentOf(0, 0)]).toEqual([33, 100, undefined]);
});
