import { expect, test } from 'vitest';
import { codesOf, ruleProblem, systemName } from './seals';

test('codes are read however they were pasted', () => {
  expect(codesOf(' B20*\nZ21, F10;F11 B20*')).toEqual(['B20*', 'Z21', 'F10', 'F11']);
  expect(systemName(' http://loinc.org ')).toBe('LOINC');
});

test('a rule that would seal everything or nothing is found', () => {
  const rule = (codes: string[], system = 'http://loinc.org') => ({ category: 'HIV', system, codes });
  expect(ruleProblem(rule(['1']))).toBeUndefined();
  expect(ruleProblem(rule(['1'], 'loinc'))?.code).toBe('system_needed');
  expect(ruleProblem(rule([]))?.code).toBe('codes_needed');
  expect(ruleProblem(rule(['*']))?.code).toBe('star_alone');
});
