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
export function currentZone(): string {
  return zone;
}
