import type { Sighting } from '$lib/access/types';
import { dayOf } from '$lib/format/date';

/** What one person did with the record within a minute, as one line. */
export interface Access {
  at: string;
  agent: string;
  role: string;
  purpose: string;
  /** The record was open in an emergency. */
  emergency: boolean;
  /** It was not let through. */
  refused: boolean;
  /** Name of the application that acted for the person. */
  application: string | undefined;
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
export function groupAccess(rows: Sighting[]): Access[] {
  const groups: Access[] = [];
  for (const row of rows) {
    const action = LOOKING.has(row.action) ? 'read' : row.action;
    const type = typeOf(row.what);
    const emergency = row.purpose === 'BTG';
    const refused = row.outcome !== 'success';
    const application = row.application ?? undefined;
    const last = groups.at(-1);
    const same =
      last &&
      last.agent === row.agent &&
      last.role === row.role &&
      last.at.slice(0, 16) === row.at.slice(0, 16) &&
      last.emergency === emergency &&
      last.refused === refused &&
      last.application === application;
    if (same) {
      if (!last.actions.includes(action)) last.actions.push(action);
      if (!last.types.includes(type)) last.types.push(type);
    } else {
      groups.push({
        at: row.at,
        agent: row.agent,
        role: row.role,
        purpose: row.purpose,
        emergency,
        refused,
        application,
        actions: [action],
        types: [type]
      });
    }
  }
  return groups;
}

/** Lines under the day they happened on, in the clinic's zone. */
export function byDay(rows: Access[]): { day: string; rows: Access[] }[] {
  const days: { day: string; rows: Access[] }[] = [];
  for (const row of rows) {
    const day = dayOf(row.at);
    const last = days.at(-1);
    if (last?.day === day) last.rows.push(row);
    else days.push({ day, rows: [row] });
  }
  return days;
}
