// The table of rights as it is edited: what may be chosen, what a change does, and when somebody else must agree.
import type { Role } from '$lib/api/types';
import type { Cell, Reach, Verb } from './types';

export const VERBS: Verb[] = ['read', 'create', 'change', 'delete'];
/** From nothing to everything; the server compares in this order. */
export const REACHES: Reach[] = ['nobody', 'self', 'own', 'in-care', 'everyone'];
/** Roles that read what is written about patients' health: nobody gives herself one of these. */
export const READS_FACTS: Role[] = ['doctor', 'nurse', 'lab', 'pharmacist'];

export function keyOf(cell: { role: string; class: string; verb: string }): string {
  return `${cell.role}|${cell.class}|${cell.verb}`;
}
/** Whether `to` lets through more than `from`: then a second person must agree. */
export function widens(from: Reach, to: Reach): boolean {
  return REACHES.indexOf(to) > REACHES.indexOf(from);
}
/** What may be chosen for a cell, least first: never more than the program allows, nothing that means nothing here. */
export function choices(cell: Cell): Reach[] {
  const personal = cell.role === 'patient' || cell.role === 'proxy';
  return REACHES.filter((reach) => {
    if (widens(cell.most, reach)) return false;
    if (reach === cell.reach || reach === cell.built_in || reach === cell.most || reach === 'nobody') return true;
    if (personal) return reach === 'own';
    return reach === 'in-care' || reach === 'everyone';
  });
}

/** Cells by their key; classes without a cell of a role are not in its table. */
export class Grid {
  readonly #cells: Map<string, Cell>;
  readonly roles: Role[];

  constructor(cells: Cell[]) {
    this.#cells = new Map(cells.map((cell) => [keyOf(cell), cell]));
    this.roles = [...new Set(cells.map((cell) => cell.role))];
  }
  at(role: string, kind: string, verb: string): Cell | undefined {
    return this.#cells.get(keyOf({ role, class: kind, verb }));
  }
  /** Whether this role has anything to do with the class. */
  has(role: string, kind: string): boolean {
    return VERBS.some((verb) => this.at(role, kind, verb));
  }
}

/** One change that is not sent yet. */
export interface Edit {
  cell: Cell;
  to: Reach;
  /** A second person must agree. */
  waits: boolean;
}
/** What was chosen and differs from what is, in the order of the table. */
export function edits(cells: Cell[], chosen: Record<string, Reach>): Edit[] {
  return cells.flatMap((cell) => {
    const to = chosen[keyOf(cell)];
    return to === undefined || to === cell.reach ? [] : [{ cell, to, waits: widens(cell.reach, to) }];
  });
}
