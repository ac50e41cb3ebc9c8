/** What is wrong with a typed date: an error code, or undefined. */
export function checkDate(value: string, today: string, past: boolean): 'date-invalid' | 'date-future' | undefined {
  const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(value);
  if (!match) return 'date-invalid';
  const [, year, month, day] = match.map(Number) as [number, number, number, number];
  const at = new Date(Date.UTC(year, month - 1, day));
  if (at.getUTCMonth() !== month - 1 || at.getUTCDate() !== day || year < 1890) return 'date-invalid';
  if (past && value > today) return 'date-future';
  return undefined;
}
