// What the server keeps from who asks: an answer names its fields from which something was taken out, so that an empty
// one is not read as "nothing written".
import type { VisitSummary } from '$lib/api/types';

export interface MayHide {
  hidden?: readonly string[];
}

/** Whether something of this field is hidden. */
export function hides(of: MayHide | null | undefined, field: string): boolean {
  return of?.hidden?.includes(field) ?? false;
}

/** What a visit was about, on one line: what was found, else why she came. */
export function aboutVisit(visit: Pick<VisitSummary, 'diagnoses' | 'reason'> & MayHide): { text: string; hidden: boolean } {
  const found = visit.diagnoses.map((one) => one.display).join(', ');
  if (found || hides(visit, 'diagnoses')) return { text: found, hidden: hides(visit, 'diagnoses') };
  return { text: visit.reason, hidden: hides(visit, 'reason') };
}
