import { expect, test } from 'vitest';
import { Grid, choices, edits, keyOf, widens } from './rights';
import type { Cell } from './types';

const cell = (part: Partial<Cell>): Cell => ({
  role: 'cashier',
  class: 'billing',
  verb: 'read',
  reach: 'everyone',
  built_in: 'everyone',
  most: 'everyone',
  ...part
});

test('more is wider, less and the same are not', () => {
  expect(widens('nobody', 'in-care')).toBe(true);
  expect(widens('in-care', 'everyone')).toBe(true);
  expect(widens('everyone', 'in-care')).toBe(false);
  expect(widens('own', 'own')).toBe(false);
});

test('only what the program allows and what means something can be chosen', () => {
  expect(choices(cell({}))).toEqual(['nobody', 'in-care', 'everyone']);
  expect(choices(cell({ role: 'doctor', most: 'in-care', reach: 'in-care', built_in: 'in-care' }))).toEqual(['nobody', 'in-care']);
  expect(choices(cell({ role: 'patient', most: 'own', reach: 'own', built_in: 'own' }))).toEqual(['nobody', 'own']);
  expect(choices(cell({ role: 'doctor', class: 'directory', verb: 'change', most: 'self', reach: 'self', built_in: 'self' }))).toEqual([
    'nobody',
    'self'
  ]);
  // A clinic that gave less still sees the way back.
  expect(choices(cell({ reach: 'nobody' }))).toEqual(['nobody', 'in-care', 'everyone']);
});

test('edits are the choices that differ, and say who must agree', () => {
  const cells = [cell({}), cell({ class: 'task', reach: 'nobody' }), cell({ class: 'visit' })];
  const chosen = { [keyOf(cells[0]!)]: 'nobody', [keyOf(cells[1]!)]: 'everyone', [keyOf(cells[2]!)]: 'everyone' } as const;
  expect(edits(cells, chosen).map((edit) => [edit.cell.class, edit.to, edit.waits])).toEqual([
    ['billing', 'nobody', false],
    ['task', 'everyone', true]
  ]);
});

test('the grid finds cells and knows which roles have any', () => {
  const grid = new Grid([cell({}), cell({ role: 'nurse', class: 'visit' })]);
  expect(grid.roles).toEqual(['cashier', 'nurse']);
  expect(grid.at('cashier', 'billing', 'read')?.reach).toBe('everyone');
  expect(grid.at('cashier', 'visit', 'read')).toBeUndefined();
  expect([grid.has('nurse', 'visit'), grid.has('nurse', 'billing')]).toEqual([true, false]);
});
