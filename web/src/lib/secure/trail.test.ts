import { expect, test } from 'vitest';
import { asked, filtersOf, moreInForce } from './trail';

test('filters are read from the address and asked as the server knows them', () => {
  const filters = filtersOf(new URLSearchParams('patient=p1&purpose=BTG&from=2026-11-01&x=1'));
  expect(asked(filters)).toMatchObject({ patient_id: 'p1', purpose: 'BTG', from: '2026-11-01', agent: '' });
  expect(moreInForce(filters)).toBe(1);
});
