import { expect, it, vi } from 'vitest';

vi.mock('$app/navigation', () => ({ goto: vi.fn() }));
vi.mock('$lib/session.svelte', () => ({ session: {} }));
const { proposed, proposes } = await import('./arrive');

const store = () => {
  const kept = new Map<string, string>();
  return { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
};

it('proposes a second factor once a fortnight to each person', () => {
  const storage = store();
  const then = new Date('2026-11-01T08:00:00Z');
  expect(proposes('1', then, storage)).toBe(true);
  proposed('1', then, storage);
  expect(proposes('1', new Date('2026-11-10T08:00:00Z'), storage)).toBe(false);
  expect(proposes('2', then, storage)).toBe(true);
  expect(proposes('1', new Date('2026-11-16T08:00:00Z'), storage)).toBe(true);
});

it('survives what others put into the storage', () => {
  expect(proposes('1', new Date(), { getItem: () => 'not json' })).toBe(true);
});
