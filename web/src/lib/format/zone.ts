/** The clinic's zone, set when somebody signs in; every time on screen is told in it. */
let zone = 'Africa/Nairobi';
export function setZone(name: string | undefined | null): void {
  if (!name) return;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    zone = name;
  } catch {
    // An unknown zone name keeps the previous one.
  }
}
/** Today's calendar date in the clinic's zone, `YYYY-MM-DD`. */
export function todayHere(now: Date = new Date()): string {
  const part = new Intl.DateTimeFormat('en', { timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit' })
    .formatToParts(now)
    .reduce<Record<string, string>>((all, one) => ({ ...all, [one.type]: one.value }), {});
  return `${part.year}-${part.month}-${part.day}`;
}
export function currentZone(): string {
  return zone;
}
