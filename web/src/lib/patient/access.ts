import type { AccessRow } from '$lib/api/types';

/** What one person did with the record within a minute, as one line. */
export interface Access {
  at: string;
  agent: string;
  role: string;
  purpose: string;
  /** `read` for every kind of looking, else the action. */
  actions: string[];
  /** FHIR types, each once. */
  types: string[];
}

const LOOKING = new Set(['read', 'vread', 'history', 'search', 'query']);

/** `Observation?patient=…` and `Observation/12` are both about Observation. */
export function typeOf(what: string): string {
  return /^[A-Za-z]+/.exec(what)?.[0] ?? what;
}

/** Puts together what follows each other: same person, same minute. A newcomer's name is never hidden by it. */
export function groupAccess(rows: AccessRow[]): Access[] {
  const groups: Access[] = [];
  for (const row of rows) {
    const action = LOOKING.has(row.action) ? 'read' : row.action;
    const type = typeOf(row.what);
    const last = groups.at(-1);
    if (last && last.agent === row.agent && last.role === row.role && last.at.slice(0, 16) === row.at.slice(0, 16)) {
      if (!last.actions.includes(action)) last.actions.push(action);
      if (!last.types.includes(type)) last.types.push(type);
    } else {
      groups.push({ at: row.at, agent: row.agent, role: row.role, purpose: row.purpose, actions: [action], types: [type] });
    }
  }
  return groups;
}
