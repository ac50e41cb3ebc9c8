import type { AuditRow } from '$lib/api/office';
import { actionText, needsObject, thingOf, thingText } from '$lib/office/audit';

type Told = Pick<AuditRow, 'action' | 'what'>;

/** `opened patient record 0123…`, `booked an appointment`. */
export function sentenceOf(row: Told): string {
  const thing = thingOf(row.what);
  return needsObject(row.action) && thing ? `${actionText(row.action)} ${thingText(thing)}` : actionText(row.action);
}
/** What was looked for, or what a command was about; empty where the sentence says it all. */
export function detailsOf(row: Told): string {
  const thing = thingOf(row.what);
  if (!thing) return '';
  if (needsObject(row.action)) return thing.about ?? '';
  return thing.about ? `${thingText(thing)} (${thing.about})` : thingText(thing);
}
