import { expect, it, vi } from 'vitest';

vi.mock('./arrive', () => ({ arrive: vi.fn() }));
const { pendingOf } = await import('./entry');

it('goes on where an outside provider left off', () => {
  expect(pendingOf('#second-factor=abc%2F1&factors=totp,passkey&return=%2Fauthorize%3Frequest%3D7')).toEqual({
    needed: { pending_id: 'abc/1', factors: ['totp', 'passkey'], expires_at: '' },
    next: '/authorize?request=7'
  });
});

it.each(['', '#', '#top', '#second-factor='])('finds nothing pending in %j', (hash) => {
  expect(pendingOf(hash)).toBeUndefined();
});
