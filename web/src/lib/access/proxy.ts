// Who may act for whom, as it is asked on screen.

/** v3-RoleCode of those who usually act for somebody. */
export const RELATIONSHIPS = ['MTH', 'FTH', 'GUARD', 'SPS', 'CHILD', 'SIB', 'GRPRN', 'AUNT', 'UNCLE', 'FRND'] as const;
/** Parts of a record that can be given. */
export const GIVEN = ['appointment', 'visit', 'result', 'prescription', 'medicine', 'allergy', 'clinical', 'document', 'billing', 'message'] as const;
/** What every grant has, so that its pages can say whose record it is. */
const ALWAYS = ['patient', 'kin', 'coverage', 'consent'];

/** Classes to send: empty for everything. */
export function classesOf(everything: boolean, parts: readonly string[]): string[] {
  if (everything) return [];
  const chosen = new Set<string>(['patient', ...parts]);
  // A visit is read together with what was booked and noted; medicines with who prescribed them.
  if (chosen.has('medicine')) chosen.add('prescription');
  return [...chosen];
}
/** What is worth naming of the classes of a grant; undefined: everything. */
export function namedOf(classes: readonly string[]): string[] | undefined {
  if (GIVEN.every((part) => classes.includes(part))) return undefined;
  return classes.filter((one) => !ALWAYS.includes(one));
}
/** End of a grant `months` from a moment on, as an instant. */
export function endAfter(months: number, now: Date): string {
  const end = new Date(now);
  end.setUTCMonth(end.getUTCMonth() + months);
  return end.toISOString();
}
