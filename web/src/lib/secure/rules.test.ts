import { expect, test } from 'vitest';
import { ruleChanges, spanOf } from './rules';
import type { SecurityRules } from './types';

test('minutes are said in the largest whole unit', () => {
  expect([15, 90, 120, 720, 1440, 10080].map(spanOf)).toEqual([
    { unit: 'minutes', count: 15 },
    { unit: 'minutes', count: 90 },
    { unit: 'hours', count: 2 },
    { unit: 'hours', count: 12 },
    { unit: 'days', count: 1 },
    { unit: 'days', count: 7 }
  ]);
});

test('only what differs is a change, whatever the order of roles', () => {
  const before = { second_factor: 'asked', required_roles: ['doctor', 'it'], staff_idle_minutes: 15 } as unknown as SecurityRules;
  expect(ruleChanges(before, { ...before, required_roles: ['it', 'doctor'] })).toEqual([]);
  expect(ruleChanges(before, { ...before, staff_idle_minutes: 10 })).toEqual([{ name: 'staff_idle_minutes', before: 15, after: 10 }]);
});
