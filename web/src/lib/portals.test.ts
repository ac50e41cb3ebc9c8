import { expect, test } from 'vitest';
import { ownPath } from './portals';

test.each([
  [null, undefined],
  ['', undefined],
  ['/pay/1?from=sms', '/pay/1?from=sms'],
  ['pay/1', undefined],
  ['https://evil.example/', undefined],
  ['//evil.example/', undefined],
  ['/\\evil.example/', undefined],
  ['/\t/evil.example/', undefined],
  ['javascript:alert(1)', undefined]
])('after signing in, %j leads to %j', (wanted, path) => {
  expect(ownPath(wanted, 'https://clinic.example')).toBe(path);
});
